#ifndef DANELAW_POLICY_VISIT_H
#define DANELAW_POLICY_VISIT_H

#include "policy/cert_chain.h"
#include "policy/connector.h"
#include "policy/evidence.h"

/*
 * What a visit to a mail host proves, and what visits to all hosts of a next hop come to. All pure.
 */

/* How far a visit came. */
enum visit_state {
    VISIT_NONE = 0,             /* nobody was there yet */
    VISIT_UNREACHABLE,          /* no address, no connection, no time, garbage */
    VISIT_REFUSED,              /* the host did not want to talk then */
    VISIT_TLS_FAILED,           /* STARTTLS began, but the handshake came to no end */
    VISIT_NO_STARTTLS,
    VISIT_SEEN,                 /* its certificates were seen */
};

enum { VISIT_STATES = VISIT_SEEN + 1 };

const char *visit_word(enum visit_state s);

struct visit {
    enum visit_state state;
    char why[192];              /* unless seen */
    char address[64];           /* that was visited; "": none */
    char tls[16];               /* as `TLSv1.3`; "" unless seen */
    int64_t not_after;          /* of the host's own certificate, wall seconds; 0: none was seen */
    struct cert_chain *chain;   /* a reference of whoever owns the visit, or NULL */
};

/* What a host has to show for its mail to be authenticated. */
enum visit_proof {
    PROOF_NONE = 0,             /* nothing */
    PROOF_TLS,                  /* STARTTLS, by the connector's floor */
    PROOF_DANE,                 /* a certificate that fits its TLSA records */
    PROOF_STS,                  /* one that an authority vouches for, under the host's name (RFC 8461 4.2) */
    PROOF_NAMES,                /* one that an authority vouches for, under the names of the connector's floor */
};

struct visit_demand {
    enum visit_proof proof;
    const struct evidence_host *host;           /* PROOF_DANE only */
    const char *names[2];                       /* DANE: more names for usage 2; STS: the host's; else empty */
    size_t name_count;
    const struct connector *floor;              /* PROOF_NAMES with names of the connector's own: where they are; else NULL */
};

/* What a proof comes to. */
enum visit_mark {
    VISIT_UNKNOWN = 0,          /* nobody was there lately */
    VISIT_OPEN,                 /* somebody was, but what was seen does not tell */
    VISIT_FAILS,
    VISIT_PASSES,
};

struct visit_judgement {
    enum visit_mark mark;
    size_t record;              /* PROOF_DANE that passes: which of the host's records matched */
    struct fault why;           /* unless it passes */
};

/* Hosts whose records can't be trusted, or that are nowhere, are nobody's to visit. */
bool visit_is_worth_it(const struct evidence_host *host);
/* What DANE demands of a host; PROOF_NONE where it has no usable records. Borrows all it is given. */
struct visit_demand visit_demand_dane(const struct evidence_host *host, const struct next_hop *hop);
/* What an authority has to vouch for where MTA-STS lists the host. Borrows it. */
struct visit_demand visit_demand_sts(const struct evidence_host *host);
/* What the connector's own floor demands of a host; PROOF_NONE where it leaves that to the MTA. Borrows all it is given. */
struct visit_demand visit_demand_floor(const struct connector *c, const char *host, const struct next_hop *hop);

/*
 * What mail under a connector demands of a host: by DANE where it has good records, and by MTA-STS where that lists it; where
 * neither says anything, by the floor. What a connector's modes leave out is not demanded. Either may be PROOF_NONE.
 */
void visit_demands(const struct connector *c, const struct evidence_host *host, const struct next_hop *hop,
                   struct visit_demand *ret_dane, struct visit_demand *ret_other);

/* trust: authorities, or NULL: there are none. now: wall seconds. Any thread. */
void visit_judge(const struct visit *v, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                 struct visit_judgement *ret);

/* `match` and `mismatch`, or `valid` and `invalid`; NULL where nobody can tell. */
const char *visit_dane_word(enum visit_mark m);
const char *visit_names_word(enum visit_mark m);
/* The same for a demand that may be of another kind; NULL unless it is about names. */
const char *visit_other_word(enum visit_proof proof, enum visit_mark m);
/* Whether the host offered STARTTLS; false: that is not known. */
bool visit_offers_tls(const struct visit *v, bool *ret);

/* `3 1 1 0123456789abcdef...`. Returns ret. */
char *visit_record_print(const struct dns_tlsa *record, char *ret, size_t size);

/*
 * Whether visits to all good hosts of a next hop make its DANE state a mismatch: somebody was at each of them lately, none
 * passes, and at least one has shown that it does not. Hosts out of reach alone never make one.
 */
bool visit_is_mismatch(const enum visit_mark marks[], size_t count);

#endif
