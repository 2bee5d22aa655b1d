/*
 * Certificates of a small world of our own, judged by TLSA records and by authorities, at a time that stands still. The
 * world: root (EC) signs middle (RSA), middle signs hosts' certificates.
 */
#include "policy/cert_chain.h"

#include "base/memory.h"
#include "lookup/trust.h"
#include "policy/evidence.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { DAY = 86400, SHOWN_MAX = 12, THREADS = 6, ROUNDS = 20 };

static const int64_t now = 1800000000;          /* 2027-01-15 */

#define HOST "mx.bank.example"

/* Making certificates */

static EVP_PKEY *root_key, *middle_key, *rsa_key, *ec_key;
static X509 *root, *middle, *leaf, *rsa_leaf, *foreign;

/* What a certificate is like; zero is a good one of the host's, signed by middle. */
struct kind {
    const char *cn, *san;               /* san "-": none */
    const char *usage;                  /* extendedKeyUsage, or NULL */
    X509 *issuer;
    EVP_PKEY *issuer_key, *key;
    const EVP_MD *digest;
    bool authority, itself;             /* itself: signed by itself */
    int64_t from, until;
};

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static X509 *make(struct kind k)
{
    const char *san = k.san == NULL ? "DNS:" HOST : k.san;
    static long serial = 1;
    X509 *x = X509_new();

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(k.from == 0 ? now - 30 * DAY : k.from));
    ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(k.until == 0 ? now + 60 * DAY : k.until));
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)(k.cn == NULL ? HOST : k.cn), -1, -1, 0);
    X509_set_pubkey(x, k.key == NULL ? ec_key : k.key);
    X509_set_issuer_name(x, X509_get_subject_name(k.itself ? x : k.issuer == NULL ? middle : k.issuer));
    if (k.authority)
        extend(x, NID_basic_constraints, "critical,CA:TRUE");
    if (k.authority)
        extend(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (!k.authority && strcmp(san, "-") != 0)
        extend(x, NID_subject_alt_name, san);
    if (k.usage != NULL)
        extend(x, NID_ext_key_usage, k.usage);
    assert_true(X509_sign(x, k.itself ? k.key : k.issuer_key == NULL ? middle_key : k.issuer_key,
                          k.digest == NULL ? EVP_sha256() : k.digest) > 0);
    return x;
}

static int set_up(void **state)
{
    (void)state;
    root_key = EVP_EC_gen("P-256");
    ec_key = EVP_EC_gen("P-256");
    middle_key = EVP_RSA_gen(2048);
    rsa_key = EVP_RSA_gen(2048);
    root = make((struct kind){ .cn = "Root", .authority = true, .itself = true, .key = root_key });
    middle = make((struct kind){ .cn = "Middle", .authority = true, .issuer = root, .issuer_key = root_key,
                                 .key = middle_key });
    foreign = make((struct kind){ .cn = "Foreign", .authority = true, .itself = true, .key = rsa_key });
    leaf = make((struct kind){ .cn = "Leaf" });
    rsa_leaf = make((struct kind){ .cn = "Leaf", .key = rsa_key });
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(middle);
    X509_free(leaf);
    X509_free(rsa_leaf);
    X509_free(foreign);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(ec_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(rsa_key);
    return 0;
}

/* A chain of these, NULL at the end. */
static struct cert_chain *chain_of(X509 *first, ...)
{
    const uint8_t *shown[SHOWN_MAX];
    uint8_t *made[SHOWN_MAX] = { NULL };
    size_t lengths[SHOWN_MAX], count = 0, i;
    struct cert_chain *c = NULL;
    struct fault why = { "" };
    va_list more;
    X509 *x;

    va_start(more, first);
    for (x = first; x != NULL && count < SHOWN_MAX; x = va_arg(more, X509 *)) {
        lengths[count] = (size_t)i2d_X509(x, &made[count]);
        shown[count] = made[count];
        count++;
    }
    va_end(more);
    if (!cert_chain_new(shown, lengths, count, &c, &why))
        fail_msg("%s", why.text);
    for (i = 0; i < count; i++)
        OPENSSL_free(made[i]);
    return c;
}

/* A host's certificate under middle, used up. */
static struct cert_chain *chain_for(struct kind k)
{
    X509 *own = make(k);
    struct cert_chain *c = chain_of(own, middle, root, NULL);

    X509_free(own);
    return c;
}

/* Judging by DANE */

/* A record that names the certificate, or its key; to be released by drop(). */
static struct dns_tlsa record_of(unsigned int usage, unsigned int selector, unsigned int matching, const X509 *x)
{
    uint8_t *whole = NULL, *data = mem_zero(8192);
    int length = selector == 0 ? i2d_X509(x, &whole) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &whole);
    struct dns_tlsa r = { .usage = (uint8_t)usage, .selector = (uint8_t)selector, .matching = (uint8_t)matching,
                          .data = data };

    r.length = (uint16_t)(matching == 1 ? 32 : matching == 2 ? 64 : length);
    if (matching == 1)
        SHA256(whole, (size_t)length, data);
    else if (matching == 2)
        SHA512(whole, (size_t)length, data);
    else
        memcpy(data, whole, (size_t)length);
    OPENSSL_free(whole);
    assert_true(dane_tlsa_usable(&r, NULL));
    return r;
}

static void drop(struct dns_tlsa *r)
{
    free((void *)r->data);
}

static const char *const no_names[] = { NULL };
static size_t matched;
static struct fault why;

static bool dane_with(const struct cert_chain *c, const struct dns_tlsa *records, size_t count, const char *base)
{
    struct cert_chain_demand d = { .records = records, .count = count, .base = base, .names = no_names };

    matched = SIZE_MAX;
    why = (struct fault){ "" };
    if (cert_chain_dane(c, &d, now, &matched, &why)) {
        assert_true(matched < count);
        return true;
    }
    assert_int_equal(matched, SIZE_MAX);
    assert_true(strlen(why.text) > 0 && strlen(why.text) < 400);
    return false;
}

/* By one record; takes it. */
static bool dane_by(const struct cert_chain *c, struct dns_tlsa record, const char *base)
{
    bool good = dane_with(c, &record, 1, base);

    drop(&record);
    return good;
}

static void assert_says(const char *words)
{
    if (strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
}

static void every_kind_of_record_matches_what_it_names_and_nothing_else(void **state)
{
    X509 *leaves[] = { leaf, rsa_leaf }, *others[] = { rsa_leaf, leaf }, *authorities[] = { middle, root };
    unsigned int i, j, selector, matching;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct cert_chain *c = chain_of(leaves[i], middle, root, NULL);

        for (selector = 0; selector <= 1; selector++) {
            for (matching = 0; matching <= 2; matching++) {
                assert_true(dane_by(c, record_of(3, selector, matching, leaves[i]), HOST));
                assert_false(dane_by(c, record_of(3, selector, matching, others[i]), HOST));
                assert_says("no TLSA record matches the key or certificate shown: 3 1 1 ");
                assert_false(dane_by(c, record_of(3, selector, matching, middle), HOST));
                for (j = 0; j < 2; j++)
                    assert_true(dane_by(c, record_of(2, selector, matching, authorities[j]), HOST));
                assert_false(dane_by(c, record_of(2, selector, matching, foreign), HOST));
                assert_says("no TLSA record matches an authority of the 3 certificates shown: the last is signed by CN=Root");
                assert_false(dane_by(c, record_of(2, selector, matching, leaves[i]), HOST));
            }
        }
        cert_chain_unref(c);
    }
}

static void what_would_match_is_said(void **state)
{
    struct cert_chain *c = chain_of(leaf, NULL);
    struct dns_tlsa would = record_of(3, 1, 1, leaf);
    char words[16];
    size_t i;

    (void)state;
    assert_false(dane_by(c, record_of(3, 1, 1, rsa_leaf), HOST));
    for (i = 0; i < would.length; i++) {
        snprintf(words, sizeof(words), "%02x", would.data[i]);
        assert_memory_equal(strstr(why.text, "3 1 1 ") + 6 + 2 * i, words, 2);
    }
    drop(&would);
    cert_chain_unref(c);
}

static void the_record_that_matched_is_told(void **state)
{
    struct cert_chain *c = chain_of(leaf, middle, root, NULL);
    struct dns_tlsa records[] = { record_of(3, 1, 1, foreign), record_of(2, 0, 1, foreign), record_of(2, 1, 1, root),
                                  record_of(2, 1, 1, root), record_of(3, 0, 0, rsa_leaf), record_of(3, 0, 1, leaf) };
    size_t i;

    (void)state;
    assert_true(dane_with(c, records, 6, HOST));
    assert_int_equal(matched, 5);
    assert_true(dane_with(c, records, 5, HOST));
    assert_int_equal(matched, 2);
    assert_false(dane_with(c, records, 2, HOST));
    for (i = 0; i < COUNT_OF(records); i++)
        drop(&records[i]);
    cert_chain_unref(c);
}

/* RFC 7671 9 */
static void the_strongest_digest_decides(void **state)
{
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    struct dns_tlsa records[] = { record_of(3, 0, 1, leaf), record_of(3, 1, 2, rsa_leaf), record_of(3, 0, 2, rsa_leaf) };
    struct cert_chain_demand d = { .records = records, .count = 2, .base = HOST, .names = no_names };
    size_t i;

    (void)state;
    assert_true(dane_with(c, records, d.count, HOST));
    assert_true(cert_chain_is_pinned(&d, c->fingerprint, &matched));
    d.count = 3;
    assert_false(dane_with(c, records, d.count, HOST));
    assert_false(cert_chain_is_pinned(&d, c->fingerprint, &matched));
    for (i = 0; i < COUNT_OF(records); i++)
        drop(&records[i]);
    cert_chain_unref(c);
}

static void a_fingerprint_suffices_only_for_3_0_1(void **state)
{
    struct cert_chain *c = chain_of(leaf, NULL);
    struct dns_tlsa records[] = { record_of(3, 1, 1, leaf), record_of(2, 0, 1, leaf), record_of(3, 0, 1, rsa_leaf),
                                  record_of(3, 0, 1, leaf), record_of(3, 0, 1, leaf) };
    struct cert_chain_demand d = { .records = records, .count = 3, .base = HOST, .names = no_names };
    size_t i;

    (void)state;
    matched = SIZE_MAX;
    assert_false(cert_chain_is_pinned(&d, c->fingerprint, &matched));
    assert_int_equal(matched, SIZE_MAX);
    d.count = 5;
    assert_true(cert_chain_is_pinned(&d, c->fingerprint, &matched));
    assert_int_equal(matched, 3);
    for (i = 0; i < COUNT_OF(records); i++)
        drop(&records[i]);
    cert_chain_unref(c);
}

static void time_counts_for_authorities_alone(void **state)
{
    struct cert_chain *old = chain_for((struct kind){ .until = now - 13 * DAY });
    struct cert_chain *young = chain_for((struct kind){ .from = now + DAY });

    (void)state;
    assert_false(dane_by(old, record_of(2, 1, 1, middle), HOST));
    assert_says("the certificate expired on 2027-01-02");
    assert_false(dane_by(young, record_of(2, 1, 1, middle), HOST));
    assert_says("the certificate is not valid before 2027-01-16");
    cert_chain_unref(old);
    cert_chain_unref(young);
    old = chain_for((struct kind){ .until = now - 13 * DAY, .san = "DNS:other.example", .usage = "clientAuth" });
    young = chain_for((struct kind){ .from = now + DAY });
    assert_false(dane_by(old, record_of(3, 1, 1, rsa_leaf), HOST));
    assert_true(dane_by(old, record_of(3, 1, 1, leaf), HOST));         /* RFC 7671 5.1: neither date nor name counts */
    assert_true(dane_by(young, record_of(3, 1, 1, leaf), HOST));
    assert_int_equal(old->not_after, now - 13 * DAY);
    assert_int_equal(young->not_before, now + DAY);
    cert_chain_unref(old);
    cert_chain_unref(young);
}

static void an_expired_authority_is_named(void **state)
{
    X509 *old = make((struct kind){ .cn = "Old", .authority = true, .issuer = root, .issuer_key = root_key, .key = middle_key,
                                    .until = now - DAY });
    X509 *own = make((struct kind){ .issuer = old });
    struct cert_chain *c = chain_of(own, old, root, NULL);

    (void)state;
    assert_false(dane_by(c, record_of(2, 0, 1, root), HOST));
    assert_says("the authority's certificate (CN=Old) expired on 2027-01-14");
    cert_chain_unref(c);
    X509_free(own);
    X509_free(old);
}

static void an_authority_may_be_carried_by_its_record(void **state)
{
    struct cert_chain *full = chain_of(leaf, middle, root, NULL), *most = chain_of(leaf, middle, NULL);
    struct cert_chain *bare = chain_of(leaf, NULL);
    unsigned int selector, matching;

    (void)state;
    for (selector = 0; selector <= 1; selector++) {
        assert_true(dane_by(most, record_of(2, selector, 0, root), HOST));
        assert_true(dane_by(bare, record_of(2, selector, 0, middle), HOST));
        assert_false(dane_by(bare, record_of(2, selector, 0, root), HOST));       /* nobody showed middle */
        for (matching = 1; matching <= 2; matching++) {
            assert_true(dane_by(full, record_of(2, selector, matching, root), HOST));
            assert_false(dane_by(most, record_of(2, selector, matching, root), HOST));
        }
    }
    assert_says("an authority of the 2 certificates shown: the last is signed by CN=Root");
    cert_chain_unref(full);
    cert_chain_unref(most);
    cert_chain_unref(bare);
}

/* RFC 7672 3.2.2 */
static void an_authority_counts_under_base_host_or_next_hop(void **state)
{
    static const char *const bases[] = { HOST, "a.example", "a.example", "a.example" };
    static const char *const names[][2] = { { "b.example", "c.example" }, { HOST, "c.example" }, { "b.example", HOST },
                                            { "b.example", "c.example" } };
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    struct dns_tlsa record = record_of(2, 0, 1, middle);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(bases); i++) {
        struct cert_chain_demand d = { .records = &record, .count = 1, .base = bases[i], .names = names[i], .name_count = 2 };

        assert_true(cert_chain_dane(c, &d, now, &matched, &why) == (i < 3));
    }
    assert_says("the certificate is for " HOST ", not for a.example or b.example or c.example");
    drop(&record);
    cert_chain_unref(c);
}

/* OpenSSL would take any name if it had none, and any host below one that begins with a dot. */
static void no_demand_is_no_freedom(void **state)
{
    static const char *const wide[] = { ".bank.example", "" };
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    struct dns_tlsa record = record_of(2, 0, 1, middle), pkix = record;
    struct cert_chain_demand d = { .records = &record, .count = 1, .base = "a.example", .names = wide, .name_count = 2 };

    (void)state;
    assert_false(cert_chain_dane(c, &d, now, &matched, &why));
    assert_false(dane_with(c, &record, 1, ""));
    assert_false(dane_with(c, &record, 1, ".bank.example"));
    assert_false(dane_with(c, &record, 0, HOST));
    assert_says("no TLSA record is usable");
    pkix.usage = 0;
    assert_false(dane_with(c, &pkix, 1, HOST));
    drop(&record);
    cert_chain_unref(c);
}

static void a_common_name_counts_where_no_host_is_listed(void **state)
{
    struct cert_chain *alone = chain_for((struct kind){ .san = "-" });
    struct cert_chain *beside = chain_for((struct kind){ .san = "email:a@bank.example" });
    struct cert_chain *other = chain_for((struct kind){ .san = "DNS:other.example" });

    (void)state;
    assert_true(dane_by(alone, record_of(2, 0, 1, middle), HOST));
    assert_true(dane_by(beside, record_of(2, 0, 1, middle), HOST));
    assert_false(dane_by(alone, record_of(2, 0, 1, middle), "other.example"));
    assert_says("the certificate is for CN=" HOST ", not for other.example");
    assert_false(dane_by(other, record_of(2, 0, 1, middle), HOST));
    assert_says("the certificate is for other.example, not for " HOST);
    cert_chain_unref(alone);
    cert_chain_unref(beside);
    cert_chain_unref(other);
}

/* What others show */

static void strangers_names_stay_short_and_printable(void **state)
{
    static const char *const long_name = "an-authority-with-a-name-that-goes-on-for-ever-and-ever-and-ever-";
    char san[4096] = "DNS:evil\x1b[31m.example", *at = san + strlen(san);
    struct cert_chain *c;
    const char *byte;
    X509 *own;
    int i;

    (void)state;
    for (i = 0; i < 100; i++)
        at += sprintf(at, ",DNS:host%d.%.20s.example", i, long_name);
    c = chain_for((struct kind){ .san = san, .cn = "\xc3\xa4\n\"" });
    assert_false(dane_by(c, record_of(2, 0, 1, middle), HOST));
    assert_says("the certificate is for evil?[31m.example, host0.an-authority-with-a-.example and 99 more, not for");
    cert_chain_unref(c);
    own = make((struct kind){ .cn = "\xc3\xa4\n\"\\", .itself = true, .key = ec_key });
    c = chain_of(own, NULL);
    assert_false(dane_by(c, record_of(2, 0, 1, middle), HOST));
    assert_says("CN=?????");
    for (byte = why.text; *byte != '\0'; byte++)
        assert_true(*byte >= ' ' && *byte < 0x7f);
    cert_chain_unref(c);
    X509_free(own);
}

static void too_much_is_not_taken(void **state)
{
    static uint8_t large[CERT_CHAIN_OCTETS_MAX];
    struct cert_chain *c = chain_of(leaf, NULL), *again = c;
    const uint8_t *shown[SHOWN_MAX], *own = c->certificates[0];
    size_t lengths[SHOWN_MAX], own_length = c->lengths[0], i;

    (void)state;
    for (i = 0; i < SHOWN_MAX; i++) {
        shown[i] = own;
        lengths[i] = own_length;
    }
    assert_false(cert_chain_new(shown, lengths, 0, &again, &why));
    assert_false(cert_chain_new(shown, lengths, CERT_CHAIN_CERTIFICATES_MAX + 1, &again, &why));
    assert_says("more than 10 certificates");
    shown[1] = large;
    lengths[1] = sizeof(large) - own_length + 1;
    assert_false(cert_chain_new(shown, lengths, 2, &again, &why));
    assert_says("more than 64 KiB");
    lengths[1] = SIZE_MAX;
    assert_false(cert_chain_new(shown, lengths, 2, &again, &why));
    lengths[0]--;
    assert_false(cert_chain_new(shown, lengths, 1, &again, &why));
    assert_ptr_equal(again, c);
    lengths[0]++;
    lengths[1] = sizeof(large) - own_length;
    assert_true(cert_chain_new(shown, lengths, 2, &again, &why));
    assert_int_equal(again->count, 2);
    assert_true(dane_by(again, record_of(3, 1, 1, leaf), HOST));        /* what is no certificate proves and harms nothing */
    assert_false(dane_by(again, record_of(2, 1, 1, middle), HOST));
    cert_chain_unref(again);
    cert_chain_unref(c);
    cert_chain_unref(NULL);
}

static void what_follows_a_certificate_makes_it_none(void **state)
{
    struct cert_chain *c = chain_of(leaf, NULL), *again = NULL;
    size_t length = c->lengths[0] + 1;
    uint8_t *bytes = mem_zero(length);
    const uint8_t *shown = bytes;

    (void)state;
    memcpy(bytes, c->certificates[0], length - 1);
    assert_false(cert_chain_new(&shown, &length, 1, &again, &why));
    assert_says("what was shown as the host's certificate is none");
    free(bytes);
    cert_chain_unref(c);
}

static void the_error_queue_stays_as_it_was(void **state)
{
    struct cert_chain *c = chain_of(leaf, middle, NULL), *none = NULL;
    const uint8_t *garbage = (const uint8_t *)"garbage";
    X509_STORE *trust = X509_STORE_new();
    const char *const names[] = { HOST };
    size_t length = 7;

    (void)state;
    ERR_clear_error();
    assert_false(cert_chain_new(&garbage, &length, 1, &none, &why));
    assert_false(dane_by(c, record_of(2, 0, 1, root), HOST));
    assert_false(cert_chain_pkix(c, trust, names, 1, now, &why));
    assert_false(dane_tlsa_usable(&(struct dns_tlsa){ .usage = 3, .length = 7, .data = garbage }, &why));
    assert_false(trust_open("/nowhere/authorities.pem", &trust, &why));
    assert_int_equal(ERR_peek_error(), 0);
    ERR_raise(ERR_LIB_USER, 1);
    assert_false(cert_chain_new(&garbage, &length, 1, &none, &why));
    assert_false(dane_by(c, record_of(2, 0, 1, root), HOST));
    assert_int_equal(ERR_GET_LIB(ERR_get_error()), ERR_LIB_USER);
    assert_int_equal(ERR_get_error(), 0);
    X509_STORE_free(trust);
    cert_chain_unref(c);
}

/* Judging by authorities */

static X509_STORE *trusting(X509 *authority)
{
    X509_STORE *trust = X509_STORE_new();

    X509_STORE_add_cert(trust, authority);
    return trust;
}

static bool pkix_by(const struct cert_chain *c, X509_STORE *trust, const char *name)
{
    why = (struct fault){ "" };
    return cert_chain_pkix(c, trust, &name, 1, now, &why);
}

/* Takes the chain. */
static void assert_refused(struct cert_chain *c, X509_STORE *trust, const char *name, const char *words)
{
    assert_false(pkix_by(c, trust, name));
    assert_says(words);
    cert_chain_unref(c);
}

static void authorities_vouch_by_name_and_date(void **state)
{
    X509_STORE *trust = trusting(root), *strange = trusting(foreign);
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    X509 *itself = make((struct kind){ .itself = true, .key = ec_key });

    (void)state;
    assert_true(pkix_by(c, trust, HOST));
    assert_refused(cert_chain_ref(c), strange, HOST, "signed by an authority that is not trusted: CN=Root");
    assert_refused(cert_chain_ref(c), trust, "mx.other.example", "the certificate is for " HOST ", not for mx.other.example");
    assert_refused(cert_chain_ref(c), trust, "", "there is no name");
    assert_refused(chain_of(leaf, NULL), trust, HOST, "signed by an authority that is not trusted: CN=Middle");
    assert_refused(chain_of(itself, NULL), trust, HOST,
                   "the certificate is signed by itself, by nobody who is trusted: CN=" HOST);
    assert_refused(chain_for((struct kind){ .until = now - DAY }), trust, HOST, "the certificate expired on 2027-01-14");
    assert_refused(chain_for((struct kind){ .from = now + DAY }), trust, HOST,
                   "the certificate is not valid before 2027-01-16");
    assert_refused(chain_for((struct kind){ .san = "-" }), trust, HOST,
                   "the certificate has no host name as subjectAltName (CN=" HOST "), " HOST " is wanted");
    assert_refused(chain_for((struct kind){ .usage = "clientAuth" }), trust, HOST, "the certificate is not for servers");
    assert_refused(chain_for((struct kind){ .digest = EVP_sha1() }), trust, HOST, "is not valid: ");
    assert_refused(chain_for((struct kind){ .issuer_key = rsa_key }), trust, HOST,
                   "is not valid: certificate signature failure");
    cert_chain_unref(c);
    X509_free(itself);
    X509_STORE_free(trust);
    X509_STORE_free(strange);
}

static void one_of_several_names_is_enough(void **state)
{
    static const char *const names[] = { "a.example", HOST }, *const others[] = { "a.example", "b.example" };
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    X509_STORE *trust = trusting(root);

    (void)state;
    assert_true(cert_chain_pkix(c, trust, names, 2, now, &why));
    assert_false(cert_chain_pkix(c, trust, others, 2, now, &why));
    assert_says("not for a.example or b.example");
    assert_false(cert_chain_pkix(c, trust, others, 0, now, &why));
    X509_STORE_free(trust);
    cert_chain_unref(c);
}

static void a_wildcard_stands_for_one_whole_label(void **state)
{
    static const struct { const char *san, *name; bool good; } tries[] = {
        { "DNS:*.bank.example", HOST, true },
        { "DNS:*.bank.example", "bank.example", false },
        { "DNS:*.bank.example", "a.mx.bank.example", false },
        { "DNS:m*.bank.example", HOST, false },
        { "DNS:mx.*.example", HOST, false },
        { "DNS:MX.Bank.Example", HOST, true },
        { "DNS:mx.bank.example", ".bank.example", true },
        { "DNS:*.bank.example", ".bank.example", true },
        { "DNS:a.mx.bank.example", ".bank.example", false },
        { "DNS:*.mx.bank.example", ".bank.example", false },
        { "DNS:bank.example", ".bank.example", false },
        { "DNS:mx.otherbank.example", ".bank.example", false },
    };
    X509_STORE *trust = trusting(root);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct cert_chain *c = chain_for((struct kind){ .san = tries[i].san, .cn = "Leaf" });

        if (pkix_by(c, trust, tries[i].name) != tries[i].good)
            fail_msg("%s for %s: %s", tries[i].san, tries[i].name, why.text);
        if (*tries[i].name != '.' && dane_by(c, record_of(2, 1, 2, root), tries[i].name) != tries[i].good)
            fail_msg("by DANE, %s for %s: %s", tries[i].san, tries[i].name, why.text);
        cert_chain_unref(c);
    }
    X509_STORE_free(trust);
}

/* What several threads share */
struct shared {
    struct cert_chain *chain;
    X509_STORE *trust;
    struct dns_tlsa records[2];
};

static void *judge_often(void *argument)
{
    const struct shared *s = argument;
    const char *const names[] = { HOST };
    struct cert_chain_demand good = { .records = s->records, .count = 2, .base = HOST, .names = names };
    struct cert_chain *c = cert_chain_ref(s->chain);
    struct fault words;
    size_t which, wrong = 0, i;

    for (i = 0; i < ROUNDS; i++) {
        struct cert_chain_demand bad = { .records = s->records, .count = 1, .base = HOST, .names = names };

        wrong += !cert_chain_pkix(c, s->trust, names, 1, now, &words);
        wrong += cert_chain_pkix(c, s->trust, names, 1, now + 1000 * DAY, &words);
        wrong += !cert_chain_dane(c, &good, now, &which, &words) || which != 1;
        wrong += cert_chain_dane(c, &bad, now, &which, &words);
    }
    cert_chain_unref(c);
    return wrong == 0 ? NULL : argument;
}

static void threads_judge_by_one_store(void **state)
{
    struct shared s = { chain_of(leaf, middle, NULL), trusting(root),
                        { record_of(3, 1, 1, rsa_leaf), record_of(2, 0, 0, root) } };
    pthread_t threads[THREADS];
    void *wrong;
    size_t i;

    (void)state;
    for (i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, judge_often, &s), 0);
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    drop(&s.records[0]);
    drop(&s.records[1]);
    X509_STORE_free(s.trust);
    cert_chain_unref(s.chain);
}

/* Where authorities come from */

static void write_authority(const char *path, X509 *authority)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs("# nothing else\n", file);
    if (authority != NULL)
        PEM_write_X509(file, authority);
    fclose(file);
}

static void authorities_are_read_from_a_file(void **state)
{
    char path[] = "test_cert_chain.XXXXXX";
    struct cert_chain *c = chain_of(leaf, middle, NULL);
    X509_STORE *trust = NULL;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_authority(path, NULL);
    assert_false(trust_open(path, &trust, &why));
    assert_says(path);
    write_authority(path, middle);              /* not its own authority, trusted all the same */
    assert_true(trust_open(path, &trust, &why));
    assert_true(pkix_by(c, trust, HOST));
    X509_STORE_free(trust);
    write_authority(path, foreign);
    assert_true(trust_open(path, &trust, &why));
    assert_false(pkix_by(c, trust, HOST));
    X509_STORE_free(trust);
    unlink(path);
    trust = NULL;
    assert_false(trust_open(path, &trust, &why));
    assert_says(path);
    assert_null(trust);
    cert_chain_unref(c);
}

static void without_a_file_authorities_are_libcurls(void **state)
{
    CURL *easy = curl_easy_init();
    X509_STORE *trust = NULL, *same = X509_STORE_new();
    char *file = NULL;
    bool good;

    (void)state;
    curl_easy_getinfo(easy, CURLINFO_CAINFO, &file);
    good = file == NULL || X509_STORE_load_file(same, file) == 1;
    assert_true(trust_open("", &trust, &why) == good);      /* a machine may have none */
    if (!good)
        assert_says(file);
    else if (file != NULL)
        assert_int_equal(sk_X509_OBJECT_num(X509_STORE_get0_objects(trust)),
                         sk_X509_OBJECT_num(X509_STORE_get0_objects(same)));
    X509_STORE_free(trust);
    X509_STORE_free(same);
    curl_easy_cleanup(easy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_record_matches_what_it_names_and_nothing_else),
        cmocka_unit_test(what_would_match_is_said),
        cmocka_unit_test(the_record_that_matched_is_told),
        cmocka_unit_test(the_strongest_digest_decides),
        cmocka_unit_test(a_fingerprint_suffices_only_for_3_0_1),
        cmocka_unit_test(time_counts_for_authorities_alone),
        cmocka_unit_test(an_expired_authority_is_named),
        cmocka_unit_test(an_authority_may_be_carried_by_its_record),
        cmocka_unit_test(an_authority_counts_under_base_host_or_next_hop),
        cmocka_unit_test(no_demand_is_no_freedom),
        cmocka_unit_test(a_common_name_counts_where_no_host_is_listed),
        cmocka_unit_test(strangers_names_stay_short_and_printable),
        cmocka_unit_test(too_much_is_not_taken),
        cmocka_unit_test(what_follows_a_certificate_makes_it_none),
        cmocka_unit_test(the_error_queue_stays_as_it_was),
        cmocka_unit_test(authorities_vouch_by_name_and_date),
        cmocka_unit_test(one_of_several_names_is_enough),
        cmocka_unit_test(a_wildcard_stands_for_one_whole_label),
        cmocka_unit_test(threads_judge_by_one_store),
        cmocka_unit_test(authorities_are_read_from_a_file),
        cmocka_unit_test(without_a_file_authorities_are_libcurls),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
