/* The data of records as a zone may have them. The first octet says of which kind; several come each behind an octet of
   length. */
#include "fuzz.h"

#include "base/text.h"
#include "lookup/rdata.h"
#include "policy/evidence.h"
#include "policy/sts.h"
#include "policy/tlsrpt.h"

#include <ctype.h>
#include <string.h>

enum { RECORDS = 16 };

/* The one wire form of a host's name. */
static size_t encode(const struct domain *d, uint8_t *ret)
{
    const char *label = d->name;
    size_t used = 0, length;

    do {
        length = strcspn(label, ".");
        ret[used++] = (uint8_t)length;
        memcpy(ret + used, label, length);
        used += length;
        label += length + (label[length] == '.');
    } while (*label != '\0');
    ret[used++] = 0;
    return used;
}

static void check_name(const uint8_t *bytes, size_t length)
{
    struct domain d = { 0 }, again;
    uint8_t wire[300];
    size_t i;

    switch (rdata_name(bytes, length, &d)) {
    case RDATA_NAME_BAD:
        must(d.length == 0);
        return;
    case RDATA_NAME_ROOT:
        must(length == 1 && bytes[0] == 0);
        return;
    case RDATA_NAME_HOST:
        break;
    }
    must(encode(&d, wire) == length);
    for (i = 0; i < length; i++)
        must(wire[i] == tolower(bytes[i]));
    must(domain_parse(d.name, &again, NULL) && domain_equal(&d, &again));
}

static void check_sorted(const struct rdata_mx *all, size_t count, const struct rdata_mx *sorted, size_t left)
{
    size_t i, j;

    for (i = 0; i < left; i++) {
        for (j = i + 1; j < left; j++)
            must(!domain_equal(&sorted[i].host, &sorted[j].host) && sorted[i].preference <= sorted[j].preference);
    }
    for (i = 0; i < count; i++) {
        for (j = 0; j < left && !domain_equal(&all[i].host, &sorted[j].host); j++)
            ;
        must(j < left && sorted[j].preference <= all[i].preference);
    }
}

static void check_mx(struct feed *f)
{
    struct rdata_mx all[RECORDS], sorted[RECORDS];
    size_t count = 0;

    while (f->at < f->end && count < RECORDS) {
        size_t length = feed_octet(f), left = (size_t)(f->end - f->at);

        length = length > left ? left : length;
        if (rdata_mx(f->at, length, &all[count])) {
            must(all[count].preference == (f->at[0] << 8 | f->at[1]));
            check_name(f->at + 2, length - 2);
            count++;
        }
        f->at += length;
    }
    memcpy(sorted, all, count * sizeof(*all));
    check_sorted(all, count, sorted, rdata_mx_sort(sorted, count));
}

static void check_tlsa(const uint8_t *bytes, size_t length)
{
    struct fault why = { "" };
    struct dns_tlsa r;

    if (!rdata_tlsa(bytes, length, &r)) {
        must(length < 3 || length > 3 + DNS_TLSA_DATA_MAX);
        return;
    }
    must(r.data == bytes + 3 && r.length == length - 3);
    if (!dane_tlsa_usable(&r, &why)) {
        must(is_printable(why.text) && why.text[0] != '\0');
        return;
    }
    must((r.usage == 2 || r.usage == 3) && r.selector < 2 && r.matching < 3);
    must(r.matching == 0 ? r.length > 16 && r.data[0] == 0x30 : r.length == 32u * r.matching);
}

/* A TXT RRset, one record behind an octet of length each. */
static void check_txt(struct feed *f)
{
    const char *records[RECORDS] = { NULL };
    size_t lengths[RECORDS] = { 0 }, count = 0, index, i;
    struct text texts[RECORDS];
    struct fault why = { "" };
    char id[STS_ID_SIZE];

    while (f->at < f->end && count < RECORDS) {
        size_t length = feed_octet(f), left = (size_t)(f->end - f->at);

        length = length > left ? left : length;
        text_init(&texts[count], 1024);
        if (dns_txt_join(f->at, length, &texts[count]))
            must(texts[count].length < length || length == 0);
        records[count] = text_words(&texts[count]);
        lengths[count] = texts[count].length;
        f->at += length;
        count++;
    }
    if (tlsrpt_parse(records, lengths, count, &index, &why))
        must(index < count && lengths[index] > 14 && memcmp(records[index], "v=TLSRPTv1;", 11) == 0);
    else
        must(why.text[0] != '\0');
    if (sts_record_parse(records, lengths, count, id, &why))
        must(id[0] != '\0' && strlen(id) < STS_ID_SIZE);
    for (i = 0; i < count; i++)
        text_done(&texts[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };

    switch (feed_octet(&f) % 4) {
    case 0:
        check_name(f.at, (size_t)(f.end - f.at));
        break;
    case 1:
        check_mx(&f);
        break;
    case 2:
        check_tlsa(f.at, (size_t)(f.end - f.at));
        break;
    case 3:
        check_txt(&f);
        break;
    }
    return 0;
}
