#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "cli/user.h"
#include "mta/setup.h"
#include "mta/tables.h"
#include "policy/vary.h"
#include "store/overrides.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Gives the table's name, for people. */
static char *name_of(const struct settings *set)
{
    struct text name;

    text_init(&name, 8192);
    tables_shown(set, &name);
    return text_give(&name);
}

bool cli_add_overrides(struct configuration *conf, struct fault *why)
{
    int64_t now = (int64_t)clock_wall();
    struct override *all;
    struct ruleset *varied;
    size_t count, used = 0, i;

    if (!overrides_peek(conf->settings.store.directory, &all, &count, why))
        return false;
    for (i = 0; i < count; i++) {
        if (all[i].until == 0 || all[i].until > now)
            all[used++] = all[i];
    }
    varied = ruleset_vary(conf->rules, all, used);
    ruleset_unref(conf->rules);
    conf->rules = varied;
    free(all);
    return true;
}

/* What is there may be stricter than what would be written; where nothing is, anything is better. */
static bool know_overrides(struct configuration *conf, struct fault *why)
{
    struct fault doubt;

    if (cli_add_overrides(conf, &doubt))
        return true;
    if (tables_there(&conf->settings))
        return fault_set(why, "%.150s; start danelawd, then say this again", doubt.text);
    cli_remark("warning: %s; written without overrides", doubt.text);
    return true;
}

static void show_written(const char *name, bool changed)
{
    printf("%s: %s\n", name, changed ? "written" : "is current, nothing to do");
}

static void show_current(const char *name, const char *why)
{
    if (why == NULL)
        printf("%s: is current\n", name);
    else
        printf("not current: %s\n", why);
}

static int write_now(const struct cli *c, struct configuration *conf)
{
    AUTO(free) char *name = name_of(&conf->settings);
    struct fault why;
    bool changed;

    if (!know_overrides(conf, &why))
        return cli_fail(CLI_TEMPORARY, "%s", why.text);
    if (!tables_write(&conf->settings, conf->rules, &changed, &why))
        return cli_fail(CLI_TEMPORARY, "%s%s", why.text,
                        access(conf->settings.store.directory, W_OK) != 0 && errno == EACCES
                            ? "; run this as root, or as the daemon's user" : "");
    if (c->json) {
        json_t *item = json_pack("{s:o, s:b}", "table", output_text(name), "changed", changed);

        output_json(item);
        json_decref(item);
    } else {
        show_written(name, changed);
    }
    return CLI_GOOD;
}

static int check(const struct cli *c, struct configuration *conf)
{
    AUTO(free) char *name = name_of(&conf->settings);
    struct fault why = { "" };
    bool current;

    if (!cli_add_overrides(conf, &why))
        return cli_fail(CLI_TEMPORARY, "%s", why.text);
    current = tables_current(&conf->settings, conf->rules, &why);
    if (c->json) {
        json_t *item = json_pack("{s:o, s:b, s:o}", "table", output_text(name), "current", current,
                                 "why", current ? json_null() : output_text(why.text));

        output_json(item);
        json_decref(item);
    } else {
        show_current(name, current ? NULL : why.text);
    }
    return current ? CLI_GOOD : CLI_NO;
}

static void show_item(struct daemon_reader *self, const json_t *item)
{
    const char *name = output_member(item, "table", "?");

    (void)self;
    if (json_object_get(item, "changed") != NULL)
        show_written(name, json_is_true(json_object_get(item, "changed")));
    else
        show_current(name, json_is_true(json_object_get(item, "current")) ? NULL : output_member(item, "why", "?"));
}

/* The daemon alone knows which fallbacks are taken, and which rules are in force. */
static int ask_daemon(const struct cli *c)
{
    struct daemon_reader reader = { .item = show_item };

    return daemon_ask(c, json_pack("{s:s, s:b}", "verb", "tables", "check", c->check), &reader);
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
    } else if (daemon_listens(&conf->settings)) {
        exit = ask_daemon(c);
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

/* In a process of its own: this one must stay root, to read all of the MTA's settings. */
static void make_table(struct configuration *conf)
{
    struct fault why;
    bool changed;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        if (!user_become(&conf->settings, &why) || !know_overrides(conf, &why) ||
            !tables_write(&conf->settings, conf->rules, &changed, &why)) {
            cli_remark("warning: the table is not there: %s", why.text);
            cli_remark("warning: run \"danelaw tables\" before adding these lines: the MTA defers mail while a table "
                       "that it is told to use is missing");
        }
        _exit(0);
    }
    if (child < 0)
        cli_remark("warning: %s; run \"danelaw tables\" before adding these lines", strerror(errno));
    else
        waitpid(child, NULL, 0);
}

static void ignore_item(struct daemon_reader *self, const json_t *item)
{
    (void)self;
    (void)item;
}

/* The MTA may be set up anew because its settings are others, and some of them show in the table. */
static void have_table_written(const struct cli *c)
{
    struct daemon_reader reader = { .item = ignore_item };
    struct cli quiet = *c;

    quiet.json = false;
    if (daemon_ask(&quiet, json_pack("{s:s, s:b}", "verb", "tables", "follow", 1), &reader) != CLI_GOOD)
        cli_remark("warning: the table may be an old one; run \"danelaw tables\" as root");
}

static void ensure_table(const struct cli *c, struct configuration *conf)
{
    if (tables_there(&conf->settings) && daemon_listens(&conf->settings))
        have_table_written(c);              /* the daemon keeps it */
    else
        make_table(conf);
}

static int print_lines(bool good, struct text *lines, const struct fault *why)
{
    if (good)
        fputs(text_words(lines), stdout);
    text_done(lines);
    return good ? CLI_GOOD : cli_fail(CLI_CONFIG, "%s", why->text);
}

static int setup_for_postfix(const struct cli *c, struct configuration *conf)
{
    struct text lines;
    struct fault why;

    if (strcmp(conf->settings.tables.mta, "postfix") != 0) {
        cli_remark("warning: tables.mta is \"%s\": write tables = { mta = \"postfix\"; } in %s, or the table goes stale",
                   conf->settings.tables.mta, c->config);
        conf->settings.tables.mta = "postfix";
        make_table(conf);
    } else {
        ensure_table(c, conf);
    }
    text_init(&lines, (size_t)1 << 24);
    return print_lines(setup_postfix(&conf->settings, conf->rules, c->all, &lines, &why), &lines, &why);
}

/* Without tables.mta the routes are not Sendmail's, and a table made of them would be wrong. */
static int setup_for_sendmail(const struct cli *c, struct configuration *conf)
{
    struct text lines;
    struct fault why;

    if (strcmp(conf->settings.tables.mta, "sendmail") == 0)
        ensure_table(c, conf);
    else
        cli_remark("warning: tables.mta is \"%s\": write tables = { mta = \"sendmail\"; } in %s, run \"danelaw tables\", and say this "
                   "again", conf->settings.tables.mta, c->config);
    if (c->all)
        cli_remark("Sendmail's rules ask for every recipient that a connector names: to have every destination judged, write a "
                   "connector with recipients = [ \"*\" ]");
    text_init(&lines, (size_t)1 << 24);
    return print_lines(setup_sendmail(&conf->settings, conf->rules, &lines, &why), &lines, &why);
}

int cli_setup(const struct cli *c)
{
    bool sendmail = strcmp(c->words[0], "sendmail") == 0;
    struct configuration *conf;
    int exit;

    if (!sendmail && strcmp(c->words[0], "postfix") != 0)
        return cli_fail(CLI_USAGE, "that is: danelaw setup postfix|sendmail [--all]");
    if (!cli_load(c, false, &conf, &exit))
        return exit;
    exit = sendmail ? setup_for_sendmail(c, conf) : setup_for_postfix(c, conf);
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
