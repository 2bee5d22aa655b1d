#ifndef DANELAW_LOOKUP_PROBE_TLS_H
#define DANELAW_LOOKUP_PROBE_TLS_H

#include "lookup/lookup.h"
#include "lookup/probe_wire.h"

#include <openssl/ssl.h>

/*
 * A handshake that verifies nothing: what the certificates prove is for policy/cert_chain.h to say. OpenSSL sees memory
 * alone; all octets go over the wire, with its deadline and under a ceiling.
 */
struct tls_talk {
    SSL *ssl;
    BIO *in, *out;              /* belong to ssl */
    size_t received;
};

/* What all visits share; any thread may use it. NULL: OpenSSL is broken. */
SSL_CTX *tls_new(void);
/* Names the host (SNI), except for an address, and asks for the wished kind of certificate. */
void tls_init(struct tls_talk *t, SSL_CTX *ctx, const struct probe_target *target);
void tls_done(struct tls_talk *t);          /* also if zeroed */
bool tls_shake(struct tls_talk *t, struct wire *w, struct fault *why);
/* After the handshake: gives what the host showed. */
bool tls_chain(const struct tls_talk *t, struct cert_chain **ret, struct fault *why);
/* After the handshake: QUIT, and waits for the answer. */
void tls_quit(struct tls_talk *t, struct wire *w);

#endif
