#ifndef DANELAW_POLICY_TLSRPT_H
#define DANELAW_POLICY_TLSRPT_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Where a domain wants to hear of TLS trouble: the TXT RRset of _smtp._tls.DOMAIN (RFC 8460 3), each record's strings
 * joined. Records that don't begin with `v=TLSRPTv1;` don't count; exactly one must be left, and be valid. Writes its
 * index. Pure.
 */
bool tlsrpt_parse(const char *const records[], const size_t lengths[], size_t count, size_t *ret_index, struct fault *why);

#endif
