#include "lookup/inbox.h"

#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool inbox_open(struct inbox *in, struct fault *why)
{
    mutex_init(&in->lock);
    TAILQ_INIT(&in->jobs);
    in->closing = false;
    in->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return in->bell >= 0 || fault_set(why, "the resolver cannot start: no descriptor: %s", strerror(errno));
}

void inbox_done(struct inbox *in)
{
    if (in->bell >= 0)
        close(in->bell);
    mutex_done(&in->lock);
}

static void ring(const struct inbox *in)
{
    static const uint64_t one = 1;

    while (write(in->bell, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;                   /* EAGAIN: it has been rung 2^64 times, and is still ringing */
}

void inbox_put(struct inbox *in, struct job *job)
{
    mutex_lock(&in->lock);
    TAILQ_INSERT_TAIL(&in->jobs, job, link);
    mutex_unlock(&in->lock);
    ring(in);
}

void inbox_close(struct inbox *in)
{
    mutex_lock(&in->lock);
    in->closing = true;
    mutex_unlock(&in->lock);
    ring(in);
}

bool inbox_take(struct inbox *in, struct jobs *ret)
{
    uint64_t rung;
    ssize_t got = read(in->bell, &rung, sizeof(rung));      /* before the list: a job that comes later rings again */
    bool closing;

    (void)got;
    TAILQ_INIT(ret);
    mutex_lock(&in->lock);
    TAILQ_CONCAT(ret, &in->jobs, link);
    closing = in->closing;
    mutex_unlock(&in->lock);
    return closing;
}

void inbox_job_free(struct job *job)
{
    free(job->name);
    free(job);
}
