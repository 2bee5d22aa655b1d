#ifndef DANELAW_MTA_SENDMAIL_DOCTOR_SITE_H
#define DANELAW_MTA_SENDMAIL_DOCTOR_SITE_H

#include "mta/doctor_report.h"
#include "mta/sendmail_cf.h"

/* Sendmail as it is configured, and what is found in it. Texts live in memory. */
struct sendmail_doctor {
    const struct settings *set;
    const struct ruleset *rules;
    struct doctor_report *report;
    struct arena *memory;
    struct sendmail_cf cf;
    const char *folder;                     /* where sendmail.cf is */
    const char *program;                    /* sendmail; NULL: none is found */
    const char *mc;                         /* what `danelaw setup sendmail` prints */
    const char *stale;                      /* as doctor_sendmail() has it */
    bool has_map;                           /* nothing is found that keeps Sendmail from reading our map */
};

bool sendmail_site_read(struct sendmail_doctor *d, const struct settings *set, const struct ruleset *rules,
                        struct doctor_report *report, struct fault *why);
void sendmail_site_done(struct sendmail_doctor *d);

/* Text in the doctor's memory. */
const char *sendmail_say(const struct sendmail_doctor *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Borrows texts that live as long as the report. line: of sendmail.cf, NULL: the finding is about one that isn't there. */
void sendmail_find(struct sendmail_doctor *d, enum doctor_severity severity, const struct sendmail_line *line,
                   const char *what, const char *fix);
/* The same in another place than sendmail.cf. */
void sendmail_find_at(struct sendmail_doctor *d, enum doctor_severity severity, const char *where, const char *what,
                      const char *fix);
void sendmail_unread(struct sendmail_doctor *d, const char *what);
/* The first line of the set-up that begins like this, to be written into sendmail.mc; `begin` itself where there is none. */
const char *sendmail_wanted(const struct sendmail_doctor *d, const char *begin);

/* The last line of this command that names this: `O NAME=`, `KNAME`, `MNAME,`, `DNAME`; NULL: there is none. */
const struct sendmail_line *sendmail_line_of(const struct sendmail_doctor *d, char command, const char *name);
/* What an option says, in lower case without the blanks around it; "": it is not set. */
const char *sendmail_option(const struct sendmail_doctor *d, const char *name, const struct sendmail_line **ret_line);
/* Whether an option is set to true. */
bool sendmail_is_on(const struct sendmail_doctor *d, const char *name, const struct sendmail_line **ret_line);
/* `X=VALUE` of a line `NAME, X=VALUE, ...`; only the field's first letter counts. NULL: there is none. */
const char *sendmail_equate(const struct sendmail_doctor *d, const struct sendmail_line *line, char field);
/* What stands before the first comma or blank. */
const char *sendmail_name(const struct sendmail_doctor *d, const struct sendmail_line *line);
/* The next word of a list, at commas, semicolons and blanks; NULL: the end. */
const char *sendmail_word(const struct sendmail_doctor *d, const char **cursor);

/* A time as Sendmail writes it (`1h30m`), a bare number of `unit`; false: none. */
bool sendmail_seconds(const char *text, char unit, uint64_t *ret);
/* Whether Sendmail's words for a socket mean the socket of this setting of ours. */
bool sendmail_is_socket(const struct sendmail_doctor *d, const char *words, const char *socket);
/* Whether mail for this key (`d`, `.d`, `user@d`, `.` for everyone) may be held for want of authentication. */
bool sendmail_is_strict(const struct sendmail_doctor *d, const char *key);
/* The connector that puts its mail on a road of ours whoever sends it, or for some senders; NULL: none. */
const struct connector *sendmail_ruler(const struct sendmail_doctor *d, const char *key);

#endif
