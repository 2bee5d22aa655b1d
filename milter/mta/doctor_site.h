#ifndef DANELAW_MTA_DOCTOR_SITE_H
#define DANELAW_MTA_DOCTOR_SITE_H

#include "mta/doctor_report.h"
#include "mta/postmap.h"
#include "mta/render.h"
#include "mta/setup_roads.h"

/* A line of master.cf. */
struct doctor_service {
    const char *id;                         /* `smtp/inet` */
    const char *name, *type, *command;
    bool chroot;
};

/* A parameter's value, main.cf's or a service's own. */
struct doctor_value {
    const char *name;
    const char *service;                    /* "": main.cf */
    const char *value;
};

/* Postfix as it is configured, and what is found in it. Texts live in memory. */
struct doctor {
    const struct settings *set;
    const struct ruleset *rules;
    struct doctor_report *report;
    struct arena *memory;
    struct setup_site site;
    struct setup_road roads[SETUP_ROADS];
    struct postmap postmap;
    struct doctor_service *services;
    size_t service_count, service_room;
    struct doctor_value *values;            /* sorted by name, then service */
    size_t value_count, value_room;
    struct sheet sheet;                     /* our table, but for domains of the site's own */
    const char *table, *table_path;         /* `hash:/path`; "": it can't be told */
    const char *stale;                      /* as doctor_postfix() has it */
    bool routed;                            /* the table is in transport_maps */
};

bool doctor_site_read(struct doctor *d, const struct settings *set, const struct ruleset *rules,
                      struct doctor_report *report, struct fault *why);
void doctor_site_done(struct doctor *d);

/* What a service goes by: its own value, else main.cf's; "" where this Postfix doesn't know the parameter. NULL: main.cf. */
const char *doctor_value(const struct doctor *d, const struct doctor_service *s, const char *name);
/* A service's own value, or NULL. */
const char *doctor_override(const struct doctor *d, const struct doctor_service *s, const char *name);
/* NULL: there is none. */
const struct doctor_service *doctor_service(const struct doctor *d, const char *name, const char *type);

/* A place that sets a parameter. */
struct doctor_place {
    const struct doctor_service *service;   /* NULL: main.cf */
    const char *where;                      /* `main.cf: transport_maps`, `master.cf: smtp/inet: -o transport_maps` */
    const char *value;
};

/* The next place where a parameter is set, main.cf first; begin with *cursor = 0. */
bool doctor_next_place(const struct doctor *d, const char *name, size_t *cursor, struct doctor_place *ret);

/* Text in the doctor's memory. */
const char *doctor_say(const struct doctor *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Borrows texts that live as long as the report. */
void doctor_find(struct doctor *d, enum doctor_severity severity, const char *where, const char *what, const char *fix);
void doctor_unread(struct doctor *d, const char *what);

/* Where a service of Postfix finds `unix:PATH`, as the rest of the machine sees it. */
const char *doctor_path(const struct doctor *d, bool chroot, const char *path);
/* Whether a service's words for a socket (`unix:PATH`, `inet:host:port`) mean the socket of this setting of ours. */
bool doctor_is_socket(const struct doctor *d, bool chroot, const char *words, const char *socket);

/* A duration as Postfix writes it; a bare number is of `unit`. false: none. */
bool doctor_seconds(const char *text, char unit, uint64_t *ret);

#endif
