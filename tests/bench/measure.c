#include "measure.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void *larger(void *old, size_t count, size_t size)
{
    void *block = realloc(old, count * size);

    if (block == NULL)
        give_up("out of memory");
    return block;
}

/* Times */

void series_add(struct series *s, int64_t ns)
{
    if (s->count == s->room) {
        s->room = s->room == 0 ? 4096 : 2 * s->room;
        s->us = larger(s->us, s->room, sizeof(*s->us));
    }
    s->us[s->count++] = (uint32_t)(ns / 1000);
}

static int by_size(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

    return a < b ? -1 : a > b;
}

void series_print(struct series *s)
{
    static const struct {
        const char *name;
        double share;
    } marks[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };
    size_t i;

    if (s->count > 0)
        qsort(s->us, s->count, sizeof(*s->us), by_size);
    for (i = 0; i < 4; i++)
        printf("%s\"%s\":%u", i == 0 ? "{" : ",", marks[i].name,
               s->count == 0 ? 0 : s->us[(size_t)(marks[i].share * (double)(s->count - 1))]);
    printf("}");
}

/* Choice */

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

void choice_open(struct choice *c, size_t count, bool zipf, uint64_t seed)
{
    double sum = 0;
    size_t i;

    *c = (struct choice){ .count = count, .in_order = c->in_order, .seed = seed * 2654435761 + 88172645463325252 };
    if (!zipf)
        return;
    c->until = larger(NULL, count, sizeof(*c->until));
    for (i = 0; i < count; i++)
        c->until[i] = sum += 1.0 / (double)(i + 1);
    for (i = 0; i < count; i++)
        c->until[i] /= sum;
}

size_t choice_take(struct choice *c)
{
    uint64_t random = next_random(&c->seed);
    size_t low = 0, high = c->count - 1, middle;
    double at = ldexp((double)(random >> 11), -53);

    if (c->in_order)
        return c->next++ % c->count;
    if (c->until == NULL)
        return random % c->count;
    while (low < high) {
        middle = (low + high) / 2;
        if (c->until[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void pattern_fill(const char *pattern, size_t number, char *ret, size_t size)
{
    const char *mark = strchr(pattern, '#');
    int before = mark == NULL ? (int)strlen(pattern) : (int)(mark - pattern);

    if (mark == NULL)
        snprintf(ret, size, "%s", pattern);
    else
        snprintf(ret, size, "%.*s%zu%s", before, pattern, number, mark + 1);
}

/* Sockets */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(where.sun_path))
        give_up("%s: too long for a socket", path);
    strcpy(where.sun_path, path);
    return where;
}

int stream_to(const char *path)
{
    struct sockaddr_un where = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        give_up("socket: %s", strerror(errno));
    while (connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0) {
        if (errno != EINTR && errno != EAGAIN)
            give_up("%s: %s", path, strerror(errno));
    }
    return fd;
}

int listen_at(const char *path)
{
    struct sockaddr_un where = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof(where)) != 0 || listen(fd, 4096) != 0)
        give_up("%s: %s", path, strerror(errno));
    return fd;
}

void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

bool inbox_read(struct inbox *in, int fd)
{
    ssize_t got;

    if (in->room - in->count < 4096) {
        in->room = in->room == 0 ? 8192 : 2 * in->room;
        in->bytes = larger(in->bytes, in->room, 1);
    }
    got = recv(fd, in->bytes + in->count, in->room - in->count, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0)
        return false;
    in->count += (size_t)got;
    return true;
}

void inbox_use(struct inbox *in, size_t count)
{
    in->count -= count;
    memmove(in->bytes, in->bytes + count, in->count);
}

void send_all(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;
    ssize_t sent;

    while (count > 0) {
        sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            give_up("the server closed a connection: %s", strerror(errno));
        at += sent;
        count -= (size_t)sent;
    }
}
