#ifndef DANELAW_TESTS_CERTIFICATES_H
#define DANELAW_TESTS_CERTIFICATES_H

#include "policy/cert_chain.h"

/* Certificates of an authority of our own, good from yesterday until tomorrow. */
struct authority;

struct authority *authority_new(void);
void authority_free(struct authority *a);
X509_STORE *authority_trust(struct authority *a);       /* borrowed */

/* A host's certificate under that name, or an expired one, with its authority's behind it. Each has a key of its own. */
struct cert_chain *certificate_new(struct authority *a, const char *name);
struct cert_chain *certificate_expired(struct authority *a, const char *name);

/* The record for its host's certificate (usage 3), or for its authority's (usage 2); data: room for it, that lives as long. */
struct dns_tlsa certificate_record(const struct cert_chain *c, uint8_t usage, uint8_t selector, uint8_t matching,
                                   uint8_t data[static DNS_TLSA_DATA_MAX]);
/* As Sendmail writes a fingerprint, `09:A7:...`. Returns ret. */
char *certificate_print(const struct cert_chain *c, char ret[static 96]);

#endif
