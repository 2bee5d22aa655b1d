#ifndef DANELAW_TESTS_FAKE_LOOKUP_H
#define DANELAW_TESTS_FAKE_LOOKUP_H

#include "lookup/lookup.h"
#include "policy/sts.h"

/*
 * A scripted resolver: what a next hop answers, and when, is the test's to say. The hosts of d.example are mx1.d.example
 * and mx2.d.example; [h.example] is its own. Lands on a thread of its own. Any thread.
 */
enum fake_world {
    FAKE_FAILS = 0,         /* unknown */
    FAKE_BOGUS,
    FAKE_NO_MAIL,
    FAKE_ABSENT,
    FAKE_UNUSABLE,
    FAKE_INSECURE_MX,
    FAKE_PARTIAL,
    FAKE_USABLE,
};

enum { FAKE_WAIT_MS = 60000 };          /* for waits that end well: no machine is so slow */

struct fake;

struct fake *fake_new(void);                        /* every next hop is usable for an hour, the root is proven */
struct lookup *fake_lookup(struct fake *f);
void fake_free(struct fake *f);                     /* after the engine is closed */

/* Each names a next hop as next_hop_print() spells it, or "*" for all that have no script of their own. */
void fake_says(struct fake *f, const char *hop, enum fake_world world);
void fake_tlsa(struct fake *f, const char *hop, const struct dns_tlsa *record);     /* of its good hosts; borrowed */
void fake_trust(struct fake *f, X509_STORE *trust);         /* before the engine is opened; borrowed */
void fake_ttl(struct fake *f, const char *hop, uint32_t seconds);
void fake_delays(struct fake *f, const char *hop, int ms);
/* Searches pile up until they are let go, or the lookup is closed. */
void fake_parks(struct fake *f, const char *hop);
void fake_lets_go(struct fake *f, const char *hop); /* those that wait, and all to come */

/* How often it was searched; "*": in all. */
unsigned fake_searches(struct fake *f, const char *hop);
unsigned fake_open(struct fake *f);                 /* searches that have not landed */
unsigned fake_most_at_once(struct fake *f, const char *hop);    /* open at the same time */
/* Waits until it was searched so often; false: not in time. */
bool fake_wait_searches(struct fake *f, const char *hop, unsigned count);
/* Waits until all that was asked for has been answered, but what is parked; false: not in time. */
bool fake_wait_settled(struct fake *f);

/* MTA-STS of a domain: the id in its TXT record ("": there is none) and its policy file (NULL: the policy host is dead). */
void fake_sts(struct fake *f, const char *domain, const char *id, const char *body);
void fake_sts_text_fails(struct fake *f, const char *domain);       /* until the next fake_sts() */
void fake_sts_ttl(struct fake *f, const char *domain, uint32_t seconds);    /* of the TXT record; 300 */
unsigned fake_fetches(struct fake *f, const char *domain);          /* of the policy file */
unsigned fake_texts(struct fake *f, const char *domain);            /* of the TXT record */
/* TXT look-ups, or fetches, pile up until they are let go, or the lookup is closed. */
void fake_parks_text(struct fake *f, const char *domain);
void fake_parks_file(struct fake *f, const char *domain);
void fake_lets_sts_go(struct fake *f, const char *domain);          /* those that wait, and all to come */

/*
 * Visits to a host, by its name ("*": all without a script of their own): how they end, and which certificates they see. chain
 * is borrowed until the lookup is closed; NULL unless state is PROBE_SEEN. Unscripted hosts are unreachable.
 */
void fake_probe(struct fake *f, const char *host, enum probe_state state, struct cert_chain *chain);
void fake_probe_also(struct fake *f, const char *host, struct cert_chain *chain);      /* one more; visits see them in turn */
unsigned fake_probes(struct fake *f, const char *host);             /* visits */
unsigned fake_most_probes(struct fake *f, const char *host);        /* visits at the same time */
struct probe_target fake_probed(struct fake *f, const char *host);  /* what the latest visit was told */
bool fake_wait_probes(struct fake *f, const char *host, unsigned count);    /* false: not in time */
/* Visits pile up until they are let go, or the lookup is closed. */
void fake_parks_probes(struct fake *f, const char *host);
void fake_lets_probes_go(struct fake *f, const char *host);         /* those that wait, and all to come */

/* What the self-check finds, and how often it was made. */
void fake_root(struct fake *f, enum dns_trust trust, bool found);
unsigned fake_checks(struct fake *f);

#endif
