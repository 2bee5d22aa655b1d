#ifndef DANELAW_CLI_FINDING_H
#define DANELAW_CLI_FINDING_H

#include "cli/chain.h"
#include "cli/look.h"
#include "cli/partner.h"
#include "cli/tour.h"
#include "engine/engine.h"

#include <jansson.h>

/* One next hop, looked at. */
struct finding_hop {
    struct next_hop hop;
    struct look *look;                      /* NULL: the resolver is broken, nothing was asked */
    const struct dns_answers *answers;      /* the look's; or NULL */
    struct partner partner;                 /* its policy domain; nothing for an address literal */
    struct evidence *sts;                   /* what MTA-STS says by itself */
    struct evidence *found;                 /* both halves */
    struct climb *climb;                    /* the host's chain; or NULL */
};

/* What `danelaw check` found out about one name. One thread. */
struct finding {
    const char *name;                       /* as asked */
    struct address to;
    const struct connector *connector;
    const struct connector *shadow;         /* the one in test mode that would rule it, or NULL */
    struct finding_hop *hops;               /* its smart hosts, or the one that the name says */
    size_t hop_count, decided;              /* decided: the index of the one that counts */
    struct decision decision;
    struct chain chain;
    struct tour *tour;                      /* visits to the hosts; NULL: nobody asked for them */
};

/* Whether the record counts: usable for SMTP, and in a secure answer. Pure. */
bool finding_usable(const struct dns_tlsa_set *set, size_t index, struct fault *why);
/* As the manual has it. Gives the object. */
json_t *finding_json(const struct finding *f);
/* The page for people, to standard output. */
void finding_page(const struct finding *f);
/* The MTA-STS state: where both halves could be judged, with the MX hosts in mind. */
enum sts_state finding_sts(const struct finding_hop *hop);
/* What to tell the partner so that DANE becomes usable, and MTA-STS whole; nothing where all is, or where nobody could say. */
void finding_advice(const struct finding *f, struct text *ret);
/* The whole policy, or "-" where none is needed. Gives the text. */
char *finding_policy(const struct finding *f);

#endif
