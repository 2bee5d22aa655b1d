#ifndef DANELAW_MTA_SENDMAIL_DOCTOR_RULES_H
#define DANELAW_MTA_SENDMAIL_DOCTOR_RULES_H

#include "mta/sendmail_doctor_site.h"

/* A rewriting rule without the remark behind it, blanks made one. Texts live in the doctor's memory. */
struct sendmail_rule {
    const char *ruleset;
    const char *left, *right;
    const struct sendmail_line *line;       /* NULL: of danelaw.m4 */
};

struct sendmail_rules {
    struct sendmail_rule *items;
    size_t count, room;
};

/* Those of sendmail.cf, and those that danelaw.m4 makes; end each with sendmail_rules_done(). */
void sendmail_rules_read(const struct sendmail_doctor *d, struct sendmail_rules *ret);
void sendmail_rules_expected(const struct sendmail_doctor *d, struct sendmail_rules *ret);
void sendmail_rules_done(struct sendmail_rules *r);

/* The next rule of a ruleset from *cursor on, which then is behind it; NULL: no more. Begin with *cursor = 0. */
const struct sendmail_rule *sendmail_rules_next(const struct sendmail_rules *r, const char *ruleset, size_t *cursor);

/* Whether a rule of the site's that stands before ours ends what is done for a mandatory connector's recipient. */
bool sendmail_rule_takes(const struct sendmail_doctor *d, const struct sendmail_rule *rule);

#endif
