#ifndef DANELAW_BASE_HASH_H
#define DANELAW_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A keyed hash (SipHash-1-3), because strangers choose what we look up. The key is drawn once for the process. Any thread. */
uint64_t hash_bytes(const void *bytes, size_t length);
uint64_t hash_text(const char *text);

#endif
