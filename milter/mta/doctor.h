#ifndef DANELAW_MTA_DOCTOR_H
#define DANELAW_MTA_DOCTOR_H

#include "base/arena.h"
#include "base/settings.h"
#include "policy/ruleset.h"

/*
 * What an MTA's configuration does against us. Reads only; runs the MTA's own programs (postconf(1) and postmap(1), or
 * sendmail(8) and makemap(8)), knocks at our own sockets and asks the resolvers of resolv.conf. One thread; the caller should
 * be root, who may read all of it.
 */

/* Of what a finding may do to mail for a mandatory partner. */
enum doctor_severity {
    DOCTOR_LEAK = 0,                /* it could leave unauthenticated */
    DOCTOR_HOLD,                    /* mail waits, is held or returned without need, or not when it should be */
    DOCTOR_HINT,                    /* nothing yet, but somebody should know */
};

struct doctor_finding {
    enum doctor_severity severity;
    const char *where, *what, *fix;
};

/* All texts live in memory. */
struct doctor_report {
    struct arena *memory;
    struct doctor_finding *items;
    size_t count, room;
    size_t more;                    /* found past the ceiling, and not kept */
    const char **unread;            /* what can't be read, and why */
    size_t unread_count, unread_room;
};

void doctor_report_init(struct doctor_report *r);
void doctor_report_done(struct doctor_report *r);
const char *doctor_severity_word(enum doctor_severity s);

/*
 * Adds all findings to ret. stale: what the daemon says of its table, "" for current, else why it is not; NULL where there
 * is no daemon to ask, and the table is compared with these rules. false: Postfix can't be asked at all.
 */
bool doctor_postfix(const struct settings *set, const struct ruleset *rules, const char *stale, struct doctor_report *ret,
                    struct fault *why);
/* The same for Sendmail. false: there is no sendmail.cf to read. */
bool doctor_sendmail(const struct settings *set, const struct ruleset *rules, const char *stale, struct doctor_report *ret,
                     struct fault *why);

#endif
