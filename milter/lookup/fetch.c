#include "lookup/fetch.h"

#include "base/memory.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { ADDRESSES_MAX = 8, HOST_SIZE = 264 };

/* A fetch whose host has no addresses yet. Both landings come on the resolver's thread, one after the other. */
struct fetch {
    struct https *https;
    struct policy_landing *at;
    char host[HOST_SIZE];
    struct records_landing a, aaaa;
    int open;
    size_t count;
    struct text addresses;          /* parted by commas, as libcurl wants them */
    struct dns_look failed;         /* the last look-up that did not go well */
};

static void refuse(struct fetch *f)
{
    struct policy_file none = { .state = FETCH_FAILED };

    if (f->failed.asked)
        snprintf(none.why, sizeof(none.why), "the address of %.70s can not be had: %.80s", f->host, f->failed.why);
    else
        snprintf(none.why, sizeof(none.why), "%.100s has no address", f->host);
    f->at->arrive(f->at, &none);
}

static void finish(struct fetch *f)
{
    if (f->count == 0)
        refuse(f);
    else
        https_get(f->https, f->host, text_words(&f->addresses), f->at);
    text_done(&f->addresses);
    free(f);
}

static void add_addresses(struct fetch *f, int family, const struct dns_records *found)
{
    size_t size = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr), i;
    char spelled[INET6_ADDRSTRLEN];

    if (found->look.trust == DNS_FAILED || found->look.trust == DNS_BOGUS)
        f->failed = found->look;
    for (i = 0; i < found->count && f->count < ADDRESSES_MAX; i++) {
        if (found->lengths[i] != size || inet_ntop(family, found->data[i], spelled, sizeof(spelled)) == NULL)
            continue;
        text_print(&f->addresses, family == AF_INET ? "%s%s" : "%s[%s]", f->count++ == 0 ? "" : ",", spelled);
    }
    if (--f->open == 0)
        finish(f);
}

static void a_arrive(struct records_landing *self, const struct dns_records *found)
{
    add_addresses((struct fetch *)(void *)((char *)self - offsetof(struct fetch, a)), AF_INET, found);
}

static void aaaa_arrive(struct records_landing *self, const struct dns_records *found)
{
    add_addresses((struct fetch *)(void *)((char *)self - offsetof(struct fetch, aaaa)), AF_INET6, found);
}

void fetch_start(struct lookup *lookup, struct https *https, const struct domain *policy_domain, struct policy_landing *at)
{
    struct fetch *f = mem_zero(sizeof(*f));

    f->https = https;
    f->at = at;
    snprintf(f->host, sizeof(f->host), "mta-sts.%s", policy_domain->name);
    f->a.arrive = a_arrive;
    f->aaaa.arrive = aaaa_arrive;
    f->open = 2;
    text_init(&f->addresses, 1024);
    lookup->records(lookup, f->host, DNS_TYPE_A, &f->a);            /* neither arrives inside the call */
    lookup->records(lookup, f->host, DNS_TYPE_AAAA, &f->aaaa);
}
