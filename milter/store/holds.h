#ifndef DANELAW_STORE_HOLDS_H
#define DANELAW_STORE_HOLDS_H

#include "base/domain.h"
#include "policy/hold.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How long each recipient has been refused, by connector, sender and recipient: in memory, and in the store, which has it
 * again after a restart. Any thread; `now` is clock_wall(). Addresses compare without regard to the case of ASCII letters.
 * There is a ceiling: then the clocks give way that were untouched for longest, which only puts a bounce off.
 */
struct holds;
struct arena;

enum { HOLDS_MOST = 65536, HOLDS_SLICES = 256 };

struct hold_key {
    const char *connector;
    const struct address *sender, *recipient;
};

/* A clock, to be shown. Addresses as local@domain in lower case, the null sender empty. */
struct held {
    const char *connector, *sender, *recipient;
    struct hold hold;
    uint32_t patience;                  /* the connector's at the latest refusal */
};

/* Reads what the store has; what can't be read is forgotten. store: or NULL, then there is only memory. */
struct holds *holds_open(struct store *store, size_t most, int64_t now);
/* Before store_close(), which writes what waits. NULL is welcome. */
void holds_close(struct holds *h);

/*
 * A refusal for which the clock begins or goes on. HOLD_EXPIRED: the refusal is to be permanent, and the clock is gone; of many
 * who come at once, one is told so. An address that can't be read has no clock.
 */
enum hold_state holds_note(struct holds *h, const struct hold_key *key, enum reason reason, uint32_t patience, int64_t now);
/* The recipient was accepted. Costs next to nothing while no clock runs. */
void holds_end(struct holds *h, const struct hold_key *key);

/* Forgets the clocks of a connector (or NULL: any) for a recipient (or NULL: any). Returns how many ran. */
size_t holds_forget(struct holds *h, const char *connector, const struct address *recipient, int64_t now);

/* How many run. */
size_t holds_count(struct holds *h, int64_t now);

/* A part of the clocks that run, as they stood when it was read. */
struct hold_slice {
    struct held *items;
    size_t count;
    struct arena *memory;
};

/* slice: from 0 to HOLDS_SLICES - 1. A clock stays in its slice. */
void holds_read(struct holds *h, unsigned slice, int64_t now, struct hold_slice *ret);
void hold_slice_done(struct hold_slice *s);         /* a zeroed one is welcome */

/* The clocks that run, past a daemon, right from the file below a directory. false: not all could be read. */
bool holds_peek(const char *directory, int64_t now, void (*each)(void *self, const struct held *held), void *self,
                struct fault *why);

#endif
