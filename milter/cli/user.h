#ifndef DANELAW_CLI_USER_H
#define DANELAW_CLI_USER_H

#include "base/fault.h"
#include "base/settings.h"

#include <stdbool.h>

/*
 * As root: makes sure that the store's folder is there and the daemon's, then becomes the daemon's user for good, so
 * that whatever is written is what the daemon can write again. Anyone else stays who he is.
 */
bool user_become(const struct settings *set, struct fault *why);

#endif
