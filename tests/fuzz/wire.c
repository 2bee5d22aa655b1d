#include "wire.h"

#include "fuzz.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

enum { TURNS = 3 };             /* what one end writes, the other reads and answers */

static struct event_base *loop;
static struct bufferevent *ours;        /* the other end of the latest */
static struct {
    evconnlistener_cb arrive;
    void *self;
} listener;

struct event_base *wire_loop(void)
{
    if (loop == NULL)
        loop = event_base_new();
    must(loop != NULL);
    return loop;
}

/* Libevent's, as far as it would take a descriptor */

struct evconnlistener *evconnlistener_new(struct event_base *base, evconnlistener_cb arrive, void *self, unsigned flags,
                                          int backlog, evutil_socket_t socket)
{
    (void)flags, (void)backlog, (void)socket;
    must(base == loop);
    listener.arrive = arrive;
    listener.self = self;
    return (struct evconnlistener *)&listener;
}

void evconnlistener_set_error_cb(struct evconnlistener *l, evconnlistener_errorcb on_error)
{
    must(l == (struct evconnlistener *)&listener && on_error != NULL);
}

void evconnlistener_free(struct evconnlistener *l)
{
    must(l == (struct evconnlistener *)&listener);
}

struct event_base *evconnlistener_get_base(struct evconnlistener *l)
{
    must(l == (struct evconnlistener *)&listener);
    return loop;
}

int evconnlistener_enable(struct evconnlistener *l)
{
    return l == (struct evconnlistener *)&listener ? 0 : -1;
}

int evconnlistener_disable(struct evconnlistener *l)
{
    return l == (struct evconnlistener *)&listener ? 0 : -1;
}

struct bufferevent *bufferevent_socket_new(struct event_base *base, evutil_socket_t socket, int options)
{
    struct bufferevent *pair[2];

    (void)socket;
    must(bufferevent_pair_new(base, options, pair) == 0);
    ours = pair[1];
    bufferevent_enable(ours, EV_READ | EV_WRITE);
    return pair[0];
}

struct bufferevent *wire_connect(void)
{
    ours = NULL;
    listener.arrive((struct evconnlistener *)&listener, -1, NULL, 0, listener.self);
    must(ours != NULL);
    return ours;
}

int wire_is_cut(struct bufferevent *end)
{
    return bufferevent_pair_get_partner(end) == NULL;
}

void wire_run(void)
{
    int i;

    for (i = 0; i < TURNS; i++)
        event_base_loop(loop, EVLOOP_NONBLOCK);
}

void wire_leave(struct bufferevent *end)
{
    bufferevent_flush(end, EV_WRITE, BEV_FINISHED);
    wire_run();
    bufferevent_free(end);
    wire_run();
}
