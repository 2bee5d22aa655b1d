#include "lookup/probe_find.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* A target whose addresses are being asked for. Both landings come on the resolver's thread, one after the other. */
struct finding {
    struct probe *probe;
    struct probe_target target;
    struct probe_landing *at;
    struct records_landing a, aaaa;
    int open;
    struct sockaddr_storage v4[PROBE_ADDRESSES_MAX], v6[PROBE_ADDRESSES_MAX];
    size_t v4_count, v6_count;
    struct dns_look failed;         /* the last look-up that did not go well */
};

static void set_address(int family, const uint8_t *octets, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        memcpy(&((struct sockaddr_in *)ret)->sin_addr, octets, sizeof(struct in_addr));
    else
        memcpy(&((struct sockaddr_in6 *)ret)->sin6_addr, octets, sizeof(struct in6_addr));
}

static void refuse(const struct finding *f)
{
    char why[192];

    if (f->failed.asked)
        snprintf(why, sizeof(why), "the address of %.70s can not be had: %.80s", f->target.host.name, f->failed.why);
    else
        snprintf(why, sizeof(why), "%.100s has no address", f->target.host.name);
    probe_refuse(f->at, why);
}

/* Both families have their turn, however many addresses one has. */
static void finish(struct finding *f)
{
    struct sockaddr_storage all[PROBE_ADDRESSES_MAX];
    size_t half = PROBE_ADDRESSES_MAX / 2, v6 = f->v6_count, v4 = f->v4_count;

    if (v4 + v6 > PROBE_ADDRESSES_MAX)
        v4 = v6 < half ? PROBE_ADDRESSES_MAX - v6 : v4 < half ? v4 : half;
    if (v4 + v6 > PROBE_ADDRESSES_MAX)
        v6 = PROBE_ADDRESSES_MAX - v4;
    memcpy(all, f->v4, v4 * sizeof(*all));
    memcpy(all + v4, f->v6, v6 * sizeof(*all));
    if (v4 + v6 == 0)
        refuse(f);
    else
        probe_go(f->probe, &f->target, all, v4 + v6, f->at);
    free(f);
}

static size_t read_addresses(struct finding *f, int family, const struct dns_records *found,
                             struct sockaddr_storage ret[static PROBE_ADDRESSES_MAX])
{
    size_t size = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr), count = 0, i;

    if (found->look.trust == DNS_FAILED || found->look.trust == DNS_BOGUS)
        f->failed = found->look;
    for (i = 0; i < found->count && count < PROBE_ADDRESSES_MAX; i++) {
        if (found->lengths[i] == size)
            set_address(family, found->data[i], &ret[count++]);
    }
    return count;
}

static void a_arrive(struct records_landing *self, const struct dns_records *found)
{
    struct finding *f = (struct finding *)(void *)((char *)self - offsetof(struct finding, a));

    f->v4_count = read_addresses(f, AF_INET, found, f->v4);
    if (--f->open == 0)
        finish(f);
}

static void aaaa_arrive(struct records_landing *self, const struct dns_records *found)
{
    struct finding *f = (struct finding *)(void *)((char *)self - offsetof(struct finding, aaaa));

    f->v6_count = read_addresses(f, AF_INET6, found, f->v6);
    if (--f->open == 0)
        finish(f);
}

static void ask(struct lookup *lookup, struct probe *probe, const struct probe_target *target, struct probe_landing *at)
{
    struct finding *f = mem_zero(sizeof(*f));

    f->probe = probe;
    f->target = *target;
    f->at = at;
    f->a.arrive = a_arrive;
    f->aaaa.arrive = aaaa_arrive;
    f->open = 2;
    lookup->records(lookup, f->target.host.name, DNS_TYPE_A, &f->a);        /* neither arrives inside the call */
    lookup->records(lookup, f->target.host.name, DNS_TYPE_AAAA, &f->aaaa);
}

/* An address literal (RFC 5321 4.1.3) needs no look-up. */
static bool is_literal(const char *host, struct sockaddr_storage *ret)
{
    uint8_t octets[sizeof(struct in6_addr)];
    int family = strchr(host, ':') == NULL ? AF_INET : AF_INET6;

    if (inet_pton(family, host, octets) != 1)
        return false;
    set_address(family, octets, ret);
    return true;
}

void probe_find(struct lookup *lookup, struct probe *probe, const struct probe_target *target, struct probe_landing *at)
{
    struct sockaddr_storage literal;

    if (target->address.ss_family != AF_UNSPEC)
        probe_go(probe, target, &target->address, 1, at);
    else if (is_literal(target->host.name, &literal))
        probe_go(probe, target, &literal, 1, at);
    else if (target->host.length > 0)
        ask(lookup, probe, target, at);
    else
        probe_refuse(at, "no host to visit");
}
