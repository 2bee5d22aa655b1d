#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
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

static void list_item(struct daemon_reader *self, const json_t *item)
{
    struct list *list = (struct list *)self;
    const json_t *recipients = json_object_get(item, "recipients");
    const char *first = json_string_value(json_array_get(recipients, 0));
    size_t count = json_array_size(recipients);
    char verdict[80], whom[400];

    snprintf(whom, sizeof(whom), count > 1 ? "%.300s +%zu" : "%.300s", first == NULL ? "-" : first, count - 1);
    table_add(list->table, (const char *const[]){ output_member(item, "name", "?"), whom,
                                                  output_member(item, "smtp_dane", "?"), output_member(item, "mta_sts", "?"),
                                                  output_member(item, "dane", "-"), output_member(item, "sts", "-"),
                                                  verdict_of(item, verdict, sizeof(verdict)) });
}

static int list_all(const struct cli *c)
{
    struct list list = { .face.item = list_item };
    int exit;

    list.table = table_new((const char *const[]){ "CONNECTOR", "RECIPIENTS", "SMTP_DANE", "MTA_STS", "DANE", "STS", "VERDICT", NULL },
                           2);
    exit = daemon_ask(c, json_pack("{s:s, s:s}", "verb", "connectors", "what", "list"), &list.face);
    if (!c->json && exit == CLI_GOOD)
        table_print(list.table);
    table_free(list.table);
    return exit;
}

/* One connector, whole. */
static void show_item(struct daemon_reader *self, const json_t *item)
{
    AUTO(free) char *recipients = output_list(json_object_get(item, "recipients"), "everyone else");
    AUTO(free) char *senders = output_list(json_object_get(item, "senders"), "anyone");
    char verdict[80];

    (void)self;
    output_put(output_member(item, "name", "?"));
    putchar('\n');
    output_field("recipients", recipients);
    output_field("senders", senders);
    output_field("smtp_dane", output_member(item, "smtp_dane", "?"));
    output_field("mta_sts", output_member(item, "mta_sts", "?"));
    output_field("route", output_member(item, "route", "-"));
    output_field("DANE", output_member(item, "dane", "not looked up yet"));
    output_field("MTA-STS", output_member(item, "sts", "-"));
    output_field("verdict", verdict_of(item, verdict, sizeof(verdict)));
    output_field("since", output_member(item, "since", "-"));
}

static int show(const struct cli *c, const char *name)
{
    struct daemon_reader reader = { .item = show_item };

    return daemon_ask(c, json_pack("{s:s, s:s, s:o}", "verb", "connectors", "what", "show", "name", output_text(name)), &reader);
}

static int match(const struct cli *c, const char *address)
{
    struct daemon_reader reader = { .item = show_item };
    json_t *request = json_pack("{s:s, s:s, s:o}", "verb", "connectors", "what", "match", "address", output_text(address));

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
        return show(c, c->words[1]);
    if (strcmp(what, "match") == 0 && c->count == 2)
        return match(c, c->words[1]);
    return cli_fail(CLI_USAGE, "that is: danelaw connectors [list|show NAME|match ADDRESS [--from SENDER]]");
}
