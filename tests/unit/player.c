#include "player.h"

#include "base/clock.h"
#include "base/memory.h"
#include "store/writer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Time is ours: the wall clock stands still until it is told to move, the other one runs ahead of the real one. */
static _Atomic int64_t ahead_ms, wall;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);
time_t __wrap_clock_wall(void);
int64_t __wrap_clock_wall_ms(void);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + ahead_ms;
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - ahead_ms);
}

time_t __wrap_clock_wall(void)
{
    return (time_t)wall;
}

int64_t __wrap_clock_wall_ms(void)
{
    return wall * 1000;
}

int64_t play_now(void)
{
    return wall;
}

void play_set_clock(int64_t to)
{
    wall = to;
}

int64_t play_elapsed(void)
{
    return ahead_ms / 1000;
}

void play_adopt(struct play *p)
{
    engine_adopt(p->engine, overriding_rules(p->overriding));
}

void play_pass(struct play *p, int64_t seconds)
{
    wall += seconds;
    ahead_ms += seconds * 1000;
    if (p->engine == NULL)
        return;
    overriding_tend(p->overriding);
    if (overriding_turned(p->overriding))
        play_adopt(p);
}

/* The disk is ours, too */

static atomic_int every_write;
static atomic_uint writes;

bool __real_writer_step(struct writer *w, sqlite3_stmt *statement);
bool __wrap_writer_step(struct writer *w, sqlite3_stmt *statement);

bool __wrap_writer_step(struct writer *w, sqlite3_stmt *statement)
{
    int every = every_write;
    bool good = __real_writer_step(w, statement);       /* what comes of it is undone with the batch */

    if (every == 0 || ++writes % (unsigned)every != 0)
        return good;
    w->code = SQLITE_BUSY;
    return fault_set(&w->why, "as the scenario says");
}

void __wrap_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* All of it is the scenarios' own doing. */
void __wrap_log_error(const char *format, ...)
{
    (void)format;
}

void play_store_fails(int every)
{
    every_write = every;
}

void play_damage(struct play *p)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/danelaw.db", p->set.store.directory);
    file = fopen(path, "r+e");
    insist(p, file != NULL);
    fprintf(file, "%s", "Whatever this is, it is no database any more.");
    fclose(file);
    memset(p->accounts, 0, sizeof(p->accounts));
}

struct place *play_place(struct play *p, const char *name)
{
    size_t i;

    for (i = 0; i < PLAY_NAMES - 1 && p->places[i].name[0] != '\0' && strcmp(p->places[i].name, name) != 0; i++)
        ;
    if (p->places[i].name[0] == '\0')
        p->places[i] = (struct place){ .world = FAKE_USABLE };
    snprintf(p->places[i].name, sizeof(p->places[i].name), "%s", name);
    return &p->places[i];
}

static struct account *account_of(struct play *p, const char *from, const char *to)
{
    size_t i;

    for (i = 0; i < PLAY_NAMES - 1 && p->accounts[i].to[0] != '\0'; i++) {
        if (strcasecmp(p->accounts[i].from, from) == 0 && strcasecmp(p->accounts[i].to, to) == 0)
            break;
    }
    snprintf(p->accounts[i].from, sizeof(p->accounts[i].from), "%s", from);
    snprintf(p->accounts[i].to, sizeof(p->accounts[i].to), "%s", to);
    return &p->accounts[i];
}

void play_close(struct play *p)
{
    if (p->engine == NULL)
        return;
    engine_close(take(p->engine));
    overriding_close(p->overriding);
    holds_close(p->holds);
    policies_close(p->policies);
    store_close(p->store);
    fake_free(p->fake);
}

/* The fake lands one answer after the other, so that what was on its way has landed when this does. */
struct marker {
    struct records_landing landing;
    atomic_bool landed;
};

static void mark(struct records_landing *self, const struct dns_records *found)
{
    (void)found;
    atomic_store(&((struct marker *)self)->landed, true);
}

static void let_land(struct play *p)
{
    struct lookup *lookup = fake_lookup(p->fake);
    struct marker marker = { .landing.arrive = mark };

    lookup->records(lookup, "_mta-sts.marker.example", DNS_TYPE_TXT, &marker.landing);
    while (!atomic_load(&marker.landed))
        usleep(100);
}

/* Gives the fake its script. */
static void script(struct play *p, const struct place *at, bool fails)
{
    char body[200], id[16];

    fake_says(p->fake, at->name, fails ? FAKE_FAILS : at->world);
    snprintf(id, sizeof(id), "%u", ++p->ids);
    snprintf(body, sizeof(body), "version: STSv1\nmode: enforce\nmx: *.%s\nmax_age: %d\n",
             at->sts == ENFORCE ? at->name : "other.example", PLAY_MAX_AGE);
    fake_sts(p->fake, at->name, at->sts == NONE ? "" : id, at->sts == SILENT ? NULL : body);
    if (fails || at->sts == SILENT)
        fake_sts_text_fails(p->fake, at->name);
}

void play_tell(struct play *p, struct place *at, bool fails)
{
    struct domain host;
    size_t ignored;
    int steps;

    script(p, at, fails);
    assert_true(domain_parse(at->name, &host, NULL));
    for (steps = 0; steps < 4; steps++)                 /* the text, the policy, and both once more */
        let_land(p);
    engine_cache_flush(p->engine, &host, true, &ignored, &ignored);
    at->dane_until = at->sts_until = 0;
}

static bool is_good(enum fake_world world)
{
    return world == FAKE_USABLE || world == FAKE_PARTIAL;
}

void play_turn(struct play *p, struct place *at, enum fake_world world, enum place_sts sts)
{
    if (is_good(at->world))
        at->dane_until = play_elapsed() + PLAY_TTL;
    if (at->sts == ENFORCE)
        at->sts_until = play_elapsed() + PLAY_MAX_AGE;
    at->world = world;
    at->sts = sts;
    if (p->engine != NULL)
        script(p, at, false);
}

/* Chains that fit every record, and none. */
static struct cert_chain fits = { .fingerprint = { 1 }, .users = 1 }, strange = { .fingerprint = { 2 }, .users = 1 };

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why);

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why)
{
    (void)now;
    if (c->fingerprint[0] != 1)
        return fault_set(why, "no TLSA record matches");
    *ret_matched = d->count - 1;
    return true;
}

static void overrides_are_there(void *self)
{
    (void)self;
}

static void tell_host(struct play *p, const struct play_host *host)
{
    fake_probe(p->fake, host->name, host->state, host->state != PROBE_SEEN ? NULL : host->fits ? &fits : &strange);
}

void play_show(struct play *p, const char *name, enum probe_state state, bool does_fit)
{
    size_t i;

    for (i = 0; i < PLAY_NAMES - 1 && p->hosts[i].name[0] != '\0' && strcmp(p->hosts[i].name, name) != 0; i++)
        ;
    snprintf(p->hosts[i].name, sizeof(p->hosts[i].name), "%s", name);
    p->hosts[i].state = state;
    p->hosts[i].fits = does_fit;
    if (p->engine != NULL)
        tell_host(p, &p->hosts[i]);
}

void play_visit(struct play *p, const char *name)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;
    unsigned before;

    play_open(p);
    before = fake_probes(p->fake, name);
    while (fake_probes(p->fake, name) == before && __real_clock_ms() < until) {
        play_pass(p, 60);
        play_adopt(p);                                  /* wakes the schedule */
        usleep(2000);
    }
    insist(p, fake_probes(p->fake, name) > before);
    assert_true(fake_wait_settled(p->fake));
}

void play_open(struct play *p)
{
    struct ruleset *rules;
    size_t i;

    if (p->engine != NULL)
        return;
    if (!p->frozen)
        ruleset_freeze(p->rules);
    p->frozen = true;
    p->fake = fake_new();
    fake_says(p->fake, "*", FAKE_ABSENT);
    p->store = store_open(&p->set);
    p->policies = policies_open(p->store, 1000, wall);
    p->holds = holds_open(p->store, 1000, wall);
    p->overriding = overriding_open(p->store, p->rules, false, (struct overrides_hook){ overrides_are_there, NULL });
    rules = overriding_rules(p->overriding);
    for (i = 0; i < PLAY_NAMES && p->places[i].name[0] != '\0'; i++)
        script(p, &p->places[i], false);
    p->engine = engine_open(&p->set, fake_lookup(p->fake),
                            &(struct engine_memory){ .policies = p->policies, .holds = p->holds }, rules);
    ruleset_unref(rules);
    for (i = 0; i < PLAY_NAMES && p->hosts[i].name[0] != '\0'; i++)
        tell_host(p, &p->hosts[i]);
}

void play_reload(struct play *p)
{
    struct text words;

    insist(p, p->fresh != NULL);
    ruleset_freeze(p->fresh);
    play_open(p);
    text_init(&words, 4096);
    overriding_configure(p->overriding, p->fresh, &words);
    text_done(&words);
    ruleset_unref(p->rules);
    p->rules = take(p->fresh);
    play_adopt(p);
}

void play_mode(struct play *p, const struct mode_order *order)
{
    struct mode_outcome came = { 0 };

    play_open(p);
    text_init(&came.words, 4096);
    overriding_obey(p->overriding, order, "root", &came);
    insist(p, came.exit == 0);
    text_done(&came.words);
    play_adopt(p);
}

/* What always holds, whatever fails */

/* Whether somebody vouches for the place, or has done so for as long as it may be believed. */
static bool dane_vouches(const struct place *at)
{
    return is_good(at->world) || play_elapsed() <= at->dane_until;
}

static bool sts_vouches(const struct place *at)
{
    return at->sts == ENFORCE || play_elapsed() <= at->sts_until;
}

static void check_safe(struct play *p, const struct answer *a, const struct place *at, int64_t asked_ms)
{
    const struct connector *c = a->connector;
    bool by_dane = a->decision.tls == TLS_DANE_ONLY && dane_vouches(at);
    bool by_sts = a->decision.tls == TLS_SECURE && a->decision.match == MATCH_STS && sts_vouches(at);
    bool both = c->smtp_dane == MODE_MANDATORY && c->mta_sts == MODE_MANDATORY;

    insist(p, !c->test_mode && (!c->is_default || !a->refuse));
    if (a->decision.verdict == VERDICT_FALLBACK)
        insist(p, c->fallback != NULL);
    if (a->decision.verdict != VERDICT_DELIVER || !connector_is_mandatory(c))
        return;
    insist(p, !a->refuse);
    insist(p, a->found != NULL && a->found->fresh_until >= asked_ms && a->found->fresh_until <= clock_ms() + 86400 * 1000);
    if (both && c->require == REQUIRE_ANY)
        insist(p, by_dane || by_sts);
    else if (both)
        insist(p, by_dane && sts_vouches(at));
    else
        insist(p, c->smtp_dane == MODE_MANDATORY ? by_dane : by_sts || (by_dane && sts_vouches(at)));
}

/* The clock's rules once more, as plainly as can be. */
static void check_clock(struct play *p, const struct answer *a, const char *from, const char *to)
{
    int64_t hold = a->connector->hold, gap = hold / 4 > 6 * 3600 ? 6 * 3600 : hold / 4 < 1 ? 1 : hold / 4;
    struct account *mine = account_of(p, from, to);

    if (p->stopped || (a->decision.verdict == VERDICT_HOLD && !a->refuse))
        return;
    if (!a->refuse) {
        mine->since = 0;
        return;
    }
    if (mine->since == 0 || wall < mine->since || wall - mine->last > gap)
        mine->since = wall;
    mine->last = wall;
    if (a->decision.verdict == VERDICT_BOUNCE)
        insist(p, wall - mine->since >= hold && a->decision.reason != REASON_INTERNAL && a->decision.reason != REASON_NONE);
    else
        insist(p, wall - mine->since < hold || a->decision.reason == REASON_INTERNAL || p->forgetful);
    if (a->decision.verdict == VERDICT_BOUNCE)
        mine->since = 0;
}

static bool is_about(const struct held *h, const struct question *q)
{
    char to[ADDRESS_TEXT_SIZE], from[ADDRESS_TEXT_SIZE];

    return strcasecmp(h->recipient, address_print(&q->to, to, sizeof(to))) == 0 &&
           strcasecmp(h->sender, address_print(&q->from, from, sizeof(from))) == 0;
}

/* Of those who have just been refused, no clock began, or was touched, in the future. */
static void check_clocks(struct play *p, const struct question *q)
{
    struct hold_slice slice = { 0 };
    unsigned i;
    size_t j;

    for (i = 0; i < HOLDS_SLICES; i++) {
        holds_read(p->holds, i, wall, &slice);
        for (j = 0; j < slice.count; j++) {
            const struct held *h = &slice.items[j];

            insist(p, h->hold.attempts > 0 && h->hold.since <= h->hold.last && h->hold.reason != REASON_INTERNAL);
            insist(p, !is_about(h, q) || h->hold.last <= wall);
        }
        hold_slice_done(&slice);
    }
}

void play_ask(struct play *p, const char *to, const char *from, enum audience who)
{
    struct question q = { .audience = who };
    struct place *at;
    struct answer a;
    int64_t asked_ms;
    bool fails;

    play_open(p);
    address_parse(to, &q.to);
    address_parse(strcmp(from, "<>") == 0 ? "" : from, &q.from);
    at = play_place(p, q.to.domain.name);
    fails = p->ruin > 0 && ++p->asked % (unsigned)p->ruin == 0;
    if (fails && !p->stopped)
        play_tell(p, at, true);
    asked_ms = clock_ms();
    engine_ask_by(p->engine, &q, asked_ms + 20000, &a);
    engine_tell(p->engine, &q.to, &q.from, "4fQz1x0", &a);
    check_safe(p, &a, at, asked_ms);
    check_clock(p, &a, from, to);
    check_clocks(p, &q);
    p->verdict = a.decision.verdict;
    p->reason = a.decision.reason;
    p->refused = a.refuse;
    answer_done(&a);
    if (fails && !p->stopped)
        play_tell(p, at, false);
}

void play_forget(struct play *p, const char *to)
{
    struct address recipient;
    size_t i;

    address_parse(to, &recipient);
    holds_forget(p->holds, NULL, &recipient, wall);
    for (i = 0; i < PLAY_NAMES; i++) {
        if (strcmp(p->accounts[i].to, to) == 0)
            p->accounts[i].since = 0;
    }
}
