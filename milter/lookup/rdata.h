#ifndef DANELAW_LOOKUP_RDATA_H
#define DANELAW_LOOKUP_RDATA_H

#include "base/domain.h"
#include "policy/dns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reads the record data that strangers publish. Pure; nothing is believed about a length, and nothing past it is touched.
 */

/* What a name in wire form turned out to be. */
enum rdata_name { RDATA_NAME_BAD = 0, RDATA_NAME_ROOT, RDATA_NAME_HOST };

struct rdata_mx {
    uint16_t preference;
    struct domain host;         /* empty: the root, "no mail here" (RFC 7505) */
};

/*
 * A whole, uncompressed name (RFC 1035 3.1) that takes up all of the bytes. Bad: compressed, cut short, too long, followed
 * by more, or no host name (its labels have letters, digits, hyphens and underscores only). ret is set for hosts alone.
 */
enum rdata_name rdata_name(const uint8_t *bytes, size_t length, struct domain *ret);
/* RFC 1035 3.3.9; false: cut short, or the exchange is no host name. */
bool rdata_mx(const uint8_t *bytes, size_t length, struct rdata_mx *ret);
/* By preference, then name; of a host that is listed twice the lowest preference stays. Returns how many are left. */
size_t rdata_mx_sort(struct rdata_mx *list, size_t count);
/* RFC 6698 2.1; ret->data points into bytes. False: cut short, or more data than DNS_TLSA_DATA_MAX. */
bool rdata_tlsa(const uint8_t *bytes, size_t length, struct dns_tlsa *ret);

#endif
