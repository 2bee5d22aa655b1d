#ifndef DANELAW_SERVER_MODES_H
#define DANELAW_SERVER_MODES_H

#include "base/fault.h"
#include "policy/override.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct clerk_source;
struct store;

enum { MODES_SPAN_MOST = 7 * 24 * 60 * 60 };

/* What `danelaw mode` asks the daemon for. */
struct mode_order {
    char connector[OVERRIDE_NAME_SIZE];
    bool clear;                         /* nothing else counts then */
    bool sets_dane, sets_sts;
    enum mode smtp_dane, mta_sts;
    int64_t span;                       /* seconds; 0: none given */
    bool permanent;
};

/* false: that can't be meant. */
bool modes_read(const json_t *request, struct mode_order *ret, struct fault *why);

/* `danelaw audit`, newest first. Borrows store. */
struct clerk_source *modes_audit(struct store *store);

#endif
