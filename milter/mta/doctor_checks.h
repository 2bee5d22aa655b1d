#ifndef DANELAW_MTA_DOCTOR_CHECKS_H
#define DANELAW_MTA_DOCTOR_CHECKS_H

#include "mta/doctor_site.h"

/* Each looks at one subject and adds what it finds. */

void doctor_table(struct doctor *d);            /* the generated table, its index, its place in transport_maps; first of all */
void doctor_transports(struct doctor *d);       /* other transport tables and defaults that win over it */
void doctor_roads(struct doctor *d);            /* the roads in master.cf */
void doctor_filters(struct doctor *d);          /* FILTER, content filters and the like */
void doctor_milter(struct doctor *d);           /* smtpd_milters */
void doctor_tag(struct doctor *d);              /* what milter.tag wants */
void doctor_main(struct doctor *d);             /* single parameters of main.cf */
void doctor_sockets(struct doctor *d);          /* whether Postfix can open ours, and somebody listens */
void doctor_resolvers(struct doctor *d);        /* resolv.conf, the chroot's too */

/* Whether a key of a transport table (`d`, `.d`, `user@d`) is for a mandatory connector's mail; then ret_value is the road. */
bool doctor_is_strict(struct doctor *d, const char *key, const char **ret_value);

#endif
