#ifndef DANELAW_SERVER_HTTP_H
#define DANELAW_SERVER_HTTP_H

#include "base/fault.h"
#include "base/text.h"

#include <event2/http.h>

struct event_base;

/*
 * The door for those who watch: GET and HEAD, one request a connection. Few connections at once and none of them for long,
 * so that nobody can hoard them. Loop thread only.
 */
struct http;

/* An answer on its way: not found, until a page says otherwise. */
struct http_answer {
    int code;                           /* as event2/http.h has them */
    const char *type;                   /* of the body; text/plain where NULL */
    struct text body;
};

/* What there is to see. */
struct http_pages {
    void *self;
    void (*turn)(void *self, const char *path, struct http_answer *answer);     /* path: without the query, not decoded */
};

/* Opens a listening, non-blocking socket at `ADDRESS:PORT` or `[ADDRESS]:PORT`. Any thread. */
bool http_listen(const char *spec, int *ret, struct fault *why);
/* Takes socket. */
struct http *http_open(struct event_base *loop, int socket, const struct http_pages *pages);
void http_close(struct http *h);        /* NULL is welcome */

#endif
