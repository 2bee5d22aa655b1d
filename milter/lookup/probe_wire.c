#include "lookup/probe_wire.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS_MAX = 60 * 1000 };

/* An interrupted poll looks again, and finds less time left. */
static bool await(struct wire *w, short events, struct fault *why)
{
    struct pollfd watched[] = { { .fd = w->fd, .events = events }, { .fd = w->stop, .events = POLLIN } };

    for (;;) {
        int64_t left = w->deadline - clock_ms();
        int count = poll(watched, 2, left <= 0 ? 0 : left < WAIT_MS_MAX ? (int)left : WAIT_MS_MAX);

        if (count < 0 && errno != EINTR)
            return fault_set(why, "%s", strerror(errno));
        if (count > 0 && watched[1].revents != 0) {
            w->stopped = true;
            return fault_set(why, "the daemon stops");
        }
        if (left <= 0)          /* also where octets come and come */
            return fault_set(why, "no answer in time");
        if (count > 0)
            return true;
    }
}

static socklen_t size_of(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

bool wire_connect(struct wire *w, const struct sockaddr_storage *to, const struct sockaddr_storage *from, struct fault *why)
{
    int error = 0;
    socklen_t size = sizeof(error);

    w->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0)
        return fault_set(why, "%s", strerror(errno));
    if (from->ss_family == to->ss_family && bind(w->fd, (const struct sockaddr *)from, size_of(from)) != 0)
        return fault_set(why, "probe.bind is no address of this machine: %s", strerror(errno));
    if (connect(w->fd, (const struct sockaddr *)to, size_of(to)) == 0)
        return true;
    if (errno != EINPROGRESS && errno != EINTR)
        return fault_set(why, "%s", strerror(errno));
    if (!await(w, POLLOUT, why))
        return false;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    return error == 0 || fault_set(why, "%s", strerror(error));
}

bool wire_send(struct wire *w, const void *bytes, size_t length, struct fault *why)
{
    const char *rest = bytes;

    while (length > 0) {
        ssize_t sent;

        if (!await(w, POLLOUT, why))
            return false;
        sent = send(w->fd, rest, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return fault_set(why, "%s", strerror(errno));
        if (sent > 0) {
            rest += sent;
            length -= (size_t)sent;
        }
    }
    return true;
}

bool wire_receive(struct wire *w, void *bytes, size_t size, size_t *ret, struct fault *why)
{
    for (;;) {
        ssize_t got;

        if (!await(w, POLLIN, why))
            return false;
        got = recv(w->fd, bytes, size, 0);
        if (got == 0)
            return fault_set(why, "the host hung up");
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return fault_set(why, "%s", strerror(errno));
        if (got > 0) {
            *ret = (size_t)got;
            return true;
        }
    }
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}
