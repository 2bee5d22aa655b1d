/*
 * Invariants:
 *  1. A client has at most one question open; what it sends meanwhile stays in its buffer.
 *  2. A question lives until the engine has answered it, even if its client is gone or has been told TEMP: then
 *     question->client is NULL and the answer is dropped.
 *  3. question->client and everything of a client belong to the loop thread. Answers may come on any thread; those
 *     from elsewhere are handed over through `answered`, the only thing here that has a lock.
 */
#include "server/socketmap.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/netstring.h"
#include "base/text.h"
#include "base/thread.h"
#include "server/sendmail.h"
#include "server/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>

enum { REQUEST_MAX = 10000, REPLY_MAX = 20000, UNREAD_MAX = 64 * 1024, IDLE_SECONDS = 3600, LINE_MAX_SHOWN = 120 };

struct client {
    struct socketmap *map;
    struct stream *wire;
    struct question_open *open;             /* NULL: none */
    struct event *patience;                 /* runs while a question is open that was not answered at once */
    struct client *next, *previous;
};

struct question_open {
    struct pending pending;                 /* first: the engine hands it back */
    struct socketmap *map;
    struct client *client;
    bool for_sendmail;
    bool at_gate;                           /* for_sendmail: on the wire */
    char *policy;                           /* the answer: NULL: TEMP */
    struct question_open *next;
};

struct socketmap {
    const struct settings *set;
    struct engine *engine;
    struct evconnlistener *listener;
    struct event *rest;                     /* runs after an accept that failed */
    struct event *wake;
    struct client *clients;
    size_t client_count;
    int64_t said_at;                        /* that a connection could not be taken */
    bool closing;
    struct mutex lock;
    struct question_open *answered GUARDED_BY(lock);
};

/* The loop thread's, while the engine is asked: an answer to this one is inside the call. */
static _Thread_local const struct question_open *asking;

static void read_requests(struct client *c);

/* Listens again in a while. */
static void rest(struct socketmap *m)
{
    event_add(m->rest, &(struct timeval){ .tv_sec = 1 });
}

static void client_free(struct client *c)
{
    struct socketmap *m = c->map;

    if (c->open != NULL)
        c->open->client = NULL;
    if (c->next != NULL)
        c->next->previous = c->previous;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        m->clients = c->next;
    stream_free(c->wire);
    event_free(c->patience);
    free(c);
    if (m->client_count-- == m->set->maps.clients && !m->closing && evconnlistener_enable(m->listener) != 0)
        rest(m);
}

/* Framed and sent in one piece. */
static void send_reply(struct client *c, const char *status, const char *words)
{
    UNCLEARED char frame[REPLY_MAX + 1];
    size_t payload = strlen(status) + 1 + strlen(words);
    int length = snprintf(frame, sizeof(frame), "%zu:%s %s,", payload, status, words);

    if (length > REPLY_MAX)
        length = snprintf(frame, sizeof(frame), "%s", "20:TEMP answer too long,");
    stream_send(c->wire, frame, (size_t)length);
}

/* policy as the engine gives it: NULL unsure, empty nothing to say. */
static void send_policy(struct client *c, const char *policy)
{
    if (policy == NULL)
        send_reply(c, "TEMP", "held by danelaw; its log says why");
    else if (*policy == '\0')
        send_reply(c, "NOTFOUND", "");
    else
        send_reply(c, "OK", policy);
}

static void send_answer(struct client *c, const struct question_open *q, const char *policy)
{
    send_policy(c, q->for_sendmail && !sendmail_is_sound(policy) ? NULL : policy);
}

static void close_question(struct client *c)
{
    event_del(c->patience);
    c->open->client = NULL;
    c->open = NULL;
}

/* The loop thread's half of an answer. */
static void deliver(struct question_open *q)
{
    struct client *c = q->client;

    if (c != NULL) {
        close_question(c);
        send_answer(c, q, q->policy);
    }
    free(q->policy);
    free(q);
    if (c != NULL)
        read_requests(c);
}

static void on_answer(struct pending *self, const char *policy)
{
    struct question_open *q = (struct question_open *)self;
    struct socketmap *m = q->map;

    if (asking == q) {                      /* the usual case: nobody else knows of it, and its client is there */
        asking = q->client->open = NULL;
        send_answer(q->client, q, policy);
        free(q);
        return;
    }
    q->policy = policy == NULL ? NULL : mem_text(policy);
    mutex_lock(&m->lock);
    q->next = m->answered;
    m->answered = q;
    mutex_unlock(&m->lock);
    event_active(m->wake, 0, 0);
}

/* All that has been answered since the last look. */
static void deliver_answered(struct socketmap *m)
{
    struct question_open *q, *next;

    mutex_lock(&m->lock);
    q = m->answered;
    m->answered = NULL;
    mutex_unlock(&m->lock);
    for (; q != NULL; q = next) {
        next = q->next;
        deliver(q);
    }
}

static void on_wake(evutil_socket_t unused, short what, void *map)
{
    (void)unused, (void)what;
    deliver_answered(map);
}

static void on_patience_over(evutil_socket_t unused, short what, void *client)
{
    struct client *c = client;
    bool at_gate = c->open->at_gate;

    (void)unused, (void)what;
    close_question(c);                      /* the search goes on; the next attempt finds its result */
    if (at_gate)                            /* to Sendmail's rules TEMP is a dead daemon, who may stop mandatory mail only */
        send_reply(c, "OK", "dns-temp: DNS or the mail server did not answer in time");
    else
        send_reply(c, "TEMP", "no answer from DNS in time");
    read_requests(c);
}

static struct question_open *open_question(struct client *c)
{
    struct question_open *q = mem_zero(sizeof(*q));

    q->pending.done = on_answer;
    q->map = c->map;
    q->client = c;
    asking = c->open = q;
    return q;
}

/* After the engine was asked. */
static void await_answer(struct client *c)
{
    struct timeval budget = { .tv_sec = (time_t)c->map->set->maps.budget };

    asking = NULL;
    if (c->open != NULL)
        event_add(c->patience, &budget);
}

static void complain(struct client *c, const char *what, const char *request)
{
    char shown[LINE_MAX_SHOWN];

    text_printable(request, true, shown, sizeof(shown));
    log_warning("map: %s in \"%s\"; answered TEMP", what, shown);
    send_reply(c, "TEMP", what);
}

static void answer_postfix(struct client *c, enum map_table table, const char *key)
{
    struct next_hop hop;
    struct fault why;

    if (*key == '.') {                      /* Postfix asks for parents too; connectors have answered for those */
        send_reply(c, "NOTFOUND", "");
        return;
    }
    if (!next_hop_parse(key, &hop, &why)) {
        complain(c, why.text, key);
        return;
    }
    if (table == MAP_POSTFIX_TLS && !domain_is_ascii(key))
        table = MAP_POSTFIX_SPELLED;
    engine_ask_map(c->map->engine, table, &hop, &open_question(c)->pending);
    await_answer(c);
}

static void answer_sendmail(struct client *c, char *key)
{
    AUTO(free) char *whole = mem_text(key);
    struct sendmail_question q;
    struct question_open *open;
    struct fault why;

    if (!sendmail_parse(key, &q, &why)) {
        complain(c, why.text, whole);
        return;
    }
    open = open_question(c);
    open->for_sendmail = true;
    open->at_gate = q.at_gate;
    engine_ask_sendmail(c->map->engine, &q, &open->pending);
    await_answer(c);
}

static void answer_explain(struct client *c, const char *key)
{
    struct address to;
    struct text words;

    address_parse(key, &to);
    text_init(&words, 4096);
    engine_explain(c->map->engine, &to, &words);
    send_reply(c, "OK", text_words(&words));
    text_done(&words);
}

/* `table key` */
static void answer(struct client *c, char *request)
{
    char *key = strchr(request, ' ');

    if (key == NULL) {
        complain(c, "no table and key", request);
        return;
    }
    *key++ = '\0';
    if (strcmp(request, "postfix-tls") == 0)
        answer_postfix(c, MAP_POSTFIX_TLS, key);
    else if (strcmp(request, "postfix-mandatory") == 0)
        answer_postfix(c, MAP_POSTFIX_MANDATORY, key);
    else if (strcmp(request, "danelaw") == 0)
        answer_sendmail(c, key);
    else if (strcmp(request, "explain") == 0)
        answer_explain(c, key);
    else
        complain(c, "unknown table", request);
}

/* Takes one request off the buffer; false: there is none whole, or the client is gone. */
static bool take_request(struct client *c)
{
    struct evbuffer *in = stream_input(c->wire);
    size_t length = evbuffer_get_length(in), payload, used;
    const char *bytes = (const char *)evbuffer_pullup(in, -1), *at;
    UNCLEARED char request[REQUEST_MAX + 1];

    switch (netstring_read(bytes, length, REQUEST_MAX, &at, &payload, &used)) {
    case NETSTRING_PARTIAL:
        return false;
    case NETSTRING_BROKEN:
        log_warning("map: a client sent something that is no netstring; its connection is closed");
        client_free(c);
        return false;
    case NETSTRING_WHOLE:
        break;
    }
    memcpy(request, at, payload);
    request[payload] = '\0';
    evbuffer_drain(in, used);
    if (strlen(request) != payload)
        complain(c, "a NUL octet", request);
    else
        answer(c, request);
    return true;
}

/* Who does not read his answers is not asked for more. */
static bool has_room(const struct client *c)
{
    return stream_unsent(c->wire) < UNREAD_MAX;
}

static void read_requests(struct client *c)
{
    while (c->open == NULL && has_room(c)) {
        if (!take_request(c))
            return;
        stream_go_on(c->wire);
    }
}

static void on_ready(void *client)
{
    read_requests(client);
}

static void on_gone(void *client)
{
    client_free(client);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t s, struct sockaddr *address, int length, void *map)
{
    struct socketmap *m = map;
    struct event_base *loop = evconnlistener_get_base(listener);
    static const struct stream_face face = { .ready = on_ready, .gone = on_gone };
    struct client *c = mem_zero(sizeof(*c));

    (void)address, (void)length;
    c->map = m;
    c->wire = stream_new(loop, s, IDLE_SECONDS, 2 * REQUEST_MAX, &face, c);
    if (c->wire == NULL) {
        if (log_due(&m->said_at))
            log_error("map: cannot listen to a connection: %s", strerror(errno));
        free(c);
        return;
    }
    c->patience = evtimer_new(loop, on_patience_over, c);
    if (c->patience == NULL)
        mem_out();
    c->next = m->clients;
    if (c->next != NULL)
        c->next->previous = c;
    m->clients = c;
    if (++m->client_count == m->set->maps.clients)
        evconnlistener_disable(m->listener);    /* the others wait in the backlog */
}

/* No descriptor is free: asking again at once would only spin. */
static void on_accept_failed(struct evconnlistener *listener, void *map)
{
    struct socketmap *m = map;

    if (log_due(&m->said_at))
        log_error("map: cannot take another connection: %s", strerror(errno));
    evconnlistener_disable(listener);
    rest(m);
}

static void on_rested(evutil_socket_t unused, short what, void *map)
{
    struct socketmap *m = map;

    (void)unused, (void)what;
    if (m->client_count < m->set->maps.clients && evconnlistener_enable(m->listener) != 0)
        rest(m);
}

struct socketmap *socketmap_open(struct event_base *loop, int socket, const struct settings *set, struct engine *engine)
{
    struct socketmap *m = mem_zero(sizeof(*m));

    m->set = set;
    m->engine = engine;
    mutex_init(&m->lock);
    m->wake = event_new(loop, -1, EV_PERSIST, on_wake, m);
    m->rest = evtimer_new(loop, on_rested, m);
    m->listener = evconnlistener_new(loop, on_client, m, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0,
                                     socket);
    if (m->wake == NULL || m->rest == NULL || m->listener == NULL)
        mem_out();
    evconnlistener_set_error_cb(m->listener, on_accept_failed);
    if (evconnlistener_enable(m->listener) != 0)
        mem_lack("a map socket that is listened to");
    return m;
}

void socketmap_close(struct socketmap *m)
{
    struct client *c, *next;

    if (m == NULL)
        return;
    m->closing = true;
    evconnlistener_free(m->listener);
    for (c = m->clients; c != NULL; c = next) {
        next = c->next;
        client_free(c);
    }
    deliver_answered(m);
    event_free(m->wake);
    event_free(m->rest);
    mutex_done(&m->lock);
    free(m);
}

size_t socketmap_clients(const struct socketmap *m)
{
    return m->client_count;
}
