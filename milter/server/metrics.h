#ifndef DANELAW_SERVER_METRICS_H
#define DANELAW_SERVER_METRICS_H

#include "base/text.h"
#include "engine/engine.h"
#include "server/control.h"

struct event_base;
struct counters;
struct socketmap;
struct metrics;

/* What there is to tell of; all of it borrowed. */
struct metrics_sources {
    struct engine *engine;
    const struct counters *counters;
    const struct socketmap *map;                /* or NULL */
    const struct control_hooks *hooks;          /* what `danelaw status` looks at, too */
    size_t holds;                               /* how many clocks run; counted by metrics_open() bit by bit */
};

/*
 * /metrics and /healthz over HTTP. listen: as http.listen has it; "" opens nothing, and gives NULL. Takes socket, which is
 * what http_listen() gave for it, or -1: then it is tried again now and then, because mail does not wait for a port.
 * Loop thread only; listen must outlive it.
 */
struct metrics *metrics_open(struct event_base *loop, const char *listen, int socket, const struct metrics_sources *from);
void metrics_close(struct metrics *m);          /* NULL is welcome */

/* The page /metrics: Prometheus' text format 0.0.4. started: wall milliseconds. */
void metrics_print(const struct metrics_sources *from, int64_t started, struct text *ret);
/* The page /healthz, and whether all is well. */
bool metrics_health(const struct metrics_sources *from, struct text *ret);

#endif
