#ifndef DANELAW_SERVER_CLIENT_H
#define DANELAW_SERVER_CLIENT_H

/* What control.c, which has the wire, and verbs.c, which has the answers, share, and nobody else sees. Loop thread only. */

#include "server/clerk.h"
#include "server/control.h"
#include "server/peer.h"
#include "store/audit.h"

struct bufferevent;
struct evconnlistener;
struct event;
struct held_list;
struct mailbox;
struct recall;

/* Something that another thread does for a client. */
struct control_job {
    struct control_job *next;
    struct mailbox *mailbox;
    struct client *client;              /* loop thread only; NULL: it left */
    char by[AUDIT_BY_SIZE];
    int exit_code;
    char *lines;                        /* an item each; or NULL */
    json_t *item;                       /* before them; or NULL */
    char *error;                        /* or NULL */
};

/* A connection. */
struct client {
    struct control *control;
    struct client *next, **link;
    struct bufferevent *wire;
    struct control_job *job;            /* or NULL */
    json_t *(*make)(struct client *client);     /* gives the list's next item, NULL at its end; NULL: no list is being sent */
    struct ruleset *rules;              /* or NULL */
    size_t next_rule;
    struct recall *recall;              /* or NULL */
    struct held_list *held;             /* or NULL */
    struct clerk_reading *reading;      /* or NULL */
    size_t sent;                        /* items of the list */
    const char *nothing;                /* what to say, with exit 1, where the list is empty; or NULL */
    struct peer peer;
    bool finished;                      /* the last line is on its way */
};

/* The socket, and all that is connected there. */
struct control {
    struct event_base *loop;
    struct engine *engine;
    struct control_hooks hooks;
    struct evconnlistener *listener;
    struct event *mail, *breather;
    struct mailbox *mailbox;
    struct clerk *clerk;
    struct client *clients;
    size_t client_count;
    bool breathing;
    int64_t said_at;                    /* that a connection could not be taken */
    int64_t started_ms;
    char own_name[PEER_NAME_SIZE];
};

/* Does what the line says. */
void client_obey(struct client *client, const char *line, size_t length);

/* Takes item. */
void client_send(struct client *client, json_t *item);
/* The last line; error or NULL. */
void client_finish(struct client *client, int exit_code, const char *error);
/* Sends a list, as fast as it is read. */
void client_list(struct client *client, json_t *(*make)(struct client *client));
/* The same from disk; takes source. */
void client_read(struct client *client, struct clerk_source *source);
/* The last line of a list. */
void client_end_list(struct client *client);
/* What control_job_done() or control_job_end() ends. */
struct control_job *client_job(struct client *client);

#endif
