#ifndef DANELAW_SERVER_TRACE_LIST_H
#define DANELAW_SERVER_TRACE_LIST_H

#include "base/fault.h"
#include "server/clerk.h"

struct store;

/* The rows of the trace that a request asks for, as a list for the clerk. NULL: why says what is wrong with the request. */
struct clerk_source *trace_list(struct store *store, const json_t *request, struct fault *why);

#endif
