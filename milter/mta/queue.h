#ifndef DANELAW_MTA_QUEUE_H
#define DANELAW_MTA_QUEUE_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/settings.h"

#include <stddef.h>

/* Postfix's queue as postqueue(1) and postsuper(1) know it; the texts live in the arena it was found with. */
struct queue {
    const char *postqueue, *postsuper;
    const char *config_dir;             /* "": its own default */
};

bool queue_find(const struct settings *set, struct arena *memory, struct queue *ret, struct fault *why);

struct queued_recipient {
    const char *address;
    const char *why;                    /* what Postfix says of the last attempt; "": nothing */
};

/* A message of the queue; strangers wrote its texts. */
struct queued {
    const char *id, *sender;            /* the null sender is "" */
    int64_t arrival;                    /* wall seconds */
    bool deferred;                      /* it waits for its next attempt, and is in no other queue */
    bool expired;                       /* somebody has ended it already */
    const struct queued_recipient *recipients;      /* the remaining ones */
    size_t count;
    void *memory;
};

/* One line of `postqueue -j`. false: it can't be understood, or the queue id can't be one. queued_done() ends it. */
bool queued_parse(const char *line, size_t length, struct queued *ret);
void queued_done(struct queued *m);

/* Who takes the queue, message by message, each borrowed for the call. */
struct queue_reader {
    void (*message)(struct queue_reader *self, const struct queued *m);
};

/* ret_strange: how many lines nobody could understand. */
bool queue_read(const struct queue *q, struct queue_reader *reader, size_t *ret_strange, struct fault *why);

/*
 * Has Postfix return messages of its queue `deferred` to their senders as soon as it takes them up, without another attempt
 * at delivery. ret_done[i]: so it will; false: it is in that queue no more. As root.
 */
bool queue_expire(const struct queue *q, const char *const ids[], size_t count, bool ret_done[], struct fault *why);
/* Has Postfix take a message up now. */
bool queue_attempt(const struct queue *q, const char *id, struct fault *why);

#endif
