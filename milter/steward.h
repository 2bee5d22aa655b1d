#ifndef DANELAW_STEWARD_H
#define DANELAW_STEWARD_H

#include "config/config.h"
#include "engine/engine.h"
#include "server/control.h"

#include <stddef.h>

struct mode_order;
struct store;

/*
 * The steward does the daemon's slow chores on a thread of its own: reading the configuration again, putting administrators'
 * overrides in force and ending them, and keeping the MTA's tables current. Any thread may ask.
 */
struct steward;

/* config and store outlive the steward; the settings stay those of the start. Reads the overrides. */
struct steward *steward_new(const char *config_path, const struct configuration *config, struct store *store);
/* The rules that the engine is to begin with, with a reference. Before steward_start(). */
struct ruleset *steward_rules(struct steward *s);
/* Starts the thread; engine outlives it. */
void steward_start(struct steward *s, struct engine *engine);
void steward_stop(struct steward *s);           /* waits for a chore under way */
/* Once the store has stopped calling: it may yet say that there is more to read. */
void steward_free(struct steward *s);
/* Reads the configuration again; job (or NULL) is told how it went. */
void steward_reload(struct steward *s, struct control_job *job);
/* Overrides a connector's modes, and ends the job once that is in force and kept, or can't be. */
void steward_mode(struct steward *s, const struct mode_order *order, struct control_job *job);
/* Writes the tables now, or looks whether they are current, and ends the job. */
void steward_write(struct steward *s, enum tables_order order, struct control_job *job);
/* Writes the tables soon: some connector's road is another. */
void steward_turn(void *steward);
/* Whether the tables are current, as far as is known, and why not. */
void steward_tables(struct steward *s, bool *ret_good, char *ret_why, size_t size);

#endif
