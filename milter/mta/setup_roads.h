#ifndef DANELAW_MTA_SETUP_ROADS_H
#define DANELAW_MTA_SETUP_ROADS_H

#include "mta/setup_site.h"

enum { SETUP_ROADS = 3, SETUP_OPTIONS_MAX = 16 };

/* `-o name=value` in master.cf. */
struct setup_option {
    const char *name, *value;
};

/* A road: an smtp(8) client that can't be talked out of what it demands. */
struct setup_road {
    const char *name;
    bool chroot;
    size_t count;
    struct setup_option options[SETUP_OPTIONS_MAX];
};

/* The three roads as this Postfix needs them, the one place that knows their lines. Texts live in memory. */
bool setup_roads(const struct setup_site *s, const struct settings *set, struct arena *memory,
                 struct setup_road ret[static SETUP_ROADS], struct fault *why);

/* An option as master.cf wants it: `-o name=value`, in braces where the value has blanks. */
void setup_option_print(const struct setup_option *o, struct text *ret);
/* The whole entry. */
void setup_road_print(const struct setup_road *road, struct text *ret);

#endif
