#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/user.h"
#include "mta/setup.h"
#include "mta/tables.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Gives the table's name, for people; the folder where Postfix can't be asked. */
static char *name_of(const struct settings *set)
{
    struct text name;

    text_init(&name, 8192);
    if (!tables_name(set, &name, NULL))
        text_print(&name, "%s/postfix/transport", set->store.directory);
    return text_give(&name);
}

static int write_now(const struct cli *c, const struct configuration *conf)
{
    AUTO(free) char *name = name_of(&conf->settings);
    struct fault why;
    bool changed;

    if (!tables_write(&conf->settings, conf->rules, &changed, &why))
        return cli_fail(CLI_TEMPORARY, "%s%s", why.text,
                        access(conf->settings.store.directory, W_OK) != 0 && errno == EACCES
                            ? "; run this as root, or as the daemon's user" : "");
    if (c->json) {
        json_t *item = json_pack("{s:o, s:b}", "table", output_text(name), "changed", changed);

        output_json(item);
        json_decref(item);
    } else {
        printf("%s: %s\n", name, changed ? "written" : "is current, nothing to do");
    }
    return CLI_GOOD;
}

static int check(const struct cli *c, const struct configuration *conf)
{
    AUTO(free) char *name = name_of(&conf->settings);
    struct fault why = { "" };
    bool current = tables_current(&conf->settings, conf->rules, &why);

    if (c->json) {
        json_t *item = json_pack("{s:o, s:b, s:o}", "table", output_text(name), "current", current,
                                 "why", current ? json_null() : output_text(why.text));

        output_json(item);
        json_decref(item);
    } else if (current) {
        printf("%s: is current\n", name);
    } else {
        printf("not current: %s\n", why.text);
    }
    return current ? CLI_GOOD : CLI_NO;
}

int cli_tables(const struct cli *c)
{
    struct configuration *conf;
    struct fault why;
    int exit;

    if (!cli_load(c, false, &conf, &exit))
        return exit;
    if (strcmp(conf->settings.tables.mta, "none") == 0) {
        cli_remark("tables.mta is \"none\": there is no table to write");
        exit = CLI_GOOD;
    } else if (c->check) {
        exit = check(c, conf);
    } else if (!user_become(&conf->settings, &why)) {
        exit = cli_fail(CLI_CONFIG, "%s", why.text);
    } else {
        exit = write_now(c, conf);
    }
    config_free(conf);
    return exit;
}

/* In a process of its own: this one must stay root, to read all of Postfix's settings. */
static void make_table(const struct configuration *conf)
{
    struct fault why;
    bool changed;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        if (!user_become(&conf->settings, &why) || !tables_write(&conf->settings, conf->rules, &changed, &why)) {
            cli_remark("warning: the table is not there: %s", why.text);
            cli_remark("warning: run \"danelaw tables\" before adding these lines: Postfix defers all mail while a table "
                       "that it is told to use is missing");
        }
        _exit(0);
    }
    if (child < 0)
        cli_remark("warning: %s; run \"danelaw tables\" before adding these lines", strerror(errno));
    else
        waitpid(child, NULL, 0);
}

static int print_setup(const struct cli *c, struct configuration *conf)
{
    struct text lines;
    struct fault why;
    int exit = CLI_GOOD;

    if (strcmp(conf->settings.tables.mta, "postfix") != 0)
        cli_remark("warning: tables.mta is \"%s\": write tables = { mta = \"postfix\"; } in %s, or the table goes stale",
                   conf->settings.tables.mta, c->config);
    conf->settings.tables.mta = "postfix";
    make_table(conf);
    text_init(&lines, (size_t)1 << 24);
    if (setup_postfix(&conf->settings, conf->rules, c->all, &lines, &why))
        fputs(text_words(&lines), stdout);
    else
        exit = cli_fail(CLI_CONFIG, "%s", why.text);
    text_done(&lines);
    return exit;
}

int cli_setup(const struct cli *c)
{
    struct configuration *conf;
    int exit;

    if (strcmp(c->words[0], "sendmail") == 0)
        return cli_fail(CLI_USAGE, "\"setup sendmail\" is not available in this version");
    if (strcmp(c->words[0], "postfix") != 0)
        return cli_fail(CLI_USAGE, "that is: danelaw setup postfix [--all]");
    if (!cli_load(c, false, &conf, &exit))
        return exit;
    exit = print_setup(c, conf);
    config_free(conf);
    return exit;
}

int cli_config(const struct cli *c)
{
    struct configuration *conf;
    struct config_report report;
    int exit = CLI_CONFIG;

    if (strcmp(c->words[0], "test") != 0)
        return cli_fail(CLI_USAGE, "that is: danelaw config test");
    config_report_init(&report);
    if (config_load(c->config, &conf, &report)) {
        fputs(text_words(&report.hints), stderr);
        printf("%s: the configuration is good, with %zu connectors\n", c->config, ruleset_count(conf->rules));
        config_free(conf);
        exit = CLI_GOOD;
    } else {
        fputs(text_words(&report.faults), stderr);
        fputs(text_words(&report.hints), stderr);
    }
    config_report_done(&report);
    return exit;
}
