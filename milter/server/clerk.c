/*
 * A reading's life; all of it is guarded by the lock:
 *
 *   FREE --clerk_begin()--> QUEUED --the clerk takes it--> AT_WORK --> DONE --clerk_collect()--> RESTING
 *                             ^                                                                     |
 *                             '-------------------------------clerk_more()--------------------------'
 *   clerk_end(): FREE; where the clerk is AT_WORK, it becomes LEFT, and the clerk frees it behind its batch.
 *
 * 1. A source is touched by the clerk alone while it is AT_WORK or LEFT, and by nobody while the lock is held.
 * 2. QUEUED ones get a batch each in turn, and so do those that are DONE, so that a long search keeps a short one waiting
 *    for a batch, not for its end.
 */
#include "server/clerk.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum reading_state { READING_FREE = 0, READING_QUEUED, READING_AT_WORK, READING_LEFT, READING_DONE, READING_RESTING };

struct clerk_reading {
    struct clerk *clerk;
    struct clerk_source *source;
    void *whose;
    enum reading_state state;           /* guarded by the clerk's lock */
    struct clerk_batch batch;           /* DONE */
};

struct clerk {
    int bell;
    pthread_t thread;
    struct mutex lock;
    struct signal work;
    struct clerk_reading readings[CLERK_READINGS_MAX] GUARDED_BY(lock);
    size_t next GUARDED_BY(lock), next_done GUARDED_BY(lock);       /* whose turn it is */
    bool stopping GUARDED_BY(lock);
};

/* The first in that state from *turn on, which moves behind it; NULL: there is none. */
static struct clerk_reading *in_turn_locked(struct clerk *k, enum reading_state state, size_t *turn) HOLDING(k->lock)
{
    size_t i;

    for (i = 0; i < CLERK_READINGS_MAX; i++) {
        struct clerk_reading *r = &k->readings[(*turn + i) % CLERK_READINGS_MAX];

        if (r->state == state) {
            *turn = (*turn + i + 1) % CLERK_READINGS_MAX;
            return r;
        }
    }
    return NULL;
}

static struct clerk_reading *await_work(struct clerk *k)
{
    struct clerk_reading *r = NULL;

    mutex_lock(&k->lock);
    while (!k->stopping && (r = in_turn_locked(k, READING_QUEUED, &k->next)) == NULL)
        signal_wait(&k->work, &k->lock);
    if (r != NULL)
        r->state = READING_AT_WORK;
    mutex_unlock(&k->lock);
    return r;
}

static void ring(const struct clerk *k)
{
    uint64_t one = 1;

    if (write(k->bell, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("control: cannot wake the loop: %s", strerror(errno));
}

static void read_batch(struct clerk *k, struct clerk_reading *r)
{
    struct clerk_batch batch = { .reading = r, .items = json_array() };
    struct clerk_source *left = NULL;

    if (batch.items == NULL)
        mem_out();
    batch.good = r->source->read(r->source, batch.items, &batch.end, &batch.why);
    mutex_lock(&k->lock);
    if (r->state == READING_LEFT) {
        left = take(r->source);
        r->state = READING_FREE;
    } else {
        r->batch = batch;
        r->state = READING_DONE;
    }
    mutex_unlock(&k->lock);
    if (left == NULL) {
        ring(k);
        return;
    }
    json_decref(batch.items);
    left->free(left);
}

static void *clerk_body(void *argument)
{
    struct clerk *k = argument;
    struct clerk_reading *r;

    while ((r = await_work(k)) != NULL)
        read_batch(k, r);
    return NULL;
}

struct clerk *clerk_open(int bell)
{
    struct clerk *k = mem_zero(sizeof(*k));

    k->bell = bell;
    mutex_init(&k->lock);
    signal_init(&k->work);
    thread_start(&k->thread, "clerk", clerk_body, k);
    return k;
}

void clerk_close(struct clerk *k)
{
    if (k == NULL)
        return;
    mutex_lock(&k->lock);
    k->stopping = true;
    signal_all(&k->work);
    mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    signal_done(&k->work);
    mutex_done(&k->lock);
    free(k);
}

struct clerk_reading *clerk_begin(struct clerk *k, struct clerk_source *source, void *whose)
{
    struct clerk_reading *r = NULL;
    size_t i;

    mutex_lock(&k->lock);
    for (i = 0; i < CLERK_READINGS_MAX && k->readings[i].state != READING_FREE; i++)
        ;
    if (i < CLERK_READINGS_MAX) {
        r = &k->readings[i];
        *r = (struct clerk_reading){ .clerk = k, .source = source, .whose = whose, .state = READING_QUEUED };
        signal_one(&k->work);
    }
    mutex_unlock(&k->lock);
    if (r == NULL)
        source->free(source);
    return r;
}

void *clerk_whose(const struct clerk_reading *r)
{
    return r->whose;
}

void clerk_more(struct clerk_reading *r)
{
    struct clerk *k = r->clerk;

    mutex_lock(&k->lock);
    if (r->state == READING_RESTING) {
        r->state = READING_QUEUED;
        signal_one(&k->work);
    }
    mutex_unlock(&k->lock);
}

bool clerk_collect(struct clerk *k, struct clerk_batch *ret)
{
    struct clerk_reading *r;

    mutex_lock(&k->lock);
    r = in_turn_locked(k, READING_DONE, &k->next_done);
    if (r != NULL) {
        *ret = r->batch;
        r->batch.items = NULL;
        r->state = READING_RESTING;
    }
    mutex_unlock(&k->lock);
    return r != NULL;
}

void clerk_end(struct clerk_reading *r)
{
    struct clerk_source *source = NULL;
    json_t *items = NULL;
    struct clerk *k;

    if (r == NULL)
        return;
    k = r->clerk;
    mutex_lock(&k->lock);
    atomic_store(&r->source->unwanted, true);
    if (r->state == READING_AT_WORK) {
        r->state = READING_LEFT;
    } else {
        source = take(r->source);
        items = take(r->batch.items);
        r->state = READING_FREE;
    }
    mutex_unlock(&k->lock);
    json_decref(items);
    if (source != NULL)
        source->free(source);
}
