#ifndef DANELAW_CONFIG_CONFIG_H
#define DANELAW_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/settings.h"
#include "base/text.h"
#include "policy/ruleset.h"

/* What a configuration says, faultless and complete: presets are filled in, the rules frozen. */
struct configuration {
    struct settings settings;
    struct ruleset *rules;          /* shares: one reference is the configuration's */
    struct arena *memory;           /* where the settings live */
};

/* What there is to say about a configuration; both hold whole lines, `FILE:LINE: connector "NAME": SETTING: ...`. */
struct config_report {
    struct text faults;             /* empty: the configuration is good */
    struct text hints;              /* worth a look, no fault */
};

void config_report_init(struct config_report *r);
void config_report_done(struct config_report *r);

/* Reads the file, what it includes and its connectors_dir, and finds all faults at once. NULL ret means: only look. */
bool config_load(const char *path, struct configuration **ret, struct config_report *report);
void config_free(struct configuration *c);      /* NULL is welcome */

/* The settings of a connector and of a route, for those who check that manual and samples name each; a NULL name ends. */
extern const struct setting connectors_settings[];
extern const struct setting routes_settings[];

#endif
