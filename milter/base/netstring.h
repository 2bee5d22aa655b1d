#ifndef DANELAW_BASE_NETSTRING_H
#define DANELAW_BASE_NETSTRING_H

#include <stddef.h>

enum netstring_state { NETSTRING_BROKEN = 0, NETSTRING_PARTIAL, NETSTRING_WHOLE };

/*
 * `11:postfix-tls,` at the start of bytes. WHOLE: *ret_at and *ret_length say where the payload lies, *ret_used how much
 * the netstring takes in all. A payload over most octets, a leading zero or a missing comma is BROKEN as soon as it shows.
 */
enum netstring_state netstring_read(const char *bytes, size_t length, size_t most, const char **ret_at, size_t *ret_length,
                                    size_t *ret_used);

#endif
