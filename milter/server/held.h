#ifndef DANELAW_SERVER_HELD_H
#define DANELAW_SERVER_HELD_H

#include "base/fault.h"
#include "store/holds.h"

#include <jansson.h>

/*
 * The clocks of refused recipients, as items of `danelaw held`, made one at a time so that the list may be sent as slowly as it
 * is read. One thread.
 */
struct held_list;

/* Borrows holds. */
struct held_list *held_list(struct holds *holds);
/* Gives the next item; NULL: that was all. */
json_t *held_next(struct held_list *l);
void held_free(struct held_list *l);        /* NULL is welcome */

/* Forgets what a request names: one of `connector`, `to` and `all`. Writes how many ran. */
bool held_forget(struct holds *holds, const json_t *request, size_t *ret_count, struct fault *why);

#endif
