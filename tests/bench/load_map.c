/*
 * Asks a socketmap server as Postfix does, by many connections at once, and prints as JSON how long it took.
 *
 * usage: load_map [-c CONNECTIONS] [-q QUESTIONS] [-n DOMAINS] [-z] [-o] [-p PATTERN] [-s SEED] SOCKET
 *
 *   -c  connections at once (1)   -q  questions in all (100000)   -n  domains (1000)   -z  by Zipf's law, not all as often
 *   -o  one domain after the other, each as often
 *   -p  the question, with # for the number of the domain (postfix-tls p#.bench.example)
 */
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct client {
    int fd;
    int64_t since;
    struct inbox in;
};

static const char *pattern = "postfix-tls p#.bench.example";
static size_t questions = 100000, asked, answered, good;
static struct choice domains;
static struct series times;

static void ask(struct client *c)
{
    char words[400], frame[420];
    int length;

    if (asked == questions)
        return;
    asked++;
    pattern_fill(pattern, choice_take(&domains), words, sizeof(words));
    length = snprintf(frame, sizeof(frame), "%zu:%s,", strlen(words), words);
    c->since = now_ns();
    send_all(c->fd, frame, (size_t)length);
}

static void on_input(struct client *c)
{
    const char *colon;
    size_t length, whole;

    if (!inbox_read(&c->in, c->fd))
        give_up("the server closed a connection");
    colon = memchr(c->in.bytes, ':', c->in.count);
    if (colon == NULL)
        return;
    length = strtoul((const char *)c->in.bytes, NULL, 10);
    whole = (size_t)(colon - (const char *)c->in.bytes) + length + 2;
    if (c->in.count < whole)
        return;
    series_add(&times, now_ns() - c->since);
    good += strncmp(colon + 1, "OK", 2) == 0;
    answered++;
    inbox_use(&c->in, whole);
    ask(c);
}

static void run(const char *path, size_t count)
{
    struct client *clients = calloc(count, sizeof(*clients));
    struct epoll_event events[256], event = { .events = EPOLLIN };
    int watched = epoll_create1(EPOLL_CLOEXEC), ready, k;
    size_t i;

    if (clients == NULL || watched < 0)
        give_up("no memory, or no epoll");
    for (i = 0; i < count; i++) {
        clients[i].fd = stream_to(path);
        event.data.ptr = &clients[i];
        if (epoll_ctl(watched, EPOLL_CTL_ADD, clients[i].fd, &event) != 0)
            give_up("epoll: %s", strerror(errno));
    }
    for (i = 0; i < count; i++)
        ask(&clients[i]);
    while (answered < questions) {
        ready = epoll_wait(watched, events, 256, -1);
        for (k = 0; k < ready; k++)
            on_input(events[k].data.ptr);
    }
}

int main(int argc, char **argv)
{
    size_t clients = 1, count = 1000;
    uint64_t seed = 1;
    bool zipf = false;
    double seconds;
    int64_t since;
    int option;

    while ((option = getopt(argc, argv, "c:q:n:p:s:zo")) != -1) {
        switch (option) {
        case 'c': clients = strtoul(optarg, NULL, 10); break;
        case 'q': questions = strtoul(optarg, NULL, 10); break;
        case 'n': count = strtoul(optarg, NULL, 10); break;
        case 'p': pattern = optarg; break;
        case 's': seed = strtoul(optarg, NULL, 10); break;
        case 'z': zipf = true; break;
        case 'o': domains.in_order = true; break;
        case '?': return 64;
        }
    }
    if (optind != argc - 1 || clients == 0 || count == 0)
        give_up("usage: load_map [-c CONNECTIONS] [-q QUESTIONS] [-n DOMAINS] [-z] [-o] [-p PATTERN] [-s SEED] SOCKET");
    raise_descriptors();
    choice_open(&domains, count, zipf, seed);
    since = now_ns();
    run(argv[optind], clients);
    seconds = (double)(now_ns() - since) / 1e9;
    printf("{\"questions\":%zu,\"ok\":%zu,\"seconds\":%.3f,\"per_second\":%.1f,\"us\":", answered, good, seconds,
           (double)answered / seconds);
    series_print(&times);
    printf("}\n");
    return 0;
}
