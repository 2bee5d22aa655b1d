#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"

static void (*const checks[])(struct sendmail_doctor *) = {
    sendmail_check_table, sendmail_check_map, sendmail_check_rules, sendmail_check_mailers, sendmail_check_ways,
    sendmail_check_access, sendmail_check_milter, sendmail_check_options, sendmail_check_submit, sendmail_check_sockets,
    sendmail_check_program,
};

bool doctor_sendmail(const struct settings *set, const struct ruleset *rules, const char *stale, struct doctor_report *ret,
                     struct fault *why)
{
    struct sendmail_doctor d;
    size_t i;

    if (!sendmail_site_read(&d, set, rules, ret, why))
        return false;
    d.stale = stale;
    for (i = 0; i < COUNT_OF(checks); i++)
        checks[i](&d);
    sendmail_site_done(&d);
    doctor_report_sort(ret);
    return true;
}
