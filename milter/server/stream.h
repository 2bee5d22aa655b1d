#ifndef DANELAW_SERVER_STREAM_H
#define DANELAW_SERVER_STREAM_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct evbuffer;
struct stream;

/*
 * A stream connection of the loop, for those who answer at once: what is sent goes straight to the socket, and only what that
 * does not take waits for the loop. A bufferevent asks the kernel three times as often for each answer. Loop thread only.
 */
struct stream_face {
    void (*ready)(void *self);      /* something came, or all that waited has gone; may free the stream */
    void (*gone)(void *self);       /* the other end closed, failed, or was idle for too long: free the stream */
};

/* Takes the descriptor. input_most: octets of input that wait at most; what comes then stays in the kernel. NULL, with the
 * descriptor closed: the loop can't listen to it; errno says why. */
struct stream *stream_new(struct event_base *loop, int fd, unsigned idle_seconds, size_t input_most, const struct stream_face *face,
                      void *self);
void stream_free(struct stream *s);

/* What came; to be drained by whoever reads it, and stream_go_on() called then. */
struct evbuffer *stream_input(struct stream *s);
void stream_go_on(struct stream *s);
/* Copies what the socket doesn't take yet. Of a connection that fails `gone` is told later, never inside. */
void stream_send(struct stream *s, const void *bytes, size_t length);
/* Octets that wait to be sent. */
size_t stream_unsent(const struct stream *s);

#endif
