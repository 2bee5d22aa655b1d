#include "restart.h"

#include <string.h>

static bool same_list(const struct setting_list *a, const struct setting_list *b)
{
    size_t i;

    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

static bool same_setting(const struct setting *which, const struct settings *a, const struct settings *b)
{
    const void *x = (const char *)a + which->offset, *y = (const char *)b + which->offset;

    switch (which->kind) {
    case SETTING_TEXT:
    case SETTING_WORD:
        return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
    case SETTING_FLAG:
        return *(const bool *)x == *(const bool *)y;
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_MODE:
        return *(const uint32_t *)x == *(const uint32_t *)y;
    case SETTING_SIZE:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    case SETTING_LIST:
        return same_list(x, y);
    }
    return false;
}

/* Of all settings outside connectors and routes only these take effect at a reload. */
static bool takes_effect(const struct setting_group *group, const struct setting *which)
{
    return strcmp(which->name, "connectors_dir") == 0 ||
           (strcmp(group->name, "log") == 0 && strcmp(which->name, "level") == 0);
}

void restart_wanted(const struct settings *old, const struct settings *new, struct text *ret)
{
    const struct setting_group *group;
    const struct setting *which;

    for (group = settings_groups; group->name != NULL; group++) {
        for (which = group->settings; which->name != NULL; which++) {
            if (!takes_effect(group, which) && !same_setting(which, old, new))
                text_print(ret, "%s%s%s has changed; restart danelawd for that\n", group->name,
                           *group->name == '\0' ? "" : ".", which->name);
        }
    }
}
