#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"

#include <stdio.h>

static void field_time(const char *label, int64_t seconds)
{
    char text[OUTPUT_SPAN_SIZE];

    output_field(label, output_span(seconds, text));
}

static void field_number(const char *label, const json_t *value)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    output_field(label, text);
}

static void field_resolver(const json_t *resolver)
{
    const json_t *proven = json_object_get(resolver, "proven");
    char text[600];

    if (json_is_null(proven))
        snprintf(text, sizeof(text), "not checked yet");
    else if (json_is_true(proven))
        snprintf(text, sizeof(text), "proves the root since %s", output_member(resolver, "since", "?"));
    else
        snprintf(text, sizeof(text), "FAILING since %s: %s", output_member(resolver, "since", "?"), output_member(resolver, "why", "?"));
    output_field("resolver", text);
}

static void field_written(const char *label, const json_t *counts)
{
    char text[200];

    snprintf(text, sizeof(text), "%lld written, %lld waiting, %lld dropped",
             (long long)json_integer_value(json_object_get(counts, "written")),
             (long long)json_integer_value(json_object_get(counts, "waiting")),
             (long long)json_integer_value(json_object_get(counts, "dropped")));
    output_field(label, text);
}

static void field_store(const json_t *item)
{
    const json_t *store = json_object_get(item, "store"), *policies = json_object_get(item, "policies");
    const json_t *trace = json_object_get(store, "trace");
    bool good = json_is_true(json_object_get(store, "good"));
    char text[600];

    if (!json_is_object(store))
        return;
    snprintf(text, sizeof(text), "%s since %s%s%s", good ? "good" : "FAILING", output_member(store, "since", "the start"),
             good ? "" : ": ", good ? "" : output_member(store, "why", "?"));
    output_field("store", text);
    field_written("", store);
    if (json_is_object(trace))
        field_written("trace", trace);
    if (json_is_true(json_object_get(trace, "paused")))
        output_field("", "PAUSED: the disk is nearly full");
    if (json_is_integer(policies))
        field_number("policies", policies);
}

static void field_tables(const json_t *tables)
{
    const char *why = output_member(tables, "why", NULL);
    char text[600];

    snprintf(text, sizeof(text), "%s%s%s", json_is_true(json_object_get(tables, "current")) ? "current" : "NOT CURRENT",
             why == NULL ? "" : ": ", why == NULL ? "" : why);
    output_field("tables", text);
}

static void field_probe(const json_t *probe)
{
    char text[300];

    if (!json_is_object(probe))
        return;
    snprintf(text, sizeof(text), "%lld hosts visited, %lld failing, %lld out of reach",
             (long long)json_integer_value(json_object_get(probe, "hosts")),
             (long long)json_integer_value(json_object_get(probe, "failing")),
             (long long)json_integer_value(json_object_get(probe, "out_of_reach")));
    output_field("probe", text);
    snprintf(text, sizeof(text), "%lld certificates expire within 14 days, the first %s",
             (long long)json_integer_value(json_object_get(probe, "expiring")), output_member(probe, "first_expiry", "-"));
    if (json_integer_value(json_object_get(probe, "expiring")) > 0)
        output_field("", text);
    if (json_is_true(json_object_get(probe, "full")))
        output_field("", "TOO MANY: some hosts are not visited");
}

static void status_item(struct daemon_reader *self, const json_t *item)
{
    const json_t *counters = json_object_get(item, "counters"), *value;
    const char *name;

    (void)self;
    fputs("danelawd ", stdout);
    output_put(output_member(item, "version", "?"));
    putchar('\n');
    field_time("up for", json_integer_value(json_object_get(item, "uptime")));
    field_number("connectors", json_object_get(item, "connectors"));
    field_resolver(json_object_get(item, "resolver"));
    field_store(item);
    field_tables(json_object_get(item, "tables"));
    if (json_is_integer(json_object_get(item, "held")))
        field_number("held", json_object_get(item, "held"));
    field_probe(json_object_get(item, "probe"));
    puts("since its start");
    json_object_foreach((json_t *)(uintptr_t)counters, name, value) {
        printf("  %-19s %lld\n", name, (long long)json_integer_value(value));
    }
}

int cli_status(const struct cli *c)
{
    struct daemon_reader reader = { .item = status_item };

    return daemon_ask(c, json_pack("{s:s}", "verb", "status"), &reader);
}

/* What the daemon found wrong. */
static void reload_item(struct daemon_reader *self, const json_t *item)
{
    (void)self;
    fprintf(stderr, "%s\n", output_member(item, "line", ""));
}

int cli_reload(const struct cli *c)
{
    struct daemon_reader reader = { .item = reload_item };
    int exit = daemon_ask(c, json_pack("{s:s}", "verb", "reload"), &reader);

    if (exit == CLI_GOOD && !c->json)
        puts("the new configuration is in force");
    if (exit == CLI_CONFIG)
        cli_remark("the configuration was not reloaded");
    return exit;
}
