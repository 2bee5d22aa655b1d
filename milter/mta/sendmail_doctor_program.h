#ifndef DANELAW_MTA_SENDMAIL_DOCTOR_PROGRAM_H
#define DANELAW_MTA_SENDMAIL_DOCTOR_PROGRAM_H

#include "mta/sendmail_doctor_site.h"

/* Where Sendmail's programs are looked for, ending with NULL; for tests to change, before threads start. */
extern const char *const *sendmail_program_places;

/* The first place with a program that is Sendmail's, not another MTA's under its name; NULL: none. */
const char *sendmail_program_find(const struct sendmail_doctor *d);

#endif
