/*
 * libevent's evhttp speaks; what it has no bounds for is bounded here:
 *
 *   on_client() ─► evhttp reads ─► on_request() ─► evhttp writes, and lets go of the client ─► look_round() closes
 *
 * 1. Each client's bufferevent has two owners, evhttp and clients[]. evhttp has let go of one that has no callbacks.
 * 2. With CLIENTS_MAX there, the others wait in the backlog.
 * 3. Whose time is up is shut out, and evhttp finds that it has left.
 */
#include "server/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/listen.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { CLIENTS_MAX = 64, HEADER_MAX = 8 * 1024, INPUT_MAX = 2 * HEADER_MAX, REQUEST_BODY_MAX = 1024,
       ANSWER_MAX = 16 * 1024 * 1024, IDLE_SECONDS = 5, STAY_MS = 10 * 1000 };

struct client {
    struct bufferevent *wire;
    int64_t until;                      /* clock_ms(); how long it may stay */
};

struct http {
    struct http_pages pages;
    struct evhttp *evhttp;
    struct evconnlistener *listener;    /* belongs to evhttp */
    struct event *tick;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
};

bool http_listen(const char *spec, int *ret, struct fault *why)
{
    const char *colon = strrchr(spec, ':');
    bool bracketed = spec[0] == '[' && colon != NULL && colon > spec + 1 && colon[-1] == ']';
    struct fault inner;
    char inet[160];
    int length;

    if (colon == NULL)
        return fault_set(why, "%s: write ADDRESS:PORT", spec);
    length = (int)(colon - spec) - (bracketed ? 2 : 0);
    if (snprintf(inet, sizeof(inet), "inet:%s@%.*s", colon + 1, length, spec + bracketed) >= (int)sizeof(inet))
        return fault_set(why, "%s: is too long", spec);
    if (listen_open(inet, &(struct listen_access){ 0 }, ret, &inner))
        return true;
    return fault_set(why, "%s%s", spec, inner.text + strlen(inet));     /* what was written, not what listen.c calls it */
}

/* evhttp would leave out the length of what HEAD does not send, and answer "keep-alive" to who asks for it in HTTP/1.0. */
static void put_headers(struct evhttp_request *request, const struct http_answer *a)
{
    struct evkeyvalq *out = evhttp_request_get_output_headers(request);
    char length[24];

    snprintf(length, sizeof(length), "%zu", a->body.length);
    evhttp_remove_header(evhttp_request_get_input_headers(request), "Connection");
    evhttp_add_header(out, "Connection", "close");
    evhttp_add_header(out, "Content-Type", a->type == NULL ? "text/plain; charset=utf-8" : a->type);
    evhttp_add_header(out, "Content-Length", length);
    evhttp_add_header(out, "Cache-Control", "no-store");
    evhttp_add_header(out, "X-Content-Type-Options", "nosniff");
}

static void on_request(struct evhttp_request *request, void *http)
{
    struct bufferevent *wire = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
    const struct http_pages *pages = &((struct http *)http)->pages;
    struct http_answer a = { .code = HTTP_NOTFOUND };

    text_init(&a.body, ANSWER_MAX);
    pages->turn(pages->self, evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request)), &a);
    put_headers(request, &a);
    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD &&
        evbuffer_add(evhttp_request_get_output_buffer(request), text_words(&a.body), a.body.length) != 0)
        mem_out();
    evhttp_send_reply(request, a.code, NULL, NULL);
    bufferevent_disable(wire, EV_READ);     /* who says that he has said all has not left */
    text_done(&a.body);
}

/* Closes what evhttp has let go of, and shuts out who has been here for too long. */
static void look_round(struct http *h)
{
    int64_t now = clock_ms();
    bufferevent_event_cb owner;
    size_t i;

    for (i = h->client_count; i-- > 0;) {
        struct client *c = &h->clients[i];

        bufferevent_getcb(c->wire, NULL, NULL, &owner, NULL);
        if (owner == NULL) {
            bufferevent_decref(c->wire);
            *c = h->clients[--h->client_count];
        } else if (now >= c->until) {
            shutdown(bufferevent_getfd(c->wire), SHUT_RDWR);
        }
    }
}

/* evhttp takes what it is given here for a connection just accepted, or makes one itself. */
static struct bufferevent *on_client(struct event_base *loop, void *http)
{
    struct http *h = http;
    struct bufferevent *wire;

    look_round(h);
    if (h->client_count == CLIENTS_MAX)     /* libevent before 2.1.9 accepts all who wait, also once it is told to stop */
        return NULL;
    wire = bufferevent_socket_new(loop, -1, BEV_OPT_CLOSE_ON_FREE);
    if (wire == NULL)
        mem_out();
    bufferevent_incref(wire);
    bufferevent_setwatermark(wire, EV_READ, 0, INPUT_MAX);
    h->clients[h->client_count++] = (struct client){ .wire = wire, .until = clock_ms() + STAY_MS };
    if (h->client_count == CLIENTS_MAX)
        evconnlistener_disable(h->listener);
    return wire;
}

/* No descriptor is free: asking again before the next tick would only spin. The listener's argument is evhttp's own. */
static void on_accept_failed(struct evconnlistener *listener, void *unused)
{
    static int64_t said_at;             /* loop thread only */

    (void)unused;
    if (log_due(&said_at))
        log_error("http: cannot take another connection: %s", strerror(errno));
    evconnlistener_disable(listener);
}

static void on_tick(evutil_socket_t unused, short what, void *http)
{
    struct http *h = http;

    (void)unused, (void)what;
    look_round(h);
    if (h->client_count < CLIENTS_MAX)
        evconnlistener_enable(h->listener);
}

struct http *http_open(struct event_base *loop, int socket, const struct http_pages *pages)
{
    struct http *h = mem_zero(sizeof(*h));

    h->pages = *pages;
    h->evhttp = evhttp_new(loop);
    h->tick = event_new(loop, -1, EV_PERSIST, on_tick, h);
    h->listener = evconnlistener_new(loop, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, socket);
    if (h->evhttp == NULL || h->tick == NULL || h->listener == NULL)
        mem_out();
    evconnlistener_set_error_cb(h->listener, on_accept_failed);
    evhttp_set_bevcb(h->evhttp, on_client, h);
    evhttp_set_gencb(h->evhttp, on_request, h);
    evhttp_set_allowed_methods(h->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(h->evhttp, HEADER_MAX);
    evhttp_set_max_body_size(h->evhttp, REQUEST_BODY_MAX);
    evhttp_set_timeout(h->evhttp, IDLE_SECONDS);
    if (evhttp_bind_listener(h->evhttp, h->listener) == NULL)
        mem_out();
    event_add(h->tick, &(struct timeval){ .tv_sec = 1 });       /* it also enables the listener where that failed above */
    return h;
}

void http_close(struct http *h)
{
    if (h == NULL)
        return;
    evhttp_free(h->evhttp);
    look_round(h);                      /* evhttp holds none of them any more */
    event_free(h->tick);
    free(h);
}
