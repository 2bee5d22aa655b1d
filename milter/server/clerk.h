#ifndef DANELAW_SERVER_CLERK_H
#define DANELAW_SERVER_CLERK_H

#include "base/fault.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * A thread that reads from disk for the loop, so that the loop never waits for one. Long lists come a batch at a time, and
 * the next batch is only read when it is asked for; those who read at once take turns.
 */
struct clerk;
struct clerk_reading;

/* Where a list comes from. */
struct clerk_source {
    /* Appends the next items of the list, some hundred at most, and sets *ret_end behind the last; few or none may come,
       so that one look takes a moment and not a minute. false: why says what fails. Clerk's thread; may wait for a disk. */
    bool (*read)(struct clerk_source *self, json_t *into, bool *ret_end, struct fault *why);
    void (*free)(struct clerk_source *self);    /* clerk's thread or the loop's; must not wait */
    atomic_bool unwanted;                       /* by the clerk: nobody wants the rest; read is to return soon */
};

struct clerk_batch {
    struct clerk_reading *reading;
    json_t *items;                      /* ours, an array */
    bool good, end;                     /* nothing follows where it isn't good, or is the end */
    struct fault why;                   /* where it isn't good */
};

enum { CLERK_READINGS_MAX = 16 };

/* bell: an eventfd, borrowed, that is rung whenever there is something to collect. Starts the thread. */
struct clerk *clerk_open(int bell);
/* Every reading has ended. Joins the thread, which is with its last batch at most. NULL is welcome. */
void clerk_close(struct clerk *k);

/* The rest is for one thread, that of the loop. */

/* Takes source, and asks for its first batch. whose: what clerk_whose() gives. NULL: CLERK_READINGS_MAX are under way. */
struct clerk_reading *clerk_begin(struct clerk *k, struct clerk_source *source, void *whose);
void *clerk_whose(const struct clerk_reading *r);
/* Asks for the next batch; nothing happens where one is on its way. */
void clerk_more(struct clerk_reading *r);
/* Gives a batch; false: none has come. CLERK_READINGS_MAX calls give all that had come before the first of them. */
bool clerk_collect(struct clerk *k, struct clerk_batch *ret);
/* Nobody wants more. At any time. NULL is welcome. */
void clerk_end(struct clerk_reading *r);

#endif
