#ifndef DANELAW_POLICY_OVERRIDE_H
#define DANELAW_POLICY_OVERRIDE_H

#include "policy/terms.h"

#include <stdint.h>

enum {
    OVERRIDE_NAME_SIZE = 160,           /* a connector's name has at most 128 octets */
    OVERRIDE_BY_SIZE = 160,
    OVERRIDE_TEXT_SIZE = 128,
};

/* What an administrator says instead of a connector's configuration. Values; copied as they are. */
struct override {
    char connector[OVERRIDE_NAME_SIZE];
    bool sets_dane, sets_sts;           /* else the configured mode counts */
    enum mode smtp_dane, mta_sts;
    int64_t until;                      /* wall seconds; 0: permanent */
    int64_t set_at;
    char by[OVERRIDE_BY_SIZE];
};

#endif
