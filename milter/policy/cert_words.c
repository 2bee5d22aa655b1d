#include "policy/cert_words.h"

#include "base/memory.h"
#include "base/text.h"

#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_SIZE = 80, NAME_SIZE = SHOWN_SIZE + 4, NAMES_SIZE = 3 * SHOWN_SIZE + 32, DATE_SIZE = 32, DIGEST_SIZE = 65 };
enum { NAMES_SHOWN = 2, WANTED_MAX = 200, USAGE_TA = 2 };

/* Strangers' bytes, of which some may be NUL. */
static char *show(const ASN1_STRING *s, char ret[static SHOWN_SIZE])
{
    size_t length = s == NULL ? 0 : (size_t)ASN1_STRING_length(s), i;
    char bytes[SHOWN_SIZE];

    if (length > SHOWN_SIZE - 1)
        length = SHOWN_SIZE - 1;
    for (i = 0; i < length; i++) {
        bytes[i] = (char)ASN1_STRING_get0_data(s)[i];
        if (bytes[i] == '\0')
            bytes[i] = '?';
    }
    bytes[length] = '\0';
    return text_printable(bytes, true, ret, SHOWN_SIZE);
}

/* `CN=...`, else `O=...`, else `OU=...`. */
static const char *show_name(const X509_NAME *name, char ret[static NAME_SIZE])
{
    static const struct { int nid; const char *word; } kinds[] = {
        { NID_commonName, "CN" }, { NID_organizationName, "O" }, { NID_organizationalUnitName, "OU" },
    };
    char shown[SHOWN_SIZE];
    size_t i;

    for (i = 0; i < COUNT_OF(kinds); i++) {
        int at = X509_NAME_get_index_by_NID(name, kinds[i].nid, -1);

        if (at < 0)
            continue;
        show(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), shown);
        snprintf(ret, NAME_SIZE, "%s=%s", kinds[i].word, shown);
        return ret;
    }
    return "it bears no name";
}

static const char *show_date(const ASN1_TIME *t, char ret[static DATE_SIZE])
{
    struct tm parts;

    if (ASN1_TIME_to_tm(t, &parts) != 1)
        return "a date that can not be read";
    snprintf(ret, DATE_SIZE, "%04d-%02d-%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
    return ret;
}

/* The host names in the subjectAltName, the first few and how many more. Returns how many there are. */
static size_t show_hosts(const X509 *certificate, char ret[static NAMES_SIZE])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t count = 0, used = 0;
    char shown[SHOWN_SIZE];
    int i;

    *ret = '\0';
    for (i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_DNS || ++count > NAMES_SHOWN)
            continue;
        show(name->d.dNSName, shown);
        used += (size_t)snprintf(ret + used, NAMES_SIZE - used, "%s%s", count > 1 ? ", " : "", shown);
    }
    GENERAL_NAMES_free(names);
    if (count > NAMES_SHOWN)
        snprintf(ret + used, NAMES_SIZE - used, " and %zu more", count - NAMES_SHOWN);
    return count;
}

/* Which certificate of the chain is meant. */
static const char *which(X509_STORE_CTX *v, const X509 *certificate, char ret[static NAME_SIZE + 32])
{
    char name[NAME_SIZE];

    if (X509_STORE_CTX_get_error_depth(v) == 0)
        return "the certificate";
    snprintf(ret, NAME_SIZE + 32, "the authority's certificate (%s)", show_name(X509_get_subject_name(certificate), name));
    return ret;
}

static bool untrusted(const X509 *certificate, struct fault *why)
{
    char name[NAME_SIZE];

    return fault_set(why, "signed by an authority that is not trusted: %s",
                     show_name(X509_get_issuer_name(certificate), name));
}

/* What went wrong, wherever in the chain; names and records apart. */
static bool explain(X509_STORE_CTX *v, struct fault *why)
{
    const X509 *certificate = X509_STORE_CTX_get_current_cert(v);
    char room[NAME_SIZE + 32], name[NAME_SIZE], date[DATE_SIZE];
    int error = X509_STORE_CTX_get_error(v);

    if (certificate == NULL)
        certificate = X509_STORE_CTX_get0_cert(v);
    if (error == X509_V_ERR_CERT_HAS_EXPIRED)
        return fault_set(why, "%s expired on %s", which(v, certificate, room),
                         show_date(X509_get0_notAfter(certificate), date));
    if (error == X509_V_ERR_CERT_NOT_YET_VALID)
        return fault_set(why, "%s is not valid before %s", which(v, certificate, room),
                         show_date(X509_get0_notBefore(certificate), date));
    if (error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
        return fault_set(why, "the certificate is signed by itself, by nobody who is trusted: %s",
                         show_name(X509_get_subject_name(certificate), name));
    if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        || error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE || error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN)
        return untrusted(certificate, why);
    if (error == X509_V_ERR_INVALID_PURPOSE && X509_STORE_CTX_get_error_depth(v) == 0)
        return fault_set(why, "the certificate is not for servers");
    return fault_set(why, "%s is not valid: %.100s", which(v, certificate, room), X509_verify_cert_error_string(error));
}

/* SHA-256 of the key, as TLSA records of selector 1 have it. */
static const char *key_digest(const X509 *certificate, char ret[static DIGEST_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH], *key = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
    size_t i;

    *ret = '\0';
    if (length <= 0)
        return ret;
    SHA256(key, (size_t)length, digest);
    OPENSSL_free(key);
    for (i = 0; i < sizeof(digest); i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return ret;
}

/* What the host shows instead: its key as a record would have it, or who signed what it shows. */
static bool unmatched(X509_STORE_CTX *v, const struct cert_chain_demand *d, struct fault *why)
{
    const X509 *first = X509_STORE_CTX_get0_cert(v), *last = first;
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(v);
    char digest[DIGEST_SIZE], name[NAME_SIZE];
    size_t i;

    for (i = 0; i < d->count && d->records[i].usage == USAGE_TA; i++)
        continue;
    if (i < d->count)
        return fault_set(why, "no TLSA record matches the key or certificate shown: 3 1 1 %s would",
                         key_digest(first, digest));
    if (sk_X509_num(chain) > 0)
        last = sk_X509_value(chain, sk_X509_num(chain) - 1);
    return fault_set(why, "no TLSA record matches an authority of the %d certificates shown: the last is signed by %s",
                     sk_X509_num(X509_STORE_CTX_get0_untrusted(v)), show_name(X509_get_issuer_name(last), name));
}

static void add_wanted(struct text *t, const char *name)
{
    text_print(t, "%s%.80s", t->length > 0 ? " or " : "", name);
}

static bool misnamed(X509_STORE_CTX *v, bool by_subject, const struct text *wanted, struct fault *why)
{
    const X509 *first = X509_STORE_CTX_get0_cert(v);
    char hosts[NAMES_SIZE], name[NAME_SIZE];

    if (show_hosts(first, hosts) > 0)
        return fault_set(why, "the certificate is for %s, not for %s", hosts, text_words(wanted));
    if (by_subject)
        return fault_set(why, "the certificate is for %s, not for %s", show_name(X509_get_subject_name(first), name),
                         text_words(wanted));
    return fault_set(why, "the certificate has no host name as subjectAltName (%s), %s is wanted",
                     show_name(X509_get_subject_name(first), name), text_words(wanted));
}

bool cert_words_dane(X509_STORE_CTX *v, const struct cert_chain_demand *d, struct fault *why)
{
    int error = X509_STORE_CTX_get_error(v);
    struct text wanted;
    size_t i;

    if (error == X509_V_ERR_DANE_NO_MATCH)
        return unmatched(v, d, why);
    if (error != X509_V_ERR_HOSTNAME_MISMATCH)
        return explain(v, why);
    text_init(&wanted, WANTED_MAX);
    add_wanted(&wanted, d->base);
    for (i = 0; i < d->name_count; i++) {
        if (strcmp(d->names[i], d->base) != 0)
            add_wanted(&wanted, d->names[i]);
    }
    misnamed(v, true, &wanted, why);
    text_done(&wanted);
    return false;
}

bool cert_words_pkix(X509_STORE_CTX *v, const char *const names[], size_t count, struct fault *why)
{
    struct text wanted;
    size_t i;

    if (X509_STORE_CTX_get_error(v) != X509_V_ERR_HOSTNAME_MISMATCH)
        return explain(v, why);
    text_init(&wanted, WANTED_MAX);
    for (i = 0; i < count; i++)
        add_wanted(&wanted, names[i]);
    misnamed(v, false, &wanted, why);
    text_done(&wanted);
    return false;
}
