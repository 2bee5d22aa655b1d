#include "mta/doctor_checks.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Single parameters of main.cf. */

/* The longest hold of all connectors that ever hold. */
static const struct connector *most_patient(const struct doctor *d)
{
    const struct connector *found = NULL;
    size_t i;

    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (!c->test_mode && (c->smtp_dane != MODE_NONE || c->mta_sts != MODE_NONE) && (found == NULL || c->hold > found->hold))
            found = c;
    }
    return found;
}

static void check_lifetimes(struct doctor *d)
{
    const struct connector *c = most_patient(d);
    const char *life = doctor_value(d, NULL, "maximal_queue_lifetime");
    uint64_t seconds, days;

    if (c == NULL)
        return;
    days = ((uint64_t)c->hold + 86399) / 86400;
    if (doctor_seconds(life, 'd', &seconds) && seconds < c->hold)
        doctor_find(d, DOCTOR_HOLD, "main.cf: maximal_queue_lifetime",
                    doctor_say(d, "Postfix returns mail after %s, before the hold of connector \"%.100s\" is over (%u s)",
                               life, c->name, c->hold),
                    doctor_say(d, "maximal_queue_lifetime = %llud", (unsigned long long)(days + 1)));
    life = doctor_value(d, NULL, "bounce_queue_lifetime");
    if (doctor_seconds(life, 'd', &seconds) && seconds < c->hold)
        doctor_find(d, DOCTOR_HINT, "main.cf: bounce_queue_lifetime",
                    doctor_say(d, "Postfix gives a bounce up after %s, before the hold of connector \"%.100s\" is over (%u s)",
                               life, c->name, c->hold),
                    doctor_say(d, "bounce_queue_lifetime = %llud", (unsigned long long)(days + 1)));
}

static void check_bounces(struct doctor *d)
{
    if (strcmp(doctor_value(d, NULL, "soft_bounce"), "yes") == 0)
        doctor_find(d, DOCTOR_HOLD, "main.cf: soft_bounce", "nothing is ever refused for good or returned, also what is held "
                    "longer than its connector says", "soft_bounce = no");
}

static void check_delimiter(struct doctor *d)
{
    if (d->sheet.tightened != NULL)
        doctor_find(d, DOCTOR_HINT, "main.cf: recipient_delimiter",
                    doctor_say(d, "Postfix takes the line of %.300s for every extension of it, too, so that it has its "
                               "domain's stricter road", d->sheet.tightened),
                    "recipient_delimiter = , or no laxer connector for that address");
}

static void check_limits(struct doctor *d)
{
    const char *limit = doctor_value(d, NULL, "smtpd_hard_error_limit");
    char *end;
    unsigned long number = strtoul(limit, &end, 10);

    if (end != limit && *end == '\0' && number < 20)
        doctor_find(d, DOCTOR_HINT, "main.cf: smtpd_hard_error_limit",
                    doctor_say(d, "recipients that are refused for now count as errors, and after %lu of them the session ends",
                               number), "smtpd_hard_error_limit = 20");
}

static void check_instances(struct doctor *d)
{
    const char *others = doctor_value(d, NULL, "multi_instance_directories");

    if (*others != '\0')
        doctor_find(d, DOCTOR_HINT, "main.cf: multi_instance_directories",
                    doctor_say(d, "only this instance was looked at, not %.300s", others),
                    "danelaw doctor postfix --config-dir D, for each of them");
}

void doctor_main(struct doctor *d)
{
    check_lifetimes(d);
    check_bounces(d);
    check_delimiter(d);
    check_limits(d);
    check_instances(d);
}
