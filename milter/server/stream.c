#include "server/stream.h"

#include "base/memory.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 16 * 1024 };

struct stream {
    const struct stream_face *face;
    void *self;
    int fd;
    size_t input_most;
    const struct timeval *idle;
    struct event *readable, *writable;
    struct evbuffer *in, *out;
};

static void on_readable(evutil_socket_t fd, short what, void *stream)
{
    struct stream *s = stream;
    UNCLEARED char piece[PIECE];
    ssize_t got = (what & EV_TIMEOUT) != 0 ? 0 : recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        s->face->gone(s->self);
        return;
    }
    if (evbuffer_add(s->in, piece, (size_t)got) != 0)
        mem_out();
    if (evbuffer_get_length(s->in) >= s->input_most)
        event_del(s->readable);
    s->face->ready(s->self);
}

static void on_writable(evutil_socket_t fd, short what, void *stream)
{
    struct stream *s = stream;

    if ((what & EV_TIMEOUT) != 0 || (evbuffer_write(s->out, fd) < 0 && errno != EAGAIN && errno != EINTR)) {
        s->face->gone(s->self);
        return;
    }
    if (evbuffer_get_length(s->out) > 0)
        return;
    event_del(s->writable);
    s->face->ready(s->self);
}

/* The connection ends as if it had been idle, but not inside the call. */
static void give_up(struct stream *s)
{
    event_active(s->readable, EV_TIMEOUT, 0);
}

static void listen_for(struct stream *s, struct event *what)
{
    if (event_add(what, s->idle) != 0)
        give_up(s);
}

struct stream *stream_new(struct event_base *loop, int fd, unsigned idle_seconds, size_t input_most, const struct stream_face *face,
                      void *self)
{
    struct timeval idle = { .tv_sec = (time_t)idle_seconds };
    struct stream *s = mem_zero(sizeof(*s));

    *s = (struct stream){ .face = face, .self = self, .fd = fd, .input_most = input_most,
                          .idle = event_base_init_common_timeout(loop, &idle) };
    s->readable = event_new(loop, fd, EV_READ | EV_PERSIST, on_readable, s);
    s->writable = event_new(loop, fd, EV_WRITE | EV_PERSIST, on_writable, s);
    s->in = evbuffer_new();
    s->out = evbuffer_new();
    if (s->idle == NULL || s->readable == NULL || s->writable == NULL || s->in == NULL || s->out == NULL)
        mem_out();
    if (event_add(s->readable, s->idle) == 0)
        return s;
    stream_free(s);
    return NULL;
}

void stream_free(struct stream *s)
{
    int cause = errno;

    event_free(s->readable);
    event_free(s->writable);
    evbuffer_free(s->in);
    evbuffer_free(s->out);
    close(s->fd);
    free(s);
    errno = cause;
}

struct evbuffer *stream_input(struct stream *s)
{
    return s->in;
}

void stream_go_on(struct stream *s)
{
    if (evbuffer_get_length(s->in) < s->input_most && !event_pending(s->readable, EV_READ, NULL))
        listen_for(s, s->readable);
}

void stream_send(struct stream *s, const void *bytes, size_t length)
{
    ssize_t sent = 0;

    if (evbuffer_get_length(s->out) == 0)
        sent = send(s->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        give_up(s);                         /* never an answer less: the next would be taken for it */
        return;
    }
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == length)
        return;
    if (evbuffer_add(s->out, (const char *)bytes + sent, length - (size_t)sent) != 0)
        mem_out();
    listen_for(s, s->writable);
}

size_t stream_unsent(const struct stream *s)
{
    return evbuffer_get_length(s->out);
}
