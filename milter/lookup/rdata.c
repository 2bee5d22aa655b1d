#include "lookup/rdata.h"

#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 63, TEXT_MAX = 253, TLSA_HEAD = 3, MX_HEAD = 2 };

/* A dot or an escape inside a label would make one name look like another as text. */
static bool plain_label(const uint8_t *label, size_t length)
{
    size_t i;

    for (i = 0; i < length; i++) {
        if (label[i] <= ' ' || label[i] >= 0x7f || label[i] == '.' || label[i] == '\\')
            return false;
    }
    return true;
}

enum rdata_name rdata_name(const uint8_t *bytes, size_t length, struct domain *ret)
{
    char text[TEXT_MAX + 1];
    size_t at = 0, used = 0;

    while (at < length && bytes[at] != 0) {
        size_t label = bytes[at++], dot = used > 0;

        if (label > LABEL_MAX || label > length - at || used + dot + label > TEXT_MAX)
            return RDATA_NAME_BAD;
        if (!plain_label(bytes + at, label))
            return RDATA_NAME_BAD;
        if (dot)
            text[used++] = '.';
        memcpy(text + used, bytes + at, label);
        used += label;
        at += label;
    }
    if (at + 1 != length)               /* the root's empty label ends the name and the data */
        return RDATA_NAME_BAD;
    if (used == 0)
        return RDATA_NAME_ROOT;
    text[used] = '\0';
    return domain_parse(text, ret, NULL) ? RDATA_NAME_HOST : RDATA_NAME_BAD;
}

bool rdata_mx(const uint8_t *bytes, size_t length, struct rdata_mx *ret)
{
    struct rdata_mx made = { 0 };

    if (length <= MX_HEAD || rdata_name(bytes + MX_HEAD, length - MX_HEAD, &made.host) == RDATA_NAME_BAD)
        return false;
    made.preference = (uint16_t)(bytes[0] << 8 | bytes[1]);
    *ret = made;
    return true;
}

static int by_preference(const void *left, const void *right)
{
    const struct rdata_mx *a = left, *b = right;

    return a->preference != b->preference ? (int)a->preference - (int)b->preference : strcmp(a->host.name, b->host.name);
}

static int by_name(const void *left, const void *right)
{
    const struct rdata_mx *a = left, *b = right;
    int order = strcmp(a->host.name, b->host.name);

    return order != 0 ? order : (int)a->preference - (int)b->preference;
}

size_t rdata_mx_sort(struct rdata_mx *list, size_t count)
{
    size_t kept = 0, i;

    if (count == 0)
        return 0;
    qsort(list, count, sizeof(*list), by_name);
    for (i = 1; i < count; i++) {
        if (!domain_equal(&list[kept].host, &list[i].host))
            list[++kept] = list[i];
    }
    qsort(list, kept + 1, sizeof(*list), by_preference);
    return kept + 1;
}

bool rdata_tlsa(const uint8_t *bytes, size_t length, struct dns_tlsa *ret)
{
    if (length < TLSA_HEAD || length - TLSA_HEAD > DNS_TLSA_DATA_MAX)
        return false;
    *ret = (struct dns_tlsa){ .usage = bytes[0], .selector = bytes[1], .matching = bytes[2],
                              .length = (uint16_t)(length - TLSA_HEAD), .data = bytes + TLSA_HEAD };
    return true;
}
