#ifndef DANELAW_SERVER_CONTROL_H
#define DANELAW_SERVER_CONTROL_H

#include "base/settings.h"
#include "base/text.h"
#include "engine/engine.h"

#include <jansson.h>

struct event_base;
struct control;
struct control_job;
struct mode_order;

struct store;
struct policies;
struct trace;
struct holds;

/* Whether the MTA's tables are current; to write them, unless what is there may be stricter; or whatever is there. */
enum tables_order { TABLES_CHECK = 0, TABLES_FOLLOW, TABLES_REPLACE };

/* What the daemon does for the command besides answering; called on the loop thread, must not block. */
struct control_hooks {
    void *self;
    /* Reads the configuration again; control_job_done() is called once, by any thread. */
    void (*reload)(void *self, struct control_job *job);
    /* Overrides a connector's modes, which are shown then; or writes the MTA's tables, or looks whether they are current. Both
       end the job once, by any thread. */
    void (*mode)(void *self, const struct mode_order *order, struct control_job *job);
    void (*tables)(void *self, enum tables_order order, struct control_job *job);
    /* Adds what only the daemon knows to `danelaw status`: tables current or not and why. */
    void (*status)(void *self, bool *ret_tables_good, char *ret_why, size_t size);
    struct store *store;            /* what it looks into; each may be NULL */
    struct policies *policies;
    struct trace *trace;
    struct holds *holds;
};

/*
 * The control socket: one request a connection, a line of JSON {"verb": ..., ...}; the answer is a line of JSON an item
 * and a last line {"exit": N} with "error" where there is something to say. Loop thread only.
 * socket is a listening descriptor, taken. Readers are whom the socket's permissions let in; changes are for root and
 * the daemon's own user, by peer credentials.
 */
struct control *control_open(struct event_base *loop, int socket, struct engine *engine, const struct control_hooks *hooks);
void control_close(struct control *c);              /* NULL is welcome */

/* Ends a job: exit as danelaw(1) has it, lines for people (may be empty). Any thread. */
void control_job_done(struct control_job *job, int exit_code, const char *lines);
/* The same with an item (taken; or NULL) and what there is to say about a failure (or NULL). */
void control_job_end(struct control_job *job, int exit_code, json_t *item, const char *error);
/* Who has asked for it, for the audit. */
const char *control_job_by(const struct control_job *job);

#endif
