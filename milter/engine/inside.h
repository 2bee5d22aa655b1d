#ifndef DANELAW_ENGINE_INSIDE_H
#define DANELAW_ENGINE_INSIDE_H

/* What the files of this room share, and nobody else sees. */

#include "base/thread.h"
#include "engine/engine.h"
#include "engine/own.h"
#include "engine/traffic.h"
#include "engine/visits.h"
#include "store/cache.h"
#include "store/chains.h"
#include "store/counters.h"
#include "store/holds.h"
#include "store/policies.h"
#include "store/trace.h"

#include <stdatomic.h>

enum {
    ENGINE_HOPS_MAX = CONNECTOR_SMART_HOSTS_MAX,
    ENGINE_BELIEVED_SECONDS = 60,           /* a policy fetched that lately is not fetched again before a mismatch counts */
    ENGINE_DOUBTS = 2,                      /* the first may join a search that was under way for somebody without doubts */
};

struct engine {
    const struct settings *set;             /* frozen */
    struct lookup *lookup;
    struct policies *policies;              /* borrowed */
    struct trace *trace;                    /* borrowed, or NULL */
    struct holds *holds;                    /* borrowed, or NULL */
    struct counters *counters;              /* borrowed, or NULL */
    struct cache *cache, *sts;              /* the two halves: by next hop, and by policy domain */
    struct chains *chains;                  /* certificates of mail hosts */
    X509_STORE *trust;                      /* a reference of ours, or NULL: there are no authorities */
    bool for_sendmail;                      /* its gate will ask about certificates */
    struct evidence *sts_late;              /* frozen: what counts where the second half is not there in time */
    struct evidence *no_name;               /* frozen: what an address literal has */
    struct evidence *broken;                /* frozen: what counts while the resolver can't validate */

    struct mutex lock;
    struct signal left;                     /* the last asker has left, or the last search has started */
    struct ruleset *rules GUARDED_BY(lock);
    size_t askers GUARDED_BY(lock);
    size_t starting GUARDED_BY(lock);       /* searches being handed to the lookup */
    bool closing GUARDED_BY(lock);
    bool repin GUARDED_BY(lock);            /* the rules changed: the watch has pins to set */
    struct road_hook hook GUARDED_BY(lock);
    char resolver_why[192] GUARDED_BY(lock);
    int64_t resolver_since GUARDED_BY(lock);

    atomic_bool resolver_broken, resolver_checked, tables_doubted;
    atomic_size_t ahead;                    /* searches of the watch that have not landed */
    atomic_size_t shadows;                  /* decisions of connectors in test mode that wait for evidence */
    atomic_ulong shadows_dropped;
    atomic_size_t overridden, tested;       /* connectors of today's rules, as the watch has counted them */
    atomic_ulong asked, hot, searches, held, bounced, fell_back, delivered, passed;

    struct own *own;
    struct fallbacks *fallbacks;
    struct watch *watch;
    struct visits *visits;
    struct traffic *traffic;
    struct schedule *schedule;
};

/* Every question is between enter and leave; false: the engine is closing. Gives a reference to today's rules. */
bool engine_enter(struct engine *e, struct ruleset **ret_rules);
void engine_leave(struct engine *e, struct ruleset *rules);
/* Whether what fails from now on may only have failed because the engine is being stopped. */
bool engine_is_closing(struct engine *e);

/* The lookup stays open until all who were let in here have asked it; false: the engine is closing. */
bool engine_may_search(struct engine *e);
void engine_has_asked(struct engine *e);
/* Start the search that a SEAT_FIRST or cache_due() (ahead) asks for. doubted: the kept policy won't do. */
void engine_search(struct engine *e, const struct next_hop *hop, bool ahead);
void engine_search_sts(struct engine *e, const struct next_hop *hop, bool ahead, bool doubted);

enum half { HALF_DANE, HALF_STS };
/* cache_join(), and starts the search where the seat is the first. */
enum seat engine_join(struct engine *e, enum half half, const struct next_hop *hop, struct waiter *w, bool doubted,
                      struct evidence **ret_found);
/* Whether the policy has to be fetched again before this mismatch counts. */
bool engine_doubts(const struct evidence *joined);
/* Fills found[] in, one for each of at most ENGINE_HOPS_MAX next hops; NULL: not known (in time). Gives references. */
void engine_gather(struct engine *e, const struct connector *c, const struct next_hop *hops, size_t count, bool patient,
                   int64_t deadline_ms, struct evidence *found[]);
/* The next hop of mail that goes by its recipient's own domain. */
struct next_hop engine_own_hop(const struct address *to);
/* Both halves of one next hop's evidence, awaited without a thread. */
struct walk {
    struct waiter waiter;                   /* in one cache at a time */
    struct engine *engine;
    struct next_hop hop, domain;            /* domain: the policy domain */
    const struct connector *const *judges;  /* borrowed: for whose decisions */
    size_t judge_count;
    struct evidence *dane;                  /* a reference, once it is there */
    int doubts;                             /* how often the policy was to be fetched again for us */
    /* Called once, maybe inside walk_begin(), on any thread. found: what a decision may rest on; gives a reference. The walk
       may end there, or begin anew. */
    void (*done)(struct walk *self, struct evidence *found);
};

/* engine, hop, judges and done are set; between enter and leave. */
void walk_begin(struct walk *w);
/* What a decision may rest on: found, or `broken` while the resolver can't validate. Takes and gives a reference. */
struct evidence *engine_trusted(struct engine *e, struct evidence *found);
/* What lies in the cache of hop's other half, joined to dane; since grows with it. Gives a reference. */
struct evidence *engine_with_sts(struct engine *e, const struct next_hop *hop, struct evidence *dane, int64_t *since);
/*
 * chains_join(), and visits the host where the seat is the first: until it shows the certificate that is wanted, or has shown
 * others too often. w is woken, on any thread, in the seats FIRST and JOINED, maybe inside the call.
 */
enum chain_seat engine_fetch(struct engine *e, const struct chain_key *key, struct chain_waiter *w, int64_t not_before,
                             struct cert_chain **ret_found, struct fault *ret_why);
/* Has the certificates at hand before Sendmail's gate asks for them. Never waits. */
void engine_prefetch(struct engine *e, const struct connector *c, const struct next_hop *hop, const struct evidence *found);
/*
 * What r's connector, which is in test mode, would do: recorded like r, but as a shadow, when the evidence is there; so r needs
 * no evidence and no decision. own: the next hop where the connector has no smart hosts. Shares rules; never waits.
 */
void engine_shadow(struct engine *e, struct ruleset *rules, const struct record *r, const struct next_hop *own);
/* Clocks of the connectors that have a fallback road. Any thread. */
struct fallbacks *fallbacks_new(void);
void fallbacks_free(struct fallbacks *f);
/* New rules: their connectors go on where those of the same name stood. */
void fallbacks_adopt(struct fallbacks *f, const struct ruleset *rules);
void fallbacks_note(struct fallbacks *f, const struct connector *c, const struct decision *d);
/* Puts connectors on their fallback roads, and back; true: some road is another now. Watch thread. */
bool fallbacks_turn(struct engine *e, const struct ruleset *rules);
/* How many were on their fallback roads when the watch last looked. */
size_t fallbacks_count(const struct fallbacks *f);

struct watch *watch_start(struct engine *e);
void watch_stop(struct watch *w);           /* joins it; a self-check may still be under way */
void watch_free(struct watch *w);           /* once the lookup is closed */
void watch_wake(struct watch *w);

/* Visits hosts in the background, as today's rules want it. */
struct schedule *schedule_start(struct engine *e);
void schedule_stop(struct schedule *s);     /* joins it; visits may still be under way */
void schedule_free(struct schedule *s);     /* once the lookup is closed */
void schedule_wake(struct schedule *s);     /* the rules are others */

#endif
