#include "mta/doctor_checks.h"

#include "base/memory.h"

#include <string.h>

static void (*const checks[])(struct doctor *) = {
    doctor_table, doctor_transports, doctor_default, doctor_roads, doctor_filters, doctor_milter, doctor_tag, doctor_main,
    doctor_sockets, doctor_resolvers,
};

void doctor_report_init(struct doctor_report *r)
{
    *r = (struct doctor_report){ .memory = arena_new() };
}

void doctor_report_done(struct doctor_report *r)
{
    arena_free(r->memory);
    free(r->items);
    free(r->unread);
    *r = (struct doctor_report){ .memory = NULL };
}

const char *doctor_severity_word(enum doctor_severity s)
{
    switch (s) {
    case DOCTOR_LEAK:
        return "leak";
    case DOCTOR_HOLD:
        return "hold";
    case DOCTOR_HINT:
        return "hint";
    }
    return "leak";
}

/* The worst first; what was found together stays together. */
static void sort(struct doctor_report *r)
{
    struct doctor_finding *sorted = mem_array(r->count + 1, sizeof(*sorted));
    size_t count = 0, i;
    int s;

    for (s = DOCTOR_LEAK; s <= DOCTOR_HINT; s++) {
        for (i = 0; i < r->count; i++) {
            if ((int)r->items[i].severity == s)
                sorted[count++] = r->items[i];
        }
    }
    free(r->items);
    r->items = sorted;
    r->room = r->count + 1;
}

bool doctor_postfix(const struct settings *set, const struct ruleset *rules, const char *stale, struct doctor_report *ret,
                    struct fault *why)
{
    struct doctor d;
    bool good = doctor_site_read(&d, set, rules, ret, why);
    size_t i;

    d.stale = stale;
    for (i = 0; good && i < COUNT_OF(checks); i++)
        checks[i](&d);
    doctor_site_done(&d);
    sort(ret);
    return good;
}
