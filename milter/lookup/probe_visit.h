#ifndef DANELAW_LOOKUP_PROBE_VISIT_H
#define DANELAW_LOOKUP_PROBE_VISIT_H

#include "lookup/lookup.h"
#include "lookup/probe_tls.h"
#include "lookup/probe_wire.h"

/* What all visits have in common. Frozen. */
struct visit_manner {
    SSL_CTX *tls;
    char helo[256];                     /* "": the address that we come from */
    struct sockaddr_storage from;       /* AF_UNSPEC: any */
    int stop;                           /* once it is readable, visits end */
};

struct visit_goal {
    const struct probe_target *target;
    const struct sockaddr_storage *to;
    int64_t connect_by, end_by;         /* by clock_ms() */
};

/* A visit at one address. One thread at a time. */
struct visit {
    struct wire wire;
    struct tls_talk talk;
    bool in_step, shaken;               /* the host waits for a command; by TLS */
};

/* Goes there and looks. ret->chain is the caller's. */
void visit_make(struct visit *v, const struct visit_manner *m, const struct visit_goal *g, struct probe_sight *ret);
/* Takes leave, if the host listens, and hangs up. */
void visit_leave(struct visit *v);

#endif
