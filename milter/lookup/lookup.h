#ifndef DANELAW_LOOKUP_LOOKUP_H
#define DANELAW_LOOKUP_LOOKUP_H

#include "base/settings.h"
#include "policy/dns.h"

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

struct lookup {
    /* MX, addresses and TLSA of a next hop, asked in parallel, within resolver.timeout; what is missing then has failed. */
    void (*resolve)(struct lookup *self, const struct next_hop *hop, struct landing *at);
    /* One RRset, whether it is there and how secure; type as in the DNS registry. */
    void (*query)(struct lookup *self, const char *name, int type, struct query_landing *at);
    /* Lets every open landing arrive (as failed), ends the threads, frees self. */
    void (*close)(struct lookup *self);
};

/* DNS types that a query may name. */
enum { DNS_TYPE_NS = 2, DNS_TYPE_SOA = 6, DNS_TYPE_TXT = 16 };

/* Looks through libunbound, validating in this process. Nothing is asked before the first resolve or query. */
bool dns_open(const struct settings *set, struct lookup **ret, struct fault *why);

#endif
