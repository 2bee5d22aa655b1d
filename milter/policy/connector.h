#ifndef DANELAW_POLICY_CONNECTOR_H
#define DANELAW_POLICY_CONNECTOR_H

#include "base/domain.h"
#include "policy/override.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Where mail goes: a transport of the MTA. */
struct route {
    const char *name;
    const char *transport;
    const char *next_hop;           /* "": the recipient's own domain, or the connector's smart hosts */
    enum tls_level tls;             /* what the transport itself demands, for those that stand in for ours */
    const char *const *tls_match;
    uint32_t tls_match_count;
};

enum pattern_kind { PATTERN_EVERYONE = 0, PATTERN_BELOW, PATTERN_DOMAIN, PATTERN_ADDRESS, PATTERN_NULL_SENDER };

/* `*`, `*.d`, `d`, `user@d`, `<>` */
struct pattern {
    enum pattern_kind kind;
    const char *local;              /* lower-case ASCII; PATTERN_ADDRESS only */
    const char *domain;             /* A-labels */
};

enum { CONNECTOR_SMART_HOSTS_MAX = 16 };

/* A partner rule. Frozen with its ruleset, but for on_fallback; all pointers live as long as that. There may be a hundred
 * thousand: what takes least room stands last. */
struct connector {
    const char *name;               /* "(default)" for the one that answers last */
    const char *file;               /* where it was written, at `line` */
    const struct pattern *recipients, *senders;     /* no senders: anyone's mail */
    const struct next_hop *smart_hosts;
    const char *const *tls_match;
    const struct route *route;
    const struct route *fallback;   /* or NULL: the road instead of holding */
    atomic_bool *on_fallback;       /* NULL without a fallback; the one thing here that changes, by the engine */
    const struct override *override;    /* whose modes it has; NULL: the configured ones */
    uint32_t line;
    uint32_t recipient_count, sender_count, smart_host_count, tls_match_count;
    uint32_t fallback_after;        /* seconds of holding before it is taken, and without before it is left */
    uint32_t hold;                  /* seconds until what is held bounces */
    bool is_default;
    bool test_mode;                 /* a shadow: it only says what it would do */
    enum mode smtp_dane, mta_sts;
    enum require require;
    enum tls_level tls;             /* the floor: site, may, encrypt, verify or secure */
    enum on_hold on_hold;
    enum probing probe;             /* whether its hosts are visited */
};

static inline bool connector_on_fallback(const struct connector *c)
{
    return c->on_fallback != NULL && atomic_load_explicit(c->on_fallback, memory_order_relaxed);
}

/* The road that its mail takes now. */
static inline const struct route *connector_road(const struct connector *c)
{
    return connector_on_fallback(c) ? c->fallback : c->route;
}

/* Whether mail under it may ever be held for want of authentication. */
static inline bool connector_is_mandatory(const struct connector *c)
{
    return c->smtp_dane == MODE_MANDATORY || c->mta_sts == MODE_MANDATORY;
}

/* Whether it asks for nothing at all, so that its mail needs no road of ours. An override asks for its own end: only a road
 * that asks the map hears of it. */
static inline bool connector_is_idle(const struct connector *c)
{
    return c->override == NULL && c->smtp_dane == MODE_NONE && c->mta_sts == MODE_NONE && c->tls == TLS_SITE &&
           c->smart_host_count == 0;
}

#endif
