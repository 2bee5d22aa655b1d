/*
 * What /metrics says. It runs on the loop that answers the MTA's tables, so that nothing here may cost what grows with the
 * configuration or the cache: connectors are told of once they have decided something, and only so many of them. A label
 * has a connector's name or one of our own words, never what a stranger wrote.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "server/metrics.h"
#include "server/milter.h"
#include "server/socketmap.h"
#include "store/cache.h"
#include "store/counters.h"
#include "store/policies.h"
#include "store/store.h"
#include "store/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_SIZE = 1024, LINE_SIZE = LABEL_SIZE + 256 };

static void put_head(struct text *to, const char *name, const char *type, const char *help)
{
    text_print(to, "# HELP danelaw_%s %s\n# TYPE danelaw_%s %s\n", name, help, name, type);
}

/* One that has no labels. */
static void put(struct text *to, const char *name, const char *type, uint64_t value, const char *help)
{
    put_head(to, name, type, help);
    text_print(to, "danelaw_%s %" PRIu64 "\n", name, value);
}

/* A label's value, which may be cut off; returns ret. */
static const char *label(const char *value, char ret[static LABEL_SIZE])
{
    size_t length = 0;

    for (; *value != '\0' && length < LABEL_SIZE - 2; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            ret[length++] = '\\';
        ret[length++] = *value == '\n' ? 'n' : *value;
    }
    ret[length] = '\0';
    return ret;
}

struct series {
    struct text *to;
    const char *name;
};

/* There may be thousands of these, hence one pass each: text_print() formats twice. */
static void put_counted(void *self, const struct counted *one)
{
    const struct series *s = self;
    char name[LABEL_SIZE], line[LINE_SIZE];
    int length = snprintf(line, sizeof(line),
                          "danelaw_%s{connector=\"%s\",where=\"%s\",verdict=\"%s\",reason=\"%s\"} %" PRIu64 "\n", s->name,
                          label(one->connector, name), where_word(one->where), verdict_word(one->verdict),
                          reason_word(one->reason), one->count);

    if (length > 0 && length < LINE_SIZE)
        text_add(s->to, line, (size_t)length);
}

static void put_decisions(const struct metrics_sources *from, struct text *to)
{
    struct series real = { to, "decisions_total" }, shadow = { to, "shadow_decisions_total" };

    put_head(to, real.name, "counter", "Decisions, by connector; where: at RCPT, by a table, or by sweep.");
    counters_each(from->counters, false, put_counted, &real);
    put_head(to, shadow.name, "counter", "What connectors in test mode would have decided.");
    counters_each(from->counters, true, put_counted, &shadow);
}

static void put_evidence(const struct metrics_sources *from, struct text *to)
{
    struct cache_states states;
    size_t i;

    engine_cache_states(from->engine, &states);
    put_head(to, "evidence", "gauge", "Next hops (dane) and policy domains (sts) in the cache, by the state last found.");
    for (i = 0; i < COUNT_OF(states.dane); i++)
        text_print(to, "danelaw_evidence{kind=\"dane\",state=\"%s\"} %zu\n", dane_word((enum dane_state)i), states.dane[i]);
    for (i = 0; i < COUNT_OF(states.sts); i++)
        text_print(to, "danelaw_evidence{kind=\"sts\",state=\"%s\"} %zu\n", sts_word((enum sts_state)i), states.sts[i]);
}

static void put_times(const struct metrics_sources *from, struct text *to, enum counted_search what, const char *kind)
{
    struct counted_times times;
    uint64_t sum = 0;
    size_t i;

    counters_times(from->counters, what, &times);
    for (i = 0; i < COUNTERS_STEPS; i++) {
        sum += times.steps[i];
        text_print(to, "danelaw_lookup_seconds_bucket{kind=\"%s\",le=\"%g\"} %" PRIu64 "\n", kind,
                   (double)counters_step_ms(i) / 1000, sum);
    }
    sum += times.steps[COUNTERS_STEPS];
    text_print(to, "danelaw_lookup_seconds_bucket{kind=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", kind, sum);
    text_print(to, "danelaw_lookup_seconds_sum{kind=\"%s\"} %.3f\n", kind, (double)times.sum_ms / 1000);
    text_print(to, "danelaw_lookup_seconds_count{kind=\"%s\"} %" PRIu64 "\n", kind, sum);
}

static void put_searches(const struct metrics_sources *from, const struct engine_status *now, struct text *to)
{
    put(to, "questions_total", "counter", now->asked, "Recipients and next hops that were asked about.");
    put(to, "evidence_hits_total", "counter", now->answered_hot, "Times that fresh evidence was in the cache.");
    put(to, "lookups_running", "gauge", now->evidence_searching, "DANE evaluations under way.");
    put_head(to, "lookup_seconds", "histogram", "How long DANE evaluations and fetches of MTA-STS policies took.");
    put_times(from, to, COUNTED_DANE, "dane");
    put_times(from, to, COUNTED_STS_POLICY, "sts-policy");
}

static void put_memory(const struct metrics_sources *from, struct text *to)
{
    const struct control_hooks *hooks = from->hooks;
    struct store_status store;
    struct trace_status trace;

    if (hooks->policies != NULL)
        put(to, "policies", "gauge", policies_count(hooks->policies), "MTA-STS policies kept.");
    if (hooks->holds != NULL)
        put(to, "holds", "gauge", from->holds, "Refused recipients whose hold runs.");
    if (hooks->store != NULL) {
        store_status(hooks->store, &store);
        put(to, "store_good", "gauge", store.good, "1 where the store can be written.");
        put(to, "store_written_total", "counter", store.written, "Jobs that the store has written.");
        put(to, "store_dropped_total", "counter", store.dropped, "Jobs that the store has lost.");
        put(to, "store_waiting", "gauge", store.waiting, "Jobs that wait to be written.");
    }
    if (hooks->trace != NULL) {
        trace_status(hooks->trace, &trace);
        put(to, "trace_written_total", "counter", trace.written, "Decisions written to the trace.");
        put(to, "trace_dropped_total", "counter", trace.dropped, "Decisions that the trace has lost.");
        put(to, "trace_waiting", "gauge", trace.waiting, "Decisions that wait to be written.");
    }
}

static void put_rules(const struct metrics_sources *from, const struct engine_status *now, struct text *to)
{
    struct ruleset *rules = engine_rules(from->engine);

    put(to, "connectors", "gauge", ruleset_count(rules), "Connectors in force.");
    put(to, "connectors_overridden", "gauge", now->overridden, "Connectors whose modes are overridden.");
    put(to, "connectors_test_mode", "gauge", now->tested, "Connectors in test mode.");
    put(to, "connectors_on_fallback", "gauge", now->fallen_back, "Connectors on their fallback roads.");
    put(to, "shadows_waiting", "gauge", now->shadows, "Decisions of connectors in test mode that wait for evidence.");
    put(to, "shadows_dropped_total", "counter", now->shadows_dropped, "Shadow decisions lost because too many waited.");
    ruleset_unref(rules);
}

static void put_by_state(struct text *to, const char *name, enum visit_state state, uint64_t value)
{
    text_print(to, "danelaw_%s{state=\"%s\"} %" PRIu64 "\n", name, visit_word(state), value);
}

static void put_visits(const struct visit_counts *now, struct text *to)
{
    static const struct {
        enum visit_proof proof;
        const char *word;
    } proofs[] = { { PROOF_DANE, "dane" }, { PROOF_STS, "sts" }, { PROOF_NAMES, "floor" }, { PROOF_TLS, "floor-tls" } };
    size_t i;

    put_head(to, "probe_hosts", "gauge", "Hosts that are visited, by how far the latest visit came.");
    for (i = 0; i < VISIT_STATES; i++)
        put_by_state(to, "probe_hosts", (enum visit_state)i, now->latest[i]);
    put_head(to, "probe_visits_total", "counter", "Visits to hosts, by how far they came.");
    for (i = VISIT_UNREACHABLE; i < VISIT_STATES; i++)
        put_by_state(to, "probe_visits_total", (enum visit_state)i, now->made[i]);
    put_head(to, "probe_failures_total", "counter", "Visits that did not prove what was demanded.");
    for (i = 0; i < COUNT_OF(proofs); i++)
        text_print(to, "danelaw_probe_failures_total{proof=\"%s\"} %" PRIu64 "\n", proofs[i].word,
                   now->failures[proofs[i].proof]);
    put(to, "probe_running", "gauge", now->open, "Visits under way.");
    put(to, "probe_hosts_failing", "gauge", now->failing, "Hosts that do not prove what is demanded of them.");
    put(to, "probe_hosts_left_out", "gauge", now->full, "1 where there are more hosts than are visited.");
    put(to, "probe_certificates_expiring", "gauge", now->expiring, "Hosts whose certificate expires within 14 days, or has.");
    if (now->first_expiry != 0)
        put(to, "probe_first_expiry_timestamp_seconds", "gauge", (uint64_t)now->first_expiry,
            "When the first of the hosts' certificates expires, in seconds since 1970.");
}

static void put_health(const struct metrics_sources *from, const struct engine_status *now, struct text *to)
{
    bool proven = now->resolver_checked && now->resolver_proven, tables = true;
    struct text reasons;
    char why[512];

    text_init(&reasons, 4096);
    if (from->hooks->status != NULL)
        from->hooks->status(from->hooks->self, &tables, why, sizeof(why));
    put(to, "healthy", "gauge", metrics_health(from, &reasons), "1 where /healthz is 200.");
    put(to, "resolver_proven", "gauge", proven, "1 where the resolver proves the root's own records.");
    put(to, "tables_current", "gauge", tables, "1 where the MTA's tables are those of the rules.");
    text_done(&reasons);
}

static void put_process(const struct metrics_sources *from, int64_t started, struct text *to)
{
    int64_t up = clock_wall_ms() - started;

    put_head(to, "build_info", "gauge", "The version that runs.");
    text_print(to, "danelaw_build_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
    text_print(to, "# HELP process_start_time_seconds When the daemon started, in seconds since 1970.\n"
               "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n", (double)started / 1000);
    put(to, "uptime_seconds", "gauge", up > 0 ? (uint64_t)up / 1000 : 0, "How long the daemon has been up.");
    put(to, "milter_sessions", "gauge", milter_sessions(), "Sessions open on the milter.");
    if (from->map != NULL)
        put(to, "map_connections", "gauge", socketmap_clients(from->map), "Connections open on the map socket.");
}

void metrics_print(const struct metrics_sources *from, int64_t started, struct text *ret)
{
    struct engine_status now;

    engine_status(from->engine, &now);
    put_process(from, started, ret);
    put_health(from, &now, ret);
    put_rules(from, &now, ret);
    put_decisions(from, ret);
    put_evidence(from, ret);
    put_searches(from, &now, ret);
    put_visits(&now.visits, ret);
    put_memory(from, ret);
}
