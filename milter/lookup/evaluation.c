/*
 * One next hop, from its name to raw answers:
 *
 *   evaluation_start() ── MX ──► mx_answered() ── add_hosts() ──► for all hosts at once: A, AAAA, TLSA
 *           └──────── bracketed: one host ────────────────────────────┘         │
 *                                      address_answered() ── ask_more(): CNAME, TLSA at the expanded name
 *                                                                               │
 *                             each answer ──► advance() ── all settled()? ──► end() ──► watch->done()
 *
 * 1. A host is settled when no answer under way can change its state (RFC 7672 2.2.2): with a secure address and TLSA
 *    known, the other family can't; without a secure address TLSA can't, but for a secure CNAME record of its own.
 * 2. TLSA is asked early, beside the addresses, and prune() takes back what came to nothing: a look that is `asked` counts.
 * 3. Nothing is ever called from inside ask_send(); questions that could not be sent show up in the next advance().
 */
#include "lookup/evaluation.h"

#include "base/arena.h"
#include "base/memory.h"
#include "lookup/ask.h"
#include "lookup/rdata.h"

#include <stdio.h>
#include <string.h>
#include <unbound.h>

enum { TOO_LONG_TTL = 3600 };

/* An MX host under way. */
struct host {
    struct evaluation *evaluation;
    struct dns_host *ret;
    struct ask a, aaaa, cname, at_expanded, at_name;
    bool alias_known;               /* ret->expanded comes from a secure answer */
};

struct evaluation {
    struct ub_ctx *ctx;
    struct next_hop hop;
    struct evaluation_watch *watch;
    struct dns_look mx_look;
    struct ask mx;
    struct dns_answers *answers;    /* NULL before there is anything to keep: dead domains should cost little */
    struct host *hosts;
    size_t host_count;
    bool heard;
};

static void advance(struct evaluation *e);

static struct dns_answers *answers_of(struct evaluation *e)
{
    if (e->answers == NULL)
        e->answers = dns_answers_new();
    return e->answers;
}

static void hear(struct evaluation *e)
{
    if (e->heard)
        return;
    e->heard = true;
    e->watch->heard(e->watch);
}

/* TLSA */

/* What can't be read still says that the host publishes something: it counts, as a record that nobody can use. */
static const struct dns_tlsa unreadable = { .usage = UINT8_MAX, .selector = UINT8_MAX, .matching = UINT8_MAX };

static void keep_tlsa(struct dns_answers *answers, struct dns_tlsa_set *set, const struct ub_result *records)
{
    size_t count = 0, i;

    while (records->data[count] != NULL)
        count++;
    if (count > DNS_TLSA_MAX) {
        answers->clipped = true;
        count = DNS_TLSA_MAX;
    }
    set->records = arena_take(answers->memory, count * sizeof(*set->records));
    set->count = count;
    for (i = 0; i < count; i++) {
        struct dns_tlsa *record = &set->records[i];

        if (!rdata_tlsa((const uint8_t *)records->data[i], (size_t)records->len[i], record))
            *record = unreadable;
        else
            record->data = (const uint8_t *)arena_bytes(answers->memory, (const char *)record->data, record->length);
    }
}

static void tlsa_answered(struct ask *self, const struct ub_result *records)
{
    struct host *h = self->owner;
    struct evaluation *e = h->evaluation;
    struct dns_tlsa_set *set = self == &h->at_name ? &h->ret->at_name : &h->ret->at_expanded;

    hear(e);
    if (set->look.found)
        keep_tlsa(e->answers, set, records);
    advance(e);
}

static void ask_tlsa(struct host *h, struct ask *a, struct dns_tlsa_set *set, const struct domain *base)
{
    char name[sizeof("_65535._tcp.") + sizeof(base->name)];

    set->base = *base;
    snprintf(name, sizeof(name), "_%u._tcp.%s", h->evaluation->hop.port, base->name);
    if (strlen(name) < sizeof(base->name))
        ask_send(a, name, ASK_TLSA);
    else                            /* no zone can hold such a name */
        set->look = (struct dns_look){ .asked = true, .trust = DNS_INSECURE, .no_name = true, .ttl = TOO_LONG_TTL,
                                       .why = "the name is too long to have TLSA records" };
}

/* Addresses and aliases */

static bool secure(const struct dns_look *look)
{
    return look->asked && look->trust == DNS_SECURE && look->found;
}

static bool insecure(const struct dns_look *look)
{
    return look->asked && look->trust == DNS_INSECURE && look->found;
}

static bool alias(const struct host *h)
{
    return !domain_equal(&h->ret->name, &h->ret->expanded);
}

/* The secure answer has the last word on what the name's aliases end in; an insecure one without any takes back none. */
static void note_alias(struct host *h, const struct dns_look *look, const struct ub_result *records)
{
    struct domain end;

    if (h->alias_known || !look->found)
        return;
    if (records->canonname == NULL || !domain_parse(records->canonname, &end, NULL))
        end = h->ret->name;
    h->alias_known = secure(look);
    if (h->alias_known || !domain_equal(&end, &h->ret->name))
        h->ret->expanded = end;
}

static void address_answered(struct ask *self, const struct ub_result *records)
{
    struct host *h = self->owner;

    hear(h->evaluation);
    note_alias(h, self->look, records);
    advance(h->evaluation);
}

static void cname_answered(struct ask *self, const struct ub_result *records)
{
    struct host *h = self->owner;

    (void)records;
    advance(h->evaluation);
}

/* What only makes sense once the addresses have shown an alias. */
static void ask_more(struct host *h)
{
    struct dns_host *ret = h->ret;

    if (!alias(h))
        return;
    if (h->alias_known) {
        if (!ret->at_expanded.look.asked)
            ask_tlsa(h, &h->at_expanded, &ret->at_expanded, &ret->expanded);
    } else if (!ret->cname.asked && (insecure(&ret->a) || insecure(&ret->aaaa))) {
        ask_send(&h->cname, ret->name.name, ASK_CNAME);
    }
}

/* RFC 7672 2.2.2: only a proven or unprovable absence at the expanded name leads on to the name itself; an error doesn't. */
static bool denied(const struct dns_look *look)
{
    return look->trust == DNS_INSECURE || (look->trust == DNS_SECURE && !look->found);
}

static bool tlsa_settled(const struct host *h)
{
    if (alias(h)) {
        if (!ask_arrived(&h->at_expanded))
            return false;
        if (!denied(&h->ret->at_expanded.look))
            return true;
    }
    return ask_arrived(&h->at_name);
}

static bool addresses_secure(const struct host *h)
{
    return secure(&h->ret->a) || secure(&h->ret->aaaa);
}

static bool settled(const struct host *h)
{
    if (addresses_secure(h))
        return tlsa_settled(h);
    if (!ask_arrived(&h->a) || !ask_arrived(&h->aaaa))
        return false;
    if (!alias(h) || (!insecure(&h->ret->a) && !insecure(&h->ret->aaaa)))
        return true;
    return ask_arrived(&h->cname) && (!secure(&h->ret->cname) || ask_arrived(&h->at_name));
}

/* The end: only what counts stays asked. What is still open and counts has been dropped as failed before. */
static void prune(struct host *h)
{
    struct dns_host *ret = h->ret;

    if (addresses_secure(h)) {
        ask_forget(&h->cname);
        if (h->a.open)
            ask_forget(&h->a);
        if (h->aaaa.open)
            ask_forget(&h->aaaa);
        if (ret->at_expanded.look.asked && !denied(&ret->at_expanded.look))
            ask_forget(&h->at_name);
    } else {
        if (h->cname.open)
            ask_forget(&h->cname);
        ask_forget(&h->at_expanded);
        if (!secure(&ret->cname))
            ask_forget(&h->at_name);
    }
    if (!ret->at_name.look.asked)
        ret->at_name.count = 0;
    if (!ret->at_expanded.look.asked)
        ret->at_expanded.count = 0;
}

/* Hosts */

static void set_ask(struct host *h, struct ask *a, struct dns_look *look,
                    void (*answered)(struct ask *self, const struct ub_result *records))
{
    *a = (struct ask){ .ctx = h->evaluation->ctx, .look = look, .answered = answered, .owner = h };
}

static void add_host(struct evaluation *e, const struct domain *name, uint16_t preference)
{
    struct dns_host *ret = &e->answers->hosts[e->host_count];
    struct host *h = &e->hosts[e->host_count++];

    e->answers->host_count = e->host_count;
    *ret = (struct dns_host){ .name = *name, .expanded = *name, .preference = preference };
    h->evaluation = e;
    h->ret = ret;
    set_ask(h, &h->a, &ret->a, address_answered);
    set_ask(h, &h->aaaa, &ret->aaaa, address_answered);
    set_ask(h, &h->cname, &ret->cname, cname_answered);
    set_ask(h, &h->at_expanded, &ret->at_expanded.look, tlsa_answered);
    set_ask(h, &h->at_name, &ret->at_name.look, tlsa_answered);
    ask_send(&h->a, name->name, ASK_A);
    ask_send(&h->aaaa, name->name, ASK_AAAA);
    ask_tlsa(h, &h->at_name, &ret->at_name, name);
}

static void make_room(struct evaluation *e, size_t count)
{
    struct dns_answers *answers = answers_of(e);

    answers->hosts = arena_take(answers->memory, count * sizeof(*answers->hosts));
    e->hosts = mem_array(count, sizeof(*e->hosts));
}

static void add_only_host(struct evaluation *e)
{
    make_room(e, 1);
    add_host(e, &e->hop.host, 0);
}

/* The root beside other exchanges says nothing (RFC 7505 3), and what is no host name can't be connected to. */
static size_t read_exchanges(const struct ub_result *records, struct rdata_mx *list, bool *null_mx)
{
    size_t count = 0, i;

    for (i = 0; records->data[i] != NULL; i++) {
        struct rdata_mx mx;

        if (!rdata_mx((const uint8_t *)records->data[i], (size_t)records->len[i], &mx))
            continue;
        if (mx.host.length > 0)
            list[count++] = mx;
        else
            *null_mx = i == 0 && records->data[1] == NULL;
    }
    return rdata_mx_sort(list, count);
}

static void add_hosts(struct evaluation *e, const struct ub_result *records)
{
    struct dns_answers *answers = answers_of(e);
    struct rdata_mx *list;
    size_t count = 0, i;

    while (records->data[count] != NULL)
        count++;
    list = mem_array(count, sizeof(*list));
    count = read_exchanges(records, list, &answers->null_mx);
    if (count > DNS_HOSTS_MAX) {
        answers->clipped = true;
        count = DNS_HOSTS_MAX;
    }
    make_room(e, count);
    for (i = 0; i < count; i++)
        add_host(e, &list[i].host, list[i].preference);
    free(list);
}

static void mx_answered(struct ask *self, const struct ub_result *records)
{
    struct evaluation *e = self->owner;
    const struct dns_look *look = self->look;

    hear(e);
    if (look->found) {
        add_hosts(e, records);
    } else if (!look->no_name && (look->trust == DNS_SECURE || look->trust == DNS_INSECURE)) {
        answers_of(e)->implicit_mx = true;      /* RFC 5321 5.1 */
        add_only_host(e);
    }
    advance(e);
}

/* The whole */

static void end(struct evaluation *e)
{
    struct evaluation_watch *watch = e->watch;
    struct dns_answers *answers = answers_of(e);
    size_t i;

    for (i = 0; i < e->host_count; i++)
        prune(&e->hosts[i]);
    answers->mx = e->mx_look;
    free(e->hosts);
    free(e);
    watch->done(watch, answers);
}

static void advance(struct evaluation *e)
{
    bool all = !e->mx.open;
    size_t i;

    for (i = 0; i < e->host_count; i++) {
        ask_more(&e->hosts[i]);
        all &= settled(&e->hosts[i]);
    }
    if (all)
        end(e);
}

struct evaluation *evaluation_new(struct ub_ctx *ctx, const struct next_hop *hop, struct evaluation_watch *watch)
{
    struct evaluation *e = mem_zero(sizeof(*e));

    e->ctx = ctx;
    e->hop = *hop;
    e->watch = watch;
    e->mx = (struct ask){ .ctx = ctx, .look = &e->mx_look, .answered = mx_answered, .owner = e };
    return e;
}

void evaluation_start(struct evaluation *e)
{
    if (e->hop.literal)
        answers_of(e)->literal = true;
    else if (e->hop.bracketed)
        add_only_host(e);
    else
        ask_send(&e->mx, e->hop.host.name, ASK_MX);
    advance(e);
}

void evaluation_expire(struct evaluation *e, const char *why)
{
    size_t i;

    ask_drop(&e->mx, why);
    for (i = 0; i < e->host_count; i++) {
        struct host *h = &e->hosts[i];

        ask_drop(&h->a, why);
        ask_drop(&h->aaaa, why);
        ask_drop(&h->cname, why);
        ask_drop(&h->at_expanded, why);
        ask_drop(&h->at_name, why);
    }
    end(e);
}

struct dns_answers *evaluation_refuse(const char *why)
{
    struct dns_answers *answers = dns_answers_new();

    answers->mx = ask_failure(why);
    return answers;
}
