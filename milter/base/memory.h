#ifndef DANELAW_BASE_MEMORY_H
#define DANELAW_BASE_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

/*
 * Memory for what has a known size. None of these return NULL: out of memory ends the process, the MTA defers, and the
 * service manager starts us again. Whatever a stranger can make grow needs a ceiling of its own before it gets here.
 */
void *mem_zero(size_t size);                            /* gives zeroed memory */
void *mem_array(size_t count, size_t size);             /* gives zeroed memory; overflow ends the process */
void *mem_grow(void *old, size_t count, size_t size);   /* takes old (or NULL), gives its larger self; the rest is not zeroed */
char *mem_text(const char *text);                       /* gives a copy */

/* As malloc(3) and realloc(3), for libraries that ask to be told who gives them memory. */
void *mem_raw(size_t size);
void *mem_raw_grow(void *old, size_t size);

/* Says so in the log, writes what is left of it and aborts; for the few allocations that libraries do for us. */
_Noreturn void mem_out(void);

/* The same for what else a process may run out of; errno says why it can't be had. */
_Noreturn void mem_lack(const char *what);

/* Scope cleanup: AUTO(free_text) char *name = ...; A NULL is left alone. */
#define AUTO(cleaner) __attribute__((cleanup(cleaner##_auto)))
#define AUTO_DEFINE(cleaner, type)                        \
    static inline void cleaner##_auto(type *victim)       \
    {                                                     \
        if (*victim != NULL)                              \
            cleaner(*victim);                             \
    }

AUTO_DEFINE(free, char *)

/* Ours no longer: gives the pointer on and leaves NULL behind for AUTO. */
#define take(pointer)                                     \
    ({                                                    \
        __typeof__(pointer) taken_ = (pointer);           \
        (pointer) = NULL;                                 \
        taken_;                                           \
    })

/* For large locals on busy ways that are written before they are read: -ftrivial-auto-var-init would clear them each time. */
#if __has_attribute(uninitialized)
#define UNCLEARED __attribute__((uninitialized))
#else
#define UNCLEARED
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
