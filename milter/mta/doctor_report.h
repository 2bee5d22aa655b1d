#ifndef DANELAW_MTA_DOCTOR_REPORT_H
#define DANELAW_MTA_DOCTOR_REPORT_H

#include "base/text.h"
#include "mta/doctor.h"

#include <stdarg.h>

/* How findings come into a report, whatever MTA they are about. */

/* Text in the report's memory. */
const char *doctor_report_say(struct doctor_report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *doctor_report_say_list(struct doctor_report *r, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
/* Borrow texts that live as long as the report; past a ceiling findings are only counted. */
void doctor_report_find(struct doctor_report *r, enum doctor_severity severity, const char *where, const char *what,
                        const char *fix);
void doctor_report_unread(struct doctor_report *r, const char *what);
/* The worst first; what was found together stays together. */
void doctor_report_sort(struct doctor_report *r);

/* A few of many keys, for a finding: the first 20, then how many more. */
struct doctor_keys {
    struct text text;
    size_t count;
};

void doctor_keys_init(struct doctor_keys *k);
void doctor_keys_add(struct doctor_keys *k, const char *key);
/* Their list in the report's memory; k is empty again. */
const char *doctor_keys_give(struct doctor_report *r, struct doctor_keys *k);

/* The pattern of a table's key: `d`, `.d`, `user@d`; it borrows local and d. false: it is none. */
bool doctor_pattern(const char *key, char local[static ADDRESS_LOCAL_SIZE], struct domain *d, struct pattern *ret);
/* Whether two paths lead to the same thing. */
bool doctor_same_path(const char *a, const char *b);
/* Whether somebody listens on `unix:PATH`, `local:PATH` or `inet:PORT@HOST`, and lets us in: 0, else the errno. */
int doctor_knock(const char *socket);

#endif
