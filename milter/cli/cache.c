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

static void list_evidence(struct daemon_reader *self, const json_t *item)
{
    table_add(((struct list *)self)->table,
              (const char *const[]){ output_member(item, "next_hop", "?"), output_member(item, "dane", "-"),
                                     output_member(item, "sts", "-"), output_member(item, "fresh_until", "-"),
                                     output_member(item, "since", "-") });
}

static void list_policy(struct daemon_reader *self, const json_t *item)
{
    table_add(((struct list *)self)->table,
              (const char *const[]){ output_member(item, "next_hop", "?"), output_member(item, "mode", "-"),
                                     output_member(item, "id", "-"), output_member(item, "fetched", "-"),
                                     output_member(item, "expires", "-") });
}

/* State and reason of one half. */
static void field_state(const char *label, const char *state, const char *why)
{
    char line[1024];

    snprintf(line, sizeof(line), "%s%s%s", state, why == NULL ? "" : ": ", why == NULL ? "" : why);
    output_field(label, line);
}

static void field_policy(const json_t *item)
{
    AUTO(free) char *mx = output_list(json_object_get(item, "mx"), "none");
    char line[200];

    snprintf(line, sizeof(line), "mode %s, max_age %lld", output_member(item, "mode", "?"),
             (long long)json_integer_value(json_object_get(item, "max_age")));
    output_field("policy", line);
    output_field("mx", mx);
}

static void show_evidence(struct daemon_reader *self, const json_t *item)
{
    (void)self;
    output_put(output_member(item, "next_hop", "?"));
    putchar('\n');
    field_state("DANE", output_member(item, "dane", "-"), output_member(item, "why", NULL));
    field_state("MTA-STS", output_member(item, "sts", "-"), output_member(item, "sts_why", NULL));
    if (output_member(item, "mode", NULL) != NULL)
        field_policy(item);
    output_field("fresh until", output_member(item, "fresh_until", "-"));
    output_field("since", output_member(item, "since", "-"));
}

static void show_policy(struct daemon_reader *self, const json_t *item)
{
    (void)self;
    output_put(output_member(item, "next_hop", "?"));
    putchar('\n');
    output_field("id", output_member(item, "id", "-"));
    field_policy(item);
    output_field("fetched", output_member(item, "fetched", "-"));
    output_field("expires", output_member(item, "expires", "-"));
}

/* domain: or NULL. */
static json_t *request_of(const struct cli *c, const char *what, const char *domain)
{
    json_t *request = json_pack("{s:s, s:s, s:b}", "verb", "cache", "what", what, "sts", c->sts);

    if (domain != NULL)
        json_object_set_new(request, "domain", output_text(domain));
    return request;
}

static int show(const struct cli *c, const char *domain)
{
    struct daemon_reader reader = { .item = c->sts ? show_policy : show_evidence };

    return daemon_ask(c, request_of(c, "show", domain), &reader);
}

static int list_all(const struct cli *c)
{
    static const char *const evidence[] = { "NEXT HOP", "DANE", "MTA-STS", "FRESH UNTIL", "SINCE", NULL };
    static const char *const policies[] = { "DOMAIN", "MODE", "ID", "FETCHED", "EXPIRES", NULL };
    struct list list = { .face.item = c->sts ? list_policy : list_evidence };
    int exit;

    list.table = table_new(c->sts ? policies : evidence, 1);
    exit = daemon_ask(c, request_of(c, "show", NULL), &list.face);
    if (!c->json && exit == CLI_GOOD)
        table_print(list.table);
    table_free(list.table);
    return exit;
}

static void flush_item(struct daemon_reader *self, const json_t *item)
{
    long long evidence = json_integer_value(json_object_get(item, "evidence"));
    long long policies = json_integer_value(json_object_get(item, "policies"));

    (void)self;
    printf("forgotten: evidence about %lld next hop%s, %lld polic%s\n", evidence, evidence == 1 ? "" : "s", policies,
           policies == 1 ? "y" : "ies");
}

static int flush(const struct cli *c, const char *domain)
{
    struct daemon_reader reader = { .item = flush_item };

    return daemon_ask(c, request_of(c, "flush", domain), &reader);
}

int cli_cache(const struct cli *c)
{
    const char *what = c->count == 0 ? "show" : c->words[0], *domain = c->count == 2 ? c->words[1] : NULL;

    if (strcmp(what, "flush") == 0)
        return flush(c, domain);
    if (strcmp(what, "show") != 0 && c->count == 2)
        return cli_fail(CLI_USAGE, "that is: danelaw cache [show|flush] [DOMAIN] [--sts]");
    if (strcmp(what, "show") != 0)
        domain = what;
    return domain == NULL ? list_all(c) : show(c, domain);
}
