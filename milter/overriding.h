#ifndef DANELAW_OVERRIDING_H
#define DANELAW_OVERRIDING_H

#include "base/text.h"
#include "policy/ruleset.h"
#include "server/modes.h"
#include "store/overrides.h"

struct store;

/*
 * The configured rules and what administrators say instead: makes the rules that are to be in force. One thread at a time;
 * all that changes is noted in the audit.
 */
struct overriding;

/* Shares configured. Reads the overrides; everyone_has_line: the MTA's table has a line for `*` (Sendmail's); hook as overrides_open() has it. */
struct overriding *overriding_open(struct store *store, struct ruleset *configured, bool everyone_has_line,
                                   struct overrides_hook hook);
void overriding_close(struct overriding *o);                /* NULL is welcome */

/* The rules that are to be in force, with a reference. */
struct ruleset *overriding_rules(struct overriding *o);
/* Whether they are others than those given last. */
bool overriding_turned(struct overriding *o);

/* New configured rules, shared. What there is to say about overrides that don't go with them is added to ret_words. */
void overriding_configure(struct overriding *o, struct ruleset *configured, struct text *ret_words);
/* Ends what has run out; reads what could not be read before. */
void overriding_tend(struct overriding *o);
/* Wall seconds when the next one runs out; 0: none will. */
int64_t overriding_next(struct overriding *o);

/* How an order ended. */
struct mode_outcome {
    int exit;                       /* as danelaw(1) has it */
    bool changed;
    struct text words;              /* lines, for the administrator */
};

void overriding_obey(struct overriding *o, const struct mode_order *order, const char *by, struct mode_outcome *ret);

/* false: overrides may be missing, says why. */
bool overriding_sure(struct overriding *o, struct fault *why);
/* Somebody has looked, and says that none are. */
void overriding_trust(struct overriding *o);
/* Waits until the store has all; false: not before clock_ms() reaches until_ms. */
bool overriding_kept(struct overriding *o, int64_t until_ms);

#endif
