/*
 * Hands DNS questions on to a name server, and its answers back after a while: a network between, on one machine.
 *
 * usage: slow_dns ADDRESS PORT SERVER PORT MILLISECONDS [SUFFIX]
 *
 * Questions for names that end with SUFFIX are never answered. UDP over IPv4 only: what it carries must not be truncated.
 */
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { PLACES = 65536, PACKET = 4096, HEADER = 12 };

/* A question that is with the server; its number there is its place. */
struct question {
    struct sockaddr_in from;
    uint16_t number;
};

/* An answer on its way back. All are as slow, so that the first to come is the first to go. */
struct answer {
    struct sockaddr_in to;
    int64_t due;
    size_t length;
    uint8_t packet[PACKET];
};

static struct question questions[PLACES];
static struct answer *answers;
static size_t first, last;                      /* places of answers, modulo PLACES */
static uint16_t next_place;

static struct sockaddr_in address_of(const char *host, const char *port)
{
    struct sockaddr_in where = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };

    if (inet_pton(AF_INET, host, &where.sin_addr) != 1)
        give_up("%s: no address", host);
    return where;
}

static int udp_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 8 * 1024 * 1024;

    if (fd < 0)
        give_up("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    return fd;
}

/* The name in question ends with suffix; both begin at the start of a label. */
static bool is_silent(const uint8_t *packet, size_t length, const char *suffix)
{
    char name[256];
    size_t at = HEADER, used = 0, wanted = suffix == NULL ? 0 : strlen(suffix), label;

    while (wanted > 0 && at < length && (label = packet[at]) != 0 && label < 64 && at + label < length && used + label + 1 < 255) {
        memcpy(name + used, packet + at + 1, label);
        used += label;
        name[used++] = '.';
        at += label + 1;
    }
    return wanted > 0 && used > wanted && strncasecmp(name + used - 1 - wanted, suffix, wanted) == 0;
}

static void take_question(int front, int back, const char *suffix)
{
    struct sockaddr_in from;
    socklen_t size = sizeof(from);
    uint8_t packet[PACKET];
    ssize_t length = recvfrom(front, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    struct question *q = &questions[next_place];

    if (length < HEADER || is_silent(packet, (size_t)length, suffix))
        return;
    q->from = from;
    memcpy(&q->number, packet, 2);
    memcpy(packet, &next_place, 2);
    next_place++;
    if (send(back, packet, (size_t)length, 0) < 0)
        give_up("the name server is gone: %s", strerror(errno));
}

static void take_answer(int back, int64_t delay)
{
    struct answer *a = &answers[last % PLACES];
    ssize_t length = recv(back, a->packet, PACKET, MSG_DONTWAIT);
    uint16_t place;

    if (length < HEADER)
        return;
    memcpy(&place, a->packet, 2);
    memcpy(a->packet, &questions[place].number, 2);
    a->to = questions[place].from;
    a->length = (size_t)length;
    a->due = now_ns() + delay;
    last++;
}

/* Gives the milliseconds until the next is due; -1: none waits. */
static int give_due(int front)
{
    int64_t now = now_ns();
    struct answer *a;

    for (; first != last; first++) {
        a = &answers[first % PLACES];
        if (a->due > now)
            return (int)((a->due - now + 999999) / 1000000);
        sendto(front, a->packet, a->length, 0, (struct sockaddr *)&a->to, sizeof(a->to));
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in here, server;
    struct pollfd ends[2];
    int64_t delay;
    int i;

    if (argc != 6 && argc != 7)
        give_up("usage: slow_dns ADDRESS PORT SERVER PORT MILLISECONDS [SUFFIX]");
    here = address_of(argv[1], argv[2]);
    server = address_of(argv[3], argv[4]);
    delay = strtol(argv[5], NULL, 10) * INT64_C(1000000);
    answers = calloc(PLACES, sizeof(*answers));
    for (i = 0; i < 2; i++)
        ends[i] = (struct pollfd){ .fd = udp_socket(), .events = POLLIN };
    if (answers == NULL || bind(ends[0].fd, (struct sockaddr *)&here, sizeof(here)) != 0 ||
        connect(ends[1].fd, (struct sockaddr *)&server, sizeof(server)) != 0)
        give_up("cannot begin: %s", strerror(errno));
    for (;;) {
        poll(ends, 2, give_due(ends[0].fd));
        if (ends[0].revents & POLLIN)
            take_question(ends[0].fd, ends[1].fd, argv[6]);
        if (ends[1].revents & POLLIN)
            take_answer(ends[1].fd, delay);
    }
}
