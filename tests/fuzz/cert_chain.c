/*
 * A chain as a stranger's host may show it, then TLSA records as a zone may have them: one octet says how many certificates;
 * each is two octets of length and its data, each record usage, selector, matching, two octets of length and its data.
 */
#include "fuzz.h"

#include "policy/cert_chain.h"
#include "policy/evidence.h"

#include <string.h>

enum { PARTS = CERT_CHAIN_CERTIFICATES_MAX + 2, TIME = 1800000000 };

/* What is left to read. */
struct span {
    const uint8_t *at, *end;
};

static bool take_data(struct span *s, const uint8_t **ret, size_t *ret_length)
{
    size_t length;

    if (s->end - s->at < 2)
        return false;
    length = (size_t)s->at[0] << 8 | s->at[1];
    if ((size_t)(s->end - s->at) - 2 < length)
        return false;
    *ret = s->at + 2;
    *ret_length = length;
    s->at += 2 + length;
    return true;
}

static size_t take_records(struct span *s, struct dns_tlsa records[static PARTS])
{
    size_t count = 0, length;

    while (count < PARTS && s->end - s->at > 3) {
        struct dns_tlsa r = { .usage = s->at[0], .selector = s->at[1], .matching = s->at[2] };

        s->at += 3;
        if (!take_data(s, &r.data, &length))
            break;
        r.length = (uint16_t)length;
        if (length <= DNS_TLSA_DATA_MAX && dane_tlsa_usable(&r, NULL))
            records[count++] = r;
    }
    return count;
}

/* Refused, so there are words, and they may be shown. */
static void must_explain(const struct fault *why)
{
    must(why->text[0] != '\0' && is_printable(why->text));
}

static void judge(const struct cert_chain *c, const struct dns_tlsa *records, size_t count)
{
    const char *const names[] = { "mx.bank.example", ".bank.example" };
    struct cert_chain_demand d = { .records = records, .count = count, .base = names[0], .names = names, .name_count = 2 };
    static X509_STORE *nobody;          /* made once: it takes longer than all the rest */
    struct fault why = { "" };
    size_t matched = SIZE_MAX;

    if (nobody == NULL)
        nobody = X509_STORE_new();

    if (cert_chain_dane(c, &d, TIME, &matched, &why))
        must(matched < count);
    else
        must_explain(&why);
    if (cert_chain_is_pinned(&d, c->fingerprint, &matched))
        must(matched < count && records[matched].length == CERT_CHAIN_FINGERPRINT);
    must(!cert_chain_pkix(c, nobody, names, 2, TIME, &why));
    must_explain(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct span s = { bytes, bytes + length };
    size_t wanted = length > 0 ? *s.at++ % PARTS : 0, lengths[PARTS] = { 0 }, count = 0;
    const uint8_t *shown[PARTS] = { NULL };
    struct dns_tlsa records[PARTS];
    struct fault why = { "" };
    struct cert_chain *c;

    while (count < wanted && take_data(&s, &shown[count], &lengths[count]))
        count++;
    if (!cert_chain_new(shown, lengths, count, &c, &why)) {
        must_explain(&why);
        return 0;
    }
    judge(c, records, take_records(&s, records));
    cert_chain_unref(c);
    return 0;
}
