#ifndef DANELAW_SERVER_MILTER_H
#define DANELAW_SERVER_MILTER_H

#include "base/settings.h"
#include "engine/engine.h"
#include "server/listen.h"

/* The milter's door. libmilter keeps its state in globals, so there is one of it in a process. */

/* Opens the socket. Before any thread starts; the process may still fork and change its user afterwards. */
bool milter_open(const struct settings *set, const struct listen_access *access, struct fault *why);
/* Serves sessions until SIGTERM, SIGINT or SIGHUP (libmilter's own signals); false: it could not. */
bool milter_serve(struct engine *engine);
/*
 * Waits until no session uses the engine or the settings any more; none will again. The engine must have been stopped,
 * so that nobody waits in there.
 */
void milter_close(void);
/* Sessions open now. Any thread. */
size_t milter_sessions(void);

#endif
