#include "server/clients.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct network {
    unsigned char address[16];      /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
};

struct clients {
    size_t count;
    struct network networks[];
};

static void map_ipv4(const void *ipv4, unsigned char ret[static 16])
{
    memset(ret, 0, 10);
    ret[10] = ret[11] = 0xff;
    memcpy(ret + 12, ipv4, 4);
}

/* A prefix length; -1: none was said, -2: nonsense. */
static int read_bits(const char *slash, int most)
{
    int bits = 0;

    if (slash == NULL)
        return -1;
    if (slash[1] == '\0' || strlen(slash) > 4)
        return -2;
    for (slash++; *slash != '\0'; slash++) {
        if (*slash < '0' || *slash > '9')
            return -2;
        bits = bits * 10 + (*slash - '0');
    }
    return bits <= most ? bits : -2;
}

static bool read_network(const char *spoken, struct network *ret)
{
    AUTO(free) char *copy = mem_text(spoken);
    char *slash = strchr(copy, '/');
    bool six = strchr(copy, ':') != NULL;
    int bits = read_bits(slash, six ? 128 : 32);
    unsigned char raw[16];

    if (slash != NULL)
        *slash = '\0';
    if (bits == -2 || inet_pton(six ? AF_INET6 : AF_INET, copy, raw) != 1)
        return false;
    if (six)
        memcpy(ret->address, raw, 16);
    else
        map_ipv4(raw, ret->address);
    ret->bits = bits == -1 ? 128 : (unsigned)bits + (six ? 0 : 96);
    return true;
}

bool clients_parse(const struct setting_list *list, struct clients **ret, struct fault *why)
{
    AUTO(free) char *block = mem_zero(sizeof(struct clients) + list->count * sizeof(struct network));
    struct clients *made = (struct clients *)(void *)block;
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!read_network(list->items[i], &made->networks[i]))
            return fault_set(why, "\"%s\" is no address or network; write \"192.0.2.0/24\" or \"::1\"", list->items[i]);
    }
    made->count = list->count;
    *ret = made;
    block = NULL;
    return true;
}

void clients_free(struct clients *c)
{
    free(c);
}

static bool same_bits(const unsigned char *a, const unsigned char *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (unsigned char)((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool clients_match(const struct clients *c, const struct sockaddr *address)
{
    unsigned char raw[16];
    size_t i;

    if (address->sa_family == AF_INET)
        map_ipv4(&((const struct sockaddr_in *)(const void *)address)->sin_addr, raw);
    else if (address->sa_family == AF_INET6)
        memcpy(raw, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    else
        return false;
    for (i = 0; i < c->count; i++) {
        if (same_bits(raw, c->networks[i].address, c->networks[i].bits))
            return true;
    }
    return false;
}
