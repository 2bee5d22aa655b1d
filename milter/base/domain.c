#include "base/domain.h"

#include "base/memory.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LABEL_MAX = 63, NAME_MAX_LENGTH = 253, PORT_SMTP = 25, PORT_SUBMISSION = 587 };

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Lower-case ASCII into ret; labels and lengths as RFC 1035 2.3.4 wants them. */
static bool check_labels(const char *ascii, size_t length, struct domain *ret, struct fault *why)
{
    size_t label = 0, i;
    struct domain made = { 0 };

    if (length == 0 || length > NAME_MAX_LENGTH)
        return fault_set(why, "a domain name has 1 to %d characters", NAME_MAX_LENGTH);
    for (i = 0; i < length; i++) {
        char c = fold(ascii[i]);

        made.name[i] = c;
        if (c == '.') {
            if (label == 0)
                return fault_set(why, "empty label in a domain name");
            label = 0;
        } else if (!plain(c)) {
            return fault_set(why, "a domain name has letters, digits, hyphens and dots only");
        } else if (++label > LABEL_MAX) {
            return fault_set(why, "a label of a domain name has at most %d characters", LABEL_MAX);
        }
    }
    if (label == 0)
        return fault_set(why, "empty label in a domain name");
    made.length = (uint8_t)length;
    *ret = made;
    return true;
}

bool domain_is_ascii(const char *spoken)
{
    for (; *spoken != '\0'; spoken++) {
        if ((unsigned char)*spoken >= 0x80)
            return false;
    }
    return true;
}

bool domain_parse(const char *spoken, struct domain *ret, struct fault *why)
{
    AUTO(free) char *ascii = NULL;
    size_t length;
    int code;

    if (domain_is_ascii(spoken)) {
        length = strlen(spoken);
        if (length > 1 && spoken[length - 1] == '.')
            length--;
        return check_labels(spoken, length, ret, why);
    }
    if (strlen(spoken) > 4 * NAME_MAX_LENGTH)           /* a stranger may write megabytes */
        return fault_set(why, "a domain name has 1 to %d characters", NAME_MAX_LENGTH);
    code = idn2_to_ascii_8z(spoken, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    if (code == IDN2_MALLOC)
        mem_out();
    if (code != IDN2_OK)
        return fault_set(why, "not an internationalized domain name: %s", idn2_strerror(code));
    length = strlen(ascii);
    if (length > 1 && ascii[length - 1] == '.')
        length--;
    return check_labels(ascii, length, ret, why);
}

bool domain_unicode(const struct domain *d, char *ret, size_t size)
{
    AUTO(free) char *wide = NULL;
    int code;
    struct domain again;

    if (strncmp(d->name, "xn--", 4) != 0 && strstr(d->name, ".xn--") == NULL)
        return false;
    code = idn2_to_unicode_8z8z(d->name, &wide, 0);
    if (code == IDN2_MALLOC)
        mem_out();                      /* a table without this spelling would let its mail past */
    if (code != IDN2_OK || strcmp(wide, d->name) == 0 || strlen(wide) >= size)
        return false;
    if (!domain_parse(wide, &again, NULL) || !domain_equal(d, &again))      /* another name's spelling, or nobody's */
        return false;
    strcpy(ret, wide);
    return true;
}

bool domain_equal(const struct domain *a, const struct domain *b)
{
    return a->length == b->length && memcmp(a->name, b->name, a->length) == 0;
}

const char *domain_parent(const char *name)
{
    const char *dot = strchr(name, '.');

    return dot == NULL ? NULL : dot + 1;
}

static int compare_key(const void *a, const void *b)
{
    return strcmp(a, *(const char *const *)b);
}

static bool is_key(const char *const *keys, size_t count, const char *wanted)
{
    return count > 0 && bsearch(wanted, keys, count, sizeof(*keys), compare_key) != NULL;
}

bool domain_is_among(const char *const *keys, size_t count, const char *name)
{
    char below[1 + sizeof(((struct domain *)NULL)->name)];
    const char *parent;

    if (is_key(keys, count, name))
        return true;
    for (parent = domain_parent(name); parent != NULL; parent = domain_parent(parent)) {
        snprintf(below, sizeof(below), ".%s", parent);
        if (is_key(keys, count, below))
            return true;
    }
    return false;
}

/* Reads a quoted or plain local part; at the end *at stands behind it. A quote that never ends is none. */
static bool read_local(const char **at, char *ret)
{
    const char *p = *at;
    bool quoted = *p == '"';
    size_t length = 0;

    if (quoted)
        p++;
    for (;; p++) {
        if (*p == '\0' && quoted)
            return false;
        if (*p == '\0')
            break;
        if (quoted && *p == '"') {
            p++;
            break;
        }
        if (!quoted && *p == '@' && strchr(p + 1, '@') == NULL)     /* the last one parts local part and domain */
            break;
        if (quoted && *p == '\\' && p[1] != '\0')
            p++;
        if (length + 1 >= ADDRESS_LOCAL_SIZE)
            return false;
        ret[length++] = *p;
    }
    ret[length] = '\0';
    *at = p;
    return length > 0;
}

/* `[192.0.2.1]` or `[IPv6:2001:db8::1]`, the brackets included (RFC 5321 4.1.3). */
static bool read_literal(const char *spoken, struct domain *ret)
{
    size_t length = strlen(spoken), i;

    if (length < 3 || spoken[0] != '[' || spoken[length - 1] != ']' || length - 2 >= sizeof(ret->name))
        return false;
    *ret = (struct domain){ .length = (uint8_t)(length - 2) };
    for (i = 0; i < length - 2; i++)
        ret->name[i] = fold(spoken[i + 1]);
    return true;
}

void address_parse(const char *spoken, struct address *ret)
{
    char path[1024];
    const char *at = path;
    size_t length = strlen(spoken);

    memset(ret, 0, sizeof(*ret));
    if (length >= 2 && spoken[0] == '<' && spoken[length - 1] == '>') {
        spoken++;
        length -= 2;
    }
    if (length >= sizeof(path))
        return;
    memcpy(path, spoken, length);
    path[length] = '\0';
    if (length == 0) {
        ret->kind = ADDRESS_NULL;
        return;
    }
    if (*at == '@' && strchr(at, ':') != NULL)
        at = strchr(at, ':') + 1;
    if (!read_local(&at, ret->local))
        return;
    if (*at == '\0')
        ret->kind = ADDRESS_BARE;
    else if (*at != '@')
        return;
    else if (at[1] == '[' && read_literal(at + 1, &ret->domain))
        ret->kind = ADDRESS_LITERAL;
    else if (domain_parse(at + 1, &ret->domain, NULL))
        ret->kind = ADDRESS_DOMAIN;
}

/* Each decision prints two or three, so without a format. Cuts off what does not fit. */
static char *print_parts(const char *const parts[], size_t count, char *ret, size_t size)
{
    size_t at = 0, length, i;

    for (i = 0; i < count; i++) {
        length = strlen(parts[i]);
        if (length > size - 1 - at)
            length = size - 1 - at;
        memcpy(ret + at, parts[i], length);
        at += length;
    }
    ret[at] = '\0';
    return ret;
}

char *address_print(const struct address *a, char *ret, size_t size)
{
    char local[ADDRESS_LOCAL_SIZE];
    const char *const parts[] = { local, "@", "[", a->domain.name, "]" };

    text_printable(a->local, false, local, sizeof(local));
    switch (a->kind) {
    case ADDRESS_NULL:
        return print_parts(parts, 0, ret, size);
    case ADDRESS_BARE:
        return print_parts(parts, 1, ret, size);
    case ADDRESS_DOMAIN:
        return print_parts((const char *const[]){ local, "@", a->domain.name }, 3, ret, size);
    case ADDRESS_LITERAL:
        return print_parts(parts, COUNT_OF(parts), ret, size);
    case ADDRESS_UNUSABLE:
        break;
    }
    return print_parts((const char *const[]){ local, "@?" }, 2, ret, size);
}

void address_fold_local(const struct address *a, char ret[static ADDRESS_LOCAL_SIZE])
{
    size_t i;

    for (i = 0; a->local[i] != '\0'; i++)
        ret[i] = fold(a->local[i]);
    ret[i] = '\0';
}

static bool read_port(const char *word, uint16_t *ret, struct fault *why)
{
    unsigned number = 0;
    const char *p;

    if (strcasecmp(word, "smtp") == 0) {
        *ret = PORT_SMTP;
        return true;
    }
    if (strcasecmp(word, "submission") == 0) {
        *ret = PORT_SUBMISSION;
        return true;
    }
    for (p = word; *p >= '0' && *p <= '9' && number <= UINT16_MAX; p++)
        number = number * 10 + (unsigned)(*p - '0');
    if (p == word || *p != '\0' || number == 0 || number > UINT16_MAX)
        return fault_set(why, "a port is a number from 1 to 65535");
    *ret = (uint16_t)number;
    return true;
}

/* An IPv4 or IPv6 address, in its one spelling. */
static bool read_ip(const char *host, struct domain *ret)
{
    unsigned char raw[sizeof(struct in6_addr)];
    const char *number = strncasecmp(host, "ipv6:", 5) == 0 ? host + 5 : host;
    int family = strchr(number, ':') != NULL ? AF_INET6 : AF_INET;

    *ret = (struct domain){ 0 };
    if (inet_pton(family, number, raw) != 1 || inet_ntop(family, raw, ret->name, sizeof(ret->name)) == NULL)
        return false;
    ret->length = (uint8_t)strlen(ret->name);
    return true;
}

bool next_hop_parse(const char *spoken, struct next_hop *ret, struct fault *why)
{
    char host[512];
    const char *start = spoken, *end, *port = NULL;
    struct next_hop made = { .port = PORT_SMTP };
    struct domain number;

    if (*spoken == '[') {
        made.bracketed = true;
        start = spoken + 1;
        end = strchr(start, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return fault_set(why, "write a host without MX look-up as \"[host]\" or \"[host]:port\"");
        if (end[1] == ':')
            port = end + 2;
    } else {
        end = strchr(start, ':');
        if (end == NULL)
            end = start + strlen(start);
        else
            port = end + 1;
    }
    if ((size_t)(end - start) >= sizeof(host))
        return fault_set(why, "the host name is too long");
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    if (port != NULL && !read_port(port, &made.port, why))
        return false;
    made.literal = made.bracketed && read_ip(host, &made.host);
    if (!made.literal && !domain_parse(host, &made.host, why))
        return false;
    if (made.bracketed && read_ip(made.host.name, &number)) {           /* by a final dot, or in wide digits */
        made.host = number;
        made.literal = true;
    }
    *ret = made;
    return true;
}

char *next_hop_print(const struct next_hop *hop, char ret[static NEXT_HOP_TEXT_SIZE])
{
    char port[8] = "";

    if (!hop->bracketed && hop->port == PORT_SMTP)          /* mostly, and often */
        return memcpy(ret, hop->host.name, hop->host.length + 1u);
    if (hop->port != PORT_SMTP)
        snprintf(port, sizeof(port), ":%u", hop->port);
    snprintf(ret, NEXT_HOP_TEXT_SIZE, hop->bracketed ? "[%s]%s" : "%s%s", hop->host.name, port);
    return ret;
}

struct next_hop next_hop_of(const struct domain *d)
{
    return (struct next_hop){ .host = *d, .port = PORT_SMTP };
}
