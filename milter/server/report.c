#include "server/report.h"

#include "base/clock.h"
#include "base/memory.h"
#include "policy/decide.h"
#include "store/holds.h"
#include "store/policies.h"
#include "store/store.h"
#include "store/trace.h"

#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { VISITS_SHOWN_MAX = 64 };

/* What is known of a rule: the strictest decision so far, and what it rests on. */
struct standing {
    bool known;
    struct decision decision;
    enum dane_state dane;
    enum sts_state sts;
    int64_t since;
};

json_t *report_text(const char *text)
{
    json_t *value = json_string(text);
    AUTO(free) char *plain = NULL;
    size_t size = strlen(text) + 1;

    if (value != NULL)
        return value;
    plain = mem_zero(size);
    return json_string(text_printable(text, false, plain, size));
}

json_t *report_time(int64_t wall)
{
    char text[32];
    time_t at = (time_t)wall;
    struct tm utc;

    if (wall <= 0 || gmtime_r(&at, &utc) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return json_null();
    return json_string(text);
}

static json_t *patterns(const struct pattern *list, size_t count)
{
    json_t *all = json_array();
    char text[ADDRESS_TEXT_SIZE];
    size_t i;

    for (i = 0; i < count; i++)
        json_array_append_new(all, report_text(pattern_print(&list[i], text, sizeof(text))));
    return all;
}

static void consider(struct standing *s, const struct decision *d, const struct evidence *found, int64_t since)
{
    if (!s->known || decision_compare(d, &s->decision) < 0)
        *s = (struct standing){ .known = true, .decision = *d, .dane = found->dane, .sts = found->sts, .since = since };
}

static void look_at_hop(struct engine *e, const struct connector *c, const struct next_hop *hop, struct standing *s)
{
    int64_t since = 0;
    struct evidence *found = engine_peek(e, hop, &since);
    struct decision d;

    if (found == NULL)
        return;
    found = engine_seen(e, c, hop, found);
    d = decide(c, found);
    consider(s, &d, found, since);
    evidence_unref(found);
}

/* Smart hosts are one list: the first that may be delivered to speaks for all. */
static void look_at_smart_hosts(struct engine *e, const struct connector *c, struct standing *s)
{
    struct evidence **found = mem_array(c->smart_host_count, sizeof(*found));
    int64_t *since = mem_array(c->smart_host_count, sizeof(*since));
    struct decision d;
    size_t i, chosen;

    for (i = 0; i < c->smart_host_count; i++) {
        found[i] = engine_peek(e, &c->smart_hosts[i], &since[i]);
        if (found[i] != NULL)
            found[i] = engine_seen(e, c, &c->smart_hosts[i], found[i]);
    }
    chosen = engine_decide_list(c, found, c->smart_host_count, &d);
    if (chosen < c->smart_host_count && found[chosen] != NULL)
        consider(s, &d, found[chosen], since[chosen]);
    for (i = 0; i < c->smart_host_count; i++)
        evidence_unref(found[i]);
    free(since);
    free(found);
}

static void look_at_domain(struct engine *e, const struct connector *c, const char *name, struct standing *s)
{
    struct domain d = { 0 };
    struct next_hop hop;
    size_t length = strlen(name);

    if (length == 0 || length >= sizeof(d.name))
        return;
    memcpy(d.name, name, length + 1);
    d.length = (uint8_t)length;
    hop = next_hop_of(&d);
    look_at_hop(e, c, &hop, s);
}

static struct standing standing_of(struct engine *e, const struct connector *c)
{
    struct standing s = { 0 };
    size_t i;

    if (c->smart_host_count > 0) {
        look_at_smart_hosts(e, c, &s);
        return s;
    }
    for (i = 0; i < c->recipient_count; i++) {
        switch (c->recipients[i].kind) {
        case PATTERN_DOMAIN:
        case PATTERN_ADDRESS:
            look_at_domain(e, c, c->recipients[i].domain, &s);
            break;
        case PATTERN_EVERYONE:          /* names no next hop that we could look up */
        case PATTERN_BELOW:
        case PATTERN_NULL_SENDER:
            break;
        }
    }
    return s;
}

static json_t *override_of(const struct override *o)
{
    json_t *item;

    if (o == NULL)
        return json_null();
    item = json_object();
    json_object_set_new(item, "smtp_dane", o->sets_dane ? json_string(mode_word(o->smtp_dane)) : json_null());
    json_object_set_new(item, "mta_sts", o->sets_sts ? json_string(mode_word(o->mta_sts)) : json_null());
    json_object_set_new(item, "until", report_time(o->until));
    json_object_set_new(item, "by", report_text(o->by));
    return item;
}

static json_t *item_of(const struct connector *c, const struct standing *s)
{
    struct decision d = decision_fall_back(s->decision, c);
    bool reasoned = s->known && d.reason != REASON_NONE, asks_sts = s->known && c->mta_sts != MODE_NONE;
    json_t *item = json_object();

    json_object_set_new(item, "name", report_text(c->name));
    json_object_set_new(item, "enabled", json_true());  /* the others are as if absent */
    json_object_set_new(item, "recipients", patterns(c->recipients, c->recipient_count));
    json_object_set_new(item, "senders", c->sender_count == 0 ? json_null() : patterns(c->senders, c->sender_count));
    json_object_set_new(item, "smtp_dane", json_string(mode_word(c->smtp_dane)));
    json_object_set_new(item, "mta_sts", json_string(mode_word(c->mta_sts)));
    json_object_set_new(item, "override", override_of(c->override));
    json_object_set_new(item, "test_mode", json_boolean(c->test_mode));
    json_object_set_new(item, "dane", s->known ? json_string(dane_word(s->dane)) : json_null());
    json_object_set_new(item, "sts", asks_sts ? json_string(sts_word(s->sts)) : json_null());
    json_object_set_new(item, "verdict", s->known ? json_string(verdict_word(d.verdict)) : json_null());
    json_object_set_new(item, "reason", reasoned ? json_string(reason_word(d.reason)) : json_null());
    json_object_set_new(item, "route", c->is_default || c->route == NULL ? json_null() : report_text(connector_road(c)->name));
    json_object_set_new(item, "since", s->known ? report_time(s->since) : json_null());
    return item;
}

json_t *report_connector(struct engine *e, const struct connector *c)
{
    struct standing s = standing_of(e, c);

    return item_of(c, &s);
}

json_t *report_match(struct engine *e, const struct connector *c, const struct address *to)
{
    struct standing s = { 0 };

    if (c->smart_host_count > 0)
        look_at_smart_hosts(e, c, &s);
    else if (to->kind == ADDRESS_DOMAIN)
        look_at_domain(e, c, to->domain.name, &s);
    return item_of(c, &s);
}

static json_t *word_or_null(const char *word)
{
    return word == NULL || *word == '\0' ? json_null() : report_text(word);
}

static json_t *visit_item(const struct engine_visit *v)
{
    json_t *item = json_object();
    bool offers;

    json_object_set_new(item, "next_hop", report_text(v->next_hop));
    json_object_set_new(item, "host", report_text(v->host.name));
    json_object_set_new(item, "port", json_integer(v->port));
    json_object_set_new(item, "address", word_or_null(v->latest.address));
    json_object_set_new(item, "starttls", visit_offers_tls(&v->latest, &offers) ? json_boolean(offers) : json_null());
    json_object_set_new(item, "dane", v->asks_dane ? word_or_null(visit_dane_word(v->dane)) : json_null());
    json_object_set_new(item, "sts", word_or_null(visit_other_word(v->other_proof, v->other)));
    json_object_set_new(item, "not_after", report_time(v->latest.not_after));
    json_object_set_new(item, "why", word_or_null(v->why));
    json_object_set_new(item, "at", report_time(v->at));
    return item;
}

void report_visits(json_t *item, struct engine *e, const struct connector *c)
{
    struct engine_visit *all;
    json_t *list;
    size_t count, i;

    if (c->probe == PROBING_OFF)
        return;
    list = json_array();
    all = mem_array(VISITS_SHOWN_MAX, sizeof(*all));
    count = engine_visits(e, c, all, VISITS_SHOWN_MAX);
    for (i = 0; i < count; i++)
        json_array_append_new(list, visit_item(&all[i]));
    json_object_set_new(item, "probe", list);
    free(all);
}

void report_more(json_t *item, const struct connector *c)
{
    json_object_set_new(item, "hold", json_integer(c->hold));
    json_object_set_new(item, "fallback", c->fallback == NULL ? json_null() : report_text(c->fallback->name));
    json_object_set_new(item, "on_fallback", json_boolean(connector_on_fallback(c)));
}

static json_t *resolver_item(const struct engine_status *now)
{
    json_t *item = json_object();
    bool silent = !now->resolver_checked || now->resolver_why[0] == '\0';

    json_object_set_new(item, "proven", now->resolver_checked ? json_boolean(now->resolver_proven) : json_null());
    json_object_set_new(item, "why", silent ? json_null() : report_text(now->resolver_why));
    json_object_set_new(item, "since", now->resolver_checked ? report_time(now->resolver_since) : json_null());
    return item;
}

static json_t *counters_item(const struct engine_status *now)
{
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        { "asked", now->asked },         { "answered_hot", now->answered_hot },
        { "searches", now->searches },   { "delivered", now->delivered },
        { "held", now->held },           { "bounced", now->bounced },           { "fell_back", now->fell_back },
        { "passed", now->passed },
        { "evidence_entries", now->evidence_entries },
        { "evidence_searching", now->evidence_searching },
    };
    json_t *item = json_object();
    size_t i;

    for (i = 0; i < COUNT_OF(all); i++)
        json_object_set_new(item, all[i].name, json_integer((json_int_t)all[i].value));
    return item;
}

static json_t *trace_counts(struct trace *t)
{
    struct trace_status now;

    if (t == NULL)
        return json_null();
    trace_status(t, &now);
    return json_pack("{s:I, s:I, s:I, s:b}", "written", (json_int_t)now.written, "waiting", (json_int_t)now.waiting, "dropped",
                     (json_int_t)now.dropped, "paused", now.paused);
}

static json_t *store_item(const struct report_house *house)
{
    struct store_status now = { 0 };
    json_t *item;

    if (house->store == NULL)
        return json_null();
    store_status(house->store, &now);
    item = json_object();
    json_object_set_new(item, "good", json_boolean(now.good));
    json_object_set_new(item, "why", now.good ? json_null() : report_text(now.why.text));
    json_object_set_new(item, "since", report_time(now.since));
    json_object_set_new(item, "written", json_integer((json_int_t)now.written));
    json_object_set_new(item, "waiting", json_integer((json_int_t)now.waiting));
    json_object_set_new(item, "dropped", json_integer((json_int_t)now.dropped));
    json_object_set_new(item, "trace", trace_counts(house->trace));
    return item;
}

static json_t *tables_item(const struct report_house *house)
{
    json_t *item = json_object();

    json_object_set_new(item, "current", json_boolean(house->tables_good));
    json_object_set_new(item, "why", house->tables_why[0] == '\0' ? json_null() : report_text(house->tables_why));
    return item;
}

static void add_reason(struct text *to, const char *what, const char *why, const char *otherwise)
{
    char shown[512];

    if (to != NULL)
        text_print(to, "%s: %s\n", what, *why == '\0' ? otherwise : text_printable(why, false, shown, sizeof(shown)));
}

/* null: nobody wants any. */
static json_t *probe_item(const struct visit_counts *now)
{
    size_t away = now->latest[VISIT_UNREACHABLE] + now->latest[VISIT_REFUSED] + now->latest[VISIT_TLS_FAILED], i;
    uint64_t made = 0;
    json_t *item;

    if (now->hosts == 0)
        return json_null();
    for (i = 0; i < VISIT_STATES; i++)
        made += now->made[i];
    item = json_object();
    json_object_set_new(item, "hosts", json_integer((json_int_t)now->hosts));
    json_object_set_new(item, "failing", json_integer((json_int_t)now->failing));
    json_object_set_new(item, "out_of_reach", json_integer((json_int_t)away));
    json_object_set_new(item, "expiring", json_integer((json_int_t)now->expiring));
    json_object_set_new(item, "first_expiry", report_time(now->first_expiry));
    json_object_set_new(item, "visits", json_integer((json_int_t)made));
    json_object_set_new(item, "full", json_boolean(now->full));
    return item;
}

int report_health(struct engine *e, const struct report_house *house, struct text *ret_reasons)
{
    struct store_status store = { .good = true };
    struct trace_status trace = { 0 };
    struct engine_status now;
    bool good;

    engine_status(e, &now);
    if (house->store != NULL)
        store_status(house->store, &store);
    if (house->trace != NULL)
        trace_status(house->trace, &trace);
    good = house->tables_good && store.good && !trace.paused && (now.resolver_proven || !now.resolver_checked);
    if (!now.resolver_checked)
        add_reason(ret_reasons, "starting", "", "the resolver has yet to prove that it can");
    else if (!now.resolver_proven)
        add_reason(ret_reasons, "resolver", now.resolver_why, "can prove nothing");
    if (!store.good)
        add_reason(ret_reasons, "store", store.why.text, "can't be used");
    if (trace.paused)
        add_reason(ret_reasons, "trace", "", "paused, since the disk of the store is nearly full");
    if (!house->tables_good)
        add_reason(ret_reasons, "tables", house->tables_why, "not written yet");
    if (!good)
        return EXIT_FAILURE;
    return now.resolver_checked ? EXIT_SUCCESS : EX_TEMPFAIL;       /* just started: ask again in a moment */
}

json_t *report_status(struct engine *e, const struct report_house *house, int *ret_exit)
{
    json_t *item = json_object();
    struct engine_status now = { 0 };
    struct ruleset *rules = engine_rules(e);

    engine_status(e, &now);
    json_object_set_new(item, "version", json_string(PACKAGE_VERSION));
    json_object_set_new(item, "uptime", json_integer(house->uptime_s));
    json_object_set_new(item, "connectors", json_integer((json_int_t)ruleset_count(rules)));
    json_object_set_new(item, "resolver", resolver_item(&now));
    json_object_set_new(item, "store", store_item(house));
    json_object_set_new(item, "tables", tables_item(house));
    json_object_set_new(item, "policies",
                        house->policies == NULL ? json_null() : json_integer((json_int_t)policies_count(house->policies)));
    json_object_set_new(item, "held", house->holds == NULL ? json_null() :
                        json_integer((json_int_t)holds_count(house->holds, (int64_t)clock_wall())));
    json_object_set_new(item, "probe", probe_item(&now.visits));
    json_object_set_new(item, "counters", counters_item(&now));
    ruleset_unref(rules);
    *ret_exit = report_health(e, house, NULL);
    return item;
}
