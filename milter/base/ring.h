#ifndef DANELAW_BASE_RING_H
#define DANELAW_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lines on their way, first in, first out, in memory of a fixed size. Used by one thread at a time. */
struct ring {
    char *memory;               /* the owner's */
    size_t size, first, used;   /* octets; all but size begin with 0 */
};

/* Whether a line of this length would fit now. */
bool ring_fits(const struct ring *r, size_t length);
/* Copies a line with a kind of the caller's; it must fit. */
void ring_put(struct ring *r, uint8_t kind, const char *line, uint16_t length);
/* Takes the oldest line out, if there is one that isn't longer than size. */
bool ring_take(struct ring *r, uint8_t *ret_kind, char *ret_line, size_t size, size_t *ret_length);

#endif
