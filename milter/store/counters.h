#ifndef DANELAW_STORE_COUNTERS_H
#define DANELAW_STORE_COUNTERS_H

#include "policy/terms.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How often what was decided, and how long evidence took to be found, since the start. Any thread; counting takes no lock
 * but for a connector's first time. NULL is welcome: then nothing is counted.
 */
struct counters;

enum {
    COUNTERS_WHERES = WHERE_SWEEP + 1,
    COUNTERS_VERDICTS = VERDICT_DELIVER + 1,
    COUNTERS_REASONS = REASON_TLS_REQUIRED + 1,
    COUNTERS_STEPS = 12,                /* a duration is at most one of so many, or longer */
};

#define COUNTERS_OTHERS "(others)"

/* What an administrator's graph tells apart. */
enum counted_search { COUNTED_DANE = 0, COUNTED_STS_POLICY };
enum { COUNTED_SEARCHES = COUNTED_STS_POLICY + 1 };

/* Of each kind so many connectors are counted by name; those who come later are counted together, as COUNTERS_OTHERS. */
struct counters *counters_new(size_t connectors);
void counters_free(struct counters *c);

/* One decision, by the connector's name, so that its count outlives a reload. shadow: of a connector in test mode. */
void counters_decided(struct counters *c, const char *connector, bool shadow, enum where where, enum verdict verdict,
                      enum reason reason);
void counters_took(struct counters *c, enum counted_search what, int64_t took_ms);

/* What was counted once or more often, connector by connector. connector is borrowed, and lives as long as c. */
struct counted {
    const char *connector;
    enum where where;
    enum verdict verdict;
    enum reason reason;
    uint64_t count;
};

void counters_each(const struct counters *c, bool shadow, void (*each)(void *self, const struct counted *one), void *self);

struct counted_times {
    uint64_t steps[COUNTERS_STEPS + 1]; /* how many took so long, and no shorter step; the last: longer than all steps */
    uint64_t sum_ms;
};

/* How long a step is at most, milliseconds; step < COUNTERS_STEPS. */
int64_t counters_step_ms(size_t step);
void counters_times(const struct counters *c, enum counted_search what, struct counted_times *ret);

#endif
