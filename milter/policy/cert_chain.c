/*
 * OpenSSL judges, without a connection: an SSL lends its DANE state to a verification of the certificates that were kept.
 * The rules that every such SSL is made from are the library's own presets, made once and only read.
 */
#include "policy/cert_chain.h"

#include "base/memory.h"
#include "policy/cert_words.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { USAGE_TA = 2, USAGE_EE = 3, SELECTOR_WHOLE = 0, MATCH_SHA256 = 1, MATCH_SHA512 = 2 };
enum { AUTHORITY_BITS_LEVEL = 1 };      /* of PKIX: no signatures by SHA-1, as in OpenSSL's own connections */

static void free_all(STACK_OF(X509) *all)
{
    sk_X509_pop_free(all, X509_free);
}

AUTO_DEFINE(free_all, STACK_OF(X509) *)
AUTO_DEFINE(X509_free, X509 *)
AUTO_DEFINE(X509_STORE_CTX_free, X509_STORE_CTX *)
AUTO_DEFINE(SSL_free, SSL *)

/* The chain itself */

static X509 *parse(const uint8_t *bytes, size_t length)
{
    const uint8_t *at = bytes;
    AUTO(X509_free) X509 *certificate = d2i_X509(NULL, &at, (long)length);

    return certificate != NULL && at == bytes + length ? take(certificate) : NULL;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm parts;

    return ASN1_TIME_to_tm(t, &parts) == 1 ? timegm(&parts) : 0;
}

static struct cert_chain *copy(const uint8_t *const certificates[], const size_t lengths[], size_t count, size_t octets)
{
    struct cert_chain *c = mem_zero(sizeof(*c) + count * (sizeof(uint8_t *) + sizeof(size_t)) + octets);
    const uint8_t **own = (const uint8_t **)(c + 1);
    size_t *own_lengths = (size_t *)(own + count), i;
    uint8_t *at = (uint8_t *)(own_lengths + count);

    for (i = 0; i < count; i++) {
        own[i] = memcpy(at, certificates[i], lengths[i]);
        own_lengths[i] = lengths[i];
        at += lengths[i];
    }
    c->count = count;
    c->certificates = own;
    c->lengths = own_lengths;
    SHA256(own[0], own_lengths[0], c->fingerprint);
    atomic_init(&c->users, 1);
    return c;
}

bool cert_chain_new(const uint8_t *const certificates[], const size_t lengths[], size_t count, struct cert_chain **ret,
                    struct fault *why)
{
    AUTO(X509_free) X509 *first = NULL;
    size_t octets = 0, i;

    if (count == 0)
        return fault_set(why, "no certificate was shown");
    if (count > CERT_CHAIN_CERTIFICATES_MAX)
        return fault_set(why, "more than %d certificates were shown", CERT_CHAIN_CERTIFICATES_MAX);
    for (i = 0; i < count; i++) {
        if (lengths[i] > CERT_CHAIN_OCTETS_MAX - octets)
            return fault_set(why, "more than %d KiB of certificates were shown", CERT_CHAIN_OCTETS_MAX / 1024);
        octets += lengths[i];
    }
    ERR_set_mark();
    first = parse(certificates[0], lengths[0]);
    ERR_pop_to_mark();
    if (first == NULL)
        return fault_set(why, "what was shown as the host's certificate is none");
    *ret = copy(certificates, lengths, count, octets);
    (*ret)->not_before = seconds_of(X509_get0_notBefore(first));
    (*ret)->not_after = seconds_of(X509_get0_notAfter(first));
    return true;
}

struct cert_chain *cert_chain_ref(struct cert_chain *c)
{
    atomic_fetch_add_explicit(&c->users, 1, memory_order_relaxed);
    return c;
}

void cert_chain_unref(struct cert_chain *c)
{
    if (c != NULL && atomic_fetch_sub_explicit(&c->users, 1, memory_order_acq_rel) == 1)
        free(c);
}

size_t cert_chain_octets(const struct cert_chain *c)
{
    size_t octets = 0, i;

    for (i = 0; i < c->count; i++)
        octets += c->lengths[i];
    return octets;
}

/* What both ways to judge share */

/* Those that are certificates; the others prove nothing. The host's own is always the first. */
static STACK_OF(X509) *parse_all(const struct cert_chain *c)
{
    STACK_OF(X509) *all = sk_X509_new_reserve(NULL, CERT_CHAIN_CERTIFICATES_MAX);
    X509 *certificate;
    size_t i;

    if (all == NULL)
        mem_out();
    for (i = 0; i < c->count; i++) {
        certificate = parse(c->certificates[i], c->lengths[i]);
        if (certificate != NULL)
            sk_X509_push(all, certificate);
        else if (i == 0)
            mem_out();                      /* cert_chain_new() read it */
    }
    return all;
}

static X509_STORE_CTX *verification_new(X509_STORE *trust, STACK_OF(X509) *shown, int64_t now, unsigned int hostflags)
{
    X509_STORE_CTX *v = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *rules;

    if (v == NULL || X509_STORE_CTX_init(v, trust, sk_X509_value(shown, 0), shown) != 1
        || X509_STORE_CTX_set_default(v, "ssl_server") != 1)
        mem_out();
    rules = X509_STORE_CTX_get0_param(v);
    X509_VERIFY_PARAM_set_time(rules, (time_t)now);
    X509_VERIFY_PARAM_set_depth(rules, CERT_CHAIN_CERTIFICATES_MAX);
    X509_VERIFY_PARAM_set_hostflags(rules, hostflags | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return v;
}

static void add_name(X509_STORE_CTX *v, const char *name)
{
    if (X509_VERIFY_PARAM_add1_host(X509_STORE_CTX_get0_param(v), name, 0) != 1)
        mem_out();
}

/* DANE */

static pthread_once_t presets_once = PTHREAD_ONCE_INIT;
static SSL_CTX *presets;                    /* only read once it is made */

static void make_presets(void)
{
    presets = SSL_CTX_new(TLS_method());
    if (presets == NULL || SSL_CTX_dane_enable(presets) != 1)
        mem_out();
}

/* An SSL that knows the records; what OpenSSL can't use of them is left out. ret_added: how many it took. */
static SSL *knowing(const struct cert_chain_demand *d, size_t *ret_added)
{
    SSL *ssl;
    size_t i;

    pthread_once(&presets_once, make_presets);
    ssl = SSL_new(presets);
    if (ssl == NULL || SSL_dane_enable(ssl, d->base) != 1)
        mem_out();
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);      /* RFC 7671 5.1 */
    *ret_added = 0;
    for (i = 0; i < d->count; i++) {
        const struct dns_tlsa *r = &d->records[i];
        bool fits = r->usage == USAGE_TA || r->usage == USAGE_EE;

        *ret_added += fits && SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching, r->data, r->length) == 1;
    }
    return ssl;
}

static bool find_matched(SSL *ssl, const struct cert_chain_demand *d, size_t *ret_matched)
{
    uint8_t usage, selector, matching;
    const unsigned char *data;
    size_t length, i;

    if (SSL_get0_dane_tlsa(ssl, &usage, &selector, &matching, &data, &length) < 0)
        return false;
    for (i = 0; i < d->count; i++) {
        const struct dns_tlsa *r = &d->records[i];

        if (r->usage == usage && r->selector == selector && r->matching == matching && r->length == length
            && memcmp(r->data, data, length) == 0) {
            *ret_matched = i;
            return true;
        }
    }
    return false;
}

static bool is_name(const char *name)
{
    return *name != '\0' && *name != '.';
}

static bool by_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                    struct fault *why)
{
    size_t added, i;
    AUTO(SSL_free) SSL *ssl = knowing(d, &added);
    AUTO(free_all) STACK_OF(X509) *shown = parse_all(c);
    AUTO(X509_STORE_CTX_free) X509_STORE_CTX *v = verification_new(SSL_CTX_get_cert_store(presets), shown, now, 0);

    if (added == 0)                         /* without any OpenSSL would not ask for one */
        return fault_set(why, "no TLSA record is usable");
    add_name(v, d->base);
    for (i = 0; i < d->name_count; i++) {
        if (is_name(d->names[i]))
            add_name(v, d->names[i]);
    }
    X509_STORE_CTX_set0_dane(v, SSL_get0_dane(ssl));
    if (X509_verify_cert(v) != 1)
        return cert_words_dane(v, d, why);
    return find_matched(ssl, d, ret_matched) || fault_set(why, "no TLSA record matches the key or certificate shown");
}

bool cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                     struct fault *why)
{
    bool good;

    if (!is_name(d->base))                  /* without a name OpenSSL would take any */
        return fault_set(why, "there is no TLSA base domain to judge by");
    ERR_set_mark();
    good = by_dane(c, d, now, ret_matched, why);
    ERR_pop_to_mark();
    return good;
}

bool cert_chain_is_pinned(const struct cert_chain_demand *d, const uint8_t fingerprint[static CERT_CHAIN_FINGERPRINT],
                          size_t *ret_matched)
{
    size_t i, found = d->count;

    for (i = 0; i < d->count; i++) {
        const struct dns_tlsa *r = &d->records[i];

        if (r->usage != USAGE_EE || r->selector != SELECTOR_WHOLE)
            continue;
        if (r->matching == MATCH_SHA512)
            return false;
        if (found == d->count && r->matching == MATCH_SHA256 && r->length == CERT_CHAIN_FINGERPRINT
            && memcmp(r->data, fingerprint, CERT_CHAIN_FINGERPRINT) == 0)
            found = i;
    }
    if (found == d->count)
        return false;
    *ret_matched = found;
    return true;
}

/* PKIX */

static bool by_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                    struct fault *why)
{
    unsigned int flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_SINGLE_LABEL_SUBDOMAINS;
    AUTO(free_all) STACK_OF(X509) *shown = parse_all(c);
    AUTO(X509_STORE_CTX_free) X509_STORE_CTX *v = verification_new(trust, shown, now, flags);
    size_t i;

    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(v), AUTHORITY_BITS_LEVEL);
    for (i = 0; i < count; i++)
        add_name(v, names[i]);
    return X509_verify_cert(v) == 1 || cert_words_pkix(v, names, count, why);
}

bool cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                     struct fault *why)
{
    size_t i, named = 0;
    bool good;

    for (i = 0; i < count; i++)
        named += *names[i] != '\0';
    if (named == 0)                         /* without a name OpenSSL would take any */
        return fault_set(why, "there is no name that the certificate could be checked for");
    ERR_set_mark();
    good = by_pkix(c, trust, names, count, now, why);
    ERR_pop_to_mark();
    return good;
}
