#include "certificates.h"

#include "base/memory.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { DAY = 24 * 60 * 60 };

struct authority {
    EVP_PKEY *key;
    X509 *own;
    X509_STORE *trust;
    long serial;
};

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    if (e == NULL || X509_add_ext(x, e, -1) != 1)
        abort();
    X509_EXTENSION_free(e);
}

static X509 *begin(struct authority *a, const char *name, EVP_PKEY *key, long from, long until)
{
    X509 *x = X509_new();

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++a->serial);
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), until);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(x, key);
    return x;
}

struct authority *authority_new(void)
{
    struct authority *a = mem_zero(sizeof(*a));

    a->key = EVP_EC_gen("P-256");
    a->own = begin(a, "Authority", a->key, -DAY, DAY);
    X509_set_issuer_name(a->own, X509_get_subject_name(a->own));
    extend(a->own, NID_basic_constraints, "critical,CA:TRUE");
    extend(a->own, NID_key_usage, "critical,keyCertSign,cRLSign");
    X509_sign(a->own, a->key, EVP_sha256());
    a->trust = X509_STORE_new();
    X509_STORE_add_cert(a->trust, a->own);
    return a;
}

void authority_free(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->own);
    X509_STORE_free(a->trust);
    free(a);
}

X509_STORE *authority_trust(struct authority *a)
{
    return a->trust;
}

static struct cert_chain *chain_of(X509 *leaf, X509 *above)
{
    uint8_t *made[2] = { NULL };
    size_t lengths[2] = { (size_t)i2d_X509(leaf, &made[0]), (size_t)i2d_X509(above, &made[1]) };
    struct cert_chain *c = NULL;

    if (!cert_chain_new((const uint8_t *const *)made, lengths, 2, &c, NULL))
        abort();
    OPENSSL_free(made[0]);
    OPENSSL_free(made[1]);
    return c;
}

static struct cert_chain *make(struct authority *a, const char *name, long from, long until)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = begin(a, name, key, from, until);
    struct cert_chain *c;
    char names[300];

    X509_set_issuer_name(x, X509_get_subject_name(a->own));
    snprintf(names, sizeof(names), "DNS:%s", name);
    extend(x, NID_subject_alt_name, names);
    X509_sign(x, a->key, EVP_sha256());
    c = chain_of(x, a->own);
    X509_free(x);
    EVP_PKEY_free(key);
    return c;
}

struct cert_chain *certificate_new(struct authority *a, const char *name)
{
    return make(a, name, -DAY, DAY);
}

struct cert_chain *certificate_expired(struct authority *a, const char *name)
{
    return make(a, name, -2 * DAY, -DAY);
}

struct dns_tlsa certificate_record(const struct cert_chain *c, uint8_t usage, uint8_t selector, uint8_t matching,
                                   uint8_t data[static DNS_TLSA_DATA_MAX])
{
    size_t which = usage == 2 ? 1 : 0;
    const uint8_t *at = c->certificates[which];
    X509 *x = d2i_X509(NULL, &at, (long)c->lengths[which]);
    struct dns_tlsa r = { .usage = usage, .selector = selector, .matching = matching, .data = data };
    uint8_t *whole = NULL;
    int length = selector == 0 ? i2d_X509(x, &whole) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &whole);

    r.length = (uint16_t)(matching == 1 ? SHA256_DIGEST_LENGTH : matching == 2 ? SHA512_DIGEST_LENGTH : length);
    if (matching == 1)
        SHA256(whole, (size_t)length, data);
    else if (matching == 2)
        SHA512(whole, (size_t)length, data);
    else
        memcpy(data, whole, (size_t)length);
    OPENSSL_free(whole);
    X509_free(x);
    return r;
}

char *certificate_print(const struct cert_chain *c, char ret[static 96])
{
    size_t at = 0, i;

    for (i = 0; i < sizeof(c->fingerprint); i++)
        at += (size_t)snprintf(ret + at, 96 - at, i == 0 ? "%02X" : ":%02X", c->fingerprint[i]);
    return ret;
}
