#ifndef DANELAW_STORE_OVERRIDES_H
#define DANELAW_STORE_OVERRIDES_H

#include "base/fault.h"
#include "policy/override.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Administrators' overrides by connector: in memory, which counts, and in the store, which follows and has them again after
 * a restart. One thread changes them; any may look.
 */
struct overrides;

enum { OVERRIDES_MOST = 1000 };

/* Called when more may be had by overrides_load() than at start. On the writer's thread; must not block. */
struct overrides_hook {
    void (*call)(void *self);
    void *self;
};

/* Reads what the store has, whether it is still in force or not. Never fails: see overrides_sure(). */
struct overrides *overrides_open(struct store *store, struct overrides_hook hook);
/* The hook is not called any more, once store_close() is over, too: that writes what waits. NULL is welcome. */
void overrides_close(struct overrides *o);

/* Gives a copy, free() ends it; ret_version changes with every change. */
struct override *overrides_list(struct overrides *o, size_t *ret_count, uint64_t *ret_version);
bool overrides_get(struct overrides *o, const char *connector, struct override *ret);
/* In place of whatever there was for the connector. */
bool overrides_put(struct overrides *o, const struct override *it, struct fault *why);
void overrides_drop(struct overrides *o, const char *connector);

/* false: the store could not be read, or was lost, so that some may be missing; why says so. */
bool overrides_sure(struct overrides *o, struct fault *why);
/* Reads the store if that has failed so far; what is there already is newer. */
void overrides_load(struct overrides *o);
/* Somebody who knows says that these are all there are. */
void overrides_trust(struct overrides *o);
/* Waits until the store has all of them; false: not when clock_ms() reaches until_ms. */
bool overrides_await(struct overrides *o, int64_t until_ms);

/* Those in the file in a directory, beside a daemon or without one: none where there never was a file. false: they can't be
   read, or some may be missing. Gives them, free() ends it. */
bool overrides_peek(const char *directory, struct override **ret, size_t *ret_count, struct fault *why);

#endif
