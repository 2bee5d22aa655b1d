#ifndef DANELAW_POLICY_DECIDE_H
#define DANELAW_POLICY_DECIDE_H

#include "base/text.h"
#include "policy/connector.h"
#include "policy/evidence.h"

/* Which hosts a `secure` delivery names. */
enum match_by { MATCH_NOTHING = 0, MATCH_CONNECTOR, MATCH_STS, MATCH_STS_BARE };

/* What is to happen to mail for one next hop. Zeroed, it holds. */
struct decision {
    enum verdict verdict;
    enum reason reason;
    enum tls_level tls;         /* deliver only */
    enum match_by match;        /* verify and secure only */
};

/* Connector x evidence -> decision. Pure; RFC 8461 2 (DANE first), RFC 7672 2.2. */
struct decision decide(const struct connector *connector, const struct evidence *found);

/* Whether what MTA-STS says can still change the decision; found has the DANE half. Pure. */
bool decide_needs_sts(const struct connector *connector, const struct evidence *found);

/* A hold becomes a fallback while the connector is on its fallback road; a passing trouble (dns-temp, internal) stays a hold. */
struct decision decision_fall_back(struct decision d, const struct connector *connector);
/* Whether it is a hold that a fallback is for. */
bool decision_is_lasting_hold(const struct decision *d);

/*
 * Of two decisions for mail that shares a road: hold, dane-only, secure (by a policy's names, then by a connector's own),
 * verify, encrypt, dane, may, site. Negative: a is stricter.
 */
int decision_compare(const struct decision *a, const struct decision *b);

/* The whole policy in words: `secure match=mx.d servername=hostname`, `dane-only`, `site`; `-` while mail is held. */
void decision_policy(const struct decision *d, const struct connector *connector, const struct evidence *found,
                     struct text *ret);

#endif
