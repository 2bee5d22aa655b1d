#include "mta/doctor_checks.h"

#include "base/memory.h"

#include <string.h>

static void (*const checks[])(struct doctor *) = {
    doctor_table, doctor_transports, doctor_default, doctor_roads, doctor_filters, doctor_milter, doctor_tag, doctor_main,
    doctor_sockets, doctor_resolvers,
};

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
    doctor_report_sort(ret);
    return good;
}
