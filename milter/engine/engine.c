/*
 * The walk of a question: pin today's rules, find the connector, gather evidence for its next hops (waiting only where
 * the connector is mandatory), decide, record. No lock is held from one step to the next.
 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

enum { CHAINS = 16384, CHAINS_OCTETS = 32 * 1024 * 1024 };

bool engine_enter(struct engine *e, struct ruleset **ret_rules)
{
    bool welcome;

    mutex_lock(&e->lock);
    welcome = !e->closing;
    if (welcome) {
        e->askers++;
        *ret_rules = ruleset_ref(e->rules);
    }
    mutex_unlock(&e->lock);
    return welcome;
}

void engine_leave(struct engine *e, struct ruleset *rules)
{
    ruleset_unref(rules);
    mutex_lock(&e->lock);
    e->askers--;
    if (e->askers == 0)
        signal_all(&e->left);
    mutex_unlock(&e->lock);
}

bool engine_is_closing(struct engine *e)
{
    bool closing;

    mutex_lock(&e->lock);
    closing = e->closing;
    mutex_unlock(&e->lock);
    return closing;
}

struct engine *engine_open(const struct settings *set, struct lookup *lookup, const struct engine_memory *memory,
                           struct ruleset *rules)
{
    struct engine *e = mem_zero(sizeof(*e));
    uint64_t octets = set->resolver.cache - settings_unbound_cache(set);

    e->set = set;
    e->lookup = lookup;
    e->policies = memory->policies;
    e->trace = memory->trace;
    e->holds = memory->holds;
    e->counters = memory->counters;
    e->cache = cache_new(set->resolver.entries, octets / 2);
    e->sts = cache_new(set->resolver.entries, octets / 2);
    e->chains = chains_new(CHAINS, CHAINS_OCTETS);
    e->trust = lookup->trust;
    if (e->trust != NULL && X509_STORE_up_ref(e->trust) != 1)
        mem_out();
    e->for_sendmail = set->tables.mta != NULL && strcmp(set->tables.mta, "sendmail") == 0;
    e->sts_late = evidence_of_sts(STS_UNKNOWN, "no answer about MTA-STS in time", NULL, 0);
    e->no_name = evidence_new(DANE_ABSENT, "an address literal has no name that could publish records", INT64_MAX);
    e->broken = evidence_new(DANE_UNKNOWN, "the resolver can not validate", INT64_MAX);
    e->broken->sts = STS_UNKNOWN;           /* a passing trouble, never a policy's proven absence */
    e->broken->ours = true;
    e->broken->blind = strcmp(set->resolver.when_broken, "hold-mandatory") == 0;
    mutex_init(&e->lock);
    signal_init(&e->left);
    e->rules = ruleset_ref(rules);
    e->repin = true;
    e->own = own_new();
    e->fallbacks = fallbacks_new();
    fallbacks_adopt(e->fallbacks, rules);
    e->visits = visits_new(set);
    e->traffic = traffic_new();
    e->watch = watch_start(e);
    e->schedule = schedule_start(e);
    return e;
}

void engine_stop(struct engine *e)
{
    struct lookup *lookup;

    watch_stop(e->watch);
    schedule_stop(e->schedule);
    mutex_lock(&e->lock);
    e->closing = true;
    while (e->starting > 0)
        signal_wait(&e->left, &e->lock);
    lookup = take(e->lookup);
    mutex_unlock(&e->lock);
    lookup->close(lookup);                  /* every search lands, so every sleeper wakes */
    mutex_lock(&e->lock);
    while (e->askers > 0)
        signal_wait(&e->left, &e->lock);
    mutex_unlock(&e->lock);
}

void engine_close(struct engine *e)
{
    if (e == NULL)
        return;
    if (e->lookup != NULL)
        engine_stop(e);
    watch_free(e->watch);
    schedule_free(e->schedule);
    visits_free(e->visits);
    traffic_free(e->traffic);
    fallbacks_free(e->fallbacks);
    own_free(e->own);
    cache_free(e->cache);
    cache_free(e->sts);
    chains_free(e->chains);
    X509_STORE_free(e->trust);
    evidence_unref(e->sts_late);
    evidence_unref(e->no_name);
    evidence_unref(e->broken);
    ruleset_unref(e->rules);
    signal_done(&e->left);
    mutex_done(&e->lock);
    free(e);
}

void engine_on_turn(struct engine *e, struct road_hook hook)
{
    mutex_lock(&e->lock);
    e->hook = hook;
    mutex_unlock(&e->lock);
}

void engine_tables(struct engine *e, bool current)
{
    atomic_store(&e->tables_doubted, !current);
}

void engine_own(struct engine *e, const char *const *domains, size_t count)
{
    own_set(e->own, domains, count);
}

bool engine_is_own(struct engine *e, const struct ruleset *rules, const struct address *to, const struct address *from)
{
    return to->kind == ADDRESS_DOMAIN && own_has(e->own, to->domain.name) &&
           !connector_names(ruleset_find(rules, to, from), to);
}

struct ruleset *engine_rules(struct engine *e)
{
    struct ruleset *rules;

    mutex_lock(&e->lock);
    rules = ruleset_ref(e->rules);
    mutex_unlock(&e->lock);
    return rules;
}

void engine_adopt(struct engine *e, struct ruleset *rules)
{
    struct ruleset *old;

    fallbacks_adopt(e->fallbacks, rules);
    mutex_lock(&e->lock);
    old = e->rules;
    e->rules = rules;
    e->repin = true;
    mutex_unlock(&e->lock);
    ruleset_unref(old);
    watch_wake(e->watch);
    schedule_wake(e->schedule);
}

struct evidence *engine_trusted(struct engine *e, struct evidence *found)
{
    if (!atomic_load(&e->resolver_broken))
        return found;
    evidence_unref(found);
    return evidence_ref(e->broken);
}

static void count(struct engine *e, const struct decision *d)
{
    switch (d->verdict) {
    case VERDICT_DELIVER:
        atomic_fetch_add(&e->delivered, 1);
        return;
    case VERDICT_PASS:
        atomic_fetch_add(&e->passed, 1);
        return;
    case VERDICT_FALLBACK:
        atomic_fetch_add(&e->fell_back, 1);
        return;
    case VERDICT_BOUNCE:
        atomic_fetch_add(&e->bounced, 1);
        return;
    case VERDICT_HOLD:
        break;
    }
    atomic_fetch_add(&e->held, 1);
}

size_t engine_decide_list(const struct connector *c, struct evidence *const found[], size_t count, struct decision *ret)
{
    static const struct evidence nothing = { .dane = DANE_UNKNOWN, .sts = STS_UNKNOWN };
    size_t chosen = 0, i;

    for (i = 0; i < count; i++) {
        struct decision d = decide(c, found[i] == NULL ? &nothing : found[i]);

        if (i == 0 || (ret->verdict == VERDICT_HOLD && d.verdict != VERDICT_HOLD)) {
            *ret = d;
            chosen = i;
        }
    }
    return chosen;
}

struct next_hop engine_own_hop(const struct address *to)
{
    struct next_hop hop = next_hop_of(&to->domain), literal;
    char spoken[sizeof(to->domain.name) + 2];

    hop.literal = hop.bracketed = to->kind != ADDRESS_DOMAIN;
    if (to->kind != ADDRESS_LITERAL)
        return hop;
    snprintf(spoken, sizeof(spoken), "[%s]", to->domain.name);
    return next_hop_parse(spoken, &literal, NULL) && literal.literal ? literal : hop;       /* in its one spelling */
}

/* The next hops of a recipient; borrowed from the connector, or own. Returns how many. */
static size_t hops_of(const struct connector *c, const struct address *to, struct next_hop *own, const struct next_hop **ret)
{
    if (c->smart_host_count > 0) {
        *ret = c->smart_hosts;
        return c->smart_host_count;
    }
    *own = engine_own_hop(to);
    *ret = own;
    return 1;
}

static bool nothing_known(struct evidence *const found[], size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (found[i] != NULL)
            return false;
    }
    return true;
}

/* Steps 2 to 4 of the walk. */
static void judge(struct engine *e, const struct question *q, int64_t deadline_ms, struct answer *ret)
{
    struct evidence *found[ENGINE_HOPS_MAX] = { NULL };
    const struct next_hop *hops;
    struct next_hop own;
    size_t count, chosen = 0, i;
    bool patient;

    ret->connector = ruleset_find(ret->rules, &q->to, &q->from);
    patient = connector_is_mandatory(ret->connector) && !ret->connector->is_default;
    count = hops_of(ret->connector, &q->to, &own, &hops);
    engine_gather(e, ret->connector, hops, count, patient, deadline_ms, found);
    if (!patient && nothing_known(found, count))
        ret->decision = (struct decision){ .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = ret->connector->tls };
    else
        chosen = engine_decide_list(ret->connector, found, count, &ret->decision);
    fallbacks_note(e->fallbacks, ret->connector, &ret->decision);
    ret->decision = decision_fall_back(ret->decision, ret->connector);
    ret->hop = hops[chosen];
    ret->found = take(found[chosen]);
    for (i = 0; i < count; i++)
        evidence_unref(found[i]);
}

/*
 * A refusal is what the hold clock counts, and once it has run out the refusal is for good; whatever is accepted by decision ends
 * it. A hold whose mail is taken does neither: the road holds it.
 */
static void keep_time(struct engine *e, const struct question *q, struct answer *a)
{
    const struct hold_key key = { .connector = a->connector->name, .sender = &q->from, .recipient = &q->to };

    if (e->holds == NULL || a->connector->is_default)
        return;
    if (a->decision.verdict != VERDICT_HOLD)
        holds_end(e->holds, &key);
    else if (a->refuse &&
             holds_note(e->holds, &key, a->decision.reason, a->connector->hold, a->at / 1000) == HOLD_EXPIRED)
        a->decision.verdict = VERDICT_BOUNCE;
}

/* One line of the log. */
static void say(const struct record *r, const char *policy)
{
    char id[64];

    log_info("%s: to=<%s> from=<%s> connector=\"%s\" dane=%s sts=%s verdict=%s reason=%s route=%s policy=%s took=%lld%s",
             r->queue_id == NULL ? "NOQUEUE" : text_printable(r->queue_id, false, id, sizeof(id)),
             r->to == NULL ? "-" : r->to, r->from == NULL ? "-" : r->from, r->connector->name,
             r->found == NULL ? "-" : dane_word(r->found->dane),
             r->found == NULL ? "-" : sts_word(r->found->sts), verdict_word(r->decision->verdict),
             reason_word(r->decision->reason), r->connector->is_default ? "-" : connector_road(r->connector)->name,
             policy, (long long)r->took_ms, r->shadow ? " shadow=true" : "");
}

/* One row of the trace; what the log shows as `-` is nothing there. */
static void remember(struct engine *e, const struct record *r, const char *policy)
{
    struct trace_row row = { .at = r->at, .where = where_word(r->where), .queue_id = r->queue_id, .from = r->from, .to = r->to,
                             .connector = r->connector->name, .shadow = r->shadow,
                             .verdict = verdict_word(r->decision->verdict), .policy = policy, .took_ms = r->took_ms };

    if (e->trace == NULL)
        return;
    if (r->found != NULL) {
        row.dane = dane_word(r->found->dane);
        row.sts = sts_word(r->found->sts);
    }
    if (r->decision->reason != REASON_NONE)
        row.reason = reason_word(r->decision->reason);
    if (!r->connector->is_default)
        row.route = connector_road(r->connector)->name;
    trace_note(e->trace, &row);
}

void engine_record(struct engine *e, const struct record *r)
{
    struct text policy;

    text_init(&policy, 1024);
    if (r->found != NULL && r->decision->verdict == VERDICT_DELIVER)
        decision_policy(r->decision, r->connector, r->found, &policy);
    say(r, policy.length == 0 ? "-" : text_words(&policy));
    remember(e, r, policy.length == 0 ? NULL : text_words(&policy));
    counters_decided(e->counters, r->connector->name, r->shadow, r->where, r->decision->verdict, r->decision->reason);
    if (!r->shadow)
        count(e, r->decision);
    text_done(&policy);
}

void engine_ask_by(struct engine *e, const struct question *q, int64_t deadline_ms, struct answer *ret)
{
    int64_t start = clock_ms();
    struct ruleset *today;

    *ret = (struct answer){ .decision = { .verdict = VERDICT_HOLD, .reason = REASON_INTERNAL }, .at = clock_wall_ms() };
    if (!engine_enter(e, &today)) {                 /* closing: nobody can be judged any more */
        ret->rules = q->rules != NULL ? ruleset_ref(q->rules) : engine_rules(e);
        ret->connector = ruleset_find(ret->rules, &q->to, &q->from);
        ret->hop = next_hop_of(&q->to.domain);
        ret->refuse = hold_refuses(ret->connector, q->audience);
        return;
    }
    ret->rules = ruleset_ref(q->rules != NULL ? q->rules : today);
    atomic_fetch_add(&e->asked, 1);
    judge(e, q, deadline_ms, ret);
    ret->refuse = ret->decision.verdict == VERDICT_HOLD && hold_refuses(ret->connector, q->audience);
    keep_time(e, q, ret);
    if (!ret->refuse && !ret->connector->is_default && ret->found != NULL)
        engine_prefetch(e, ret->connector, &ret->hop, ret->found);
    ret->took_ms = clock_ms() - start;
    engine_leave(e, today);
}

void engine_tell(struct engine *e, const struct address *to, const struct address *from, const char *queue_id,
                 const struct answer *a)
{
    char to_text[ADDRESS_TEXT_SIZE], from_text[ADDRESS_TEXT_SIZE];
    struct record r = { .where = WHERE_RCPT, .queue_id = queue_id, .at = a->at, .took_ms = a->took_ms,
                        .to = address_print(to, to_text, sizeof(to_text)),
                        .from = address_print(from, from_text, sizeof(from_text)), .connector = a->connector,
                        .found = a->found, .decision = &a->decision };
    struct next_hop own;

    engine_record(e, &r);
    r.connector = ruleset_shadow(a->rules, to, from);
    if (r.connector == NULL)
        return;
    own = engine_own_hop(to);
    engine_shadow(e, a->rules, &r, &own);
}

void engine_tell_message(struct engine *e, const struct address *from, const char *queue_id, const char *route)
{
    char from_text[ADDRESS_TEXT_SIZE], id[64];
    struct trace_row row = { .at = clock_wall_ms(), .where = where_word(WHERE_EOM), .queue_id = queue_id, .route = route,
                             .from = address_print(from, from_text, sizeof(from_text)),
                             .verdict = verdict_word(VERDICT_DELIVER) };

    log_info("%s: to=- from=<%s> connector=- dane=- sts=- verdict=%s reason=- route=%s policy=- took=0",
             queue_id == NULL ? "NOQUEUE" : text_printable(queue_id, false, id, sizeof(id)), from_text, row.verdict,
             route == NULL ? "-" : route);
    if (e->trace != NULL)
        trace_note(e->trace, &row);
}

void answer_done(struct answer *a)
{
    evidence_unref(a->found);
    ruleset_unref(a->rules);
    *a = (struct answer){ 0 };
}

struct evidence *engine_peek(struct engine *e, const struct next_hop *hop, int64_t *ret_since)
{
    struct evidence *dane = cache_peek(e->cache, hop, ret_since), *both;

    if (dane == NULL)
        return NULL;
    both = engine_with_sts(e, hop, dane, ret_since);
    evidence_unref(dane);
    return engine_trusted(e, both);
}

void engine_status(struct engine *e, struct engine_status *ret)
{
    *ret = (struct engine_status){
        .resolver_proven = !atomic_load(&e->resolver_broken), .resolver_checked = atomic_load(&e->resolver_checked),
        .asked = atomic_load(&e->asked), .answered_hot = atomic_load(&e->hot), .searches = atomic_load(&e->searches),
        .held = atomic_load(&e->held), .bounced = atomic_load(&e->bounced), .fell_back = atomic_load(&e->fell_back),
        .delivered = atomic_load(&e->delivered), .passed = atomic_load(&e->passed),
        .overridden = atomic_load(&e->overridden), .tested = atomic_load(&e->tested),
        .fallen_back = fallbacks_count(e->fallbacks), .shadows = atomic_load(&e->shadows),
        .shadows_dropped = atomic_load(&e->shadows_dropped),
    };
    cache_count(e->cache, &ret->evidence_entries, &ret->evidence_searching);
    visits_count(e->visits, &ret->visits);
    mutex_lock(&e->lock);
    memcpy(ret->resolver_why, e->resolver_why, sizeof(ret->resolver_why));
    ret->resolver_since = e->resolver_since;
    mutex_unlock(&e->lock);
}
