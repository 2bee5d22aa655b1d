#ifndef DANELAW_ENGINE_REMARK_H
#define DANELAW_ENGINE_REMARK_H

#include "engine/visits.h"

enum { REMARK_ABOUT_SIZE = 100 };

/* What is new at a host that is visited, for the log. Zeroed: nothing. */
struct remark {
    enum { REMARK_NONE = 0, REMARK_FAILS, REMARK_GOOD } what;
    bool expires;                   /* its certificate, soon or already */
    char about[REMARK_ABOUT_SIZE], address[64], why[256];
    int64_t not_after;              /* wall seconds */
};

/* Writes it into the log. proof: what it is about; PROOF_NONE: the host itself. wall: now, in wall seconds. Any thread. */
void remark_say(const struct remark *r, const struct visit_host *host, enum visit_proof proof, int64_t wall);

#endif
