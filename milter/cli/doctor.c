#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "mta/doctor.h"

#include <string.h>

static void show_json(const struct doctor_finding *f)
{
    json_t *item = json_pack("{s:s, s:o, s:o, s:o}", "severity", doctor_severity_word(f->severity), "where",
                             output_text(f->where), "what", output_text(f->what), "fix", output_text(f->fix));

    output_json(item);
    json_decref(item);
}

static void show_page(const struct doctor_finding *f)
{
    printf("%s  ", doctor_severity_word(f->severity));
    output_put(f->where);
    putchar('\n');
    output_field("what", f->what);
    output_field("instead", f->fix);
    putchar('\n');
}

/* `2 leaks, 1 hint` */
static void show_sum(const struct doctor_report *r)
{
    size_t counts[DOCTOR_HINT + 1] = { 0 }, i;
    const char *between = "";

    for (i = 0; i < r->count; i++)
        counts[r->items[i].severity]++;
    for (i = 0; i < COUNT_OF(counts); i++) {
        if (counts[i] == 0)
            continue;
        printf("%s%zu %s%s", between, counts[i], doctor_severity_word((enum doctor_severity)i), counts[i] == 1 ? "" : "s");
        between = ", ";
    }
    if (r->more > 0)
        printf("%s%zu more not shown", between, r->more);
    puts(r->count == 0 ? "nothing found" : "");
}

static int show(const struct cli *c, const struct doctor_report *r)
{
    size_t i;

    for (i = 0; i < r->count; i++) {
        if (c->json)
            show_json(&r->items[i]);
        else
            show_page(&r->items[i]);
    }
    if (!c->json)
        show_sum(r);
    else if (r->more > 0)
        cli_remark("%zu more findings are not shown", r->more);
    for (i = 0; i < r->unread_count; i++)
        cli_remark("can't be read: %s", r->unread[i]);
    if (r->unread_count > 0)
        return CLI_TEMPORARY;
    return r->count > 0 ? CLI_NO : CLI_GOOD;
}

int cli_doctor(const struct cli *c)
{
    struct doctor_report report;
    struct configuration *conf;
    struct fault why;
    int exit;

    if (strcmp(c->words[0], "sendmail") == 0)
        return cli_fail(CLI_USAGE, "\"doctor sendmail\" is not available in this version");
    if (strcmp(c->words[0], "postfix") != 0)
        return cli_fail(CLI_USAGE, "that is: danelaw doctor postfix [--config-dir D]");
    if (!cli_load(c, false, &conf, &exit))
        return exit;
    if (c->config_dir != NULL)
        conf->settings.tables.config_dir = c->config_dir;
    doctor_report_init(&report);
    if (doctor_postfix(&conf->settings, conf->rules, NULL, &report, &why))
        exit = show(c, &report);
    else
        exit = cli_fail(CLI_TEMPORARY, "%s", why.text);
    doctor_report_done(&report);
    config_free(conf);
    return exit;
}
