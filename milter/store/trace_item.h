#ifndef DANELAW_STORE_TRACE_ITEM_H
#define DANELAW_STORE_TRACE_ITEM_H

#include "store/trace.h"

#include <jansson.h>

/* A row as an item of `danelaw trace`, with the keys of its manual. Gives a JSON object. Any thread. */
json_t *trace_item(const struct trace_row *row);

#endif
