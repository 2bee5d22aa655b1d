#ifndef DANELAW_SERVER_SWEPT_H
#define DANELAW_SERVER_SWEPT_H

#include "engine/engine.h"

#include <jansson.h>

/*
 * Writes down that `danelaw sweep` has had a recipient's mail returned: request has queue_id, to, from and reason. NULL:
 * done; else what is wrong with the request. Any thread.
 */
const char *swept_record(struct engine *e, const json_t *request);

#endif
