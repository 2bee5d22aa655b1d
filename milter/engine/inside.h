#ifndef DANELAW_ENGINE_INSIDE_H
#define DANELAW_ENGINE_INSIDE_H

/* What the files of this room share, and nobody else sees. */

#include "base/thread.h"
#include "engine/engine.h"
#include "store/cache.h"

#include <stdatomic.h>

struct engine {
    const struct settings *set;             /* frozen */
    struct lookup *lookup;
    struct cache *cache;
    struct evidence *no_name;               /* frozen: what an address literal has */
    struct evidence *broken;                /* frozen: what counts while the resolver can't validate */

    struct mutex lock;
    struct signal left;                     /* the last asker has left, or the last search has started */
    struct ruleset *rules GUARDED_BY(lock);
    size_t askers GUARDED_BY(lock);
    size_t starting GUARDED_BY(lock);       /* searches being handed to the lookup */
    bool closing GUARDED_BY(lock);
    bool repin GUARDED_BY(lock);            /* the rules changed: the watch has pins to set */
    char resolver_why[192] GUARDED_BY(lock);
    int64_t resolver_since GUARDED_BY(lock);

    atomic_bool resolver_broken, resolver_checked;
    atomic_size_t ahead;                    /* searches of the watch that have not landed */
    atomic_ulong asked, hot, searches, held, delivered, passed;

    struct watch *watch;
};

/* Every question is between enter and leave; false: the engine is closing. Gives a reference to today's rules. */
bool engine_enter(struct engine *e, struct ruleset **ret_rules);
void engine_leave(struct engine *e, struct ruleset *rules);
/* Starts the search that a SEAT_FIRST or cache_due() (ahead) asks for. */
void engine_search(struct engine *e, const struct next_hop *hop, bool ahead);
/* What a decision may rest on: found, or `broken` while the resolver can't validate. Takes and gives a reference. */
struct evidence *engine_trusted(struct engine *e, struct evidence *found);
/* Counts a decision by its verdict. */
void engine_count(struct engine *e, const struct decision *d);

/* One line of the log (DESIGN of the line: queue id, recipient, sender, connector, states, verdict, reason, route, policy). */
struct record {
    const char *queue_id, *to, *from;       /* NULL: nothing */
    const struct connector *connector;
    const struct evidence *found;           /* NULL: not known */
    const struct decision *decision;
    int64_t took_ms;
};

void engine_log(const struct record *r);

struct watch *watch_start(struct engine *e);
void watch_stop(struct watch *w);           /* joins it; a self-check may still be under way */
void watch_free(struct watch *w);           /* once the lookup is closed */
void watch_wake(struct watch *w);

#endif
