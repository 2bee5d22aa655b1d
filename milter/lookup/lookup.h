#ifndef DANELAW_LOOKUP_LOOKUP_H
#define DANELAW_LOOKUP_LOOKUP_H

#include "base/settings.h"
#include "policy/cert_chain.h"
#include "policy/dns.h"

#include <sys/socket.h>

/*
 * The only eyes of the house: raw answers, nothing judged. A landing is called exactly once, on a thread of the lookup's
 * own and never inside the call, with no lock held; it must not block. A landing lives until it has been called.
 */
struct landing {
    void (*arrive)(struct landing *self, struct dns_answers *answers);      /* gives answers, never NULL */
};

struct query_landing {
    void (*arrive)(struct query_landing *self, const struct dns_look *look); /* look is borrowed for the call */
};

enum { DNS_RECORDS_MAX = 64 };

/* One RRset in its wire format. More than DNS_RECORDS_MAX records: only the first, and clipped is set. */
struct dns_records {
    struct dns_look look;
    bool clipped;
    size_t count;
    const uint8_t *data[DNS_RECORDS_MAX];
    size_t lengths[DNS_RECORDS_MAX];
};

struct records_landing {
    void (*arrive)(struct records_landing *self, const struct dns_records *found);      /* borrowed for the call */
};

/* How a policy file (RFC 8461 3.3) could be had; the words are those of RFC 8460 4.3. */
enum fetch_state {
    FETCH_FAILED = 0,           /* no address, no connection, no time: sts-policy-fetch-error */
    FETCH_CERTIFICATE,          /* not the policy host's, or not to be trusted: sts-webpki-invalid */
    FETCH_REFUSED,              /* an answer, but none that RFC 8461 3.3 accepts: sts-policy-fetch-error */
    FETCH_GOOD,
};

struct policy_file {
    enum fetch_state state;
    char why[192];              /* unless good */
    const char *body;
    size_t length;              /* at most sts.body */
};

struct policy_landing {
    void (*arrive)(struct policy_landing *self, const struct policy_file *file);        /* borrowed for the call */
};

/* A visit to a mail host. */
struct probe_target {
    struct domain host;                 /* also the name for SNI; empty: none is sent */
    uint16_t port;
    struct sockaddr_storage address;    /* where it is, its port apart; AF_UNSPEC: asked of our own DNS, and tried in turn */
    enum probe_kind { PROBE_ANY = 0, PROBE_ECDSA, PROBE_RSA } kind;     /* which certificate, of a host with several */
    bool urgent;                        /* mail waits for it: before the others */
};

/* How far a visit came. */
enum probe_state {
    PROBE_UNREACHABLE = 0,              /* no address, no connection, no time, garbage: nothing is known of the host */
    PROBE_REFUSED,                      /* it did not want to talk now: 4yz or 5yz in the greeting, to EHLO or to STARTTLS */
    PROBE_NO_STARTTLS,                  /* its EHLO does not offer it */
    PROBE_TLS_FAILED,                   /* STARTTLS began, but the handshake came to no end */
    PROBE_SEEN,
};

struct probe_sight {
    enum probe_state state;
    char why[192];                      /* unless seen */
    char address[64];                   /* that was visited; of several the one where we came furthest; "": none */
    char tls[16];                       /* as OpenSSL has it, `TLSv1.3`; "" unless seen */
    struct cert_chain *chain;                /* unless seen NULL; borrowed */
};

struct probe_landing {
    void (*arrive)(struct probe_landing *self, const struct probe_sight *sight);        /* borrowed for the call */
};

struct lookup {
    /* MX, addresses and TLSA of a next hop, asked in parallel, within resolver.timeout; what is missing then has failed. */
    void (*resolve)(struct lookup *self, const struct next_hop *hop, struct landing *at);
    /* One RRset, whether it is there and how secure; type as in the DNS registry. */
    void (*query)(struct lookup *self, const char *name, int type, struct query_landing *at);
    /* One RRset with its data, aliases followed. */
    void (*records)(struct lookup *self, const char *name, int type, struct records_landing *at);
    /* https://mta-sts.DOMAIN/.well-known/mta-sts.txt, as RFC 8461 3.3 wants it, within sts.timeout. */
    void (*fetch_policy)(struct lookup *self, const struct domain *policy_domain, struct policy_landing *at);
    /* Greeting, EHLO, STARTTLS, certificates, within probe.timeout (the wait for its turn apart); nothing is verified. One
     * visit at an address at a time, probe.concurrency at once. Never holds up the other look-ups. Lands before QUIT. */
    void (*probe)(struct lookup *self, const struct probe_target *target, struct probe_landing *at);
    X509_STORE *trust;                  /* authorities, by sts.ca_file; frozen; NULL: there are none. Freed by close */
    /* Lets every open landing arrive (as failed), ends the threads, frees self. */
    void (*close)(struct lookup *self);
};

/* DNS types that a query may name. */
enum { DNS_TYPE_A = 1, DNS_TYPE_NS = 2, DNS_TYPE_SOA = 6, DNS_TYPE_TXT = 16, DNS_TYPE_AAAA = 28 };

/* Looks through libunbound, validating in this process. Nothing is asked before the first resolve or query. */
bool dns_open(const struct settings *set, struct lookup **ret, struct fault *why);

#endif
