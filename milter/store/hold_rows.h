#ifndef DANELAW_STORE_HOLD_ROWS_H
#define DANELAW_STORE_HOLD_ROWS_H

#include "store/holds.h"

/* A clock as a row of the store's table. Inside the room. */
struct writer;

/* For jobs, on the writer's thread. */
bool hold_rows_write(struct writer *w, const struct held *h);
bool hold_rows_delete(struct writer *w, const char *connector, const char *sender, const char *recipient);
bool hold_rows_delete_all(struct writer *w);

/* The query that gives each row of a clock, those first that were touched last. good borrows what it is given; rows that can't
 * be one are passed over. */
struct hold_reading {
    struct store_query query;
    void (*good)(void *self, const struct held *h);
    void *self;
    size_t passed_over;
};

struct hold_reading hold_rows_reading(void (*good)(void *self, const struct held *h), void *self);

#endif
