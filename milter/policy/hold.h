#ifndef DANELAW_POLICY_HOLD_H
#define DANELAW_POLICY_HOLD_H

#include "policy/connector.h"

#include <stdbool.h>
#include <stdint.h>

/* Whom a held recipient would be refused to. */
enum audience {
    AUDIENCE_CLIENT = 0,        /* another host: it has a queue of its own, and tries again */
    AUDIENCE_QUEUED,            /* one that sees its mail queued: it has authenticated, or is in milter.queue_clients */
    AUDIENCE_NOBODY,            /* the MTA's own mail: there is nobody whom a reply would reach */
};

/* Whether a recipient that the connector holds is refused; else it is accepted, and the road holds it. Pure. */
bool hold_refuses(const struct connector *c, enum audience who);

enum hold_state { HOLD_RUNNING = 0, HOLD_EXPIRED };

/* How long a recipient has been refused. All times in seconds of the wall clock, so that they outlive a restart. Zeroed:
 * not at all yet. */
struct hold {
    int64_t since, last;        /* the first and the latest refusal */
    uint32_t attempts;          /* refusals; stays at its highest number */
    enum reason reason;         /* of the latest */
};

/* One more refusal. The clock begins, goes on, or begins anew: where it was left alone for longer than hold_gap(), or
 * where the wall clock was set back behind its beginning. Pure. */
void hold_note(struct hold *h, enum reason reason, uint32_t patience, int64_t now);
/* Whether the recipient has been refused for all of `patience` (seconds). `internal` is our own fault, and never is. Pure. */
enum hold_state hold_judge(const struct hold *h, uint32_t patience, int64_t now);
/* For how many seconds a clock goes on by itself: a quarter of patience, from 1 s to 6 h. Pure. */
int64_t hold_gap(uint32_t patience);
/* Whether the next refusal would begin anew. Pure. */
bool hold_is_over(const struct hold *h, uint32_t patience, int64_t now);

/* How long a connector has held, to tell when its fallback road is taken and left. All times in milliseconds. */
struct hold_clock {
    bool holding;               /* since `since`, with no delivery in between */
    bool fallen_back;
    int64_t since, last;        /* the first and the latest hold */
};

/* A decision of the connector: it held for a lasting reason, or it did not. Pure. */
void hold_clock_note(struct hold_clock *c, bool held, int64_t now);
/* Whether the fallback road is to be taken: after `patience` of holding, until as long (and at least as long) has passed
 * without a hold. Silence doesn't end a hold, but keeps nobody on the fallback road. Pure. */
bool hold_clock_falls_back(struct hold_clock *c, int64_t patience, int64_t now);

#endif
