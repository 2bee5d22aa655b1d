#ifndef DANELAW_STORE_TRACE_SEARCH_H
#define DANELAW_STORE_TRACE_SEARCH_H

#include "store/trace.h"

#include <stdatomic.h>

/*
 * Looking through the trace, newest rows first, a batch at a time: no read stays open from one batch to the next, so that
 * who reads slowly keeps nobody from writing. One thread.
 */
struct trace_search;

/* What a row must have; NULL: any. */
struct trace_filter {
    const char *to;                     /* without regard to ASCII case */
    const char *domain;                 /* A-labels */
    const char *connector, *queue_id, *verdict;
    int64_t since_ms;                   /* wall; not older */
    uint64_t limit;                     /* at most so many rows */
};

/* Copies filter. store is borrowed; NULL: reads the file in directory, which may be nobody's. */
struct trace_search *trace_search_new(struct store *store, const char *directory, const struct trace_filter *filter);
/*
 * Gives the next rows, some hundred at most, to `row` (borrowed for the call); *ret_end: there are no more. May give none
 * before the end. unwanted: where it becomes true the batch ends; or NULL. false: why says what fails.
 */
bool trace_search_next(struct trace_search *s, const atomic_bool *unwanted,
                       void (*row)(void *self, const struct trace_row *row), void *self, bool *ret_end, struct fault *why);
void trace_search_free(struct trace_search *s);         /* NULL is welcome */

#endif
