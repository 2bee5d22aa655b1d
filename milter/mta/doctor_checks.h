#ifndef DANELAW_MTA_DOCTOR_CHECKS_H
#define DANELAW_MTA_DOCTOR_CHECKS_H

#include "mta/doctor_site.h"

/* Each looks at one subject and adds what it finds. */

void doctor_table(struct doctor *d);            /* the generated table, its index, its place; to be called first */
void doctor_transports(struct doctor *d);       /* other transport tables that win over it */
void doctor_default(struct doctor *d);          /* what no table has a line for */
void doctor_roads(struct doctor *d);            /* the roads in master.cf */
void doctor_filters(struct doctor *d);          /* FILTER, content filters and the like */
void doctor_milter(struct doctor *d);           /* smtpd_milters */
void doctor_tag(struct doctor *d);              /* what milter.tag wants */
void doctor_main(struct doctor *d);             /* single parameters of main.cf */
void doctor_sockets(struct doctor *d);          /* whether Postfix can open ours, and somebody listens */
void doctor_resolvers(struct doctor *d);        /* resolv.conf, the chroot's too */

/* Whether a transport table's key (`d`, `.d`, `user@d`) is for a mandatory connector's mail; then ret_value is the road. */
bool doctor_is_strict(struct doctor *d, const char *key, const char **ret_value);
/* Whether what a table says sends nothing out, or only by a road that authenticates whatever it is told. */
bool doctor_is_harmless(const struct doctor *d, const char *value, const char *ours);
/* Whether `type:path` is Danelaw's table, whatever its type. */
bool doctor_is_table(const struct doctor *d, const char *table);
/* Whether a list of tables has it. */
bool doctor_has_table(const struct doctor *d, const char *list);
/* Whether the list sends all domains that are not in ASCII on the road that asks us. */
bool doctor_has_spellings(const char *list);

#endif
