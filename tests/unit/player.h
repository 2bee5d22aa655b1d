#ifndef DANELAW_TESTS_PLAYER_H
#define DANELAW_TESTS_PLAYER_H

#include "engine/engine.h"
#include "fake_lookup.h"
#include "overriding.h"
#include "site.h"
#include "store/holds.h"
#include "store/policies.h"

/* The house that the scenarios of tests/play are played in: engine, holds and store are the real ones, DNS and time are not. */
enum { PLAY_NAMES = 32, PLAY_TTL = 3600, PLAY_MAX_AGE = 24 * 3600 };

enum place_sts { NONE = 0, SILENT, MISMATCH, ENFORCE };      /* SILENT: neither DNS nor the policy host answers */

/* What the world is like at a domain; and until when what it was like before may still be believed, in seconds of play_elapsed(). */
struct place {
    char name[64];
    enum fake_world world;
    enum place_sts sts;
    int64_t dane_until, sts_until;
};

/* What a host shows to visitors. */
struct play_host {
    char name[64];
    enum probe_state state;
    bool fits;                          /* its certificate matches every TLSA record, or none */
};

/* A plain account of somebody's refusals, to hold the clocks against. */
struct account {
    char from[64], to[64];
    int64_t since, last;
};

struct play {
    const char *path;
    unsigned line;
    int ruin;                           /* every so-manieth answer fails; 0: none */
    int store_ruin;                     /* the same of what is written */
    unsigned asked;
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* as configured */
    struct ruleset *fresh;              /* a configuration that is being written, or NULL */
    struct store *store;
    struct overriding *overriding;
    struct policies *policies;
    struct holds *holds;
    struct engine *engine;              /* NULL until the first question */
    struct place places[PLAY_NAMES];
    struct play_host hosts[PLAY_NAMES];
    struct account accounts[PLAY_NAMES];
    unsigned ids;                       /* of policies, so far */
    bool frozen, stopped;               /* stopped: the engine lets nobody in any more */
    bool forgetful;                     /* what was to be kept over a restart may be lost */
    enum verdict verdict;               /* the latest answer */
    enum reason reason;
    bool refused;
};

#define insist(p, fact)                                                                                     \
    do {                                                                                                    \
        if (!(fact))                                                                                        \
            fail_msg("%s:%u (ruin %d, %d): %s", (p)->path, (p)->line, (p)->ruin, (p)->store_ruin, #fact);   \
    } while (0)

int64_t play_now(void);                                     /* the wall clock's seconds */
void play_set_clock(int64_t wall);                          /* the wall clock alone */
void play_pass(struct play *p, int64_t seconds);            /* time, for all clocks */
int64_t play_elapsed(void);                                 /* what play_pass() has let pass, in seconds */

/* Found by name, or made. */
struct place *play_place(struct play *p, const char *name);
/* From now on the resolver says what the place is like; or fails. What is remembered of it is forgotten. */
void play_tell(struct play *p, struct place *at, bool fails);
/* The same, but nobody hears of it before he asks again. */
void play_turn(struct play *p, struct place *at, enum fake_world world, enum place_sts sts);

/* From now on visitors see this there; found by name, or made. */
void play_show(struct play *p, const char *name, enum probe_state state, bool fits);
/* Lets time pass until somebody has been at the host once more. */
void play_visit(struct play *p, const char *name);

/* Opens the house, where it is not; the rules are frozen then. */
void play_open(struct play *p);
void play_close(struct play *p);
/* The files of the store, while the house is closed: nothing in them makes sense any more. */
void play_damage(struct play *p);
/* The rules in force, once more: wakes all who go by them. */
void play_adopt(struct play *p);
/* The configuration that was being written is in force. */
void play_reload(struct play *p);
/* An administrator overrides a connector; insists that he may. */
void play_mode(struct play *p, const struct mode_order *order);
/* From now on every so-manieth write fails; 0: none. */
void play_store_fails(int every);

/* A recipient's question; leaves verdict, reason and refused. Checks what always holds, whatever fails. from: "<>" is nobody. */
void play_ask(struct play *p, const char *to, const char *from, enum audience who);
/* An administrator forgets the recipient's clocks. */
void play_forget(struct play *p, const char *to);

#endif
