#ifndef DANELAW_SERVER_SOCKETMAP_H
#define DANELAW_SERVER_SOCKETMAP_H

#include "base/settings.h"
#include "engine/engine.h"

struct event_base;
struct socketmap;

/*
 * The MTA's tables, asked over a socket (socketmap_table(5)): netstrings, keep-alive, one question at a time for each
 * connection. A cold question parks its connection, never a thread; after maps.budget it is answered TEMP.
 * Loop thread only. socket is a listening descriptor, taken; set must outlive the map.
 */
struct socketmap *socketmap_open(struct event_base *loop, int socket, const struct settings *set, struct engine *engine);
/* After the engine is closed, so that no answer is on its way any more; NULL is welcome. */
void socketmap_close(struct socketmap *m);
/* Connections open now. */
size_t socketmap_clients(const struct socketmap *m);

#endif
