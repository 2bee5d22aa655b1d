#ifndef DANELAW_STORE_CHAINS_H
#define DANELAW_STORE_CHAINS_H

#include "base/domain.h"
#include "base/fault.h"
#include "policy/cert_chain.h"

/*
 * Certificate chains by the SHA-256 of their first certificate; and who fetches one. One fetch at a time for each
 * certificate of each host, however many ask; that one could not be had is remembered for a while. Any thread; all times are
 * clock_ms().
 */
struct chains;

/* What is fetched: a host at an address, and the certificate it showed somebody else. */
struct chain_key {
    struct domain host;
    uint16_t port;
    char address[64];                                   /* as text; "": any of its addresses */
    uint8_t fingerprint[CERT_CHAIN_FINGERPRINT];        /* all zero: any of its certificates */
};

enum chain_seat {
    CHAIN_FIRST,                /* nobody fetches it yet: the caller must, and land it */
    CHAIN_JOINED,               /* somebody does */
    CHAIN_SERVED,               /* it is there */
    CHAIN_MISSING,              /* it could not be had lately */
    CHAIN_REFUSED,              /* too many are being fetched */
};

/* Called once, with no lock held, on the thread that lands it. found is borrowed, or NULL: it can't be had, and why says so. */
struct chain_waiter {
    void (*wake)(struct chain_waiter *self, struct cert_chain *found, const char *why);
    struct chain_waiter *next;
};

/* At most so many chains, of so many octets in all; those not asked for the longest go first. */
struct chains *chains_new(size_t entries, size_t octets);
void chains_free(struct chains *m);             /* all fetches must have landed; NULL is welcome */

/*
 * w, where not NULL, waits with the fetch where the seat is FIRST or JOINED. A chain kept before not_before is not good enough.
 * SERVED gives a reference in *ret_found; MISSING says in ret_why what went wrong.
 */
enum chain_seat chains_join(struct chains *m, const struct chain_key *key, struct chain_waiter *w, int64_t not_before,
                            int64_t now, struct cert_chain **ret_found, struct fault *ret_why);
/* Ends a fetch and wakes all waiters with found (borrowed, and not kept), or NULL. No other begins before retry_at. */
void chains_land(struct chains *m, const struct chain_key *key, struct cert_chain *found, const char *why, int64_t retry_at);

/* Keeps a chain, whoever asked for it. Shares it. */
void chains_keep(struct chains *m, struct cert_chain *chain, int64_t now);
/* Gives a reference, or NULL; as chains_join() has it, but without a fetch. */
struct cert_chain *chains_find(struct chains *m, const uint8_t fingerprint[static CERT_CHAIN_FINGERPRINT], int64_t not_before);

struct chains_status {
    size_t entries, octets, fetching, missing;
};

void chains_status(struct chains *m, struct chains_status *ret);

#endif
