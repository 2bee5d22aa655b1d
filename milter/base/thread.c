#include "base/thread.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <signal.h>

enum { STACK = 8 * 1024 * 1024 };       /* of which only what is used takes memory */

void mutex_init(struct mutex *m)
{
    pthread_mutex_init(&m->raw, NULL);
}

void mutex_done(struct mutex *m)
{
    pthread_mutex_destroy(&m->raw);
}

void mutex_lock(struct mutex *m) UNCHECKED
{
    pthread_mutex_lock(&m->raw);
}

void mutex_unlock(struct mutex *m) UNCHECKED
{
    pthread_mutex_unlock(&m->raw);
}

void signal_init(struct signal *s)
{
    pthread_condattr_t how;

    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(&s->raw, &how);
    pthread_condattr_destroy(&how);
}

void signal_done(struct signal *s)
{
    pthread_cond_destroy(&s->raw);
}

void signal_one(struct signal *s)
{
    pthread_cond_signal(&s->raw);
}

void signal_all(struct signal *s)
{
    pthread_cond_broadcast(&s->raw);
}

void signal_wait(struct signal *s, struct mutex *m)
{
    pthread_cond_wait(&s->raw, &m->raw);
}

bool signal_wait_until(struct signal *s, struct mutex *m, int64_t until_ms)
{
    struct timespec until = clock_spec(until_ms);

    return pthread_cond_timedwait(&s->raw, &m->raw, &until) != ETIMEDOUT;
}

void thread_start(pthread_t *ret, const char *name, void *(*body)(void *), void *argument)
{
    sigset_t all, before;
    pthread_attr_t how;

    pthread_attr_init(&how);
    pthread_attr_setstacksize(&how, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(ret, &how, body, argument);
    if (errno != 0)
        mem_lack("another thread");
    pthread_attr_destroy(&how);
    pthread_setname_np(*ret, name);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
