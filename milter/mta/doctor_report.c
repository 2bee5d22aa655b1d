#include "mta/doctor_report.h"

#include "base/memory.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { FINDINGS_MAX = 500, SAID_MAX = 64 * 1024, KEYS_SHOWN = 20, PATIENCE_SECONDS = 3 };

void doctor_report_init(struct doctor_report *r)
{
    *r = (struct doctor_report){ .memory = arena_new() };
}

void doctor_report_done(struct doctor_report *r)
{
    arena_free(r->memory);
    free(r->items);
    free(r->unread);
    *r = (struct doctor_report){ .memory = NULL };
}

const char *doctor_severity_word(enum doctor_severity s)
{
    switch (s) {
    case DOCTOR_LEAK:
        return "leak";
    case DOCTOR_HOLD:
        return "hold";
    case DOCTOR_HINT:
        return "hint";
    }
    return "leak";
}

const char *doctor_report_say_list(struct doctor_report *r, const char *format, va_list args)
{
    char *made, *kept;
    int length = vasprintf(&made, format, args);

    if (length < 0)
        mem_out();
    kept = arena_bytes(r->memory, made, (size_t)length > SAID_MAX ? SAID_MAX : (size_t)length);
    free(made);
    return kept;
}

const char *doctor_report_say(struct doctor_report *r, const char *format, ...)
{
    const char *said;
    va_list args;

    va_start(args, format);
    said = doctor_report_say_list(r, format, args);
    va_end(args);
    return said;
}

void doctor_report_find(struct doctor_report *r, enum doctor_severity severity, const char *where, const char *what,
                        const char *fix)
{
    if (r->count == FINDINGS_MAX) {
        r->more++;
        return;
    }
    if (r->count == r->room) {
        r->room = r->room == 0 ? 32 : r->room * 2;
        r->items = mem_grow(r->items, r->room, sizeof(*r->items));
    }
    r->items[r->count++] = (struct doctor_finding){ severity, where, what, fix };
}

void doctor_report_unread(struct doctor_report *r, const char *what)
{
    if (r->unread_count == FINDINGS_MAX)
        return;
    if (r->unread_count == r->unread_room) {
        r->unread_room = r->unread_room == 0 ? 8 : r->unread_room * 2;
        r->unread = mem_grow(r->unread, r->unread_room, sizeof(*r->unread));
    }
    r->unread[r->unread_count++] = what;
}

void doctor_report_sort(struct doctor_report *r)
{
    struct doctor_finding *sorted = mem_array(r->count + 1, sizeof(*sorted));
    size_t count = 0, i;
    int s;

    for (s = DOCTOR_LEAK; s <= DOCTOR_HINT; s++) {
        for (i = 0; i < r->count; i++) {
            if ((int)r->items[i].severity == s)
                sorted[count++] = r->items[i];
        }
    }
    free(r->items);
    r->items = sorted;
    r->room = r->count + 1;
}

void doctor_keys_init(struct doctor_keys *k)
{
    *k = (struct doctor_keys){ .count = 0 };
    text_init(&k->text, SAID_MAX);
}

void doctor_keys_add(struct doctor_keys *k, const char *key)
{
    if (k->count++ < KEYS_SHOWN)
        text_print(&k->text, "%s%.300s", k->count == 1 ? "" : ", ", key);
}

const char *doctor_keys_give(struct doctor_report *r, struct doctor_keys *k)
{
    const char *said;

    if (k->count > KEYS_SHOWN)
        said = doctor_report_say(r, "%s and %zu more", text_words(&k->text), k->count - KEYS_SHOWN);
    else
        said = doctor_report_say(r, "%s", text_words(&k->text));
    text_done(&k->text);
    doctor_keys_init(k);
    return said;
}

bool doctor_pattern(const char *key, char local[static ADDRESS_LOCAL_SIZE], struct domain *d, struct pattern *ret)
{
    struct address a;

    if (strchr(key, '@') != NULL) {
        address_parse(key, &a);
        if (a.kind != ADDRESS_DOMAIN)
            return false;
        address_fold_local(&a, local);
        *d = a.domain;
        *ret = (struct pattern){ .kind = PATTERN_ADDRESS, .local = local, .domain = d->name };
        return true;
    }
    if (!domain_parse(key + (*key == '.'), d, NULL))
        return false;
    *ret = (struct pattern){ .kind = *key == '.' ? PATTERN_BELOW : PATTERN_DOMAIN, .domain = d->name };
    return true;
}

bool doctor_same_path(const char *a, const char *b)
{
    struct stat x, y;

    return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static int knock(int family, const struct sockaddr *address, socklen_t length)
{
    const struct timeval limit = { .tv_sec = PATIENCE_SECONDS };
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), failed = 0;

    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, address, length) != 0)
        failed = errno;
    close(fd);
    return failed;
}

static int knock_path(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    strcpy(address.sun_path, path);
    return knock(AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
}

/* `inet:PORT@HOST` */
static int knock_port(const char *socket)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    const char *port = strchr(socket, ':') + 1, *at = strchr(port, '@');
    struct addrinfo *found, *one;
    char number[16], host[256];
    int failed = EADDRNOTAVAIL;

    snprintf(number, sizeof(number), "%.*s", (int)(at - port), port);
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(at + 1 + (at[1] == '['), "]"), at + 1 + (at[1] == '['));
    if (getaddrinfo(host, number, &hints, &found) != 0)
        return failed;
    for (one = found; one != NULL && failed != 0; one = one->ai_next)
        failed = knock(one->ai_family, one->ai_addr, one->ai_addrlen);
    freeaddrinfo(found);
    return failed;
}

int doctor_knock(const char *socket)
{
    return strncmp(socket, "inet", 4) == 0 ? knock_port(socket) : knock_path(strchr(socket, ':') + 1);
}
