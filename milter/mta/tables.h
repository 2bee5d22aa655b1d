#ifndef DANELAW_MTA_TABLES_H
#define DANELAW_MTA_TABLES_H

#include "base/arena.h"
#include "base/settings.h"
#include "base/text.h"
#include "policy/ruleset.h"

/*
 * The MTA's generated table, that keeps partners' mail on its roads even while the daemon is dead: Postfix's transport
 * table, or Sendmail's map of recipients (mta/sendmail_table.h). Any thread, one process at a time (a lock sees to that).
 */

/* Domains that the MTA itself delivers or relays for; a wildcard must not swallow them. */
struct tables_own {
    const char *const *domains;
    size_t count;
};

/* Postfix's text: one line a key, sorted, strictest road first in doubt. Pure. */
void tables_render(const struct ruleset *rules, const struct tables_own *own, struct text *ret);

/*
 * Makes the table current: renders, writes `.new`, indexes it, reads every key back, fsyncs, renames index then source.
 * Nothing is touched if nothing changed; on any failure the old pair stays. tables.mta = "none": nothing to do, true.
 */
bool tables_write(const struct settings *set, const struct ruleset *rules, bool *ret_changed, struct fault *why);

/* Whether the table is what tables_write would make. false: it is not, or that can't be told; why says so. */
bool tables_current(const struct settings *set, const struct ruleset *rules, struct fault *why);

/* All domains that the MTA itself delivers, aliases or relays for: no mail of theirs is on our roads. Lives in memory. */
bool tables_own(const struct settings *set, struct arena *memory, struct tables_own *ret, struct fault *why);
/* Whether a domain is one of them. Pure. */
bool tables_own_has(const struct tables_own *own, const char *domain);

/* What the table's files look like from outside: another number once anybody has touched them. Costs next to nothing. false: it
   can't be told now, as without a free descriptor. */
bool tables_look(const struct settings *set, uint64_t *ret);
/* Has the next tables_write() make it anew, even where its times and its text say that it is current. */
void tables_distrust(const struct settings *set);
/* Whether there is a table of this MTA at all, current or not. */
bool tables_there(const struct settings *set);

/* The table as Postfix names it: `hash:/var/lib/danelaw/postfix/transport`. */
bool tables_name(const struct settings *set, struct text *ret, struct fault *why);
/* The MTA's table for people to read: likewise, or its path alone where the MTA can't be asked. Added to ret. */
void tables_shown(const struct settings *set, struct text *ret);

#endif
