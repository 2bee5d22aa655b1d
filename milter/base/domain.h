#ifndef DANELAW_BASE_DOMAIN_H
#define DANELAW_BASE_DOMAIN_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A domain name: lower-case A-labels, no final dot; empty: none. */
struct domain {
    uint8_t length;
    char name[254];
};

enum address_kind {
    ADDRESS_UNUSABLE = 0,   /* nothing we could look up */
    ADDRESS_NULL,           /* <>, the null sender */
    ADDRESS_BARE,           /* a local part alone: this host's business */
    ADDRESS_DOMAIN,
    ADDRESS_LITERAL,        /* user@[192.0.2.1]: no name, so neither DANE nor MTA-STS */
};

enum { ADDRESS_LOCAL_SIZE = 256, ADDRESS_TEXT_SIZE = 520, NEXT_HOP_TEXT_SIZE = 264 };

/* An envelope address. The local part is unquoted and as written; it compares without regard to ASCII case. */
struct address {
    enum address_kind kind;
    struct domain domain;               /* of a literal: the text between the brackets */
    char local[ADDRESS_LOCAL_SIZE];
};

/* What a transport is told to deliver to. */
struct next_hop {
    struct domain host;                 /* of a literal: the address as text */
    uint16_t port;
    bool bracketed;                     /* no MX look-up */
    bool literal;
};

/* Upper case, U-labels (libidn2, UTS #46 non-transitional) and one final dot are welcome. Any thread. */
bool domain_parse(const char *spoken, struct domain *ret, struct fault *why);
/* The same name with U-labels, where that is another spelling; false: there is none. Any thread. */
bool domain_unicode(const struct domain *d, char *ret, size_t size);
/* Whether it is spelled in ASCII alone. Pure. */
bool domain_is_ascii(const char *spoken);
bool domain_equal(const struct domain *a, const struct domain *b);
/* The part behind the first dot, borrowed from name, or NULL. */
const char *domain_parent(const char *name);
/* Whether it is one of the keys, sorted as strcmp() has it: `d` is itself, `.d` all below. Pure. */
bool domain_is_among(const char *const *keys, size_t count, const char *name);

/*
 * An envelope path: brackets, a source route (RFC 5321 appendix C) and a quoted local part are understood. Never fails:
 * what can't be read is ADDRESS_UNUSABLE, for which only the connector for everyone answers. Any thread.
 */
void address_parse(const char *spoken, struct address *ret);
/* As written in a log: local@domain, or nothing for the null sender; strangers' bytes made printable. Returns ret. */
char *address_print(const struct address *a, char *ret, size_t size);
/* The local part in lower-case ASCII. */
void address_fold_local(const struct address *a, char ret[static ADDRESS_LOCAL_SIZE]);

/* `d`, `d:port`, `[h]`, `[h]:port`, `[ipv6:2001:db8::1]`; port 25 where none is said. Any thread. */
bool next_hop_parse(const char *spoken, struct next_hop *ret, struct fault *why);
/* The one spelling that we use as a key: `d`, `d:587`, `[h]`, `[h]:587`. Returns ret. */
char *next_hop_print(const struct next_hop *hop, char ret[static NEXT_HOP_TEXT_SIZE]);
/* The next hop of mail that is routed by its own domain. */
struct next_hop next_hop_of(const struct domain *d);

#endif
