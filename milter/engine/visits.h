#ifndef DANELAW_ENGINE_VISITS_H
#define DANELAW_ENGINE_VISITS_H

#include "engine/engine.h"
#include "policy/visit.h"

/*
 * What visits to partners' hosts have brought, and when each is due again. A host is one by its name and port, however many
 * domains it serves; what it showed is judged for each of them. Any thread; now: clock_ms().
 */
struct visits;

enum { VISITS_HOSTS_MAX = 4096 };

/* A host that is visited: by name, or of a literal next hop the address as text. */
struct visit_host {
    struct domain name;
    uint16_t port;
    bool literal;
};

struct visit_host visit_host_of(const struct next_hop *hop, const char *name);

struct visits *visits_new(const struct settings *set);      /* set is borrowed */
void visits_free(struct visits *v);                         /* all visits must have landed */

/*
 * The host is visited from now on, until nobody has wanted it for a while. demanded: something depends on what it shows;
 * about: a connector that wants it, for the log. first: how long after now a new host's first visit is due. Returns whether it
 * is a new one; where there is no room it is left out.
 */
bool visits_want(struct visits *v, const struct visit_host *host, bool demanded, const char *about, int64_t now,
                 int64_t first);
/* The rules are others: nobody wants any host, until somebody does again. */
void visits_want_none(struct visits *v, int64_t now);
/*
 * Takes up to room hosts off that are due; each must be landed. Not more than probe.concurrency are under way. ret_more:
 * others are due, too. Forgets hosts that nobody has wanted for long.
 */
size_t visits_due(struct visits *v, int64_t now, struct visit_host ret[], size_t room, bool *ret_more);
/* The visit has ended; takes its chain. */
void visits_land(struct visits *v, const struct visit_host *host, struct visit *visit, int64_t now);

/* What the latest visit comes to where something is demanded. */
struct visits_word {
    enum visit_mark mark;           /* VISIT_UNKNOWN: there was none */
    bool recent;                    /* not older than two intervals: decisions may rest on it */
    int64_t at;                     /* when it was made, clock_ms() */
    char address[64];
    char why[256];                  /* unless it passes */
};

/* Judges it, if nobody has. trust may be NULL. */
void visits_word(struct visits *v, const struct visit_host *host, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                 struct visits_word *ret);
/* The latest visit without its chain; false: there was none. ret_at: when, clock_ms(). */
bool visits_look(struct visits *v, const struct visit_host *host, struct visit *ret, int64_t *ret_at);
/* Writes into the log what has changed at the host since it was last told of, or is to be said again today. d: PROOF_NONE for
 * what concerns the host itself. */
void visits_tell(struct visits *v, const struct visit_host *host, const struct visit_demand *d, int64_t now);
/* Whether there is nothing to know, nor to forget. */
bool visits_none(struct visits *v);
void visits_count(struct visits *v, struct visit_counts *ret);

#endif
