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
