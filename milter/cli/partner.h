#ifndef DANELAW_CLI_PARTNER_H
#define DANELAW_CLI_PARTNER_H

#include "cli/look.h"
#include "policy/evidence.h"

/*
 * What a policy domain publishes besides DANE: MTA-STS (RFC 8461), and where it wants reports (RFC 8460). Zeroed: nothing
 * was asked. One thread.
 */
struct partner {
    struct look *record, *report, *file;    /* file: NULL: there was no record to follow */
    struct domain domain;
    char id[STS_ID_SIZE];                   /* of the record; empty: there is none, record_why says why */
    struct fault record_why;
    struct sts_policy *policy;              /* NULL: policy_why says why, if there was a record */
    struct fault policy_why;
    char *report_text;                      /* the TLSRPT record; NULL: none that is valid, report_why says why */
    struct fault report_why;
};

/* Begins to look the TXT records up. */
void partner_begin(struct partner *p, struct lookup *lookup, const struct domain *domain);
/* Waits for the MTA-STS record, and begins to fetch the policy if there is one. */
void partner_follow(struct partner *p, struct lookup *lookup);
/* Waits for the rest. Gives the MTA-STS half of evidence. */
struct evidence *partner_judge(struct partner *p);
/* The first TXT record that begins so, as it stands there; NULL: none. Gives the text. */
char *partner_text(struct look *records, const char *beginning);
void partner_done(struct partner *p);

#endif
