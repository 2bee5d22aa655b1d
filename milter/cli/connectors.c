#include "base/memory.h"
#include "cli/cli.h"
#include "cli/connectors.h"
#include "cli/output.h"

#include <stdio.h>
#include <string.h>

struct list {
    struct daemon_reader face;
    struct table *table;
};

/* `hold dane-required`, or a verdict alone. */
static const char *verdict_of(const json_t *item, char *ret, size_t size)
{
    const char *reason = output_member(item, "reason", NULL);

    snprintf(ret, size, "%s%s%s", output_member(item, "verdict", "-"), reason == NULL ? "" : " ", reason == NULL ? "" : reason);
    return ret;
}

/* What stands beside the rule as it was written. */
static const char *remark_of(const json_t *item, char *ret, size_t size)
{
    const json_t *override = json_object_get(item, "override");
    bool tested = json_is_true(json_object_get(item, "test_mode"));

    if (json_is_object(override))
        snprintf(ret, size, "%soverridden until %s", tested ? "test mode, " : "", output_member(override, "until", "cleared"));
    else
        snprintf(ret, size, "%s", tested ? "test mode" : "-");
    return ret;
}

static void list_item(struct daemon_reader *self, const json_t *item)
{
    struct list *list = (struct list *)self;
    const json_t *recipients = json_object_get(item, "recipients");
    const char *first = json_string_value(json_array_get(recipients, 0));
    size_t count = json_array_size(recipients);
    char verdict[80], whom[400], remark[100];

    snprintf(whom, sizeof(whom), count > 1 ? "%.300s +%zu" : "%.300s", first == NULL ? "-" : first, count - 1);
    table_add(list->table, (const char *const[]){ output_member(item, "name", "?"), whom,
                                                  output_member(item, "smtp_dane", "?"), output_member(item, "mta_sts", "?"),
                                                  output_member(item, "dane", "-"), output_member(item, "sts", "-"),
                                                  verdict_of(item, verdict, sizeof(verdict)),
                                                  remark_of(item, remark, sizeof(remark)) });
}

static int list_all(const struct cli *c)
{
    struct list list = { .face.item = list_item };
    int exit;

    list.table = table_new((const char *const[]){ "CONNECTOR", "RECIPIENTS", "SMTP_DANE", "MTA_STS", "DANE", "STS", "VERDICT",
                                                  "REMARK", NULL }, 2);
    exit = daemon_ask(c, json_pack("{s:s, s:s}", "verb", "connectors", "what", "list"), &list.face);
    if (!c->json && exit == CLI_GOOD)
        table_print(list.table);
    table_free(list.table);
    return exit;
}

static void show_override(const json_t *override)
{
    char line[400];
    const char *dane = output_member(override, "smtp_dane", NULL), *sts = output_member(override, "mta_sts", NULL);

    snprintf(line, sizeof(line), "%s%s%s%s%s%suntil %s, by %s", dane == NULL ? "" : "smtp_dane ", dane == NULL ? "" : dane,
             dane == NULL ? "" : ", ", sts == NULL ? "" : "mta_sts ", sts == NULL ? "" : sts, sts == NULL ? "" : ", ",
             output_member(override, "until", "it is cleared"), output_member(override, "by", "?"));
    output_field("override", line);
}

/* `mx.bank.example [192.0.2.1]: DANE match, expires 2026-...`, or what is wrong there. */
static void show_visit(const json_t *visit, const char *label)
{
    const char *why = output_member(visit, "why", NULL), *dane = output_member(visit, "dane", NULL);
    const char *names = output_member(visit, "sts", NULL), *until = output_member(visit, "not_after", NULL);
    const char *at = output_member(visit, "at", NULL);
    char line[900];

    snprintf(line, sizeof(line), "%.253s:%lld [%.60s]%s%s%s%s%s%s%s%.300s%s%s", output_member(visit, "host", "?"),
             (long long)json_integer_value(json_object_get(visit, "port")), output_member(visit, "address", "-"),
             dane == NULL ? "" : ", DANE ", dane == NULL ? "" : dane, names == NULL ? "" : ", names ", names == NULL ? "" : names,
             until == NULL ? "" : ", certificate until ", until == NULL ? "" : until, why == NULL ? "" : ": ",
             why == NULL ? "" : why, at == NULL ? ", not visited yet" : "; visited ", at == NULL ? "" : at);
    output_field(label, line);
}

static void show_visits(const json_t *visits)
{
    const json_t *visit;
    size_t i;

    if (!json_is_array(visits))
        return;
    json_array_foreach(visits, i, visit)
        show_visit(visit, i == 0 ? "probe" : "");
    if (json_array_size(visits) == 0)
        output_field("probe", "no host to visit is known yet");
}

/* What the daemon only says to people. */
static void show_more(const json_t *item)
{
    char span[OUTPUT_SPAN_SIZE], line[200];
    const char *fallback = output_member(item, "fallback", NULL);

    if (json_object_get(item, "hold") == NULL)
        return;
    output_field("hold", output_span(json_integer_value(json_object_get(item, "hold")), span));
    if (fallback == NULL)
        return;
    snprintf(line, sizeof(line), "%.100s%s", fallback,
             json_is_true(json_object_get(item, "on_fallback")) ? ", which its mail takes now" : ", not taken now");
    output_field("fallback", line);
}

void connectors_show_item(struct daemon_reader *self, const json_t *item)
{
    AUTO(free) char *recipients = output_list(json_object_get(item, "recipients"), "everyone else");
    AUTO(free) char *senders = output_list(json_object_get(item, "senders"), "anyone");
    const json_t *override = json_object_get(item, "override");
    char verdict[80];

    (void)self;
    output_put(output_member(item, "name", "?"));
    putchar('\n');
    output_field("recipients", recipients);
    output_field("senders", senders);
    output_field("smtp_dane", output_member(item, "smtp_dane", "?"));
    output_field("mta_sts", output_member(item, "mta_sts", "?"));
    if (json_is_object(override))
        show_override(override);
    if (json_is_true(json_object_get(item, "test_mode")))
        output_field("test mode", "yes: its decisions are only logged");
    output_field("route", output_member(item, "route", "-"));
    show_more(item);
    output_field("DANE", output_member(item, "dane", "not looked up yet"));
    output_field("MTA-STS", output_member(item, "sts", "-"));
    output_field("verdict", verdict_of(item, verdict, sizeof(verdict)));
    output_field("since", output_member(item, "since", "-"));
    show_visits(json_object_get(item, "probe"));
}

int connectors_show(const struct cli *c, const char *name)
{
    struct daemon_reader reader = { .item = connectors_show_item };

    return daemon_ask(c, json_pack("{s:s, s:s, s:o, s:b}", "verb", "connectors", "what", "show", "name", output_text(name),
                                   "whole", !c->json), &reader);
}

static int match(const struct cli *c, const char *address)
{
    struct daemon_reader reader = { .item = connectors_show_item };
    json_t *request = json_pack("{s:s, s:s, s:o, s:b}", "verb", "connectors", "what", "match", "address", output_text(address),
                                "whole", !c->json);

    if (c->from != NULL)
        json_object_set_new(request, "from", output_text(c->from));
    return daemon_ask(c, request, &reader);
}

int cli_connectors(const struct cli *c)
{
    const char *what = c->count == 0 ? "list" : c->words[0];

    if (c->from != NULL && strcmp(what, "match") != 0)
        return cli_fail(CLI_USAGE, "--from only goes with danelaw connectors match");
    if (strcmp(what, "list") == 0 && c->count <= 1)
        return list_all(c);
    if (strcmp(what, "show") == 0 && c->count == 2)
        return connectors_show(c, c->words[1]);
    if (strcmp(what, "match") == 0 && c->count == 2)
        return match(c, c->words[1]);
    return cli_fail(CLI_USAGE, "that is: danelaw connectors [list|show NAME|match ADDRESS [--from SENDER]]");
}
