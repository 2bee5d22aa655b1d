#ifndef DANELAW_SERVER_LIBMILTER_H
#define DANELAW_SERVER_LIBMILTER_H

#include "server/listen.h"

#include <libmilter/mfapi.h>

/* libmilter from its beginning to its end. It keeps its state in globals. */

/* Registers filter and opens its socket. Before any thread starts. */
bool libmilter_open(const struct smfiDesc *filter, const char *spec, const struct listen_access *access, struct fault *why);
/* Returns once it was told to stop and has, or has had time enough; sessions may still run then. false: it could not serve. */
bool libmilter_serve(void);

#endif
