/*
 * Sends messages through a milter as Postfix does, by many sessions at once, and prints as JSON how long it took.
 *
 * usage: load_milter [-c SESSIONS] [-m MESSAGES] [-r RECIPIENTS] [-k MESSAGES] [-t MILLISECONDS] [-n DOMAINS] [-z] [-o] [-p PATTERN]
 *                    [-s SEED] [-i] SOCKET
 *
 *   -c  sessions at once (1)           -m  messages in all (10000)     -r  recipients of each message (1)
 *   -k  messages of one session (1)    -n  domains (1000)              -z  by Zipf's law, not all as often
 *   -t  a session begins its next message no sooner than so long after the last one (0)
 *   -o  one domain after the other, each as often
 *   -p  recipients, with # for the number of the domain (u@p#.bench.example)
 *   -i  idle: opens its sessions, says "ready", and keeps them until its standard input ends
 */
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum step { STEP_OPTIONS, STEP_CONNECT, STEP_MAIL, STEP_RCPT, STEP_END };

enum { PACKET_MAX = 4096, VERSION = 6, ACTIONS = 0x1ff, STEPS = 0x1fffff, NO_CONNECT = 0x1 };

struct session {
    int fd;
    enum step step;
    unsigned sent, recipients, accepted;        /* messages; recipients of this one */
    int64_t since, begun;
    struct session *next;                       /* of those who pause */
    struct inbox in;
};

static struct {
    const char *socket, *pattern;
    size_t sessions, messages, recipients, each, domains;
    int64_t pace_ns;
    bool zipf, in_order, idle;
    uint64_t seed;
} want = { .pattern = "u@p#.bench.example", .sessions = 1, .messages = 10000, .recipients = 1, .each = 1, .domains = 1000, .seed = 1 };

static struct choice domains;
static struct series rcpt, end;
static size_t begun, done, ready, replies[256];
static struct session *pausing, **last_pausing = &pausing;     /* in the order in which they go on */
static int watched;

/* Packets: a length, a command, words that each end with a NUL. Macros and the command they are for go out in one piece. */

struct packet {
    char bytes[PACKET_MAX];
    size_t start, length;           /* start: of the last packet */
};

static void packet_add(struct packet *p, const void *bytes, size_t length)
{
    if (p->length + length > sizeof(p->bytes))
        give_up("a packet is too long");
    memcpy(p->bytes + p->length, bytes, length);
    p->length += length;
}

static void packet_begin(struct packet *p, char command)
{
    p->start = p->length;
    p->length += 4;
    packet_add(p, &command, 1);
}

static void packet_word(struct packet *p, const char *word)
{
    packet_add(p, word, strlen(word) + 1);
}

static void packet_end(struct packet *p)
{
    uint32_t length = htonl((uint32_t)(p->length - p->start) - 4);

    memcpy(p->bytes + p->start, &length, 4);
}

static void packet_send(struct packet *p, struct session *s)
{
    packet_end(p);
    send_all(s->fd, p->bytes, p->length);
}

static void put_macros(struct packet *p, char of, const char *const words[], size_t count)
{
    size_t i;

    packet_begin(p, 'D');
    packet_add(p, &of, 1);
    for (i = 0; i < count; i++)
        packet_word(p, words[i]);
    packet_end(p);
}

/* The steps of a session */

static void send_options(struct session *s)
{
    uint32_t options[3] = { htonl(VERSION), htonl(ACTIONS), htonl(STEPS) };
    struct packet p = { 0 };

    packet_begin(&p, 'O');
    packet_add(&p, options, sizeof(options));
    s->step = STEP_OPTIONS;
    packet_send(&p, s);
}

static void send_connect(struct session *s)
{
    static const char *const macros[] = { "j", "mx.home.example", "{daemon_name}", "mx.home.example", "v", "Postfix" };
    static const uint16_t port = 0x2710;
    struct packet p = { 0 };

    put_macros(&p, 'C', macros, 6);
    packet_begin(&p, 'C');
    packet_word(&p, "client.home.example");
    packet_add(&p, "4", 1);
    packet_add(&p, &port, 2);
    packet_word(&p, "192.0.2.7");
    s->step = STEP_CONNECT;
    packet_send(&p, s);
}

static void send_mail(struct session *s)
{
    static const char *const macros[] = { "{mail_addr}", "al@home.example", "{mail_host}", "home.example", "{mail_mailer}", "smtp" };
    struct packet p = { 0 };

    begun++;
    s->begun = now_ns();
    s->recipients = s->accepted = 0;
    put_macros(&p, 'M', macros, 6);
    packet_begin(&p, 'M');
    packet_word(&p, "<al@home.example>");
    s->step = STEP_MAIL;
    packet_send(&p, s);
}

static void send_rcpt(struct session *s)
{
    char address[300], in_angles[304], id[32];
    const char *macros[] = { "i", id, "{rcpt_addr}", address, "{rcpt_host}", "", "{rcpt_mailer}", "smtp" };
    struct packet p = { 0 };

    pattern_fill(want.pattern, choice_take(&domains), address, sizeof(address));
    snprintf(in_angles, sizeof(in_angles), "<%s>", address);
    snprintf(id, sizeof(id), "4f%08zXz%04X", begun, (unsigned)s->fd & 0xffff);
    macros[5] = strchr(address, '@') == NULL ? address : strchr(address, '@') + 1;
    put_macros(&p, 'R', macros + (s->accepted == 0 ? 2 : 0), s->accepted == 0 ? 6 : 8);
    packet_begin(&p, 'R');
    packet_word(&p, in_angles);
    s->step = STEP_RCPT;
    s->recipients++;
    s->since = now_ns();
    packet_send(&p, s);
}

static void send_end(struct session *s)
{
    const char *const macros[] = { "i", "4fQz1x0XyzzzA" };
    struct packet p = { 0 };

    put_macros(&p, 'E', macros, 2);
    packet_begin(&p, 'E');
    s->step = STEP_END;
    s->since = now_ns();
    packet_send(&p, s);
}

static void session_open(struct session *s)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };

    s->fd = stream_to(want.socket);
    s->sent = 0;
    s->in.count = 0;
    if (epoll_ctl(watched, EPOLL_CTL_ADD, s->fd, &event) != 0)
        give_up("epoll: %s", strerror(errno));
    send_options(s);
}

static void session_close(struct session *s)
{
    struct packet p = { 0 };

    packet_begin(&p, 'Q');
    packet_send(&p, s);
    close(s->fd);
    s->fd = -1;
}

static void go_on(struct session *s)
{
    if (begun >= want.messages) {
        session_close(s);
    } else if (++s->sent >= want.each) {
        session_close(s);
        session_open(s);
    } else {
        send_mail(s);
    }
}

static void message_done(struct session *s)
{
    done++;
    if (now_ns() >= s->begun + want.pace_ns) {
        go_on(s);
        return;
    }
    s->next = NULL;
    *last_pausing = s;
    last_pausing = &s->next;
}

/* Gives the milliseconds until the next one goes on; -1: nobody pauses. */
static int end_pauses(void)
{
    struct session *s;
    int64_t left;

    while ((s = pausing) != NULL) {
        left = s->begun + want.pace_ns - now_ns();
        if (left > 0)
            return (int)(left / 1000000) + 1;
        pausing = s->next;
        if (pausing == NULL)
            last_pausing = &pausing;
        go_on(s);
    }
    return -1;
}

static void rcpt_answered(struct session *s, char reply)
{
    struct packet p = { 0 };

    series_add(&rcpt, now_ns() - s->since);
    replies[(unsigned char)reply]++;
    if (reply == 'c' || reply == 'a')
        s->accepted++;
    if (s->recipients < want.recipients) {
        send_rcpt(s);
    } else if (s->accepted > 0) {
        send_end(s);
    } else {
        packet_begin(&p, 'A');
        packet_send(&p, s);
        message_done(s);
    }
}

static void connected(struct session *s)
{
    ready++;
    if (want.idle)
        return;
    if (begun < want.messages)
        send_mail(s);
    else
        session_close(s);
}

static void on_reply(struct session *s, const uint8_t *packet, size_t length)
{
    uint32_t steps;

    switch (s->step) {
    case STEP_OPTIONS:
        if (packet[0] != 'O' || length < 13)
            give_up("the filter does not negotiate");
        memcpy(&steps, packet + 9, 4);
        if ((ntohl(steps) & NO_CONNECT) == 0)
            send_connect(s);
        else
            connected(s);
        return;
    case STEP_CONNECT:
        connected(s);
        return;
    case STEP_MAIL:
        send_rcpt(s);
        return;
    case STEP_RCPT:
        rcpt_answered(s, packet[0] == 'y' ? (char)packet[1] : (char)packet[0]);
        return;
    case STEP_END:
        if (strchr("acdrty", packet[0]) == NULL)
            return;                             /* it changes the message first */
        series_add(&end, now_ns() - s->since);
        message_done(s);
        return;
    }
}

/* Takes all whole packets that are there, unless the session is over. */
static void on_input(struct session *s)
{
    uint32_t length;
    int fd = s->fd;

    if (!inbox_read(&s->in, s->fd))
        give_up("the filter closed a connection");
    while (s->fd == fd && s->in.count >= 5) {
        memcpy(&length, s->in.bytes, 4);
        length = ntohl(length);
        if (s->in.count < 4 + length)
            return;
        on_reply(s, s->in.bytes + 4, length);
        if (s->fd == fd && s->in.count > 0)
            inbox_use(&s->in, 4 + length);
    }
}

static void print_results(double seconds)
{
    printf("{\"messages\":%zu,\"seconds\":%.3f,\"per_second\":%.1f,\"rcpt_us\":", done, seconds, (double)done / seconds);
    series_print(&rcpt);
    printf(",\"end_us\":");
    series_print(&end);
    printf(",\"replies\":{\"accepted\":%zu,\"tempfail\":%zu,\"reject\":%zu}}\n", replies['c'] + replies['a'],
           replies['t'] + replies['4'], replies['r'] + replies['5']);
}

static void run(struct session *sessions)
{
    struct epoll_event events[256];
    int64_t since = now_ns();
    size_t i;
    int count, k;

    for (i = 0; i < want.sessions; i++)
        session_open(&sessions[i]);
    while (want.idle ? ready < want.sessions : done < want.messages) {
        count = epoll_wait(watched, events, 256, end_pauses());
        for (k = 0; k < count; k++)
            on_input(events[k].data.ptr);
    }
    if (!want.idle) {
        print_results((double)(now_ns() - since) / 1e9);
        return;
    }
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

static void read_arguments(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:m:r:k:t:n:p:s:zoi")) != -1) {
        switch (option) {
        case 'c': want.sessions = strtoul(optarg, NULL, 10); break;
        case 'm': want.messages = strtoul(optarg, NULL, 10); break;
        case 'r': want.recipients = strtoul(optarg, NULL, 10); break;
        case 'k': want.each = strtoul(optarg, NULL, 10); break;
        case 't': want.pace_ns = strtol(optarg, NULL, 10) * 1000000; break;
        case 'n': want.domains = strtoul(optarg, NULL, 10); break;
        case 'p': want.pattern = optarg; break;
        case 's': want.seed = strtoul(optarg, NULL, 10); break;
        case 'z': want.zipf = true; break;
        case 'o': want.in_order = true; break;
        case 'i': want.idle = true; break;
        case '?': exit(64);
        }
    }
    if (optind != argc - 1 || want.sessions == 0 || want.recipients == 0 || want.domains == 0)
        give_up("usage: load_milter [-c SESSIONS] [-m MESSAGES] [-r RECIPIENTS] [-k MESSAGES] [-t MILLISECONDS] [-n DOMAINS] [-z] "
                "[-o] [-p PATTERN] [-s SEED] [-i] SOCKET");
    want.socket = argv[optind];
}

int main(int argc, char **argv)
{
    struct session *sessions;

    read_arguments(argc, argv);
    raise_descriptors();
    domains.in_order = want.in_order;
    choice_open(&domains, want.domains, want.zipf, want.seed);
    sessions = calloc(want.sessions, sizeof(*sessions));
    watched = epoll_create1(EPOLL_CLOEXEC);
    if (sessions == NULL || watched < 0)
        give_up("no memory, or no epoll");
    run(sessions);
    return 0;
}
