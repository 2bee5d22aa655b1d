#ifndef DANELAW_STORE_TRACE_H
#define DANELAW_STORE_TRACE_H

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Every decision as a row of the store, for as many days as the site wants. Any thread. It gives way to all else: what can't
 * be written is dropped and counted.
 */
struct trace;

/* Words are kept as they are spelled, so that old rows can be read for ever. NULL: nothing. */
struct trace_row {
    int64_t at;                         /* wall milliseconds */
    const char *where, *queue_id, *from, *to, *connector;
    bool shadow;
    const char *dane, *sts, *verdict, *reason, *route, *policy;
    int64_t took_ms;
};

struct trace_status {
    uint64_t written, dropped;          /* rows since the start */
    size_t waiting;
    bool paused;                        /* for want of room on the disk */
};

/* days: how long rows are kept; 0: none is written, and what is there goes. most: of what is there more than that, the oldest
   go. store is borrowed; one trace for each. */
struct trace *trace_open(struct store *store, uint64_t days, uint64_t most);
/* Before store_close(), which writes what waits. NULL is welcome. */
void trace_close(struct trace *t);
/* Copies row. Never waits for the disk. */
void trace_note(struct trace *t, const struct trace_row *row);
/* Lets the rows go that are older than the site wants, or too many; to be called every minute or so. Never waits. */
void trace_tend(struct trace *t, int64_t now_ms);
void trace_status(struct trace *t, struct trace_status *ret);

#endif
