#ifndef DANELAW_LOOKUP_EVALUATION_H
#define DANELAW_LOOKUP_EVALUATION_H

#include "policy/dns.h"

struct ub_ctx;

/* All that is asked about one next hop. Resolver thread only. */
struct evaluation;

struct evaluation_watch {
    /* The first answer has come: somebody out there is alive. Called at most once, before done. */
    void (*heard)(struct evaluation_watch *self);
    /* Called exactly once, maybe inside evaluation_start(); gives the answers. The evaluation is gone. */
    void (*done)(struct evaluation_watch *self, struct dns_answers *answers);
};

struct evaluation *evaluation_new(struct ub_ctx *ctx, const struct next_hop *hop, struct evaluation_watch *watch);
void evaluation_start(struct evaluation *e);
/* Ends it now: whatever has not been answered has failed for this reason. Calls done. */
void evaluation_expire(struct evaluation *e, const char *why);
/* Gives the answers of an evaluation that was never begun: all has failed. */
struct dns_answers *evaluation_refuse(const char *why);

#endif
