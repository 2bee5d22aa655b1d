#ifndef DANELAW_POLICY_GATE_H
#define DANELAW_POLICY_GATE_H

#include "policy/cert_chain.h"
#include "policy/decide.h"

/*
 * Judges a connection that an MTA has open, by what it saw of the host: whether mail under a connector may go on it. For an MTA
 * that authenticates nobody by itself. All pure; the clock and the authorities come in as values.
 */

/* What the MTA saw. Zeroed: nothing. */
struct gate_sight {
    struct next_hop server;             /* what it took for an MX host: a name, or a literal; an empty name: it said none */
    bool tls;                           /* the connection is encrypted */
    bool modern;                        /* by TLS 1.2 or later */
    bool shown;                         /* the host has shown a certificate, and the MTA told its SHA-256 */
    uint8_t fingerprint[CERT_CHAIN_FINGERPRINT];
};

/* Reads it from the MTA's own words: `mx.d.example.`, `[192.0.2.1]`; `TLSv1.3`, ""; `09:A7:...`, "". */
void gate_see(const char *server_name, const char *tls_version, const char *fingerprint, struct gate_sight *ret);

enum gate_outcome {
    GATE_REFUSED = 0,
    GATE_ELSEWHERE,             /* refused, but only because the host is not one of this next hop's */
    GATE_UNSEEN,                /* refused unless the chain behind the fingerprint proves more */
    GATE_PASSED,
};

/* What is to be judged. All of it is borrowed. */
struct gate_case {
    const struct connector *connector;
    const struct route *stand_in;       /* the road whose own demands count: a fallback, or one to a next hop of its own; NULL:
                                           the decision of the connector */
    const struct next_hop *hop;         /* where the mail should go */
    const struct evidence *found;       /* about hop */
    const struct gate_sight *seen;
    const struct cert_chain *chain;     /* or NULL: not had yet. Another than the one that was seen counts as none */
    X509_STORE *trust;                  /* or NULL: there are no authorities */
    int64_t now;                        /* wall seconds */
};

struct gate_ruling {
    enum gate_outcome outcome;
    enum reason reason;         /* unless passed */
    struct decision decision;   /* by the evidence alone */
    bool worded;                /* why says more than the reason's own sentence */
    bool last;                  /* the MTA will try no other of the next hop's hosts behind this one */
    struct fault why;           /* a sentence without the reason's word */
};

void gate_judge(const struct gate_case *c, struct gate_ruling *ret);

/* The hosts that a fingerprint alone does not authenticate, best first. Writes at most room of them, borrowed from found; returns
 * how many. */
size_t gate_wants_chains(const struct connector *connector, const struct next_hop *hop, const struct evidence *found,
                         const struct evidence_host *ret[], size_t room);

#endif
