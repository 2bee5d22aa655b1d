/*
 * Visits and their order.
 *
 *   probe_go() ──► errand ──► place ──► ready[urgent, other] ── pick_locked() ──► run() ──► landing
 *                               ▲                                                  │
 *                               └────────── settle_locked(): another address ──────┘
 *
 * 1. Errands wait at places: one for each address. A place is either busy (a thread is there), or ready (somebody waits for
 *    it), or gone. So there is one visit at an address at a time, and a thousand errands to one host hold up no other host.
 * 2. Ready places with an urgent errand come first. A few threads are kept for these, so that silent hosts that are
 *    visited for the record don't make mail wait for their time-outs.
 * 3. An errand's time is that of its visits; waiting does not count. Of it each address may use a fair share to connect.
 * 4. `bell` is never read: once it rings, all visits end, and what waits lands without one.
 */
#include "lookup/probe.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"
#include "lookup/probe_visit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

enum { BUCKETS = 1024 };
enum class { URGENT = 0, OTHER, CLASSES };

struct errand {
    TAILQ_ENTRY(errand) link;
    struct probe_target target;
    struct probe_landing *at;
    struct sockaddr_storage addresses[PROBE_ADDRESSES_MAX];
    size_t count, next;
    int64_t left_ms;
    struct probe_sight best;        /* of the addresses that were no good; without an address: none */
};

TAILQ_HEAD(errands, errand);

struct place {
    LIST_ENTRY(place) bucket;
    TAILQ_ENTRY(place) link;
    struct sockaddr_storage address;
    struct errands errands[CLASSES];
    bool busy, ready;
    enum class class;               /* of the queue that it is in while ready; of the visit while busy */
};

TAILQ_HEAD(places, place);

struct probe {
    struct visit_manner manner;
    int bell;
    size_t limit, spare;            /* threads; those that are for urgent errands alone */
    int64_t timeout_ms;             /* frozen down to here */
    struct mutex lock;
    struct signal news;
    LIST_HEAD(, place) buckets[BUCKETS] GUARDED_BY(lock);
    struct places ready[CLASSES] GUARDED_BY(lock);
    size_t ready_count GUARDED_BY(lock), waiting[CLASSES] GUARDED_BY(lock), busy[CLASSES] GUARDED_BY(lock);
    pthread_t *threads GUARDED_BY(lock);
    size_t thread_count GUARDED_BY(lock);
    bool stop GUARDED_BY(lock);
};

static const char stop_words[] = "the daemon stops";

static void *run(void *probe);

/* Landings */

static void land(struct probe_landing *at, struct probe_sight *sight)
{
    at->arrive(at, sight);
    cert_chain_unref(sight->chain);
}

void probe_refuse(struct probe_landing *at, const char *why)
{
    struct probe_sight none = { .state = PROBE_UNREACHABLE };

    snprintf(none.why, sizeof(none.why), "%s", why);
    land(at, &none);
}

/* Places */

static size_t bucket_of(const struct sockaddr_storage *a)
{
    return hash_bytes(a, sizeof(*a)) % BUCKETS;
}

/* Addresses are zeroed past their end: see adopt(). */
static struct place *place_locked(struct probe *p, const struct sockaddr_storage *address) HOLDING(p->lock)
{
    size_t bucket = bucket_of(address);
    struct place *place;

    LIST_FOREACH(place, &p->buckets[bucket], bucket) {
        if (memcmp(&place->address, address, sizeof(*address)) == 0)
            return place;
    }
    place = mem_zero(sizeof(*place));
    place->address = *address;
    TAILQ_INIT(&place->errands[URGENT]);
    TAILQ_INIT(&place->errands[OTHER]);
    LIST_INSERT_HEAD(&p->buckets[bucket], place, bucket);
    return place;
}

static void unready_locked(struct probe *p, struct place *place) HOLDING(p->lock)
{
    if (!place->ready)
        return;
    TAILQ_REMOVE(&p->ready[place->class], place, link);
    p->ready_count--;
    place->ready = false;
}

/* Wakes a thread, or starts one. */
static void staff_locked(struct probe *p) HOLDING(p->lock)
{
    size_t idle = p->thread_count - p->busy[URGENT] - p->busy[OTHER];

    signal_one(&p->news);
    if (idle < p->ready_count && p->thread_count < p->limit)
        thread_start(&p->threads[p->thread_count++], "probe", run, p);
}

/* Whoever waits there has changed: puts the place where it belongs now, or forgets it. */
static void file_locked(struct probe *p, struct place *place) HOLDING(p->lock)
{
    enum class class = TAILQ_EMPTY(&place->errands[URGENT]) ? OTHER : URGENT;

    if (place->busy || (place->ready && place->class == class))
        return;
    unready_locked(p, place);
    if (TAILQ_EMPTY(&place->errands[class])) {
        LIST_REMOVE(place, bucket);
        free(place);
        return;
    }
    place->ready = true;
    place->class = class;
    TAILQ_INSERT_TAIL(&p->ready[class], place, link);
    p->ready_count++;
    staff_locked(p);
}

static enum class class_of(const struct errand *e)
{
    return e->target.urgent ? URGENT : OTHER;
}

static void wait_locked(struct probe *p, struct errand *e) HOLDING(p->lock)
{
    struct place *place = place_locked(p, &e->addresses[e->next]);

    TAILQ_INSERT_TAIL(&place->errands[class_of(e)], e, link);
    p->waiting[class_of(e)]++;
    file_locked(p, place);
}

/* NULL: nothing that this thread may do now. */
static struct place *pick_locked(struct probe *p, struct errand **ret) HOLDING(p->lock)
{
    bool others = p->stop || p->busy[OTHER] + p->spare < p->limit;
    struct place *place = TAILQ_FIRST(&p->ready[URGENT]);

    if (place == NULL && others)
        place = TAILQ_FIRST(&p->ready[OTHER]);
    if (place == NULL)
        return NULL;
    unready_locked(p, place);
    *ret = TAILQ_FIRST(&place->errands[place->class]);
    TAILQ_REMOVE(&place->errands[place->class], *ret, link);
    p->waiting[place->class]--;
    p->busy[place->class]++;
    place->busy = true;
    return place;
}

/* The thread is back; further: where it is to go on from, or NULL. */
static void settle_locked(struct probe *p, struct place *place, struct errand *further) HOLDING(p->lock)
{
    p->busy[place->class]--;
    place->busy = false;
    if (further != NULL)
        wait_locked(p, further);
    file_locked(p, place);
}

/* The threads */

/* true: this address is not the last word. */
static bool goes_on(const struct errand *e, const struct probe_sight *sight)
{
    return (sight->state == PROBE_UNREACHABLE || sight->state == PROBE_REFUSED) && e->next < e->count && e->left_ms > 0;
}

/* Returns the errand where it has further to go; else it has landed, and is gone. */
static struct errand *work(struct probe *p, struct errand *e)
{
    int64_t start = clock_ms(), share = e->left_ms / (int64_t)(e->count - e->next);
    struct visit_goal goal = { &e->target, &e->addresses[e->next], start + share, start + e->left_ms };
    struct probe_sight sight;
    struct visit visit;

    visit_make(&visit, &p->manner, &goal, &sight);
    e->left_ms -= clock_ms() - start;
    e->next++;
    if (e->best.address[0] == '\0' || sight.state > e->best.state)      /* the first of those that came furthest */
        e->best = sight;
    if (visit.wire.stopped || !goes_on(e, &sight)) {
        land(e->at, &e->best);              /* before we take leave: mail may wait */
        free(take(e));
    }
    visit_leave(&visit);
    return e;
}

static struct errand *drop(struct errand *e)
{
    probe_refuse(e->at, stop_words);
    free(e);
    return NULL;
}

static void *run(void *probe) UNCHECKED
{
    struct probe *p = probe;
    struct errand *e = NULL;
    struct place *place;
    bool stop;

    mutex_lock(&p->lock);
    for (;;) {
        while ((place = pick_locked(p, &e)) == NULL && !p->stop)
            signal_wait(&p->news, &p->lock);
        if (place == NULL)
            break;
        stop = p->stop;
        mutex_unlock(&p->lock);
        e = stop ? drop(e) : work(p, e);
        mutex_lock(&p->lock);
        settle_locked(p, place, e);
    }
    mutex_unlock(&p->lock);
    return NULL;
}

/* From outside */

/* Only what counts, so that the same address is the same octets. false: of no family that we speak. */
static bool adopt(const struct sockaddr_storage *from, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

    memset(ret, 0, sizeof(*ret));
    if (from->ss_family == AF_INET) {
        v4.sin_addr = ((const struct sockaddr_in *)from)->sin_addr;
        memcpy(ret, &v4, sizeof(v4));
    } else if (from->ss_family == AF_INET6) {
        v6.sin6_addr = ((const struct sockaddr_in6 *)from)->sin6_addr;
        v6.sin6_scope_id = ((const struct sockaddr_in6 *)from)->sin6_scope_id;
        memcpy(ret, &v6, sizeof(v6));
    }
    return ret->ss_family != AF_UNSPEC;
}

static struct errand *errand_new(const struct probe *p, const struct probe_target *target,
                                 const struct sockaddr_storage *addresses, size_t count, struct probe_landing *at)
{
    struct errand *e = mem_zero(sizeof(*e));
    size_t i;

    e->target = *target;
    e->at = at;
    e->left_ms = p->timeout_ms;
    for (i = 0; i < count && e->count < PROBE_ADDRESSES_MAX; i++) {
        if (adopt(&addresses[i], target->port, &e->addresses[e->count]))
            e->count++;
    }
    return e;
}

void probe_go(struct probe *p, const struct probe_target *target, const struct sockaddr_storage *addresses, size_t count,
              struct probe_landing *at)
{
    struct errand *e = errand_new(p, target, addresses, count, at);
    const char *why = NULL;

    mutex_lock(&p->lock);
    if (p->stop)
        why = stop_words;
    else if (e->count == 0)
        why = "no address to visit";
    else if (p->waiting[class_of(e)] >= PROBE_WAITING_MAX)
        why = "too many visits at once";
    else
        wait_locked(p, e);
    mutex_unlock(&p->lock);
    if (why == NULL)
        return;
    probe_refuse(at, why);
    free(e);
}

/* Our name for EHLO. A host name of one label would only be refused, so we say our address then. */
static void name_ourselves(const char *wished, char *ret, size_t size)
{
    char own[256] = "";
    struct domain d;

    if (*wished == '\0' && (gethostname(own, sizeof(own) - 1) != 0 || strchr(own, '.') == NULL))
        return;
    if (domain_parse(*wished == '\0' ? own : wished, &d, NULL))
        snprintf(ret, size, "%s", d.name);
    else
        snprintf(ret, size, "%s", wished);      /* an address literal */
}

static bool read_address(const char *spelled, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    if (*spelled == '\0')
        return true;
    if (inet_pton(AF_INET, spelled, &v4->sin_addr) == 1)
        ret->ss_family = AF_INET;
    else if (inet_pton(AF_INET6, spelled, &v6->sin6_addr) == 1)
        ret->ss_family = AF_INET6;
    return ret->ss_family != AF_UNSPEC;
}

static struct probe *probe_new(const struct settings *set)
{
    struct probe *p = mem_zero(sizeof(*p));
    enum class class;

    p->limit = set->probe.concurrency;
    p->spare = (p->limit + 2) / 4;
    p->timeout_ms = (int64_t)set->probe.timeout * 1000;
    p->threads = mem_array(p->limit, sizeof(*p->threads));
    mutex_init(&p->lock);
    signal_init(&p->news);
    for (class = URGENT; class < CLASSES; class++)
        TAILQ_INIT(&p->ready[class]);
    name_ourselves(set->probe.helo, p->manner.helo, sizeof(p->manner.helo));
    p->manner.tls = tls_new();
    if (p->manner.tls == NULL)
        mem_out();
    return p;
}

bool probe_open(const struct settings *set, struct probe **ret, struct fault *why)
{
    struct probe *p = probe_new(set);

    p->bell = p->manner.stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->bell < 0)
        fault_set(why, "no descriptor for visits to mail hosts: %s", strerror(errno));
    else if (!read_address(set->probe.bind, &p->manner.from))
        fault_set(why, "probe.bind: \"%.100s\" is no address", set->probe.bind);
    else {
        *ret = p;
        return true;
    }
    probe_free(p);
    return false;
}

void probe_shut(struct probe *p)
{
    static const uint64_t one = 1;
    size_t i, count;

    mutex_lock(&p->lock);
    p->stop = true;
    count = p->thread_count;                /* no more will be started */
    signal_all(&p->news);
    mutex_unlock(&p->lock);
    while (write(p->bell, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
    for (i = 0; i < count; i++)
        pthread_join(p->threads[i], NULL);
}

void probe_free(struct probe *p)
{
    if (p == NULL)
        return;
    if (p->bell >= 0)
        close(p->bell);
    SSL_CTX_free(p->manner.tls);
    signal_done(&p->news);
    mutex_done(&p->lock);
    free(p->threads);
    free(p);
}
