#ifndef DANELAW_MTA_SENDMAIL_DOCTOR_CHECKS_H
#define DANELAW_MTA_SENDMAIL_DOCTOR_CHECKS_H

#include "mta/sendmail_doctor_site.h"

/* Each looks at one subject and adds what it finds. */

void sendmail_check_milter(struct sendmail_doctor *d);      /* X and who asks it */
void sendmail_check_map(struct sendmail_doctor *d);         /* our socket map */
void sendmail_check_table(struct sendmail_doctor *d);       /* the generated map of mandatory recipients */
void sendmail_check_rules(struct sendmail_doctor *d);       /* danelaw.m4's rules, and those around them */
void sendmail_check_mailers(struct sendmail_doctor *d);     /* M of the roads */
void sendmail_check_options(struct sendmail_doctor *d);     /* single options */
void sendmail_check_ways(struct sendmail_doctor *d);        /* mailertable, smart hosts, own domains */
void sendmail_check_access(struct sendmail_doctor *d);      /* what access_db says of STARTTLS */
void sendmail_check_submit(struct sendmail_doctor *d);      /* submit.cf */
void sendmail_check_sockets(struct sendmail_doctor *d);     /* whether Sendmail can open ours, and somebody listens */
void sendmail_check_program(struct sendmail_doctor *d);     /* what it was built with, what it complains of */

/* Whether some connector sends mail by this route. */
bool sendmail_is_used(const struct sendmail_doctor *d, const struct route *route);
/* That no folder on the way to a file of ours is writable for others, which Sendmail would not forgive. false: one is. */
bool sendmail_check_path(struct sendmail_doctor *d, const char *where, const char *path);

#endif
