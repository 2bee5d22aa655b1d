#ifndef DANELAW_POLICY_HOLD_H
#define DANELAW_POLICY_HOLD_H

#include <stdbool.h>
#include <stdint.h>

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
