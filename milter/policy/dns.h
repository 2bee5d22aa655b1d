#ifndef DANELAW_POLICY_DNS_H
#define DANELAW_POLICY_DNS_H

#include "base/domain.h"
#include "policy/terms.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What the resolver said about a next hop: values only, nothing judged. Written by lookup/, read by dane_judge().
 * Ceilings: a stranger's RRset may be larger; what lies past them is not looked at, and dns_answers.clipped says so.
 */
enum { DNS_HOSTS_MAX = 32, DNS_TLSA_MAX = 64, DNS_TLSA_DATA_MAX = 8192 };

/* How one look-up fared. */
struct dns_look {
    bool asked;                 /* false: never asked, the rest means nothing */
    enum dns_trust trust;       /* of the whole chain of aliases and of the denial */
    bool found;                 /* there are records */
    bool no_name;               /* NXDOMAIN */
    uint32_t ttl;               /* seconds; of a denial, by its SOA */
    char why[160];              /* bogus or failed: in the resolver's words */
};

struct dns_tlsa {
    uint8_t usage, selector, matching;
    uint16_t length;            /* of the data */
    const uint8_t *data;        /* lives as long as the answers */
};

struct dns_tlsa_set {
    struct dns_look look;
    struct domain base;         /* the TLSA base domain that was asked (RFC 7672 2.2.2) */
    size_t count;
    struct dns_tlsa *records;
};

struct dns_host {
    struct domain name;
    uint16_t preference;
    struct dns_look a, aaaa;
    struct domain expanded;     /* what the name's aliases end in; the name itself where it is no alias */
    struct dns_look cname;      /* the host's own CNAME record, asked by type where its addresses are insecure */
    struct dns_tlsa_set at_expanded, at_name;   /* at_expanded is only asked where expanded differs from name */
};

struct dns_answers {
    struct dns_look mx;         /* bracketed next hops: not asked */
    bool null_mx;               /* RFC 7505 */
    bool implicit_mx;           /* no MX records: the host is the domain itself (RFC 5321 5.1) */
    bool literal;               /* an address literal: nothing was asked */
    bool clipped;               /* more than the ceilings were there */
    size_t host_count;
    struct dns_host *hosts;     /* by preference, then name */
    struct arena *memory;       /* all of the above lives in it */
};

struct text;

/*
 * A TXT record's data: its character strings as one (RFC 8461 3.1, RFC 8460 3), without anything between them. false: cut
 * short, or past the ceiling of ret. Pure.
 */
bool dns_txt_join(const uint8_t *data, size_t length, struct text *ret);

/* Gives empty answers with an arena of their own. */
struct dns_answers *dns_answers_new(void);
void dns_answers_free(struct dns_answers *answers);     /* NULL is welcome */

#endif
