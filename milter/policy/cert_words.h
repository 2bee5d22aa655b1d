#ifndef DANELAW_POLICY_CERT_WORDS_H
#define DANELAW_POLICY_CERT_WORDS_H

#include "policy/cert_chain.h"

#include <openssl/x509_vfy.h>

/*
 * Why a verification failed, for the partner's administrator: short, strangers' bytes made printable. Both always return
 * false. v is one that X509_verify_cert() refused. For cert_chain.c alone.
 */
bool cert_words_dane(X509_STORE_CTX *v, const struct cert_chain_demand *d, struct fault *why);
bool cert_words_pkix(X509_STORE_CTX *v, const char *const names[], size_t count, struct fault *why);

#endif
