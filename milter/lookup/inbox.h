#ifndef DANELAW_LOOKUP_INBOX_H
#define DANELAW_LOOKUP_INBOX_H

#include "base/thread.h"
#include "lookup/lookup.h"

#include <sys/queue.h>

/* What was asked of the resolver: a next hop, one RRset, or a visit, which it hands on. */
struct job {
    TAILQ_ENTRY(job) link;
    struct landing *at;             /* one of these four */
    struct query_landing *query_at;
    struct records_landing *records_at;
    struct probe_landing *probe_at;
    struct next_hop hop;
    struct probe_target target;
    char *name;
    int type;
};

TAILQ_HEAD(jobs, job);

/* Where any thread leaves jobs for the resolver thread. */
struct inbox {
    struct mutex lock;
    struct jobs jobs GUARDED_BY(lock);
    bool closing GUARDED_BY(lock);
    int bell;                       /* an eventfd, readable while there is something to take */
};

bool inbox_open(struct inbox *in, struct fault *why);
void inbox_done(struct inbox *in);                          /* the jobs are all taken */
void inbox_put(struct inbox *in, struct job *job);          /* takes job; any thread */
void inbox_close(struct inbox *in);                         /* rings a last time; any thread */
/* Resolver thread: gives all jobs in the order they came; true: the inbox is closing. Jobs may come even then. */
bool inbox_take(struct inbox *in, struct jobs *ret);
void inbox_job_free(struct job *job);

#endif
