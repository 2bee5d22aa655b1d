#ifndef DANELAW_MTA_SENDMAIL_DOCTOR_MAPS_H
#define DANELAW_MTA_SENDMAIL_DOCTOR_MAPS_H

#include "mta/sendmail_doctor_site.h"

/* A map as a K line declares it: `hash -T<TMPF> /etc/mail/access`. Texts live in the doctor's memory. */
struct sendmail_map {
    const struct sendmail_line *line;
    const char *type;                       /* `hash` */
    const char *options;                    /* the letters of its options */
    const char *on_failure;                 /* of -T; NULL: none */
    const char *limit;                      /* of -d; NULL: none */
    const char *place;                      /* a path or socket; "": none */
};

/* false: there is no such map. */
bool sendmail_map_find(const struct sendmail_doctor *d, const char *name, struct sendmail_map *ret);

/* Whether all of it can be listed: the types that are files. */
bool sendmail_map_is_listable(const struct sendmail_map *map);
/* All that a map has, as lines `key<TAB>value`, keys in lower case; gives them. false: it can't be listed. */
bool sendmail_map_list(const struct sendmail_doctor *d, const struct sendmail_map *map, char **ret, struct fault *why);

/* Says that it couldn't be; fix: NULL for one that the site makes itself. */
void sendmail_map_unread(struct sendmail_doctor *d, const struct sendmail_map *map, const struct fault *why,
                         const char *fix);
/* The next entry of such a list; both are borrowed. false: the end. */
bool sendmail_map_next(char **cursor, const char **ret_key, const char **ret_value);

#endif
