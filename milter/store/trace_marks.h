#ifndef DANELAW_STORE_TRACE_MARKS_H
#define DANELAW_STORE_TRACE_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a run of rows of the trace has, in a few octets: a Bloom filter over what can be searched for. It may say that
 * something is there which is not, never the opposite. It is kept in the file, so that each process has to see the same in
 * it: what a mark is only changes with the schema. Inside the room; pure.
 */
enum { TRACE_MARKS_SIZE = 4000 };           /* octets: a row with so many still fits a page of the file */

/* What can be searched for, in the order of TRACE_KEY_COLUMNS. */
enum trace_key { TRACE_QUEUE_ID, TRACE_RECIPIENT, TRACE_DOMAIN, TRACE_CONNECTOR, TRACE_VERDICT };
enum { TRACE_KEYS = TRACE_VERDICT + 1, TRACE_TOKENS = TRACE_KEYS + 3 };
#define TRACE_KEY_COLUMNS "queue_id, recipient, domain, connector, verdict"

/* Of a row, or wanted of rows; NULL: none, or any. */
struct trace_keys {
    const char *of[TRACE_KEYS];
};

/* Writes what keys leave in marks, returns how much that is. A row that has all that is wanted has its tokens, too. */
size_t trace_marks_tokens(const struct trace_keys *keys, uint64_t ret[TRACE_TOKENS]);
void trace_marks_add(uint8_t marks[TRACE_MARKS_SIZE], const struct trace_keys *keys);
/* false: none of the rows has all of the tokens. */
bool trace_marks_may_have(const uint8_t marks[TRACE_MARKS_SIZE], const uint64_t *tokens, size_t count);

/* The domain of an address or a next hop in lower case (`u@D`, `D:587`, `[D]:587`) to ret, which has room for as much as to;
   returns its length. */
size_t trace_marks_domain(const char *to, char *ret);

#endif
