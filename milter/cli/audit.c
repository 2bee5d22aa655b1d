#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "cli/user.h"
#include "store/audit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* A long text would only widen the columns of all, so an entry has lines of its own. */
static void show_entry(struct daemon_reader *self, const json_t *item)
{
    const char *connector = output_member(item, "connector", NULL), *before = output_member(item, "before", NULL);
    const char *after = output_member(item, "after", NULL);

    (void)self;
    output_put(output_member(item, "time", "-"));
    fputs("  ", stdout);
    output_put(output_member(item, "by", "?"));
    fputs(": ", stdout);
    output_put(output_member(item, "action", "?"));
    if (connector != NULL) {
        fputs(" \"", stdout);
        output_put(connector);
        putchar('"');
    }
    putchar('\n');
    if (before != NULL)
        output_field("before", before);
    if (after != NULL)
        output_field("after", after);
}

/* From the file */

struct from_file {
    struct audit_reader face;
    const struct cli *cli;
};

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : output_text(text);
}

static bool show_row(struct audit_reader *self, const struct audit_entry *e)
{
    char when[32] = "-";
    time_t at = (time_t)e->time;
    struct tm utc;
    json_t *item;

    if (gmtime_r(&at, &utc) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    item = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "time", when, "by", output_text(e->by), "action", output_text(e->action),
                     "connector", text_or_null(e->connector), "before", text_or_null(e->before),
                     "after", text_or_null(e->after));
    if (((struct from_file *)self)->cli->json)
        output_json(item);
    else
        show_entry(NULL, item);
    json_decref(item);
    return true;
}

static int read_file(const struct cli *c)
{
    struct from_file reader = { .face.each = show_row, .cli = c };
    struct configuration *conf;
    struct fault why;
    int exit;

    if (!cli_load(c, false, &conf, &exit))
        return exit;
    cli_remark("read from the store, since the daemon does not answer");
    exit = CLI_GOOD;
    if (!user_become(&conf->settings, &why) ||
        !audit_peek(conf->settings.store.directory, 0, AUDIT_MOST, &reader.face, &why))
        exit = cli_fail(CLI_TEMPORARY, "%s", why.text);
    config_free(conf);
    return exit;
}

int cli_audit(const struct cli *c)
{
    struct daemon_reader reader = { .item = show_entry };
    int exit = daemon_ask(c, json_pack("{s:s}", "verb", "audit"), &reader);

    return exit == CLI_UNREACHABLE ? read_file(c) : exit;
}
