#ifndef DANELAW_TESTS_NAME_SERVER_H
#define DANELAW_TESTS_NAME_SERVER_H

/*
 * A name server on a loopback port, without DNSSEC, for tests that open the real resolver. It is the only one that they
 * ask, and makes its data up: answer_body(), which the test brings along.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { A = 1, SOA = 6, CNAME = 5, MX = 15, AAAA = 28 };
enum { PACKET_MAX = 8192, LATE_MAX = 4096, NXDOMAIN = 3, SERVFAIL = 2, REFUSED = 5 };

struct packet {
    uint8_t bytes[PACKET_MAX];
    size_t length;
};

struct late {                           /* an answer that has its time to come */
    int64_t due;
    struct sockaddr_in to;
    struct packet *packet;
};

static struct {
    int udp, tcp, stop[2];
    uint16_t port;
    pthread_t thread;
    atomic_int delay_ms, queries;
    struct late late[LATE_MAX];
    size_t late_count;
} server;

/* The test's own: what there is to say about a name. false: no answer at all. */
static bool answer_body(struct packet *p, const char *name, int type, bool by_tcp);

static void put16(struct packet *p, unsigned value)
{
    p->bytes[p->length++] = (uint8_t)(value >> 8);
    p->bytes[p->length++] = (uint8_t)value;
}

static void put_name(struct packet *p, const char *name)
{
    while (*name != '\0') {
        size_t size = strcspn(name, ".");

        p->bytes[p->length++] = (uint8_t)size;
        memcpy(p->bytes + p->length, name, size);
        p->length += size;
        name += size + (name[size] == '.');
    }
    p->bytes[p->length++] = 0;
}

/* The head of a record; its data follow. Counts it in the header's section (6: answer, 8: authority). */
static size_t put_record(struct packet *p, int section, const char *owner, int type, unsigned ttl)
{
    p->bytes[section + 1]++;
    put_name(p, owner);
    put16(p, (unsigned)type);
    put16(p, 1);
    put16(p, 0);
    put16(p, ttl);
    put16(p, 0);
    return p->length;
}

static void end_record(struct packet *p, size_t start)
{
    p->bytes[start - 2] = (uint8_t)((p->length - start) >> 8);
    p->bytes[start - 1] = (uint8_t)(p->length - start);
}

/* A denial for 60 s: the SOA's minimum, although the record itself lives longer (RFC 2308 5). */
static void deny(struct packet *p, int rcode)
{
    size_t start = put_record(p, 8, "example", SOA, 900);
    int i;

    put_name(p, "ns.example");
    put_name(p, "hostmaster.example");
    for (i = 0; i < 4; i++) {
        put16(p, 0);
        put16(p, 1000);
    }
    put16(p, 0);
    put16(p, 60);
    end_record(p, start);
    p->bytes[3] = (uint8_t)((p->bytes[3] & 0xf0) | rcode);
}

static bool begins(const char *name, const char *label)
{
    return strncmp(name, label, strlen(label)) == 0;
}

/* The question's name as lower-case text; 0: not a question for us. Returns where the question ends. */
static size_t read_question(const struct packet *q, char *name, int *type)
{
    size_t at = 12, used = 0;

    while (at < q->length && q->bytes[at] != 0) {
        size_t size = q->bytes[at++];

        if (size > 63 || at + size >= q->length)
            return 0;
        memcpy(name + used, q->bytes + at, size);
        used += size;
        name[used++] = '.';
        at += size;
    }
    name[used > 0 ? used - 1 : 0] = '\0';
    if (at + 5 > q->length)
        return 0;
    *type = q->bytes[at + 1] << 8 | q->bytes[at + 2];
    return at + 5;
}

static bool answer_question(const struct packet *q, struct packet *ret, bool by_tcp)
{
    char name[300];
    int type;
    size_t end = q->length < 12 ? 0 : read_question(q, name, &type);

    if (end == 0)
        return false;
    atomic_fetch_add(&server.queries, 1);
    memset(ret->bytes, 0, 12);
    memcpy(ret->bytes, q->bytes, 2);
    ret->bytes[2] = 0x85;               /* an answer, authoritative, recursion desired ... */
    ret->bytes[3] = 0x80;               /* ... and available */
    ret->bytes[5] = 1;
    memcpy(ret->bytes + 12, q->bytes + 12, end - 12);
    ret->length = end;
    return answer_body(ret, name, type, by_tcp);
}

static void serve_udp(void)
{
    static struct packet question;
    struct packet *reply;
    struct sockaddr_in from;
    socklen_t size = sizeof(from);
    ssize_t got = recvfrom(server.udp, question.bytes, sizeof(question.bytes), 0, (struct sockaddr *)&from, &size);

    if (got < 0 || server.late_count == LATE_MAX)
        return;
    question.length = (size_t)got;
    reply = mem_zero(sizeof(*reply));
    if (!answer_question(&question, reply, false)) {
        free(reply);
        return;
    }
    server.late[server.late_count++] = (struct late){ clock_ms() + atomic_load(&server.delay_ms), from, reply };
}

static void serve_tcp(void)
{
    static struct packet question, reply;
    int fd = accept(server.tcp, NULL, NULL);
    uint8_t head[2];

    if (fd >= 0 && recv(fd, head, 2, MSG_WAITALL) == 2) {
        question.length = (size_t)(head[0] << 8 | head[1]);
        if (question.length <= PACKET_MAX &&
            recv(fd, question.bytes, question.length, MSG_WAITALL) == (ssize_t)question.length &&
            answer_question(&question, &reply, true)) {
            head[0] = (uint8_t)(reply.length >> 8);
            head[1] = (uint8_t)reply.length;
            send(fd, head, 2, MSG_NOSIGNAL | MSG_MORE);
            send(fd, reply.bytes, reply.length, MSG_NOSIGNAL);
        }
    }
    close(fd);
}

/* Sends what is due; returns the milliseconds until more is. */
static int send_late(void)
{
    int64_t now = clock_ms(), next = 1000;
    size_t i;

    for (i = 0; i < server.late_count;) {
        struct late *l = &server.late[i];

        if (l->due > now) {
            next = l->due - now < next ? l->due - now : next;
            i++;
            continue;
        }
        sendto(server.udp, l->packet->bytes, l->packet->length, 0, (struct sockaddr *)&l->to, sizeof(l->to));
        free(l->packet);
        *l = server.late[--server.late_count];
    }
    return (int)next;
}

static void *serve(void *argument)
{
    struct pollfd fds[] = { { server.udp, POLLIN, 0 }, { server.tcp, POLLIN, 0 }, { server.stop[0], POLLIN, 0 } };

    for (;;) {
        poll(fds, 3, send_late());
        if (fds[2].revents != 0)
            return argument;
        if (fds[0].revents != 0)
            serve_udp();
        if (fds[1].revents != 0)
            serve_tcp();
    }
}

/* As danelawd does: each question under way has a socket of its own. */
static void raise_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int server_start(void **state)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(at);
    int room = 8 * 1024 * 1024;

    (void)state;
    raise_limit();
    server.udp = socket(AF_INET, SOCK_DGRAM, 0);
    server.tcp = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server.udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (bind(server.udp, (struct sockaddr *)&at, size) != 0 || getsockname(server.udp, (struct sockaddr *)&at, &size) != 0 ||
        bind(server.tcp, (struct sockaddr *)&at, size) != 0 || listen(server.tcp, 64) != 0 || pipe(server.stop) != 0)
        return -1;
    server.port = ntohs(at.sin_port);
    thread_start(&server.thread, "nameserver", serve, NULL);
    return 0;
}

static int server_stop(void **state)
{
    (void)state;
    close(server.stop[1]);
    pthread_join(server.thread, NULL);
    close(server.stop[0]);
    close(server.udp);
    close(server.tcp);
    while (server.late_count > 0)
        free(server.late[--server.late_count].packet);
    return 0;
}

/* Those who wait for arrivals */

struct crowd {
    struct mutex lock;
    struct signal arrived;
    size_t count;
};

static void crowd_init(struct crowd *c)
{
    mutex_init(&c->lock);
    signal_init(&c->arrived);
    c->count = 0;
}

static void crowd_done(struct crowd *c)
{
    signal_done(&c->arrived);
    mutex_done(&c->lock);
}

static void crowd_count(struct crowd *c)
{
    mutex_lock(&c->lock);
    c->count++;
    signal_all(&c->arrived);
    mutex_unlock(&c->lock);
}

static void crowd_wait(struct crowd *c, size_t count)
{
    int64_t until = clock_ms() + 120000;
    bool all;

    mutex_lock(&c->lock);
    while (c->count < count && clock_ms() < until)
        signal_wait_until(&c->arrived, &c->lock, until);
    all = c->count >= count;
    mutex_unlock(&c->lock);
    assert_true(all);
}

#endif
