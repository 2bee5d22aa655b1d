/* What strangers write where an address, a domain or a next hop belongs: whatever is understood means the same when it is
   written out again. */
#include "fuzz.h"

#include "base/domain.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ROOM = 4096 };

static void check_domain(const char *spoken)
{
    struct domain d, again;
    char other[ROOM];
    struct fault why = { "" };
    size_t i;

    if (!domain_parse(spoken, &d, &why)) {
        must(why.text[0] != '\0');
        return;
    }
    must(d.length > 0 && d.length == strlen(d.name) && d.name[0] != '.' && d.name[d.length - 1] != '.');
    for (i = 0; i < d.length; i++)
        other[i] = (char)toupper((unsigned char)d.name[i]);
    strcpy(other + d.length, ".");
    must(domain_parse(other, &again, NULL) && domain_equal(&d, &again));
    if (domain_unicode(&d, other, sizeof(other)))
        must(strcmp(other, d.name) != 0 && domain_parse(other, &again, NULL) && domain_equal(&d, &again));
}

static void compare(const struct address *a, const struct address *b)
{
    must(a->kind == b->kind && domain_equal(&a->domain, &b->domain) && strcmp(a->local, b->local) == 0);
}

/* Each character of the local part behind a backslash. */
static void quote(const struct address *a, char *ret)
{
    const char *from;

    *ret++ = '"';
    for (from = a->local; *from != '\0'; from++) {
        *ret++ = '\\';
        *ret++ = *from;
    }
    sprintf(ret, a->kind == ADDRESS_LITERAL ? "\"@[%s]" : "\"@%s", a->domain.name);
}

static void check_address(const char *spoken)
{
    char path[ROOM], shown[ADDRESS_TEXT_SIZE], folded[ADDRESS_LOCAL_SIZE];
    size_t length = strlen(spoken);
    struct address a, again;

    address_parse(spoken, &a);
    must(is_printable(address_print(&a, shown, sizeof(shown))) || a.kind == ADDRESS_LITERAL);
    must(strlen(a.local) < ADDRESS_LOCAL_SIZE && a.domain.length == strlen(a.domain.name));
    must((a.kind == ADDRESS_DOMAIN || a.kind == ADDRESS_LITERAL) <= (a.domain.length > 0 && a.local[0] != '\0'));
    must((a.kind == ADDRESS_NULL) == (length == 0 || strcmp(spoken, "<>") == 0));
    address_fold_local(&a, folded);
    must(strcasecmp(folded, a.local) == 0);
    if (a.kind == ADDRESS_DOMAIN || a.kind == ADDRESS_LITERAL) {
        quote(&a, path);
        address_parse(path, &again);
        compare(&a, &again);
    }
    if (length + 3 < sizeof(path) && (spoken[0] != '<' || spoken[length - 1] != '>')) {
        snprintf(path, sizeof(path), "<%s>", spoken);
        address_parse(path, &again);
        compare(&a, &again);
    }
}

static void check_next_hop(const char *spoken)
{
    struct next_hop hop, again;
    char shown[NEXT_HOP_TEXT_SIZE];
    struct fault why = { "" };

    if (!next_hop_parse(spoken, &hop, &why)) {
        must(why.text[0] != '\0');
        return;
    }
    must(hop.port > 0 && hop.host.length > 0 && (!hop.literal || hop.bracketed));
    must(is_printable(next_hop_print(&hop, shown)));
    must(next_hop_parse(shown, &again, NULL) && domain_equal(&hop.host, &again.host) && hop.port == again.port);
    must(hop.bracketed == again.bracketed && hop.literal == again.literal);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    char *spoken = feed_rest(&f), *at;

    check_address(spoken);
    check_next_hop(spoken);
    check_domain(spoken);
    at = strrchr(spoken, '@');
    if (at != NULL)
        check_domain(at + 1);
    free(spoken);
    return 0;
}
