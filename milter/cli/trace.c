#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "cli/user.h"
#include "config/values.h"
#include "policy/terms.h"
#include "store/trace_item.h"
#include "store/trace_search.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 500 };                       /* rows whose columns stand below each other; a whole trace may be millions */

/* What is looked for, in the words that rows are written in. */
struct wanted {
    struct domain domain;                   /* empty: any */
    char to[ADDRESS_TEXT_SIZE];             /* empty: any */
    uint64_t since, limit;                  /* seconds; rows */
};

/* Where rows go. */
struct list {
    struct daemon_reader face;
    const struct cli *cli;
    struct table *table;
    size_t in_chunk, count;
};

/* The options */

static bool read_to(const char *spoken, struct wanted *ret)
{
    struct address address;
    struct next_hop hop;

    if (strchr(spoken, '@') != NULL) {
        address_parse(spoken, &address);
        address_print(&address, ret->to, sizeof(ret->to));
        return address.kind == ADDRESS_DOMAIN || address.kind == ADDRESS_LITERAL;
    }
    return next_hop_parse(spoken, &hop, NULL) && next_hop_print(&hop, ret->to) != NULL;
}

static bool read_options(const struct cli *c, struct wanted *ret, int *ret_exit)
{
    enum verdict verdict;
    struct fault why;

    *ret = (struct wanted){ .since = 24 * 60 * 60, .limit = 1000 };
    if (c->to != NULL && !read_to(c->to, ret))
        *ret_exit = cli_fail(CLI_USAGE, "--to: \"%s\" is neither an address nor a next hop", c->to);
    else if (c->domain != NULL && !domain_parse(c->domain, &ret->domain, &why))
        *ret_exit = cli_fail(CLI_USAGE, "--domain: \"%s\": %s", c->domain, why.text);
    else if (c->verdict != NULL && !verdict_parse(c->verdict, &verdict))
        *ret_exit = cli_fail(CLI_USAGE, "--verdict: \"%s\" is none; write deliver, hold, bounce, fallback or pass", c->verdict);
    else if (c->since != NULL && (!values_duration(c->since, &ret->since) || ret->since == 0 || ret->since > INT32_MAX))
        *ret_exit = cli_fail(CLI_USAGE, "--since: \"%s\" is no span of time; write \"30m\", \"24h\" or \"7d\"", c->since);
    else if (c->limit != NULL && (!values_number(c->limit, &ret->limit) || ret->limit == 0 || ret->limit > INT64_MAX))
        *ret_exit = cli_fail(CLI_USAGE, "--limit: \"%s\" is no number from 1 up", c->limit);
    else
        return true;
    return false;
}

/* The table */

/* As RFC 3339 in UTC, but in local time; what can't be read stays as it is. */
static const char *local_time(const char *spoken, char *ret, size_t size)
{
    struct tm utc = { 0 }, local;
    time_t at;

    if (strptime(spoken, "%Y-%m-%dT%H:%M:%S", &utc) == NULL)
        return spoken;
    at = timegm(&utc);
    return localtime_r(&at, &local) != NULL && strftime(ret, size, "%Y-%m-%d %H:%M:%S", &local) > 0 ? ret : spoken;
}

static void flush_chunk(struct list *list)
{
    if (list->in_chunk > 0)
        table_flush(list->table);
    list->in_chunk = 0;
    fflush(stdout);
}

static void add_row(struct daemon_reader *self, const json_t *item)
{
    struct list *list = (struct list *)self;
    const char *reason = output_member(item, "reason", NULL), *from = output_member(item, "from", "-");
    char at[32], verdict[100];

    snprintf(verdict, sizeof(verdict), "%s%s%s%s", json_is_true(json_object_get(item, "shadow")) ? "test: " : "",
             output_member(item, "verdict", "?"), reason == NULL ? "" : " ", reason == NULL ? "" : reason);
    table_add(list->table,
              (const char *const[]){ local_time(output_member(item, "time", "?"), at, sizeof(at)),
                                     output_member(item, "queue_id", output_member(item, "where", "-")),
                                     *from == '\0' ? "<>" : from, output_member(item, "to", "-"),
                                     output_member(item, "connector", "-"), output_member(item, "dane", "-"),
                                     output_member(item, "sts", "-"), verdict, output_member(item, "route", "-") });
    list->count++;
    if (++list->in_chunk == CHUNK)
        flush_chunk(list);
}

/* The daemon's way, and ours */

static json_t *request_of(const struct cli *c, const struct wanted *wanted)
{
    json_t *request = json_pack("{s:s, s:I, s:I}", "verb", "trace", "since", (json_int_t)wanted->since, "limit",
                                (json_int_t)wanted->limit);

    if (c->to != NULL)
        json_object_set_new(request, "to", output_text(wanted->to));
    if (c->domain != NULL)
        json_object_set_new(request, "domain", output_text(wanted->domain.name));
    if (c->connector != NULL)
        json_object_set_new(request, "connector", output_text(c->connector));
    if (c->queue_id != NULL)
        json_object_set_new(request, "queue_id", output_text(c->queue_id));
    if (c->verdict != NULL)
        json_object_set_new(request, "verdict", output_text(c->verdict));
    return request;
}

static void put_row(void *self, const struct trace_row *row)
{
    struct list *list = self;
    json_t *item = trace_item(row);

    if (list->cli->json) {
        output_json(item);
        list->count++;
    } else {
        add_row(&list->face, item);
    }
    json_decref(item);
}

static int read_file(struct list *list, const char *directory, const struct wanted *wanted)
{
    const struct cli *c = list->cli;
    struct trace_filter filter = { .to = c->to == NULL ? NULL : wanted->to, .connector = c->connector,
                                   .domain = c->domain == NULL ? NULL : wanted->domain.name, .queue_id = c->queue_id,
                                   .verdict = c->verdict, .limit = wanted->limit,
                                   .since_ms = clock_wall_ms() - (int64_t)wanted->since * 1000 };
    struct trace_search *search = trace_search_new(NULL, directory, &filter);
    bool good = true, end = false;
    struct fault why;

    while (good && !end)
        good = trace_search_next(search, NULL, put_row, list, &end, &why);
    trace_search_free(search);
    if (!good)
        return cli_fail(CLI_TEMPORARY, "%s", why.text);
    return list->count > 0 ? CLI_GOOD : cli_fail(CLI_NO, "no such decision was found");
}

/* As the daemon's user, so that nothing is left behind in its folder that it may not touch. */
static int read_past_daemon(struct list *list, const struct wanted *wanted)
{
    struct configuration *conf;
    const char *directory;
    struct fault why;
    int exit;

    if (!cli_load(list->cli, true, &conf, &exit))
        return exit;
    directory = conf->settings.store.directory;
    if (access(directory, F_OK) == 0 && !user_become(&conf->settings, &why)) {
        exit = cli_fail(CLI_CONFIG, "%s", why.text);
    } else {
        cli_remark("reading %s/danelaw.db past the daemon", directory);
        exit = read_file(list, directory, wanted);
    }
    config_free(conf);
    return exit;
}

int cli_trace(const struct cli *c)
{
    static const char *const headings[] = { "TIME", "QUEUE ID", "FROM", "TO", "CONNECTOR", "DANE", "STS", "VERDICT", "ROUTE",
                                            NULL };
    struct list list = { .face.item = add_row, .cli = c };
    struct wanted wanted;
    int exit;

    if (!read_options(c, &wanted, &exit))
        return exit;
    list.table = table_new(headings, 0);
    exit = daemon_ask(c, request_of(c, &wanted), &list.face);
    if (exit == CLI_UNREACHABLE)
        exit = read_past_daemon(&list, &wanted);
    flush_chunk(&list);
    table_free(list.table);
    return exit;
}
