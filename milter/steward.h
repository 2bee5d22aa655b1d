#ifndef DANELAW_STEWARD_H
#define DANELAW_STEWARD_H

#include "config/config.h"
#include "engine/engine.h"

#include <stddef.h>

struct control_job;

/*
 * The steward does the daemon's slow chores on a thread of its own: reading the configuration again, and keeping the
 * MTA's tables current. Any thread may ask.
 */
struct steward;

/* config outlives the steward, whose settings stay those of the start. */
struct steward *steward_start(const char *config_path, const struct configuration *config, struct engine *engine);
void steward_stop(struct steward *s);           /* waits for a chore under way; NULL is welcome */
/* Reads the configuration again; job (or NULL) is told how it went. */
void steward_reload(struct steward *s, struct control_job *job);
/* Writes the tables soon: some connector's road is another. */
void steward_turn(void *steward);
/* Whether the tables are current, as far as is known, and why not. */
void steward_tables(struct steward *s, bool *ret_good, char *ret_why, size_t size);

#endif
