/*
 * The resolver: one thread with a libevent loop, beside the one that libunbound runs for itself.
 *
 *   resolve(), query() ──► inbox ──► on_bell() ──► waiting ── admit() ──► evaluation ──► landed() ──► landing
 *   (any thread)                       │         newest first               ▲
 *   close() ──► inbox ─────────────────┴─► shut(): expires them all ────────┴── on_time()
 *
 * 1. libunbound's context and all evaluations belong to the resolver thread; only the inbox is shared.
 * 2. At most RUNNING_MAX evaluations are worked on. One costs about 3 ms of processor time, so a thousand are done well
 *    within the time-out, which starts with an evaluation's own look-ups: a burst may have to wait, it can't time out.
 * 3. An evaluation that has heard nothing after SILENT_MS waits for a dead server. It costs memory, but no work, so it
 *    gives up its place (up to SILENT_MAX): a thousand dead domains don't stand in the way of a healthy one.
 * 4. Who waits for a place is served newest first: under a flood the oldest have lost their askers' patience anyway, and
 *    who asks now is answered now. Past WAITING_MAX the oldest fail.
 */
#include "lookup/lookup.h"

#include "base/log.h"
#include "base/memory.h"
#include "lookup/ask.h"
#include "lookup/evaluation.h"
#include "lookup/fetch.h"
#include "lookup/https.h"
#include "lookup/inbox.h"
#include "lookup/probe.h"
#include "lookup/probe_find.h"
#include "lookup/trust.h"
#include "lookup/unbound.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unbound.h>

enum { RUNNING_MAX = 1024, SILENT_MAX = 3072, SILENT_MS = 2000, WAITING_MAX = 16384 };

/* An evaluation under way. */
struct flight {
    struct evaluation_watch watch;
    struct dns *dns;
    struct landing *at;
    struct evaluation *evaluation;
    struct event *timer;
    bool heard, silent, ticked;
    LIST_ENTRY(flight) link;
};

/* A single query under way. */
struct inquiry {
    struct ask ask;
    struct dns_look look;
    struct dns *dns;
    struct query_landing *at;       /* one of these two */
    struct records_landing *records_at;
    struct event *timer;
    LIST_ENTRY(inquiry) link;
};

struct dns {
    struct lookup face;
    struct inbox inbox;
    struct https *https;            /* these two have threads of their own */
    struct probe *probe;
    pthread_t thread;
    uint32_t timeout;               /* seconds; frozen */
    /* resolver thread only */
    struct ub_ctx *ctx;
    struct event_base *loop;
    struct event *on_bell, *on_answers;
    struct jobs waiting;            /* the newest first */
    size_t waiting_count, running, silent;
    LIST_HEAD(, flight) flights;
    LIST_HEAD(, inquiry) inquiries;
    bool shut;
    bool staffed;                   /* libunbound has its thread */
};

static const char closing_words[] = "the resolver is closing";

static void admit(struct dns *d);

static void set_timer(struct event *timer, uint32_t ms)
{
    struct timeval after = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

    if (event_add(timer, &after) != 0)
        mem_out();
}

static struct event *timer_new(struct dns *d, event_callback_fn on_time, void *argument)
{
    struct event *timer = evtimer_new(d->loop, on_time, argument);

    if (timer == NULL)
        mem_out();
    return timer;
}

static void say_late(const struct dns *d, struct fault *ret)
{
    fault_set(ret, "no answer within %u s", d->timeout);
}

/* Jobs */

static void refuse(struct job *job, const char *why)
{
    struct dns_records none = { .look = ask_failure(why) };

    if (job->at != NULL)
        job->at->arrive(job->at, evaluation_refuse(why));
    else if (job->probe_at != NULL)
        probe_refuse(job->probe_at, why);
    else if (job->query_at != NULL)
        job->query_at->arrive(job->query_at, &none.look);
    else
        job->records_at->arrive(job->records_at, &none);
    inbox_job_free(job);
}

/* Evaluations */

static void flight_free(struct flight *f)
{
    struct dns *d = f->dns;

    if (f->silent)
        d->silent--;
    else
        d->running--;
    LIST_REMOVE(f, link);
    event_free(f->timer);
    free(f);
}

static void heard(struct evaluation_watch *watch)
{
    struct flight *f = (struct flight *)watch;

    f->heard = true;
    if (!f->silent)
        return;
    f->silent = false;
    f->dns->silent--;
    f->dns->running++;
}

static void landed(struct evaluation_watch *watch, struct dns_answers *answers)
{
    struct flight *f = (struct flight *)watch;
    struct landing *at = f->at;
    struct dns *d = f->dns;

    flight_free(f);
    at->arrive(at, answers);
    admit(d);
}

static void on_time(evutil_socket_t fd, short what, void *argument)
{
    struct flight *f = argument;
    struct dns *d = f->dns;
    struct fault why;

    (void)fd;
    (void)what;
    if (f->ticked || d->timeout * 1000 <= SILENT_MS) {
        say_late(d, &why);
        evaluation_expire(f->evaluation, why.text);
        return;
    }
    f->ticked = true;
    set_timer(f->timer, d->timeout * 1000 - SILENT_MS);
    if (f->heard || d->silent == SILENT_MAX)
        return;
    f->silent = true;
    d->silent++;
    d->running--;
    admit(d);
}

static void start_flight(struct dns *d, struct job *job)
{
    struct flight *f = mem_zero(sizeof(*f));
    uint32_t ms = d->timeout * 1000;

    f->watch = (struct evaluation_watch){ .heard = heard, .done = landed };
    f->dns = d;
    f->at = job->at;
    f->timer = timer_new(d, on_time, f);
    set_timer(f->timer, ms < SILENT_MS ? ms : SILENT_MS);
    f->evaluation = evaluation_new(d->ctx, &job->hop, &f->watch);
    LIST_INSERT_HEAD(&d->flights, f, link);
    d->running++;
    inbox_job_free(job);
    evaluation_start(f->evaluation);        /* may be over already */
}

static struct job *take_waiting(struct dns *d, struct job *job)
{
    TAILQ_REMOVE(&d->waiting, job, link);
    d->waiting_count--;
    return job;
}

static void admit(struct dns *d)
{
    while (!d->shut && d->waiting_count > 0 && d->running < RUNNING_MAX)
        start_flight(d, take_waiting(d, TAILQ_FIRST(&d->waiting)));
}

static void wait_for_place(struct dns *d, struct job *job)
{
    TAILQ_INSERT_HEAD(&d->waiting, job, link);
    if (++d->waiting_count > WAITING_MAX)
        refuse(take_waiting(d, TAILQ_LAST(&d->waiting, jobs)), "too many look-ups at once");
}

/* Queries */

/* records: NULL where there is no answer. */
static void inquiry_land(struct inquiry *q, const struct ub_result *records)
{
    struct records_landing *records_at = q->records_at;
    struct query_landing *at = q->at;
    struct dns_records found = { .look = q->look };

    LIST_REMOVE(q, link);
    event_free(q->timer);
    free(q);
    if (at != NULL) {
        at->arrive(at, &found.look);
        return;
    }
    if (found.look.found)
        ask_read(records, &found);
    records_at->arrive(records_at, &found);
}

static void inquiry_answered(struct ask *self, const struct ub_result *records)
{
    inquiry_land((struct inquiry *)self, records);
}

static void on_inquiry_time(evutil_socket_t fd, short what, void *argument)
{
    struct inquiry *q = argument;
    struct fault why;

    (void)fd;
    (void)what;
    say_late(q->dns, &why);
    ask_drop(&q->ask, why.text);
    inquiry_land(q, NULL);
}

static void start_inquiry(struct dns *d, struct job *job)
{
    struct inquiry *q = mem_zero(sizeof(*q));

    q->ask = (struct ask){ .ctx = d->ctx, .look = &q->look, .answered = inquiry_answered };
    q->dns = d;
    q->at = job->query_at;
    q->records_at = job->records_at;
    q->timer = timer_new(d, on_inquiry_time, q);
    set_timer(q->timer, d->timeout * 1000);
    LIST_INSERT_HEAD(&d->inquiries, q, link);
    ask_send(&q->ask, job->name, job->type);
    inbox_job_free(job);
    if (!q->ask.open)
        inquiry_land(q, NULL);
}

/* Visits */

static void start_visit(struct dns *d, struct job *job)
{
    probe_find(&d->face, d->probe, &job->target, job->probe_at);
    inbox_job_free(job);
}

/* The loop */

static void take_in(struct dns *d, struct job *job)
{
    if (d->shut)
        refuse(job, closing_words);
    else if (job->probe_at != NULL)
        start_visit(d, job);
    else if (job->at == NULL)
        start_inquiry(d, job);
    else
        wait_for_place(d, job);
}

/* Returns how many there were. */
static size_t take_all_in(struct dns *d, bool *closing)
{
    struct jobs jobs;
    struct job *job;
    size_t count = 0;

    *closing = inbox_take(&d->inbox, &jobs);
    for (; (job = TAILQ_FIRST(&jobs)) != NULL; count++) {
        TAILQ_REMOVE(&jobs, job, link);
        take_in(d, job);
    }
    return count;
}

/* Lets everything arrive, also what landings ask for meanwhile. */
static void shut(struct dns *d)
{
    struct inquiry *q;
    bool closing;

    d->shut = true;
    while (!LIST_EMPTY(&d->flights))
        evaluation_expire(LIST_FIRST(&d->flights)->evaluation, closing_words);
    while ((q = LIST_FIRST(&d->inquiries)) != NULL) {
        ask_drop(&q->ask, closing_words);
        inquiry_land(q, NULL);
    }
    while (d->waiting_count > 0)
        refuse(take_waiting(d, TAILQ_FIRST(&d->waiting)), closing_words);
    while (take_all_in(d, &closing) > 0)
        continue;
    event_base_loopbreak(d->loop);
}

/* How many threads bear our own's name; SIZE_MAX: nobody can tell. */
static size_t count_namesakes(void)
{
    DIR *folder = opendir("/proc/self/task");
    char path[300], own[32] = "", name[32] = "";
    struct dirent *entry;
    size_t count = 0;

    if (folder == NULL || pthread_getname_np(pthread_self(), own, sizeof(own)) != 0) {
        if (folder != NULL)
            closedir(folder);
        return SIZE_MAX;
    }
    while ((entry = readdir(folder)) != NULL) {
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "re");
        if (file == NULL) {
            count += errno != ENOENT;   /* no descriptor is free, say: it may be one */
            continue;
        }
        count += fgets(name, sizeof(name), file) != NULL && strncmp(name, own, strcspn(name, "\n")) == 0;
        fclose(file);
    }
    closedir(folder);
    return count;
}

/*
 * libunbound starts its thread with the first query, and does not look whether it came to be: without one, nothing would ever
 * be answered. It inherits our thread's name.
 */
static void check_staff(struct dns *d)
{
    d->staffed = true;
    if (count_namesakes() >= 2)
        return;
    errno = EAGAIN;
    mem_lack("a thread for libunbound");
}

static void on_bell(evutil_socket_t fd, short what, void *argument)
{
    struct dns *d = argument;
    bool closing;

    (void)fd;
    (void)what;
    take_all_in(d, &closing);
    if (closing)
        shut(d);
    else
        admit(d);
    if (!d->staffed && (!LIST_EMPTY(&d->flights) || !LIST_EMPTY(&d->inquiries)))
        check_staff(d);
}

static void on_answers(evutil_socket_t fd, short what, void *argument)
{
    struct dns *d = argument;
    int code = ub_process(d->ctx);

    (void)fd;
    (void)what;
    if (code != 0)
        ask_give_up(code);
}

static void *run(void *argument)
{
    struct dns *d = argument;

    event_base_dispatch(d->loop);
    unbound_close(d->ctx);
    d->ctx = NULL;
    return NULL;
}

/* The face */

static void face_resolve(struct lookup *self, const struct next_hop *hop, struct landing *at)
{
    struct job *job = mem_zero(sizeof(*job));

    job->hop = *hop;
    job->at = at;
    inbox_put(&((struct dns *)self)->inbox, job);
}

static void face_query(struct lookup *self, const char *name, int type, struct query_landing *at)
{
    struct job *job = mem_zero(sizeof(*job));

    job->name = mem_text(name);
    job->type = type;
    job->query_at = at;
    inbox_put(&((struct dns *)self)->inbox, job);
}

static void face_records(struct lookup *self, const char *name, int type, struct records_landing *at)
{
    struct job *job = mem_zero(sizeof(*job));

    job->name = mem_text(name);
    job->type = type;
    job->records_at = at;
    inbox_put(&((struct dns *)self)->inbox, job);
}

static void face_fetch_policy(struct lookup *self, const struct domain *policy_domain, struct policy_landing *at)
{
    fetch_start(self, ((struct dns *)self)->https, policy_domain, at);
}

static void face_probe(struct lookup *self, const struct probe_target *target, struct probe_landing *at)
{
    struct job *job = mem_zero(sizeof(*job));

    job->target = *target;
    job->probe_at = at;
    inbox_put(&((struct dns *)self)->inbox, job);
}

static void dns_free(struct dns *d)
{
    if (d->on_bell != NULL)
        event_free(d->on_bell);
    if (d->on_answers != NULL)
        event_free(d->on_answers);
    if (d->loop != NULL)
        event_base_free(d->loop);
    unbound_close(d->ctx);
    probe_free(d->probe);
    X509_STORE_free(d->face.trust);
    inbox_done(&d->inbox);
    free(d);
}

static void face_close(struct lookup *self)
{
    struct dns *d = (struct dns *)self;

    probe_shut(d->probe);           /* first: who is told now may still ask DNS once more */
    https_shut(d->https);
    inbox_close(&d->inbox);
    pthread_join(d->thread, NULL);
    https_free(d->https);
    dns_free(d);
}

static bool make_loop(struct dns *d, struct fault *why)
{
    d->loop = event_base_new();
    if (d->loop == NULL)
        return fault_set(why, "the resolver cannot start: no event loop: %s", strerror(errno));
    d->on_bell = event_new(d->loop, d->inbox.bell, EV_READ | EV_PERSIST, on_bell, d);
    d->on_answers = event_new(d->loop, ub_fd(d->ctx), EV_READ | EV_PERSIST, on_answers, d);
    if (d->on_bell == NULL || d->on_answers == NULL)
        mem_out();
    return (event_add(d->on_bell, NULL) == 0 && event_add(d->on_answers, NULL) == 0) ||
           fault_set(why, "the resolver cannot watch its descriptors: %s", strerror(errno));
}

/* Without authorities everything else still works; what only they could vouch for is held. */
static X509_STORE *open_trust(const struct settings *set)
{
    X509_STORE *trust;
    struct fault why;

    if (trust_open(set->sts.ca_file, &trust, &why))
        return trust;
    log_warning("%s; no certificate of a mail host can be checked by its authority", why.text);
    return NULL;
}

bool dns_open(const struct settings *set, struct lookup **ret, struct fault *why)
{
    struct dns *d = mem_zero(sizeof(*d));

    d->face = (struct lookup){ .resolve = face_resolve, .query = face_query, .records = face_records,
                              .fetch_policy = face_fetch_policy, .probe = face_probe, .close = face_close };
    d->timeout = set->resolver.timeout;
    TAILQ_INIT(&d->waiting);
    if (!inbox_open(&d->inbox, why) || !unbound_open(set, &d->ctx, why) || !probe_open(set, &d->probe, why) ||
        !make_loop(d, why)) {
        dns_free(d);
        return false;
    }
    d->https = https_new(set);
    d->face.trust = open_trust(set);
    thread_start(&d->thread, "resolver", run, d);
    *ret = &d->face;
    return true;
}
