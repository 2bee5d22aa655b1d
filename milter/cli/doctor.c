#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "mta/doctor.h"
#include "mta/tables.h"

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

/* What the daemon says of its table. */
struct word {
    struct daemon_reader reader;
    bool current;
    struct fault why;
};

static void hear(struct daemon_reader *self, const json_t *item)
{
    struct word *word = (struct word *)self;

    word->current = json_is_true(json_object_get(item, "current"));
    fault_set(&word->why, "%s", output_member(item, "why", "danelawd says so"));
}

static bool may_fall_back(const struct ruleset *rules)
{
    size_t i;

    for (i = 0; i < ruleset_count(rules); i++) {
        if (ruleset_at(rules, i)->fallback != NULL)
            return true;
    }
    return false;
}

/* The table differs from what the files ask for; only the daemon knows which fallbacks are taken. */
static const char *ask_daemon(const struct cli *c, const struct configuration *conf, struct fault *why)
{
    struct word word = { .reader.item = hear };
    struct cli quiet = *c;

    quiet.json = false;
    if (daemon_ask(&quiet, json_pack("{s:s, s:b}", "verb", "tables", "check", 1), &word.reader) > CLI_NO)
        return why->text;
    if (!word.current)
        *why = word.why;
    else if (may_fall_back(conf->rules))
        return "";
    else
        fault_set(why, "danelawd goes by other rules than its configuration has now");
    return why->text;
}

/* As doctor_postfix() and doctor_sendmail() want it. */
static const char *table_state(const struct cli *c, const char *mta, struct configuration *conf, struct fault *why)
{
    struct ruleset *configured = ruleset_ref(conf->rules);
    bool known = strcmp(conf->settings.tables.mta, mta) == 0 && cli_add_overrides(conf, why);
    const char *stale = NULL;

    if (known && tables_current(&conf->settings, conf->rules, why))
        stale = "";
    else if (known)
        stale = daemon_listens(&conf->settings) ? ask_daemon(c, conf, why) : why->text;
    ruleset_unref(conf->rules);
    conf->rules = configured;           /* a mode that is overridden for a while is no reason to keep silent */
    return stale;
}

struct patient {
    const char *mta;
    bool (*examine)(const struct settings *set, const struct ruleset *rules, const char *stale, struct doctor_report *ret,
                    struct fault *why);
};

static const struct patient patients[] = { { "postfix", doctor_postfix }, { "sendmail", doctor_sendmail } };

static int examine(const struct cli *c, const struct patient *p, struct configuration *conf)
{
    struct doctor_report report;
    struct fault why, doubt;
    const char *stale = table_state(c, p->mta, conf, &doubt);
    int exit;

    if (c->config_dir != NULL)
        conf->settings.tables.config_dir = c->config_dir;
    doctor_report_init(&report);
    if (p->examine(&conf->settings, conf->rules, stale, &report, &why))
        exit = show(c, &report);
    else
        exit = cli_fail(CLI_TEMPORARY, "%s", why.text);
    doctor_report_done(&report);
    return exit;
}

int cli_doctor(const struct cli *c)
{
    const struct patient *patient = NULL;
    struct configuration *conf;
    size_t i;
    int exit;

    for (i = 0; i < COUNT_OF(patients); i++) {
        if (strcmp(c->words[0], patients[i].mta) == 0)
            patient = &patients[i];
    }
    if (patient == NULL)
        return cli_fail(CLI_USAGE, "that is: danelaw doctor postfix|sendmail [--config-dir D]");
    if (!cli_load(c, false, &conf, &exit))
        return exit;
    exit = examine(c, patient, conf);
    config_free(conf);
    return exit;
}
