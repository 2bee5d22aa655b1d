#ifndef DANELAW_ENGINE_ENGINE_H
#define DANELAW_ENGINE_ENGINE_H

#include "base/settings.h"
#include "lookup/lookup.h"
#include "policy/decide.h"
#include "policy/hold.h"
#include "policy/ruleset.h"
#include "policy/visit.h"

/*
 * Answers a question: connector, evidence, decision, record. All functions may be called by any thread.
 */
struct engine;

/* Who asks, and about what. */
struct question {
    struct ruleset *rules;          /* borrowed; NULL: today's */
    struct address to, from;
    enum audience audience;         /* who hears the answer */
};

/* Zeroed, it is a hold. */
struct answer {
    struct ruleset *rules;          /* a reference of ours */
    const struct connector *connector;      /* lives as long as rules */
    struct evidence *found;         /* a reference of ours; NULL: not known yet, and nobody had to wait for it */
    struct next_hop hop;            /* what was judged: the domain, or the smart host that decided */
    struct decision decision;
    bool refuse;                    /* held, or to bounce: the recipient is not accepted */
    int64_t at;                     /* wall milliseconds */
    int64_t took_ms;
};

/* A decision, for the log and whoever remembers: one line, one row, one count. All of it is borrowed. */
struct record {
    enum where where;
    bool shadow;                            /* of a connector in test mode */
    const char *queue_id, *to, *from;       /* NULL: nothing */
    const struct connector *connector;
    const struct evidence *found;           /* NULL: not known */
    const struct decision *decision;
    int64_t at;                             /* wall milliseconds */
    int64_t took_ms;
};

/* Sendmail's questions about one recipient. Texts are as Sendmail gives them, borrowed for the call, none NULL. */
struct sendmail_question {
    struct address to, from;
    const char *queue_id;
    bool at_gate;                   /* on the wire, just before the recipient is named: what follows is known; else its route is asked for */
    const char *server_name, *server_addr, *tls_version, *fingerprint;
};

/* MAP_POSTFIX_SPELLED: MAP_POSTFIX_TLS for a domain that is not in ASCII, whose mail may be here whatever its connector demands. */
enum map_table { MAP_POSTFIX_TLS = 0, MAP_POSTFIX_MANDATORY, MAP_POSTFIX_SPELLED };

/* A map question on its way; done is called exactly once, maybe inside the call, on any thread. */
struct pending {
    void (*done)(struct pending *self, const char *policy); /* NULL: TEMP; "": nothing to say (site); borrowed for the call */
};

/* Visits to the hosts of connectors that want them. */
struct visit_counts {
    size_t hosts, open;             /* that are visited; under way at the moment */
    size_t latest[VISIT_STATES];    /* hosts, by how far the latest visit came */
    size_t failing;                 /* hosts that did not show what is demanded of them */
    size_t expiring;                /* certificates that expire within 14 days, or have */
    int64_t first_expiry;           /* wall seconds; 0: no certificate was seen */
    bool full;                      /* some host is left out: there are too many */
    uint64_t made[VISIT_STATES], failures[PROOF_NAMES + 1];     /* since the start */
};

struct engine_status {
    bool resolver_proven;           /* the self-check's last word */
    bool resolver_checked;          /* it has had one */
    char resolver_why[192];
    int64_t resolver_since;         /* wall seconds */
    size_t evidence_entries, evidence_searching;
    uint64_t asked, answered_hot, searches, held, bounced, fell_back, delivered, passed;
    size_t overridden, tested, fallen_back;     /* connectors */
    size_t shadows;                 /* decisions of connectors in test mode that wait for evidence */
    uint64_t shadows_dropped;       /* too many waited */
    struct visit_counts visits;
};

/* What is remembered for longer than a question. All is borrowed; NULL: nothing of the kind is kept. */
struct engine_memory {
    struct policies *policies;
    struct trace *trace;
    struct holds *holds;            /* NULL: what is held never bounces */
    struct counters *counters;
};

/* Takes lookup; shares rules. set must outlive the engine. Starts the watch. */
struct engine *engine_open(const struct settings *set, struct lookup *lookup, const struct engine_memory *memory,
                           struct ruleset *rules);
/* Ends the watch, lets those who wait go (as if DNS had failed), waits for askers to leave. Who asks later is held. */
void engine_stop(struct engine *e);
/* Stops it, if need be, and frees everything: nobody may ask any more. NULL is welcome. */
void engine_close(struct engine *e);

/* Called when a connector has been put on its fallback road, or back: the MTA's tables are to be written. Any thread; must
 * not block. */
struct road_hook {
    void (*turned)(void *self);         /* NULL: nobody listens */
    void *self;
};

void engine_on_turn(struct engine *e, struct road_hook hook);

/*
 * Whether the MTA's tables are those of today's rules. While they can't be written, mail may be on a road by yesterday's:
 * then all who rule mail to the next hop are asked there, too.
 */
void engine_tables(struct engine *e, bool current);

/* The domains that the MTA itself delivers or relays for, sorted keys `d` and `.d`; copies them. Empty at first. */
void engine_own(struct engine *e, const char *const *domains, size_t count);
/* Whether the recipient is in one of them, and only a wildcard covers him, which did not mean it. */
bool engine_is_own(struct engine *e, const struct ruleset *rules, const struct address *to, const struct address *from);

/* Today's rules; gives a reference. */
struct ruleset *engine_rules(struct engine *e);
/* Takes rules; questions under way keep the old ones. */
void engine_adopt(struct engine *e, struct ruleset *rules);

/*
 * Decides about a recipient, in the asker's thread. Only a mandatory one ever waits for evidence, until clock_ms()
 * reaches deadline_ms (late: hold, dns-temp); for all others cold evidence starts the search and the answer has none.
 * The asker tells, by engine_tell(). answer_done() ends the answer's life.
 */
void engine_ask_by(struct engine *e, const struct question *q, int64_t deadline_ms, struct answer *ret);
/* Logs, traces and counts what was answered, and what a connector in test mode would have said (later, where evidence is cold);
 * once, when the asker knows as much as he will. queue_id as in a question. */
void engine_tell(struct engine *e, const struct address *to, const struct address *from, const char *queue_id,
                 const struct answer *a);
void answer_done(struct answer *a);

/* A message at its end: the road that all its recipients share, or NULL. Logged and traced; what counts are its recipients. */
void engine_tell_message(struct engine *e, const struct address *from, const char *queue_id, const char *route);

/* The same for a decision of another kind. Never waits for a disk. */
void engine_record(struct engine *e, const struct record *r);

/* The whole policy for a next hop as one of the MTA's tables asks it. The caller keeps the time; late answers still arrive. */
void engine_ask_map(struct engine *e, enum map_table table, const struct next_hop *hop, struct pending *answer);
/* Sendmail's table `danelaw`: done is given the value (`pass`, `mailer:host`, a refusal, ...), never empty, or NULL for TEMP.
 * All else as engine_ask_map(). */
void engine_ask_sendmail(struct engine *e, const struct sendmail_question *q, struct pending *answer);
/* One line on what would happen to a recipient, for people. Decides on what is known now; starts the search where nothing is. */
void engine_explain(struct engine *e, const struct address *to, struct text *ret);

/*
 * What a decision for the connector may rest on: found, or a mismatch where the connector wants its hosts visited (probe =
 * require) and none of them keeps what its TLSA records promise. Takes and gives a reference; never waits.
 */
struct evidence *engine_seen(struct engine *e, const struct connector *c, const struct next_hop *hop, struct evidence *found);

/* Whom to visit: by name, or of a literal next hop the address as text. And what came of it; the chain stays the sight's. Pure, so
 * that all of the house visit alike. */
void engine_visit_aim(const char *host, uint16_t port, bool literal, struct probe_target *ret);
struct visit engine_visit_of(const struct probe_sight *sight);

/* The latest visit to a host of one of a connector's next hops. */
struct engine_visit {
    char next_hop[NEXT_HOP_TEXT_SIZE];
    struct domain host;
    uint16_t port;
    struct visit latest;            /* without its chain; VISIT_NONE: nobody was there yet */
    int64_t at;                     /* wall seconds; 0: never */
    bool asks_dane;                 /* the connector demands what its TLSA records say, */
    enum visit_mark dane;           /* and this is what came of it */
    enum visit_proof other_proof;   /* what it demands besides, or PROOF_NONE */
    enum visit_mark other;
    char why[256];                  /* unless all is well */
};

/* Those of a connector, as far as there is room. Returns how many; 0 where it wants none. Quick. */
size_t engine_visits(struct engine *e, const struct connector *c, struct engine_visit ret[], size_t room);

/* Evidence as it lies in the cache, expired or not, nothing started; gives a reference, or NULL. since: wall seconds. */
struct evidence *engine_peek(struct engine *e, const struct next_hop *hop, int64_t *ret_since);
void engine_status(struct engine *e, struct engine_status *ret);

struct cache_slice;
struct cache_states;

/* How much evidence lies in the cache by its last known state. Quick. */
void engine_cache_states(struct engine *e, struct cache_states *ret);
/* One of CACHE_SLICES slices of all evidence, as cache_read() has it, with both halves joined. */
void engine_cache_read(struct engine *e, unsigned slice, const char *host, struct cache_slice *ret);
/* Forgets the evidence about a host's next hops, or all (NULL): the next question starts a search. policies_too: also the
 * policies kept. */
void engine_cache_flush(struct engine *e, const struct domain *host, bool policies_too, size_t *ret_evidence, size_t *ret_policies);

/* What the TXT RRset of _mta-sts.DOMAIN, and the answer of its policy host, come to; pure, as all of the house read them. */
bool engine_sts_id(const struct dns_records *found, char ret_id[static STS_ID_SIZE], struct fault *why);
bool engine_sts_policy(const struct policy_file *file, struct sts_policy **ret, struct fault *why);

/*
 * Several next hops tried in order are as good as their first that may be delivered to. Pure, so that all who list
 * connectors say the same. found[i] may be NULL (not known). Returns the index that decided.
 */
size_t engine_decide_list(const struct connector *c, struct evidence *const found[], size_t count, struct decision *ret);

#endif
