#ifndef DANELAW_MTA_SETUP_SITE_H
#define DANELAW_MTA_SETUP_SITE_H

#include "base/text.h"
#include "mta/postconf.h"

/* In transport_maps: recipients with a domain that is not in ASCII. */
#define SETUP_SPELLINGS "/[^!-~][^@]*"

/* What the site's Postfix says of itself; presets where it can't be asked. */
struct setup_site {
    struct postconf conf;
    bool known;
    struct fault why;                           /* not known: why */
    const char *queue, *owner;
    const char *transport_maps, *milters, *milter_checks, *header_checks;       /* as written, $names and all */
    const char *relayhost;
    const char *own_domains;                    /* what it delivers itself, aliases or relays for, as one list */
    bool has_authorities;
    bool old_chroot;                            /* `-` in master.cf's chroot column means yes */
    bool smtp_chroot, smtpd_chroot;
    unsigned major, minor;
};

/* Texts live in memory. */
void setup_site_ask(struct setup_site *s, const struct settings *set, struct arena *memory);

/* A socket of ours as Postfix names it. */
struct setup_endpoint {
    struct text name;                           /* `unix:/path`, `unix:path` below the queue, `inet:host:port` */
    bool outside;                               /* a path that a chrooted process can't see */
};

/* From `unix:/path`, `local:/path` or `inet:PORT@HOST`; end its name with text_done(), whatever came out. */
bool setup_endpoint_init(struct setup_endpoint *e, const struct setup_site *s, const char *setting, const char *socket,
                         struct fault *why);

/* The words of the site's list without those that hold ours, each after a comma or each before one. */
void setup_put_others(const char *list, const char *ours, bool before, struct arena *memory, struct text *ret);
/* The milter as smtpd_milters names it, in braces with its limits. */
void setup_put_milter(const struct setup_endpoint *e, const struct settings *set, struct text *ret);

#endif
