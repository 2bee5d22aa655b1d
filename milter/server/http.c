/*
 * A client's life:
 *
 *   on_client() ─► on_read(), until the header has ended ─► answer() ─► on_written() ─► drain until he leaves ─► client_free()
 *
 * 1. A client is answered once. What it sends afterwards is thrown away: closing at once could take the answer from it.
 * 2. However it goes, a client is gone when its time is up, a new one for asking and another for reading.
 * 3. With CLIENTS_MAX there, the others wait in the backlog.
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

enum { CLIENTS_MAX = 64, HEADER_MAX = 8 * 1024, ASK_SECONDS = 5, READ_SECONDS = 20, BODY_MAX = 16 * 1024 * 1024 };

struct client {
    struct http *http;
    struct client *next, **link;
    struct bufferevent *wire;
    struct event *time;                 /* how long it may still be here */
    bool answered;
    bool left;                          /* it says no more, but reads */
};

struct http {
    struct event_base *loop;
    struct http_pages pages;
    struct evconnlistener *listener;
    struct event *rest;                 /* runs after an accept that failed */
    struct client *clients;
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

static void client_free(struct client *c)
{
    struct http *h = c->http;

    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    bufferevent_free(c->wire);
    event_free(c->time);
    free(c);
    if (h->client_count-- == CLIENTS_MAX)
        evconnlistener_enable(h->listener);
}

static void allow(struct client *c, int seconds)
{
    struct timeval time = { .tv_sec = seconds };

    event_add(c->time, &time);
}

static const char *phrase(int code)
{
    static const struct {
        int code;
        const char *words;
    } all[] = {
        { HTTP_GOOD, "OK" }, { HTTP_BAD_REQUEST, "Bad Request" }, { HTTP_NOT_FOUND, "Not Found" },
        { HTTP_BAD_METHOD, "Method Not Allowed" }, { HTTP_TOO_LONG, "Request Header Fields Too Large" },
        { HTTP_UNAVAILABLE, "Service Unavailable" },
    };
    size_t i;

    for (i = 0; i < COUNT_OF(all); i++) {
        if (all[i].code == code)
            return all[i].words;
    }
    return "Error";
}

static void free_body(const void *bytes, size_t length, void *unused)
{
    (void)length, (void)unused;
    free((void *)(uintptr_t)bytes);
}

/* Takes what is in the body. */
static void send_answer(struct client *c, struct http_answer *a, bool with_body)
{
    struct evbuffer *out = bufferevent_get_output(c->wire);
    size_t length;
    char date[64] = "";
    time_t now = clock_wall();
    struct tm utc;
    char *body;

    if (a->body.length == 0)
        text_print(&a->body, "%s\n", phrase(a->code));
    length = a->body.length;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n%sContent-Type: %s\r\nContent-Length: %zu\r\n%sCache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n", a->code, phrase(a->code), date,
                        a->type == NULL ? "text/plain; charset=utf-8" : a->type, length,
                        a->code == HTTP_BAD_METHOD ? "Allow: GET, HEAD\r\n" : "");
    body = text_give(&a->body);
    if (!with_body)
        free(body);
    else if (evbuffer_add_reference(out, body, length, free_body, NULL) != 0)
        mem_out();
    c->answered = true;
    allow(c, READ_SECONDS);
}

/* `GET /path?query HTTP/1.1`; writes into line. false: that is no request. */
static bool read_line(char *line, const char **ret_method, const char **ret_path)
{
    char *target = strchr(line, ' '), *version = target == NULL ? NULL : strchr(target + 1, ' ');

    if (version == NULL || strncmp(version + 1, "HTTP/1.", 7) != 0)
        return false;
    *target++ = *version = '\0';
    if (strncmp(target, "http://", 7) == 0)             /* RFC 9112 3.2.2: as proxies say it */
        target = strchr(target + 7, '/');
    if (target == NULL || target[0] != '/')
        return false;
    target[strcspn(target, "?#")] = '\0';
    *ret_method = line;
    *ret_path = target;
    return true;
}

/* line: the first of the request, or NULL: there was too much of it. */
static void answer(struct client *c, char *line)
{
    struct http_answer a = { .code = HTTP_NOT_FOUND };
    const char *method = "", *path;

    text_init(&a.body, BODY_MAX);
    if (line == NULL)
        a.code = HTTP_TOO_LONG;
    else if (!read_line(line, &method, &path))
        a.code = HTTP_BAD_REQUEST;
    else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        a.code = HTTP_BAD_METHOD;
    else
        c->http->pages.turn(c->http->pages.self, path, &a);
    send_answer(c, &a, strcmp(method, "HEAD") != 0);
}

/* Where the header ends: an empty line, with or without CR. */
static bool is_whole(struct evbuffer *in)
{
    return evbuffer_search(in, "\n\r\n", 3, NULL).pos >= 0 || evbuffer_search(in, "\n\n", 2, NULL).pos >= 0;
}

static void on_read(struct bufferevent *wire, void *client)
{
    struct evbuffer *in = bufferevent_get_input(wire);
    struct client *c = client;
    char *line;

    if (!c->answered && is_whole(in) && evbuffer_get_length(in) <= HEADER_MAX) {
        line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF);
        answer(c, line);
        free(line);
    } else if (!c->answered && evbuffer_get_length(in) >= HEADER_MAX) {
        answer(c, NULL);
    }
    if (c->answered)
        evbuffer_drain(in, evbuffer_get_length(in));
}

/* All is out: the other side may know, and leave. */
static void on_written(struct bufferevent *wire, void *client)
{
    struct client *c = client;

    if (c->left)
        client_free(c);
    else if (c->answered)
        shutdown(bufferevent_getfd(wire), SHUT_WR);
}

static void on_gone(struct bufferevent *wire, short what, void *client)
{
    struct client *c = client;

    c->left = (what & BEV_EVENT_EOF) != 0 && evbuffer_get_length(bufferevent_get_output(wire)) > 0;
    if (!c->left)
        client_free(c);
}

static void on_time_over(evutil_socket_t unused, short what, void *client)
{
    (void)unused, (void)what;
    client_free(client);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t s, struct sockaddr *address, int length, void *http)
{
    struct client *c = mem_zero(sizeof(*c));
    struct http *h = http;

    (void)address, (void)length;
    c->http = h;
    c->wire = bufferevent_socket_new(h->loop, s, BEV_OPT_CLOSE_ON_FREE);
    c->time = evtimer_new(h->loop, on_time_over, c);
    if (c->wire == NULL || c->time == NULL)
        mem_out();
    c->next = h->clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    c->link = &h->clients;
    h->clients = c;
    bufferevent_setcb(c->wire, on_read, on_written, on_gone, c);
    bufferevent_setwatermark(c->wire, EV_READ, 0, HEADER_MAX);
    bufferevent_enable(c->wire, EV_READ | EV_WRITE);
    allow(c, ASK_SECONDS);
    if (++h->client_count == CLIENTS_MAX)
        evconnlistener_disable(listener);
}

/* No descriptor is free: asking again at once would only spin. */
static void on_accept_failed(struct evconnlistener *listener, void *http)
{
    struct timeval second = { .tv_sec = 1 };
    struct http *h = http;

    log_error("http: cannot take another connection: %s", strerror(errno));
    evconnlistener_disable(listener);
    event_add(h->rest, &second);
}

static void on_rested(evutil_socket_t unused, short what, void *http)
{
    struct http *h = http;

    (void)unused, (void)what;
    if (h->client_count < CLIENTS_MAX)
        evconnlistener_enable(h->listener);
}

struct http *http_open(struct event_base *loop, int socket, const struct http_pages *pages)
{
    struct http *h = mem_zero(sizeof(*h));

    h->loop = loop;
    h->pages = *pages;
    h->rest = evtimer_new(loop, on_rested, h);
    h->listener = evconnlistener_new(loop, on_client, h, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, socket);
    if (h->rest == NULL || h->listener == NULL)
        mem_out();
    evconnlistener_set_error_cb(h->listener, on_accept_failed);
    return h;
}

void http_close(struct http *h)
{
    if (h == NULL)
        return;
    while (h->clients != NULL)
        client_free(h->clients);
    evconnlistener_free(h->listener);
    event_free(h->rest);
    free(h);
}
