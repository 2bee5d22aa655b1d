#ifndef DANELAW_RESTART_H
#define DANELAW_RESTART_H

#include "base/settings.h"
#include "base/text.h"

/* Adds a line for each setting that has changed and that a reload can't change while we run. Any thread. */
void restart_wanted(const struct settings *old, const struct settings *new, struct text *ret);

#endif
