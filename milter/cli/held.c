#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "cli/user.h"
#include "store/holds.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is held, gathered to be sorted. */
struct list {
    struct daemon_reader face;
    json_t *items;
};

static void gather(struct daemon_reader *self, const json_t *item)
{
    json_array_append(((struct list *)self)->items, (json_t *)(uintptr_t)item);
}

static int by_since(const void *a, const void *b)
{
    return strcmp(output_member(*(const json_t *const *)a, "since", ""), output_member(*(const json_t *const *)b, "since", ""));
}

static void add_row(struct table *t, const json_t *item)
{
    const char *sender = output_member(item, "sender", "?");
    char attempts[32];

    snprintf(attempts, sizeof(attempts), "%lld", (long long)json_integer_value(json_object_get(item, "attempts")));
    table_add(t, (const char *const[]){ output_member(item, "connector", "?"), *sender == '\0' ? "<>" : sender,
                                        output_member(item, "recipient", "?"), output_member(item, "since", "-"),
                                        output_member(item, "until", "-"), attempts, output_member(item, "reason", "?") });
}

/* The longest held first. */
static void print(const json_t *items)
{
    size_t count = json_array_size(items), i;
    const json_t **sorted;
    struct table *t;

    if (count == 0) {
        puts("nothing is held");
        return;
    }
    sorted = mem_array(count, sizeof(*sorted));
    for (i = 0; i < count; i++)
        sorted[i] = json_array_get(items, i);
    qsort(sorted, count, sizeof(*sorted), by_since);
    t = table_new((const char *const[]){ "CONNECTOR", "SENDER", "RECIPIENT", "SINCE", "UNTIL", "ATTEMPTS", "REASON", NULL }, 2);
    for (i = 0; i < count; i++)
        add_row(t, sorted[i]);
    table_print(t);
    table_free(t);
    free(sorted);
}

/* Past a daemon that is down */

static json_t *time_item(int64_t wall)
{
    char text[32];
    time_t at = (time_t)wall;
    struct tm utc;

    if (gmtime_r(&at, &utc) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return json_null();
    return json_string(text);
}

static void gather_row(void *self, const struct held *held)
{
    json_t *item = json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:s}", "connector", output_text(held->connector), "sender",
                             output_text(held->sender), "recipient", output_text(held->recipient), "since",
                             time_item(held->hold.since), "until", time_item(held->hold.since + held->patience), "attempts",
                             (json_int_t)held->hold.attempts, "reason", reason_word(held->hold.reason));

    json_array_append_new(((struct list *)self)->items, item);
}

/* As the daemon's user: what is in its folder is nothing that root should read. */
static bool read_store(const struct settings *set, struct list *list, struct fault *why)
{
    return (access(set->store.directory, F_OK) != 0 || user_become(set, why)) &&
           holds_peek(set->store.directory, (int64_t)clock_wall(), gather_row, list, why);
}

/* down: how the daemon could not be reached. */
static int list_store(const struct cli *c, struct list *list, int down)
{
    struct configuration *config;
    struct fault why;
    const json_t *item;
    bool good;
    size_t i;
    int exit;

    if (!cli_load(c, true, &config, &exit))
        return exit;
    good = read_store(&config->settings, list, &why);
    if (good)
        cli_remark("this is what the daemon has left in %s", config->settings.store.directory);
    config_free(config);
    if (!good)
        return cli_fail(down, "nor can its store be read: %s", why.text);
    json_array_foreach(list->items, i, item) {
        if (c->json)
            output_json(item);
    }
    return CLI_GOOD;
}

static int list_all(const struct cli *c)
{
    struct list list = { .face.item = gather, .items = json_array() };
    int exit = daemon_ask(c, json_pack("{s:s, s:s}", "verb", "held", "what", "list"), &list.face);

    if (exit == CLI_UNREACHABLE)
        exit = list_store(c, &list, exit);
    if (!c->json && exit == CLI_GOOD)
        print(list.items);
    json_decref(list.items);
    return exit;
}

static void forget_item(struct daemon_reader *self, const json_t *item)
{
    long long count = json_integer_value(json_object_get(item, "forgotten"));

    (void)self;
    printf("forgotten: %lld hold clock%s\n", count, count == 1 ? "" : "s");
}

static int forget(const struct cli *c)
{
    struct daemon_reader reader = { .item = forget_item };
    json_t *request;

    if ((c->connector != NULL) + (c->to != NULL) + c->all != 1)
        return cli_fail(CLI_USAGE, "that is: danelaw held forget --connector N, --to A or --all");
    request = json_pack("{s:s, s:s}", "verb", "held", "what", "forget");
    if (c->connector != NULL)
        json_object_set_new(request, "connector", output_text(c->connector));
    if (c->to != NULL)
        json_object_set_new(request, "to", output_text(c->to));
    if (c->all)
        json_object_set_new(request, "all", json_true());
    return daemon_ask(c, request, &reader);
}

int cli_held(const struct cli *c)
{
    const char *what = c->count == 0 ? "list" : c->words[0];

    if (strcmp(what, "forget") == 0)
        return forget(c);
    if (strcmp(what, "list") != 0)
        return cli_fail(CLI_USAGE, "that is: danelaw held [list|forget --connector N|--to A|--all]");
    if (c->connector != NULL || c->to != NULL || c->all)
        return cli_fail(CLI_USAGE, "--connector, --to and --all only go with danelaw held forget");
    return list_all(c);
}
