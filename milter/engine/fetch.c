/*
 * Fetches certificates by visits to mail hosts. A visit proves nothing by itself: whoever answers it may be anybody. What it
 * brings counts by the SHA-256 of its first certificate alone, which the MTA has seen on the connection that mail goes by.
 *
 *   engine_fetch() ──► visit() ──► seen() ── the one that is wanted, or somebody else has brought it ──► land()
 *                        ▲           '── another: a host may have several
 *                        '────────────────'
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/inside.h"
#include "policy/gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    VISITS_MAX = 6,
    MISSING_MS = 30 * 1000,             /* a certificate that was not shown is not asked for again so soon */
    PREFETCH_HOSTS = 3,                 /* of a next hop: mail seldom gets farther */
    PREFETCH_MS = 15 * 60 * 1000,
};

struct fetch {
    struct probe_landing landing;
    struct engine *engine;
    struct chain_key key;
    struct probe_target target;
    unsigned visits;
};

static bool wants_any(const struct chain_key *key)
{
    static const uint8_t any[CERT_CHAIN_FINGERPRINT];

    return memcmp(key->fingerprint, any, sizeof(any)) == 0;
}

/* Ends the fetch; found is borrowed. */
static void land(struct fetch *f, struct cert_chain *found, const char *why)
{
    int64_t rest = wants_any(&f->key) ? PREFETCH_MS : found != NULL ? 0 : MISSING_MS;

    chains_land(f->engine->chains, &f->key, found, why, rest == 0 ? 0 : clock_ms() + rest);
    free(f);
}

static void visit(struct fetch *f)
{
    static const enum probe_kind kinds[] = { PROBE_ANY, PROBE_ECDSA, PROBE_RSA };
    struct engine *e = f->engine;

    if (!engine_may_search(e)) {
        land(f, NULL, "the daemon is stopping");
        return;
    }
    f->target.kind = kinds[f->visits++ % COUNT_OF(kinds)];
    e->lookup->probe(e->lookup, &f->target, &f->landing);
    engine_has_asked(e);                    /* by now another thread may have ended the fetch */
}

/* Whether another visit may still show it: a host that has no certificate of one kind ends the handshake. */
static bool may_show_others(const struct fetch *f, enum probe_state state)
{
    switch (state) {
    case PROBE_SEEN:
        return true;
    case PROBE_TLS_FAILED:
        return f->target.kind != PROBE_ANY;
    case PROBE_UNREACHABLE:
    case PROBE_REFUSED:
    case PROBE_NO_STARTTLS:
        break;
    }
    return false;
}

/* What it came for, by whoever's visit: a reference, or NULL. */
static struct cert_chain *brought(struct fetch *f, const struct probe_sight *sight)
{
    if (sight->chain != NULL)
        chains_keep(f->engine->chains, sight->chain, clock_ms());
    if (wants_any(&f->key))
        return sight->chain == NULL ? NULL : cert_chain_ref(sight->chain);
    return chains_find(f->engine->chains, f->key.fingerprint, 0);
}

static void seen(struct probe_landing *self, const struct probe_sight *sight)
{
    struct fetch *f = (struct fetch *)self;
    struct cert_chain *found = brought(f, sight);
    char why[192];

    if (found == NULL && f->visits < VISITS_MAX && may_show_others(f, sight->state) && !wants_any(&f->key)) {
        visit(f);
        return;
    }
    if (may_show_others(f, sight->state))
        snprintf(why, sizeof(why), "it was not shown in %u visits", f->visits);
    else
        snprintf(why, sizeof(why), "%s", sight->why);
    land(f, found, why);
    cert_chain_unref(found);
}

/* As the MTA has it, `192.0.2.1`, `IPv6:2001:db8::1`; what is no address is left to our own DNS. */
static struct sockaddr_storage address_of(const struct chain_key *key)
{
    const char *text = strncasecmp(key->address, "IPv6:", 5) == 0 ? key->address + 5 : key->address;
    struct sockaddr_storage made = { .ss_family = AF_UNSPEC };
    struct sockaddr_in *four = (struct sockaddr_in *)&made;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&made;

    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(key->port);
    } else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(key->port);
    } else {
        made = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
    }
    return made;
}

enum chain_seat engine_fetch(struct engine *e, const struct chain_key *key, struct chain_waiter *w, int64_t not_before,
                             struct cert_chain **ret_found, struct fault *ret_why)
{
    enum chain_seat seat = chains_join(e->chains, key, w, not_before, clock_ms(), ret_found, ret_why);
    struct fetch *f;

    if (seat != CHAIN_FIRST)
        return seat;
    f = mem_zero(sizeof(*f));
    *f = (struct fetch){ .landing = { .arrive = seen }, .engine = e, .key = *key };
    f->target = (struct probe_target){ .host = key->host, .port = key->port, .address = address_of(key), .urgent = w != NULL };
    visit(f);
    return seat;
}

void engine_prefetch(struct engine *e, const struct connector *c, const struct next_hop *hop, const struct evidence *found)
{
    const struct evidence_host *hosts[PREFETCH_HOSTS];
    struct chain_key key = { .port = hop->port };
    struct cert_chain *unused;
    struct fault why;
    size_t count, i;

    if (!e->for_sendmail)
        return;
    count = gate_wants_chains(c, hop, found, hosts, COUNT_OF(hosts));
    for (i = 0; i < count; i++) {
        if (domain_parse(hosts[i]->name, &key.host, NULL))
            engine_fetch(e, &key, NULL, 0, &unused, &why);
    }
}
