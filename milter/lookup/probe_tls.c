#include "lookup/probe_tls.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <string.h>

enum { CHUNK = 16 * 1024, RECEIVED_MAX = 256 * 1024 };

/* Whatever an MTA on this machine may speak, a visit speaks, too: it looks, and nothing secret goes over it. */
static const char any_suites[] = "DEFAULT:@SECLEVEL=0";

/* One kind of certificate alone: the suites are for TLS 1.2, the signatures for both. */
static const struct {
    const char *suites, *signatures;
} kinds[] = {
    [PROBE_ECDSA] = { "aECDSA:@SECLEVEL=0", "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:ECDSA+SHA1" },
    [PROBE_RSA] = { "aRSA:!eNULL:!aNULL:@SECLEVEL=0",
                    "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:"
                    "rsa_pss_pss_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512:RSA+SHA1" },
};

SSL_CTX *tls_new(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT | SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
        SSL_CTX_set_cipher_list(ctx, any_suites) == 1)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* RFC 6066 3: no addresses. */
static bool is_name(const char *host)
{
    uint8_t address[16];

    return *host != '\0' && inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1;
}

void tls_init(struct tls_talk *t, SSL_CTX *ctx, const struct probe_target *target)
{
    *t = (struct tls_talk){ .ssl = SSL_new(ctx), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem()) };
    if (t->ssl == NULL || t->in == NULL || t->out == NULL)
        mem_out();
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    if (is_name(target->host.name) && SSL_set_tlsext_host_name(t->ssl, target->host.name) != 1)
        mem_out();
    if (target->kind != PROBE_ANY && (SSL_set_cipher_list(t->ssl, kinds[target->kind].suites) != 1 ||
                                      SSL_set1_sigalgs_list(t->ssl, kinds[target->kind].signatures) != 1))
        mem_out();                      /* both lists are constant */
}

void tls_done(struct tls_talk *t)
{
    SSL_free(t->ssl);
    *t = (struct tls_talk){ .ssl = NULL };
}

static bool flush(struct tls_talk *t, struct wire *w, struct fault *why)
{
    char chunk[CHUNK];
    int got;

    while ((got = BIO_read(t->out, chunk, sizeof(chunk))) > 0) {
        if (!wire_send(w, chunk, (size_t)got, why))
            return false;
    }
    return true;
}

static bool feed(struct tls_talk *t, struct wire *w, struct fault *why)
{
    char chunk[CHUNK];
    size_t got;

    if (!wire_receive(w, chunk, sizeof(chunk), &got, why))
        return false;
    t->received += got;
    if (t->received > RECEIVED_MAX)
        return fault_set(why, "the host sends more than %d KiB", RECEIVED_MAX / 1024);
    if (BIO_write(t->in, chunk, (int)got) != (int)got)
        mem_out();
    return true;
}

static bool give_up(struct fault *why)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    ERR_clear_error();
    return fault_set(why, "%s", reason == NULL ? "no TLS" : reason);
}

/* What OpenSSL wants to say comes before what it wants to hear; also its last words, an alert. */
bool tls_shake(struct tls_talk *t, struct wire *w, struct fault *why)
{
    for (;;) {
        int code, error;

        ERR_clear_error();
        code = SSL_do_handshake(t->ssl);
        error = code == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, code);
        if (code != 1 && error != SSL_ERROR_WANT_READ) {
            give_up(why);
            flush(t, w, NULL);
            return false;
        }
        if (!flush(t, w, why))
            return false;
        if (code == 1)
            return true;
        if (!feed(t, w, why))
            return false;
    }
}

static void free_der(uint8_t *certificates[], size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        OPENSSL_free(certificates[i]);
}

/* A longer chain is cut: whom an MTA's own limit of depth lets pass stands among the first. */
bool tls_chain(const struct tls_talk *t, struct cert_chain **ret, struct fault *why)
{
    STACK_OF(X509) *shown = SSL_get_peer_cert_chain(t->ssl);
    uint8_t *certificates[CERT_CHAIN_CERTIFICATES_MAX] = { NULL };
    size_t lengths[CERT_CHAIN_CERTIFICATES_MAX], count = 0;
    int i, total = shown == NULL ? 0 : sk_X509_num(shown);
    bool good;

    for (i = 0; i < total && count < CERT_CHAIN_CERTIFICATES_MAX; i++) {
        int length = i2d_X509(sk_X509_value(shown, i), &certificates[count]);

        if (length <= 0)
            mem_out();                  /* it was read a moment ago */
        lengths[count++] = (size_t)length;
    }
    good = count == 0 ? fault_set(why, "the host shows no certificate")
                      : cert_chain_new((const uint8_t *const *)certificates, lengths, count, ret, why);
    free_der(certificates, count);
    return good;
}

/* Sessions for later (RFC 8446 4.6.1) come before the answer, and don't matter. */
void tls_quit(struct tls_talk *t, struct wire *w)
{
    static const char quit[] = "QUIT\r\n";
    char answer[512];
    int code;

    ERR_clear_error();
    if (SSL_write(t->ssl, quit, sizeof(quit) - 1) <= 0 || !flush(t, w, NULL))
        return;
    while ((code = SSL_read(t->ssl, answer, sizeof(answer))) <= 0) {
        if (SSL_get_error(t->ssl, code) != SSL_ERROR_WANT_READ || !flush(t, w, NULL) || !feed(t, w, NULL))
            return;
    }
    SSL_shutdown(t->ssl);
    flush(t, w, NULL);
}
