#include "config/reader.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* What a setting's value must be beyond its kind. Each check says what is wrong, and what to write. */

struct check {
    const char *group, *name;
    void (*look)(const struct group *g, const char *name, const void *value);
};

static const char *text_of(const void *value)
{
    return *(const char *const *)value;
}

static bool plain_path(const char *path)
{
    return path[0] == '/' && path[1] != '\0';
}

static void path_or_empty(const struct group *g, const char *name, const void *value)
{
    if (text_of(value)[0] != '\0' && !plain_path(text_of(value)))
        faults_setting(g, name, "is no full path; write one that begins with /");
}

static void path(const struct group *g, const char *name, const void *value)
{
    if (!plain_path(text_of(value)))
        faults_setting(g, name, "is no full path; write one that begins with /");
}

bool checks_readable(const char *spoken, bool folder, struct fault *why)
{
    struct stat about;

    if (stat(spoken, &about) != 0 || access(spoken, folder ? R_OK | X_OK : R_OK) != 0)
        return fault_set(why, "%.300s can't be read: %s", spoken, strerror(errno));
    if (folder && !S_ISDIR(about.st_mode))
        return fault_set(why, "%.300s is no folder", spoken);
    if (!folder && !S_ISREG(about.st_mode))
        return fault_set(why, "%.300s is not a regular file", spoken);
    if ((about.st_mode & S_IWOTH) != 0)
        return fault_set(why, "anybody may write to %.300s, and so loosen every rule; run chmod o-w on it", spoken);
    return true;
}

static void readable_or_empty(const struct group *g, const char *name, const void *value)
{
    struct fault why;

    if (text_of(value)[0] == '\0')
        return;
    if (!plain_path(text_of(value)))
        faults_setting(g, name, "is no full path; write one that begins with /");
    else if (!checks_readable(text_of(value), false, &why))
        faults_setting(g, name, "%s", why.text);
}

static void account(const struct group *g, const char *name, const void *value)
{
    const char *spoken = text_of(value);

    if (spoken[0] == '\0' && strcmp(name, "user") == 0)
        faults_setting(g, name, "is empty; write the name of a user without privileges, user = \"danelaw\"");
    else if (strpbrk(spoken, " \t\n:/") != NULL)
        faults_setting(g, name, "is no name of a user or group");
    else if (strcmp(spoken, "root") == 0 && strcmp(name, "user") == 0)
        faults_setting(g, name, "is root, which the daemon refuses to stay; write the name of a user without privileges");
}

static bool unix_socket(const char *spoken, const char **ret)
{
    static const char *const prefixes[] = { "unix:", "local:" };
    size_t i;

    for (i = 0; i < COUNT_OF(prefixes); i++) {
        if (strncmp(spoken, prefixes[i], strlen(prefixes[i])) == 0) {
            *ret = spoken + strlen(prefixes[i]);
            return true;
        }
    }
    return false;
}

/* Behind `inet:`: PORT@HOST. */
static bool inet_socket(const char *spoken)
{
    const char *at = strchr(spoken, '@');
    size_t digits = strspn(spoken, "0123456789");
    unsigned long port = digits == 0 || digits > 5 ? 0 : strtoul(spoken, NULL, 10);

    return at == spoken + digits && at[1] != '\0' && strpbrk(at, " \t\n") == NULL && port >= 1 && port <= 65535;
}

static bool good_path(const struct group *g, const char *name, const char *spoken)
{
    static const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path);

    if (plain_path(spoken) && strlen(spoken) < most)
        return true;
    if (spoken[0] != '/')
        faults_setting(g, name, "a socket needs a full path; write unix:/PATH");
    else
        faults_setting(g, name, "a socket's path has 2 to %zu characters", most - 1);
    return false;
}

static void local_socket(const struct group *g, const char *name, const void *value)
{
    const char *spoken;

    if (unix_socket(text_of(value), &spoken))
        good_path(g, name, spoken);
    else
        faults_setting(g, name, "takes a socket on this host only; write unix:/PATH");
}

static void any_socket(const struct group *g, const char *name, const void *value)
{
    const char *spoken = text_of(value);

    if (unix_socket(spoken, &spoken))
        good_path(g, name, spoken);
    else if (strncmp(spoken, "inet:", 5) != 0 || !inet_socket(spoken + 5))
        faults_setting(g, name, "is no socket; write unix:/PATH, or inet:PORT@HOST");
    else
        faults_setting_hint(g, name,
                            "while the daemon is down, any user of this host could take the port and answer in "
                            "its place; prefer unix:/PATH");
}

/* Where the port begins, or NULL. */
static const char *port_of(const char *spoken)
{
    const char *colon = strrchr(spoken, ':');
    unsigned long port = colon == NULL || strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5
                             ? 0 : strtoul(colon + 1, NULL, 10);

    return port >= 1 && port <= 65535 ? colon + 1 : NULL;
}

/* raw: as inet_pton() writes it, of either kind. */
static bool is_loopback(bool six, const struct in6_addr *raw)
{
    return six ? IN6_IS_ADDR_LOOPBACK(raw) : raw->s6_addr[0] == 127;
}

/* `127.0.0.1:9469`, `[::1]:9469`, `localhost:9469` */
static void http_address(const struct group *g, const char *name, const void *value)
{
    const char *spoken = text_of(value), *port = port_of(spoken);
    char host[INET6_ADDRSTRLEN + 2] = "", shown[FAULTS_SHOW_SIZE];
    size_t length = port == NULL ? 0 : (size_t)(port - 1 - spoken);
    struct in6_addr raw;
    bool six, named;

    if (spoken[0] == '\0')
        return;
    if (length > 0 && length < sizeof(host))
        memcpy(host, spoken, length);
    six = host[0] == '[' && host[length - 1] == ']';
    if (six)
        host[length - 1] = '\0';
    named = strcmp(host, "localhost") == 0;
    if (!named && inet_pton(six ? AF_INET6 : AF_INET, six ? host + 1 : host, &raw) != 1)
        faults_setting(g, name, "\"%s\" is no address and port; write it as in \"127.0.0.1:9469\" or \"[::1]:9469\", or "
                       "\"\" for none", faults_show(spoken, shown));
    else if (!named && !is_loopback(six, &raw))
        faults_setting_hint(g, name, "others than this host may see which partners there are, and how their mail fares; "
                            "prefer \"127.0.0.1:9469\", or let a firewall choose who may");
}

static void socket_mode(const struct group *g, const char *name, const void *value)
{
    if ((*(const uint32_t *)value & 02) != 0)
        faults_setting_hint(g, name, "any user of this host may use the socket; prefer \"0660\" and socket_group");
}

static bool one_word(const char *text)
{
    return text[0] != '\0' && strpbrk(text, " \t\r\n\"") == NULL;
}

static void mailers(const struct group *g, const char *name, const void *value)
{
    const struct setting_list *list = value;
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!one_word(list->items[i]))
            faults_item(g, name, i, "entry %zu is no transport; write its name alone, as in \"smtp\"", i + 1);
    }
}

/* The bits behind the prefix; none may be set. */
static bool bits_behind(const unsigned char *raw, size_t octets, unsigned prefix)
{
    size_t i;

    for (i = 0; i < octets; i++) {
        unsigned known = prefix <= i * 8 ? 0 : prefix >= i * 8 + 8 ? 8 : prefix - (unsigned)i * 8;

        if ((raw[i] & (0xffU >> known)) != 0 && known < 8)
            return true;
    }
    return false;
}

static bool good_network(const char *spoken, struct fault *why)
{
    char host[INET6_ADDRSTRLEN];
    unsigned char raw[sizeof(struct in6_addr)];
    const char *slash = strchr(spoken, '/');
    size_t length = slash == NULL ? strlen(spoken) : (size_t)(slash - spoken), octets;
    unsigned long prefix;

    if (length >= sizeof(host))
        return fault_set(why, "is no address");
    memcpy(host, spoken, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, raw) == 1)
        octets = 4;
    else if (inet_pton(AF_INET6, host, raw) == 1)
        octets = 16;
    else
        return fault_set(why, "is no address");
    if (slash == NULL)
        return true;
    prefix = strtoul(slash + 1, NULL, 10);
    if (slash[1] == '\0' || strspn(slash + 1, "0123456789") != strlen(slash + 1) || strlen(slash + 1) > 3 ||
        prefix > octets * 8)
        return fault_set(why, "has no prefix length from 0 to %zu behind the slash", octets * 8);
    if (bits_behind(raw, octets, (unsigned)prefix))
        return fault_set(why, "has bits set behind the prefix of %lu", prefix);
    return true;
}

static void networks(const struct group *g, const char *name, const void *value)
{
    const struct setting_list *list = value;
    char shown[FAULTS_SHOW_SIZE];
    struct fault why;
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!good_network(list->items[i], &why))
            faults_item(g, name, i, "\"%s\" %s; write it as in \"127.0.0.0/8\" or \"::1\"",
                        faults_show(list->items[i], shown), why.text);
    }
}

static bool good_server(const char *spoken)
{
    char host[INET6_ADDRSTRLEN];
    unsigned char raw[sizeof(struct in6_addr)];
    const char *at = strchr(spoken, '@');
    size_t length = at == NULL ? strlen(spoken) : (size_t)(at - spoken);
    unsigned long port;

    if (length >= sizeof(host))
        return false;
    memcpy(host, spoken, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, raw) != 1 && inet_pton(AF_INET6, host, raw) != 1)
        return false;
    if (at == NULL)
        return true;
    port = strtoul(at + 1, NULL, 10);
    return port >= 1 && port <= 65535 && strlen(at + 1) <= 5 && strspn(at + 1, "0123456789") == strlen(at + 1);
}

static void servers(const struct group *g, const char *name, const void *value)
{
    const struct setting_list *list = value;
    char shown[FAULTS_SHOW_SIZE];
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!good_server(list->items[i]))
            faults_item(g, name, i,
                        "\"%s\" is no resolver; write its address, as in \"127.0.0.1\" or \"127.0.0.1@5353\"",
                        faults_show(list->items[i], shown));
    }
}

static bool has_type(const char *record, const char *type)
{
    size_t length = strlen(type);

    for (; *record != '\0'; record += strcspn(record, " \t"), record += strspn(record, " \t")) {
        if (strncasecmp(record, type, length) == 0 && (record[length] == ' ' || record[length] == '\t'))
            return true;
    }
    return false;
}

/* The resolver reads the record itself; here only what is plainly none. */
static void anchors(const struct group *g, const char *name, const void *value)
{
    const struct setting_list *list = value;
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!has_type(list->items[i], "DS") && !has_type(list->items[i], "DNSKEY"))
            faults_item(g, name, i, "entry %zu is no DS or DNSKEY record; write it as in \". IN DS 20326 8 2 E0...\"",
                        i + 1);
    }
}

static void address_or_empty(const struct group *g, const char *name, const void *value)
{
    uint8_t octets[sizeof(struct in6_addr)];
    const char *spoken = text_of(value);

    if (*spoken != '\0' && inet_pton(AF_INET, spoken, octets) != 1 && inet_pton(AF_INET6, spoken, octets) != 1)
        faults_setting(g, name, "\"%s\" is no address; write one of this machine's, as in \"192.0.2.1\" or \"2001:db8::1\"",
                       spoken);
}

/* RFC 5321 4.1.1.1: a name, or an address literal. */
static void helo(const struct group *g, const char *name, const void *value)
{
    const char *spoken = text_of(value);
    struct domain d;
    struct next_hop literal;

    if (*spoken != '\0' && !domain_parse(spoken, &d, NULL) &&
        (!next_hop_parse(spoken, &literal, NULL) || !literal.literal || spoken[strlen(spoken) - 1] != ']'))
        faults_setting(g, name, "\"%s\" is no host name; write one, as in \"mail.home.example\"", spoken);
}

static const struct check checks[] = {
    { "", "user", account },
    { "", "group", account },
    { "", "pid_file", path_or_empty },
    { "milter", "socket", any_socket },
    { "milter", "socket_mode", socket_mode },
    { "milter", "socket_group", account },
    { "milter", "mailers", mailers },
    { "milter", "queue_clients", networks },
    { "maps", "socket", any_socket },
    { "maps", "socket_mode", socket_mode },
    { "maps", "socket_group", account },
    { "control", "socket", local_socket },
    { "control", "socket_group", account },
    { "http", "listen", http_address },
    { "resolver", "trust_anchor_file", readable_or_empty },
    { "resolver", "trust_anchor", anchors },
    { "resolver", "forward", servers },
    { "resolver", "root_hints", readable_or_empty },
    { "sts", "ca_file", readable_or_empty },
    { "probe", "helo", helo },
    { "probe", "bind", address_or_empty },
    { "store", "directory", path },
    { "tables", "config_dir", path_or_empty },
    { "tables", "postmap", path_or_empty },
};

void checks_value(const struct group *g, const struct setting *known)
{
    size_t i;

    for (i = 0; i < COUNT_OF(checks); i++) {
        if (strcmp(checks[i].group, g->name) == 0 && strcmp(checks[i].name, known->name) == 0)
            checks[i].look(g, known->name, (const char *)g->target + known->offset);
    }
}

/* Those that mta/ can change while the MTA reads them. */
static bool good_type(const struct settings *set, bool sendmail)
{
    static const char *const known[] = { "", "hash", "btree", "lmdb", "cdb" };
    size_t i, count = sendmail ? 3 : COUNT_OF(known);

    for (i = 0; i < count && strcmp(set->tables.type, known[i]) != 0; i++)
        ;
    return i < count;
}

void checks_tables(const struct group *g)
{
    const struct settings *set = &g->reader->made->settings;
    bool sendmail = strcmp(set->tables.mta, "sendmail") == 0;
    char shown[FAULTS_SHOW_SIZE];

    if (!good_type(set, sendmail))
        faults_setting(g, "type", "\"%s\" can't be changed while %s reads it; write %s", faults_show(set->tables.type, shown),
                       sendmail ? "Sendmail" : "Postfix", sendmail ? "\"hash\" or \"btree\"" : "\"hash\", \"btree\", \"lmdb\" or \"cdb\"");
}

void checks_sockets(const struct group *groups, const char *const *sockets, size_t count)
{
    size_t one, other;

    for (one = 0; one < count; one++) {
        for (other = 0; other < one; other++) {
            const char *a = strchr(sockets[one], ':'), *b = strchr(sockets[other], ':');
            const struct group *blame = groups_has(&groups[one], "socket") ? &groups[one] : &groups[other];

            if (a != NULL && b != NULL && strcmp(a, b) == 0)
                faults_setting(blame, "socket", "%s and %s share a socket; give each its own", groups[other].name,
                               groups[one].name);
        }
    }
}
