#ifndef DANELAW_MTA_SENDMAIL_TABLE_H
#define DANELAW_MTA_SENDMAIL_TABLE_H

#include "mta/tables.h"

/*
 * The map that danelaw.m4 asks before anybody else: whose mail is ours to judge, and what becomes of it while the daemon
 * is dead.
 */
#define SENDMAIL_TABLE "sendmail/mandatory"     /* below store.directory */

/* The map's text: one line a key, sorted. Pure. */
void sendmail_table_render(const struct ruleset *rules, const struct tables_own *own, struct text *ret);

/* Whether a connector's mail must not go the MTA's own way while nobody answers: `mandatory` in the map. Pure. */
bool sendmail_table_must_wait(const struct connector *c);

#endif
