/*
 * The socketmap server that Danelaw's is measured against: it reads a request and says OK.
 *
 * usage: null_map SOCKET
 */
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    struct inbox in;
};

static int watched;

static void let_in(int listening)
{
    struct epoll_event event = { .events = EPOLLIN };
    struct client *c;
    int fd;

    while ((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        c = calloc(1, sizeof(*c));
        if (c == NULL)
            give_up("out of memory");
        c->fd = fd;
        event.data.ptr = c;
        if (epoll_ctl(watched, EPOLL_CTL_ADD, fd, &event) != 0)
            give_up("epoll: %s", strerror(errno));
    }
}

static void serve(struct client *c)
{
    static const char reply[] = "12:OK dane-only,";
    const char *colon;
    size_t whole;

    if (!inbox_read(&c->in, c->fd)) {
        close(c->fd);
        free(c->in.bytes);
        free(c);
        return;
    }
    while (c->in.count > 0 && (colon = memchr(c->in.bytes, ':', c->in.count)) != NULL) {
        whole = (size_t)(colon - (const char *)c->in.bytes) + strtoul((const char *)c->in.bytes, NULL, 10) + 2;
        if (c->in.count < whole)
            return;
        inbox_use(&c->in, whole);
        send_all(c->fd, reply, sizeof(reply) - 1);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[256], event = { .events = EPOLLIN };
    int listening, ready, k;

    if (argc != 2)
        give_up("usage: null_map SOCKET");
    raise_descriptors();
    listening = listen_at(argv[1]);
    watched = epoll_create1(EPOLL_CLOEXEC);
    if (watched < 0 || epoll_ctl(watched, EPOLL_CTL_ADD, listening, &event) != 0)
        give_up("epoll: %s", strerror(errno));
    for (;;) {
        ready = epoll_wait(watched, events, 256, -1);
        for (k = 0; k < ready; k++) {
            if (events[k].data.ptr == NULL)
                let_in(listening);
            else
                serve(events[k].data.ptr);
        }
    }
}
