#include "fake_lookup.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FAKE_CHAINS_MAX = 8 };

struct script {
    struct script *next;
    char hop[NEXT_HOP_TEXT_SIZE];
    enum fake_world world;
    const struct dns_tlsa *tlsa;        /* of its good hosts, borrowed; NULL: one that matches nothing */
    uint32_t ttl;
    int delay_ms;
    bool parked;
    unsigned searches, open, most;
    char sts_id[STS_ID_SIZE], *sts_body;    /* no id: no TXT record; no body: the policy host fails */
    bool txt_fails, txt_parked, file_parked;
    uint32_t txt_ttl;
    unsigned texts, fetches;
    enum probe_state probe_state;
    struct cert_chain *chains[FAKE_CHAINS_MAX];     /* borrowed; visits see them in turn */
    size_t chain_count;
    bool probe_parked;
    unsigned probes, probes_open, most_probes;
    struct probe_target probed;             /* by the latest visit */
};

struct job {
    struct job *next;
    struct landing *at;                 /* or */
    struct query_landing *query_at;     /* or */
    struct records_landing *text_at;    /* or */
    struct policy_landing *file_at;     /* or */
    struct probe_landing *probe_at;
    unsigned turn;
    struct next_hop hop;
    char key[NEXT_HOP_TEXT_SIZE];
    int64_t due;
    bool parked;
};

struct fake {
    struct lookup face;
    struct mutex lock;
    struct signal changed;
    pthread_t thread;
    struct script any, *scripts GUARDED_BY(lock);
    struct job *jobs GUARDED_BY(lock);
    unsigned open GUARDED_BY(lock), searches GUARDED_BY(lock), checks GUARDED_BY(lock);
    unsigned landing GUARDED_BY(lock);      /* answers being handed over */
    enum dns_trust root_trust GUARDED_BY(lock);
    bool root_found GUARDED_BY(lock), closing GUARDED_BY(lock), closed GUARDED_BY(lock);
};

static struct script *script_of(struct fake *f, const char *hop) HOLDING(f->lock)
{
    struct script *s;

    if (strcmp(hop, "*") == 0)
        return &f->any;
    for (s = f->scripts; s != NULL; s = s->next) {
        if (strcmp(s->hop, hop) == 0)
            return s;
    }
    s = mem_zero(sizeof(*s));
    *s = f->any;
    s->searches = s->open = s->most = s->texts = s->fetches = s->probes = s->probes_open = s->most_probes = 0;
    s->sts_body = NULL;
    snprintf(s->hop, sizeof(s->hop), "%s", hop);
    s->next = f->scripts;
    f->scripts = s;
    return s;
}

static struct dns_look look(enum dns_trust trust, bool found, uint32_t ttl)
{
    struct dns_look l = { .asked = true, .trust = trust, .found = found, .ttl = ttl };

    if (trust == DNS_FAILED || trust == DNS_BOGUS)
        snprintf(l.why, sizeof(l.why), "as the script says");
    return l;
}

/* A host with or without usable TLSA records. */
static void make_host(struct dns_answers *a, size_t index, const char *name, const char *prefix, const struct dns_tlsa *tlsa,
                      uint32_t ttl)
{
    struct dns_host *h = &a->hosts[index];

    h->name.length = (uint8_t)snprintf(h->name.name, sizeof(h->name.name), "%s%.200s", prefix, name);
    h->preference = (uint16_t)(index * 10);
    h->expanded = h->name;
    h->a = look(DNS_SECURE, true, ttl);
    h->aaaa = look(DNS_SECURE, false, ttl);
    h->at_name.base = h->name;
    h->at_name.look = look(DNS_SECURE, tlsa != NULL, ttl);
    if (tlsa != NULL) {
        h->at_name.count = 1;
        h->at_name.records = arena_take(a->memory, sizeof(*tlsa));
        *h->at_name.records = *tlsa;
    }
}

/* A host by its own name stands for itself alone. */
static void make_alone(struct dns_answers *a, const char *hop)
{
    struct dns_host *h = &a->hosts[0];

    if (a->host_count == 0)
        return;
    a->host_count = 1;
    h->name.length = (uint8_t)snprintf(h->name.name, sizeof(h->name.name), "%.200s", hop);
    h->expanded = h->at_name.base = h->name;
}

static struct dns_answers *make_answers(const char *hop, enum fake_world world, const struct dns_tlsa *tlsa, uint32_t ttl)
{
    static const uint8_t digest[32] = { 1 };
    static const struct dns_tlsa none = { 3, 1, 1, 32, digest }, odd = { 9, 1, 1, 32, digest };
    const struct dns_tlsa *good = tlsa == NULL ? &none : tlsa;
    struct dns_answers *a = dns_answers_new();

    a->hosts = arena_take(a->memory, 2 * sizeof(*a->hosts));
    a->host_count = 2;
    a->mx = look(DNS_SECURE, true, ttl);
    make_host(a, 0, hop, "mx1.", good, ttl);
    make_host(a, 1, hop, "mx2.", good, ttl);
    switch (world) {
    case FAKE_FAILS:
        a->mx = look(DNS_FAILED, false, 0);
        a->host_count = 0;
        break;
    case FAKE_BOGUS:
        a->mx = look(DNS_BOGUS, false, 0);
        a->host_count = 0;
        break;
    case FAKE_NO_MAIL:
        a->null_mx = true;
        a->host_count = 0;
        break;
    case FAKE_ABSENT:
        make_host(a, 0, hop, "mx1.", NULL, ttl);
        make_host(a, 1, hop, "mx2.", NULL, ttl);
        break;
    case FAKE_UNUSABLE:
        make_host(a, 0, hop, "mx1.", &odd, ttl);
        make_host(a, 1, hop, "mx2.", &odd, ttl);
        break;
    case FAKE_INSECURE_MX:
        a->mx.trust = DNS_INSECURE;
        break;
    case FAKE_PARTIAL:
        make_host(a, 1, hop, "mx2.", NULL, ttl);
        break;
    case FAKE_USABLE:
        break;
    }
    return a;
}

static void put_job(struct fake *f, struct job *job) HOLDING(f->lock)
{
    struct job **at = &f->jobs;

    if (f->closed) {
        fprintf(stderr, "fake_lookup: asked after it was closed\n");
        abort();
    }
    while (*at != NULL)
        at = &(*at)->next;
    *at = job;
    signal_all(&f->changed);
}

static void fake_resolve(struct lookup *self, const struct next_hop *hop, struct landing *at)
{
    struct fake *f = (struct fake *)self;
    struct job *job = mem_zero(sizeof(*job));
    struct script *s;

    job->at = at;
    job->hop = *hop;
    next_hop_print(hop, job->key);
    mutex_lock(&f->lock);
    s = script_of(f, job->key);
    job->parked = s->parked;
    job->due = clock_ms() + s->delay_ms;
    s->searches++;
    s->open++;
    if (s->open > s->most)
        s->most = s->open;
    f->searches++;
    f->open++;
    put_job(f, job);
    mutex_unlock(&f->lock);
}

static void fake_query(struct lookup *self, const char *name, int type, struct query_landing *at)
{
    struct fake *f = (struct fake *)self;
    struct job *job = mem_zero(sizeof(*job));

    if (strcmp(name, ".") != 0 || type != DNS_TYPE_NS)
        abort();
    job->query_at = at;
    mutex_lock(&f->lock);
    f->checks++;
    put_job(f, job);
    mutex_unlock(&f->lock);
}

static void put_sts_job(struct fake *f, struct job wanted, const char *domain, bool text)
{
    struct job *job = mem_zero(sizeof(*job));
    struct script *s;

    *job = wanted;
    snprintf(job->key, sizeof(job->key), "%s", domain);
    mutex_lock(&f->lock);
    s = script_of(f, job->key);
    s->texts += text;
    s->fetches += !text;
    job->parked = text ? s->txt_parked : s->file_parked;
    put_job(f, job);
    mutex_unlock(&f->lock);
}

static void fake_records(struct lookup *self, const char *name, int type, struct records_landing *at)
{
    if (strncmp(name, "_mta-sts.", 9) != 0 || type != DNS_TYPE_TXT)
        abort();
    put_sts_job((struct fake *)self, (struct job){ .text_at = at }, name + 9, true);
}

static void fake_fetch_policy(struct lookup *self, const struct domain *domain, struct policy_landing *at)
{
    put_sts_job((struct fake *)self, (struct job){ .file_at = at }, domain->name, false);
}

static void fake_visit(struct lookup *self, const struct probe_target *target, struct probe_landing *at)
{
    struct fake *f = (struct fake *)self;
    struct job *job = mem_zero(sizeof(*job));
    struct script *s;

    job->probe_at = at;
    snprintf(job->key, sizeof(job->key), "%s", target->host.name);
    mutex_lock(&f->lock);
    s = script_of(f, job->key);
    job->parked = s->probe_parked;
    job->turn = s->probes++;
    s->probed = *target;
    s->probes_open++;
    if (s->probes_open > s->most_probes)
        s->most_probes = s->probes_open;
    put_job(f, job);
    mutex_unlock(&f->lock);
}

static void land_probe(struct probe_landing *at, enum probe_state state, struct cert_chain *chain)
{
    struct probe_sight sight = { .state = state, .chain = state == PROBE_SEEN ? chain : NULL, .address = "192.0.2.1" };

    snprintf(sight.why, sizeof(sight.why), "%s", state == PROBE_SEEN ? "" : "as the script says");
    snprintf(sight.tls, sizeof(sight.tls), "%s", state == PROBE_SEEN ? "TLSv1.3" : "");
    at->arrive(at, &sight);
}

static void land_text(struct records_landing *at, const char *id, bool fails, uint32_t ttl)
{
    struct dns_records found = { .look = look(fails ? DNS_FAILED : DNS_INSECURE, *id != '\0', ttl) };
    char words[64];

    snprintf(words + 1, sizeof(words) - 1, "v=STSv1; id=%s;", id);
    words[0] = (char)strlen(words + 1);
    if (found.look.found && !fails) {
        found.count = 1;
        found.data[0] = (const uint8_t *)words;
        found.lengths[0] = strlen(words + 1) + 1;
    }
    at->arrive(at, &found);
}

static void land_file(struct policy_landing *at, const char *body)
{
    struct policy_file file = { .state = body == NULL ? FETCH_FAILED : FETCH_GOOD, .why = "the policy host is dead",
                                .body = body, .length = body == NULL ? 0 : strlen(body) };

    at->arrive(at, &file);
}

/* The next job that may land now, taken off the list; else when to look again. */
static struct job *take_job(struct fake *f, int64_t *ret_until) HOLDING(f->lock)
{
    struct job **at, *job;

    *ret_until = clock_ms() + 60000;
    for (at = &f->jobs; (job = *at) != NULL; at = &job->next) {
        if (!f->closing && (job->parked || job->due > clock_ms())) {
            if (!job->parked && job->due < *ret_until)
                *ret_until = job->due;
            continue;
        }
        *at = job->next;
        return job;
    }
    return NULL;
}

/* Called and left with the lock held. */
static void land(struct fake *f, struct job *job) UNCHECKED
{
    struct dns_look root = look(f->root_trust, f->root_found, 3600);
    struct dns_answers *answers = NULL;
    struct script *s = job->query_at == NULL ? script_of(f, job->key) : NULL;
    enum probe_state seen = PROBE_UNREACHABLE;
    struct cert_chain *chain = NULL;
    uint32_t txt_ttl = s == NULL ? 0 : s->txt_ttl;
    char id[STS_ID_SIZE] = "";
    char *body = NULL;
    bool fails = f->closing || (s != NULL && s->txt_fails);

    if (s != NULL) {
        strcpy(id, s->sts_id);
        body = s->sts_body == NULL || f->closing ? NULL : mem_text(s->sts_body);
    }
    if (job->at != NULL) {
        answers = make_answers(job->hop.host.name, f->closing ? FAKE_FAILS : s->world, s->tlsa, s->ttl);
        if (job->hop.bracketed)
            make_alone(answers, job->hop.host.name);
        s->open--;
        f->open--;
    } else if (job->probe_at != NULL) {
        s->probes_open--;
        seen = f->closing ? PROBE_UNREACHABLE : s->probe_state;
        chain = s->chain_count == 0 ? NULL : s->chains[job->turn % s->chain_count];
    } else if (f->closing) {
        root = look(DNS_FAILED, false, 0);
    }
    f->landing++;
    mutex_unlock(&f->lock);
    if (job->at != NULL)
        job->at->arrive(job->at, answers);
    else if (job->query_at != NULL)
        job->query_at->arrive(job->query_at, &root);
    else if (job->text_at != NULL)
        land_text(job->text_at, id, fails, txt_ttl);
    else if (job->probe_at != NULL)
        land_probe(job->probe_at, seen, chain);
    else
        land_file(job->file_at, body);
    free(body);
    free(job);
    mutex_lock(&f->lock);
    f->landing--;
}

static void *fake_body(void *argument) UNCHECKED
{
    struct fake *f = argument;
    struct job *job;
    int64_t until;

    mutex_lock(&f->lock);
    for (;;) {
        job = take_job(f, &until);
        if (job != NULL)
            land(f, job);
        else if (f->closing)
            break;
        else
            signal_wait_until(&f->changed, &f->lock, until);
    }
    f->closed = true;
    mutex_unlock(&f->lock);
    return NULL;
}

static void fake_close(struct lookup *self)
{
    struct fake *f = (struct fake *)self;

    mutex_lock(&f->lock);
    f->closing = true;
    signal_all(&f->changed);
    mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
}

struct fake *fake_new(void)
{
    struct fake *f = mem_zero(sizeof(*f));

    f->face = (struct lookup){ .resolve = fake_resolve, .query = fake_query, .records = fake_records,
                              .fetch_policy = fake_fetch_policy, .probe = fake_visit, .close = fake_close };
    f->any = (struct script){ .world = FAKE_USABLE, .ttl = 3600, .txt_ttl = 300 };
    f->root_trust = DNS_SECURE;
    f->root_found = true;
    mutex_init(&f->lock);
    signal_init(&f->changed);
    thread_start(&f->thread, "fake", fake_body, f);
    return f;
}

struct lookup *fake_lookup(struct fake *f)
{
    return &f->face;
}

void fake_free(struct fake *f)
{
    struct script *s, *next;

    for (s = f->scripts; s != NULL; s = next) {
        next = s->next;
        free(s->sts_body);
        free(s);
    }
    signal_done(&f->changed);
    mutex_done(&f->lock);
    free(f);
}

#define SCRIPTED(f, hop, change)                \
    do {                                        \
        mutex_lock(&(f)->lock);                 \
        script_of(f, hop)->change;              \
        signal_all(&(f)->changed);              \
        mutex_unlock(&(f)->lock);               \
    } while (0)

void fake_says(struct fake *f, const char *hop, enum fake_world world)
{
    SCRIPTED(f, hop, world = world);
}

void fake_tlsa(struct fake *f, const char *hop, const struct dns_tlsa *record)
{
    SCRIPTED(f, hop, tlsa = record);
}

void fake_trust(struct fake *f, X509_STORE *trust)
{
    f->face.trust = trust;
}

void fake_ttl(struct fake *f, const char *hop, uint32_t seconds)
{
    SCRIPTED(f, hop, ttl = seconds);
}

void fake_delays(struct fake *f, const char *hop, int ms)
{
    SCRIPTED(f, hop, delay_ms = ms);
}

void fake_parks(struct fake *f, const char *hop)
{
    SCRIPTED(f, hop, parked = true);
}

void fake_lets_go(struct fake *f, const char *hop)
{
    struct script *s;
    struct job *job;

    mutex_lock(&f->lock);
    for (s = f->scripts; s != NULL; s = s->next)
        s->parked = s->parked && strcmp(hop, "*") != 0;
    script_of(f, hop)->parked = false;
    for (job = f->jobs; job != NULL; job = job->next) {
        if (job->at != NULL && (strcmp(hop, "*") == 0 || strcmp(job->key, hop) == 0))
            job->parked = false;
    }
    signal_all(&f->changed);
    mutex_unlock(&f->lock);
}

unsigned fake_searches(struct fake *f, const char *hop)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = strcmp(hop, "*") == 0 ? f->searches : script_of(f, hop)->searches;
    mutex_unlock(&f->lock);
    return count;
}

unsigned fake_open(struct fake *f)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = f->open;
    mutex_unlock(&f->lock);
    return count;
}

unsigned fake_most_at_once(struct fake *f, const char *hop)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = script_of(f, hop)->most;
    mutex_unlock(&f->lock);
    return count;
}

bool fake_wait_searches(struct fake *f, const char *hop, unsigned count)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (fake_searches(f, hop) < count && clock_ms() < until)
        usleep(5000);
    return fake_searches(f, hop) >= count;
}

static bool is_settled(struct fake *f)
{
    const struct job *job;
    bool settled;

    mutex_lock(&f->lock);
    settled = f->landing == 0;
    for (job = f->jobs; job != NULL; job = job->next)
        settled = settled && job->parked;
    mutex_unlock(&f->lock);
    return settled;
}

bool fake_wait_settled(struct fake *f)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (!is_settled(f) && clock_ms() < until)
        usleep(1000);
    return is_settled(f);
}

void fake_root(struct fake *f, enum dns_trust trust, bool found)
{
    mutex_lock(&f->lock);
    f->root_trust = trust;
    f->root_found = found;
    mutex_unlock(&f->lock);
}

unsigned fake_checks(struct fake *f)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = f->checks;
    mutex_unlock(&f->lock);
    return count;
}

void fake_sts(struct fake *f, const char *domain, const char *id, const char *body)
{
    struct script *s;

    mutex_lock(&f->lock);
    s = script_of(f, domain);
    snprintf(s->sts_id, sizeof(s->sts_id), "%s", id);
    free(s->sts_body);
    s->sts_body = body == NULL ? NULL : mem_text(body);
    s->txt_fails = false;
    mutex_unlock(&f->lock);
}

void fake_sts_text_fails(struct fake *f, const char *domain)
{
    mutex_lock(&f->lock);
    script_of(f, domain)->txt_fails = true;
    mutex_unlock(&f->lock);
}

unsigned fake_fetches(struct fake *f, const char *domain)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = script_of(f, domain)->fetches;
    mutex_unlock(&f->lock);
    return count;
}

unsigned fake_texts(struct fake *f, const char *domain)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = script_of(f, domain)->texts;
    mutex_unlock(&f->lock);
    return count;
}

void fake_sts_ttl(struct fake *f, const char *domain, uint32_t seconds)
{
    SCRIPTED(f, domain, txt_ttl = seconds);
}

void fake_parks_text(struct fake *f, const char *domain)
{
    SCRIPTED(f, domain, txt_parked = true);
}

void fake_parks_file(struct fake *f, const char *domain)
{
    SCRIPTED(f, domain, file_parked = true);
}

void fake_lets_sts_go(struct fake *f, const char *domain)
{
    struct script *s;
    struct job *job;

    mutex_lock(&f->lock);
    s = script_of(f, domain);
    s->txt_parked = s->file_parked = false;
    for (job = f->jobs; job != NULL; job = job->next) {
        if ((job->text_at != NULL || job->file_at != NULL) && strcmp(job->key, domain) == 0)
            job->parked = false;
    }
    signal_all(&f->changed);
    mutex_unlock(&f->lock);
}

void fake_probe(struct fake *f, const char *host, enum probe_state state, struct cert_chain *chain)
{
    struct script *s;

    mutex_lock(&f->lock);
    s = script_of(f, host);
    s->probe_state = state;
    s->chains[0] = chain;
    s->chain_count = chain != NULL;
    mutex_unlock(&f->lock);
}

void fake_probe_also(struct fake *f, const char *host, struct cert_chain *chain)
{
    struct script *s;

    mutex_lock(&f->lock);
    s = script_of(f, host);
    if (s->chain_count == FAKE_CHAINS_MAX)
        abort();
    s->chains[s->chain_count++] = chain;
    mutex_unlock(&f->lock);
}

unsigned fake_probes(struct fake *f, const char *host)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = script_of(f, host)->probes;
    mutex_unlock(&f->lock);
    return count;
}

unsigned fake_most_probes(struct fake *f, const char *host)
{
    unsigned count;

    mutex_lock(&f->lock);
    count = script_of(f, host)->most_probes;
    mutex_unlock(&f->lock);
    return count;
}

struct probe_target fake_probed(struct fake *f, const char *host)
{
    struct probe_target target;

    mutex_lock(&f->lock);
    target = script_of(f, host)->probed;
    mutex_unlock(&f->lock);
    return target;
}

bool fake_wait_probes(struct fake *f, const char *host, unsigned count)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (fake_probes(f, host) < count && clock_ms() < until)
        usleep(5000);
    return fake_probes(f, host) >= count;
}

void fake_parks_probes(struct fake *f, const char *host)
{
    SCRIPTED(f, host, probe_parked = true);
}

void fake_lets_probes_go(struct fake *f, const char *host)
{
    struct job *job;

    mutex_lock(&f->lock);
    script_of(f, host)->probe_parked = false;
    for (job = f->jobs; job != NULL; job = job->next) {
        if (job->probe_at != NULL && strcmp(job->key, host) == 0)
            job->parked = false;
    }
    signal_all(&f->changed);
    mutex_unlock(&f->lock);
}
