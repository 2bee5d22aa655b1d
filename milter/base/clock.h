#ifndef DANELAW_BASE_CLOCK_H
#define DANELAW_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of a clock that never jumps (CLOCK_MONOTONIC); its zero means nothing. Any thread. */
int64_t clock_ms(void);
/* Seconds since 1970. Any thread. */
time_t clock_wall(void);
/* Milliseconds since 1970. Any thread. */
int64_t clock_wall_ms(void);
/* The monotonic clock's reading as pthread_cond_clockwait and friends want it. */
struct timespec clock_spec(int64_t ms);

#endif
