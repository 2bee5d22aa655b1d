/*
 * The map socket as whoever may open it writes there, through the server's own client; the wire is in memory, and the
 * engine is played. The first octet says in how large pieces the rest comes, the second what the engine answers, and when.
 * Each whole request has one answer, in its turn, in the words that its table may have; what is no netstring ends the
 * connection; and nothing is left when the client goes.
 */
#include "fuzz.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/netstring.h"
#include "server/sendmail.h"
#include "server/socketmap.h"
#include "server/stream.h"
#include "wire.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX = 10000, REPLY_MAX = 20100, WAITING = 64, LATE = 1, LEAVES = 2, IMPATIENT = 4 };

static struct settings settings = { .maps = { .clients = 2 } };
static struct socketmap *map;
static struct bufferevent *wire;
static uint8_t mood;                    /* of the engine: bits as above, the rest which answer */
static struct pending *waiting[WAITING];
static size_t waiting_count;

/* The stream, whose socket is the wire in memory */

struct stream {
    struct bufferevent *end;
    const struct stream_face *face;
    void *self;
};

static void on_ready(struct bufferevent *end, void *stream)
{
    (void)end;
    ((struct stream *)stream)->face->ready(((struct stream *)stream)->self);
}

static void on_gone(struct bufferevent *end, short what, void *stream)
{
    (void)end, (void)what;
    ((struct stream *)stream)->face->gone(((struct stream *)stream)->self);
}

struct stream *stream_new(struct event_base *loop, int fd, unsigned idle_seconds, size_t input_most, const struct stream_face *face,
                          void *self)
{
    struct stream *s = mem_zero(sizeof(*s));

    must(idle_seconds > 0);
    *s = (struct stream){ .end = bufferevent_socket_new(loop, fd, BEV_OPT_CLOSE_ON_FREE), .face = face, .self = self };
    bufferevent_setcb(s->end, on_ready, on_ready, on_gone, s);
    bufferevent_setwatermark(s->end, EV_READ, 0, input_most);
    bufferevent_enable(s->end, EV_READ | EV_WRITE);
    return s;
}

void stream_free(struct stream *s)
{
    bufferevent_free(s->end);
    free(s);
}

struct evbuffer *stream_input(struct stream *s)
{
    return bufferevent_get_input(s->end);
}

void stream_go_on(struct stream *s)
{
    (void)s;                            /* a bufferevent sees by itself that there is room */
}

void stream_send(struct stream *s, const void *bytes, size_t length)
{
    bufferevent_write(s->end, bytes, length);
}

size_t stream_unsent(const struct stream *s)
{
    return evbuffer_get_length(bufferevent_get_output(s->end));
}

/* The engine */

static void answer(struct pending *p, bool sendmail)
{
    static char endless[3 * REQUEST_MAX];
    static const char *const sound[] = { NULL, "dane-only", "secure match=mx.bank.example servername=hostname", endless };
    static const char *const postfix[] = { "", "may" }, *const odd[] = { "", "pass <x>" };
    unsigned which = mood >> 3 & 7;

    if (endless[0] == '\0')
        memset(endless, 'x', sizeof(endless) - 1);
    p->done(p, which < 4 ? sound[which] : sendmail ? odd[which & 1] : postfix[which & 1]);
}

static void ask(struct pending *p, bool sendmail)
{
    if ((mood & LATE) != 0 && waiting_count < WAITING)
        waiting[waiting_count++] = p;
    else
        answer(p, sendmail);
}

void engine_ask_map(struct engine *e, enum map_table table, const struct next_hop *hop, struct pending *p)
{
    (void)e;
    must((table == MAP_POSTFIX_TLS || table == MAP_POSTFIX_MANDATORY || table == MAP_POSTFIX_SPELLED) && hop->host.length > 0 &&
         hop->port > 0);
    ask(p, false);
}

void engine_ask_sendmail(struct engine *e, const struct sendmail_question *q, struct pending *p)
{
    (void)e;
    must(q->to.kind != ADDRESS_UNUSABLE && q->queue_id != NULL && q->server_name != NULL && q->fingerprint != NULL);
    ask(p, true);
}

void engine_explain(struct engine *e, const struct address *to, struct text *ret)
{
    char shown[ADDRESS_TEXT_SIZE];

    (void)e;
    text_print(ret, "to=<%zu>", strlen(address_print(to, shown, sizeof(shown))));
}

/* The client */

static void answer_late(void)
{
    size_t count = waiting_count, i;

    waiting_count = 0;
    for (i = 0; i < count; i++)
        answer(waiting[i], false);
}

/* Until nothing moves any more. */
static void settle(void)
{
    wire_run();
    while (waiting_count > 0) {
        answer_late();
        wire_run();
    }
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void check_reply(const char *request, size_t length, const char *reply)
{
    bool postfix = begins(request, "postfix-tls ") || begins(request, "postfix-mandatory ");
    bool sendmail = begins(request, "danelaw ");

    must(is_printable(reply) && (begins(reply, "OK ") || begins(reply, "TEMP ") || strcmp(reply, "NOTFOUND ") == 0));
    must(postfix || reply[0] != 'N');
    must(!begins(reply, "OK ") || (reply[3] != '\0' && (!sendmail || sendmail_is_sound(reply + 3))));
    must(postfix || sendmail || begins(request, "explain ") || reply[0] == 'T');
    must(strlen(request) == length || reply[0] == 'T');
}

/* Takes the next reply off the wire; false: there is none. */
static bool take_reply(struct evbuffer *in, char ret[static REPLY_MAX + 1])
{
    size_t length = evbuffer_get_length(in), payload, used;
    const char *bytes = (const char *)evbuffer_pullup(in, -1), *at;

    if (length == 0)
        return false;
    must(netstring_read(bytes, length, REPLY_MAX, &at, &payload, &used) == NETSTRING_WHOLE);
    memcpy(ret, at, payload);
    ret[payload] = '\0';
    must(strlen(ret) == payload);
    evbuffer_drain(in, used);
    return true;
}

/* Reads the requests once more, and its answer behind each. */
static void check(const char *bytes, size_t length)
{
    static char request[REQUEST_MAX + 1], reply[REPLY_MAX + 1];
    enum netstring_state state = NETSTRING_PARTIAL;
    struct evbuffer *in = bufferevent_get_input(wire);
    size_t payload, used;
    const char *at;

    while (length > 0 && (state = netstring_read(bytes, length, REQUEST_MAX, &at, &payload, &used)) == NETSTRING_WHOLE) {
        memcpy(request, at, payload);
        request[payload] = '\0';
        must(take_reply(in, reply));
        check_reply(request, payload, reply);
        bytes += used;
        length -= used;
        state = NETSTRING_PARTIAL;
    }
    must(!take_reply(in, reply));
    must(wire_is_cut(wire) == (state == NETSTRING_BROKEN));
}

static void say(const struct feed *f, size_t piece)
{
    const uint8_t *at = f->at;

    while (at < f->end && !wire_is_cut(wire)) {
        size_t left = (size_t)(f->end - at), now = piece == 0 || piece > left ? left : piece;

        bufferevent_write(wire, at, now);
        at += now;
        wire_run();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    size_t piece = feed_octet(&f);

    if (map == NULL) {
        log_set_level(LOG_LEVEL_ERROR);
        map = socketmap_open(wire_loop(), -1, &settings, NULL);
    }
    mood = feed_octet(&f);
    settings.maps.budget = (mood & IMPATIENT) != 0 ? 0 : 3600;
    wire = wire_connect();
    must(socketmap_clients(map) == 1);
    say(&f, piece);
    if ((mood & LEAVES) == 0) {
        settle();
        check((const char *)f.at, (size_t)(f.end - f.at));
    }
    wire_leave(wire);
    settle();
    must(socketmap_clients(map) == 0);
    return 0;
}
