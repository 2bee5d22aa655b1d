#include "mta/doctor_checks.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Postfix believes its resolver's word on DNSSEC, so that must be one on this host that validates. A chrooted smtp reads
 * the chroot's own resolv.conf. (danelawd asks nobody; it validates by itself.)
 */

enum { SERVERS_MAX = 3, TRIES = 2, PATIENCE_MS = 1500 };

/* A name server of resolv.conf. */
struct server {
    const char *spelled;
    struct sockaddr_storage address;
    socklen_t length;
    bool loopback;
};

enum answer { ANSWER_NONE = 0, ANSWER_PLAIN, ANSWER_SECURE };

static bool server_parse(const char *word, struct server *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->address;

    *ret = (struct server){ .spelled = word };
    if (inet_pton(AF_INET, word, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(53);
        ret->length = sizeof(*v4);
        ret->loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127 || v4->sin_addr.s_addr == 0;
        return true;
    }
    if (inet_pton(AF_INET6, word, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(53);
    ret->length = sizeof(*v6);
    ret->loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    return true;
}

/* The root's SOA, which is always signed; DO and AD set, so that a validating resolver says what it found (RFC 6840 5.7). */
static size_t make_question(uint16_t id, uint8_t ret[static 28])
{
    static const uint8_t question[28] = { 0, 0, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1, /* RD, AD; one question, one OPT */
                                          0, 0, 6, 0, 1,                            /* . SOA IN */
                                          0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0 };

    memcpy(ret, question, sizeof(question));
    ret[0] = (uint8_t)(id >> 8);
    ret[1] = (uint8_t)id;
    return sizeof(question);
}

static enum answer read_answer(int fd, uint16_t id)
{
    int64_t until = clock_ms() + PATIENCE_MS;
    uint8_t packet[4096];

    for (;;) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        int64_t left = until - clock_ms();
        ssize_t got;

        if (left <= 0 || poll(&wait, 1, (int)left) <= 0)
            return ANSWER_NONE;
        got = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return ANSWER_NONE;
        if (got < 12 || packet[0] != (uint8_t)(id >> 8) || packet[1] != (uint8_t)id || (packet[2] & 0x80) == 0)
            continue;
        if ((packet[3] & 0x0f) != 0)
            return ANSWER_NONE;
        return (packet[3] & 0x20) != 0 ? ANSWER_SECURE : ANSWER_PLAIN;
    }
}

static enum answer ask(const struct server *s)
{
    int fd = socket(s->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), i;
    enum answer answer = ANSWER_NONE;
    uint8_t question[28];

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&s->address, s->length) == 0) {
        for (i = 0; i < TRIES && answer == ANSWER_NONE; i++) {
            uint16_t id = (uint16_t)((unsigned)clock_ms() + (unsigned)getpid() + (unsigned)i);
            size_t length = make_question(id, question);

            if (send(fd, question, length, MSG_NOSIGNAL) == (ssize_t)length)
                answer = read_answer(fd, id);
        }
    }
    if (fd >= 0)
        close(fd);
    return answer;
}

static const char *const advice = "nameserver 127.0.0.1, with a resolver there that validates DNSSEC (such as unbound)";

static void check_server(struct doctor *d, const char *path, const struct server *s)
{
    if (!s->loopback) {
        doctor_find(d, DOCTOR_LEAK, path,
                    doctor_say(d, "the resolver %s is not on this host: whoever is on the way can forge what it says of "
                               "DNSSEC, and with it DANE", s->spelled), advice);
        return;
    }
    switch (ask(s)) {
    case ANSWER_NONE:
        doctor_find(d, DOCTOR_HOLD, path, doctor_say(d, "the resolver %s gives no answer for the root", s->spelled), advice);
        return;
    case ANSWER_PLAIN:
        doctor_find(d, DOCTOR_HOLD, path,
                    doctor_say(d, "the resolver %s does not validate DNSSEC: Postfix finds no DANE, holds mandatory mail and "
                               "sends other mail without it", s->spelled), advice);
        return;
    case ANSWER_SECURE:
        return;
    }
}

/* The first three servers count (resolv.conf(5)); none at all is this host. file or NULL: there is none. */
static size_t read_servers(struct doctor *d, FILE *file, struct server ret[static SERVERS_MAX])
{
    char line[1024], *rest, *word;
    size_t count = 0;

    while (file != NULL && count < SERVERS_MAX && fgets(line, sizeof(line), file) != NULL) {
        word = strtok_r(line, " \t\n", &rest);
        if (word == NULL || strcmp(word, "nameserver") != 0 || (word = strtok_r(NULL, " \t\n", &rest)) == NULL)
            continue;
        count += server_parse(doctor_say(d, "%s", word), &ret[count]);
    }
    if (count == 0)
        count += server_parse("127.0.0.1", &ret[0]);
    return count;
}

/* In a chroot somebody else may own the file: no links, nothing but a file. */
static FILE *open_inside(const char *path, bool chroot)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (chroot ? O_NOFOLLOW : 0));
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

    if (file == NULL && fd >= 0)
        close(fd);
    return file;
}

static void check_file(struct doctor *d, const char *path, bool chroot)
{
    struct server servers[SERVERS_MAX];
    FILE *file = open_inside(path, chroot);
    size_t count, i;

    if (file == NULL && chroot && (errno == ENOENT || errno == ELOOP)) {
        doctor_find(d, DOCTOR_HOLD, path, "it is missing, or a link, and Postfix's chrooted smtp asks no resolver of yours",
                    doctor_say(d, "cp /etc/resolv.conf %s, and postfix reload", path));
        return;
    }
    if (file == NULL && errno != ENOENT) {
        doctor_unread(d, doctor_say(d, "%s: %s", path, strerror(errno)));
        return;
    }
    count = read_servers(d, file, servers);
    if (file != NULL)
        fclose(file);
    for (i = 0; i < count; i++)
        check_server(d, path, &servers[i]);
}

void doctor_resolvers(struct doctor *d)
{
    bool chrooted = false, outside = false;
    size_t i;

    for (i = 0; i < SETUP_ROADS; i++) {
        const struct doctor_service *s = doctor_service(d, d->roads[i].name, "unix");
        bool chroot = s == NULL ? d->roads[i].chroot : s->chroot;

        chrooted |= chroot;
        outside |= !chroot;
    }
    if (outside)
        check_file(d, "/etc/resolv.conf", false);
    if (chrooted)
        check_file(d, doctor_path(d, true, "/etc/resolv.conf"), true);
}
