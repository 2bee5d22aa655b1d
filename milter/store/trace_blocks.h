#ifndef DANELAW_STORE_TRACE_BLOCKS_H
#define DANELAW_STORE_TRACE_BLOCKS_H

#include "store/trace_marks.h"
#include "store/writer.h"

/*
 * How many rows the trace has, and which runs of them a search needn't look at. Inside the room, for jobs, on the writer's
 * thread, in the transaction that changes the rows. false: w knows why; then the transaction is to be undone.
 */
enum { TRACE_BLOCK = 1024 };                /* rows of a block; those of a moment that is over may make it twice as many */

/* Zeroed to begin with; whose it is looks before all else. */
struct trace_blocks {
    uint64_t change;                        /* the writer's, for which all this is true */
    int64_t counted, upto;                  /* as trace_size has them */
    /* The rows behind upto, of which the next block will be */
    size_t open;
    int64_t first, last;
    uint8_t marks[TRACE_MARKS_SIZE];
};

/* Learns what is in the file where that may have changed. */
bool trace_blocks_look(struct trace_blocks *b, struct writer *w);
/* A row with that key has been written. */
bool trace_blocks_add(struct trace_blocks *b, struct writer *w, int64_t at, const struct trace_keys *keys);
int64_t trace_blocks_rows(const struct trace_blocks *b);
/* Deletes the oldest rows before a time, at most `most` of them (1 or more); *ret_more: there may be more. */
bool trace_blocks_trim(struct trace_blocks *b, struct writer *w, int64_t before, int64_t most, bool *ret_more);
/* Makes a block of rows that have none; *ret_more: there may be more. */
bool trace_blocks_cover(struct writer *w, bool *ret_more);

#endif
