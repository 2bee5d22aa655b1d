#ifndef DANELAW_BASE_ARENA_H
#define DANELAW_BASE_ARENA_H

#include <stddef.h>

/* Many small things with one lifetime. Used by one thread at a time. */
struct arena;

struct arena *arena_new(void);
void *arena_take(struct arena *a, size_t size);             /* zeroed, aligned for any struct of ours; never NULL */
char *arena_text(struct arena *a, const char *text);        /* a copy */
char *arena_bytes(struct arena *a, const char *bytes, size_t length); /* a copy with a NUL behind it */
void arena_free(struct arena *a);                           /* NULL is welcome */

#endif
