#ifndef DANELAW_POLICY_CERT_CHAIN_H
#define DANELAW_POLICY_CERT_CHAIN_H

#include "base/fault.h"
#include "policy/dns.h"

#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The certificates that a mail host shows, and what they prove. All pure: the clock comes in as a value. */

enum { CERT_CHAIN_CERTIFICATES_MAX = 10, CERT_CHAIN_OCTETS_MAX = 64 * 1024, CERT_CHAIN_FINGERPRINT = 32 };

/* A chain in DER, the host's own certificate first. Frozen; counted. */
struct cert_chain {
    size_t count;
    const uint8_t *const *certificates;
    const size_t *lengths;
    uint8_t fingerprint[CERT_CHAIN_FINGERPRINT];     /* SHA-256 of the first, whole */
    int64_t not_before, not_after;              /* of the first, wall seconds; 0: can't be read */
    atomic_uint users;
};

/* Copies the certificates. false: none, too many, too large, or the first is none. Gives a chain with one user. */
bool cert_chain_new(const uint8_t *const certificates[], const size_t lengths[], size_t count, struct cert_chain **ret,
                    struct fault *why);
struct cert_chain *cert_chain_ref(struct cert_chain *c);
void cert_chain_unref(struct cert_chain *c);              /* NULL is welcome */
/* Of all certificates together. */
size_t cert_chain_octets(const struct cert_chain *c);

/* What a host must prove by DANE, and by which names. */
struct cert_chain_demand {
    const struct dns_tlsa *records;             /* usable ones */
    size_t count;
    const char *base;                           /* TLSA base domain */
    const char *const *names;                   /* more for usage 2: the MX host, the next-hop domain (RFC 7672 3.2.2) */
    size_t name_count;
};

/*
 * Whether some record authenticates the chain (RFC 7671, RFC 7672 3.1), by OpenSSL's own DANE verification. ret_matched:
 * which record, the first of equal ones. false: why says what there is instead (expired, another name, another key), for the
 * partner's administrator. Any thread.
 */
bool cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                     struct fault *why);

/*
 * Whether a certificate authority in trust vouches for the chain under one of the names (RFC 8461 4.2; RFC 6125:
 * subjectAltName only, `*.x` for one leftmost label). A name `.x` takes any host directly below x, as in tls_match. Any
 * thread: trust is only read.
 */
bool cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                     struct fault *why);

/*
 * Whether one of the records says just this fingerprint (3 0 1), so that no chain is needed. Beside a record 3 0 2 none does:
 * the stronger digest decides (RFC 7671 9), and that needs the chain. Pure.
 */
bool cert_chain_is_pinned(const struct cert_chain_demand *d, const uint8_t fingerprint[static CERT_CHAIN_FINGERPRINT],
                          size_t *ret_matched);

#endif
