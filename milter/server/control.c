#include "server/client.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/held.h"
#include "server/recall.h"
#include "server/report.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

/*
 * A client's life:
 *
 *   on_accept() -> on_read() -> client_obey() -> a verb -> client_finish() -> on_written(), all is out -> client_free()
 *                                                  |          ^
 *                    a long list: fill() once, then from on_written() a bit each time the wire has room
 *                    client_read(): the same from disk, by the clerk; a batch comes to on_mail()
 *                    verb_reload: a job on its way; control_job_done() -> mailbox -> on_mail()
 *
 * 1. A client sends one line and is not read from again.
 * 2. At most TURN_BYTES and TURN_ITEMS are made for a client in one turn of the loop, so that a long list neither fills
 *    memory nor keeps others waiting.
 * 3. A job outlives its client (job->client is NULL then) and even the control socket (the mailbox is closed then).
 * 4. Whoever neither asks nor reads is let go, so that CLIENTS_MAX idle ones don't lock an administrator out.
 */

enum {
    REQUEST_MAX = 64 * 1024,
    CLIENTS_MAX = 64,
    REQUEST_SECONDS = 5,
    ANSWER_SECONDS = 30,
    TURN_BYTES = 64 * 1024,
    TURN_ITEMS = 256,
    REFILL_BYTES = 16 * 1024,
};

/* Where other threads leave finished jobs; counted, so that they may come late. */
struct mailbox {
    struct mutex lock;
    struct control_job *finished GUARDED_BY(lock);
    bool closed GUARDED_BY(lock);
    unsigned users GUARDED_BY(lock);
    int bell;                           /* eventfd */
};

static struct mailbox *mailbox_new(void)
{
    struct mailbox *m = mem_zero(sizeof(*m));

    mutex_init(&m->lock);
    m->users = 1;
    m->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->bell < 0)
        mem_lack("a bell for the control socket");
    return m;
}

static void mailbox_ref(struct mailbox *m)
{
    mutex_lock(&m->lock);
    m->users++;
    mutex_unlock(&m->lock);
}

static void mailbox_unref(struct mailbox *m)
{
    bool last;

    mutex_lock(&m->lock);
    last = --m->users == 0;
    mutex_unlock(&m->lock);
    if (!last)
        return;
    close(m->bell);
    mutex_done(&m->lock);
    free(m);
}

static struct control_job *mailbox_take(struct mailbox *m, bool close_it)
{
    struct control_job *jobs;

    mutex_lock(&m->lock);
    jobs = take(m->finished);
    m->closed = m->closed || close_it;
    mutex_unlock(&m->lock);
    return jobs;
}

static void job_free(struct control_job *job)
{
    mailbox_unref(job->mailbox);
    json_decref(job->item);
    free(job->lines);
    free(job->error);
    free(job);
}

static void file(struct control_job *job)
{
    struct mailbox *m = job->mailbox;
    uint64_t one = 1;
    bool late;

    mailbox_ref(m);                     /* the job may be gone as soon as it is filed */
    mutex_lock(&m->lock);
    late = m->closed;
    if (!late) {
        job->next = m->finished;
        m->finished = job;
    }
    mutex_unlock(&m->lock);
    if (late)
        job_free(job);
    else if (write(m->bell, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("control: cannot wake the loop: %s", strerror(errno));
    mailbox_unref(m);
}

void control_job_done(struct control_job *job, int exit_code, const char *lines)
{
    job->exit_code = exit_code;
    job->lines = mem_text(lines);
    file(job);
}

void control_job_end(struct control_job *job, int exit_code, json_t *item, const char *error)
{
    job->exit_code = exit_code;
    job->item = item;
    job->error = error == NULL || *error == '\0' ? NULL : mem_text(error);
    file(job);
}

const char *control_job_by(const struct control_job *job)
{
    return job->by;
}

/* Listens again in a while. */
static void breathe(struct control *c)
{
    c->breathing = true;
    evtimer_add(c->breather, &(struct timeval){ .tv_sec = 1 });
}

static void client_free(struct client *client)
{
    struct control *c = client->control;

    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    if (client->job != NULL)
        client->job->client = NULL;
    ruleset_unref(client->rules);
    recall_free(client->recall);
    held_free(client->held);
    clerk_end(client->reading);
    bufferevent_free(client->wire);
    free(client);
    if (c->client_count-- == CLIENTS_MAX && !c->breathing && evconnlistener_enable(c->listener) != 0)
        breathe(c);
}

/* Takes item. */
void client_send(struct client *client, json_t *item)
{
    char *line = json_dumps(item, JSON_COMPACT);

    if (line == NULL)
        mem_out();
    bufferevent_write(client->wire, line, strlen(line));
    bufferevent_write(client->wire, "\n", 1);
    free(line);
    json_decref(item);
}

/* The last line; error or NULL. */
void client_finish(struct client *client, int exit_code, const char *error)
{
    json_t *last = json_object();

    json_object_set_new(last, "exit", json_integer(exit_code));
    if (error != NULL)
        json_object_set_new(last, "error", report_text(error));
    client->finished = true;
    client_send(client, last);
}

void client_end_list(struct client *client)
{
    if (client->sent == 0 && client->nothing != NULL)
        client_finish(client, EXIT_FAILURE, client->nothing);
    else
        client_finish(client, EX_OK, NULL);
}

static void fill(struct client *client)
{
    struct evbuffer *out = bufferevent_get_output(client->wire);
    json_t *item;
    size_t made;

    for (made = 0; made < TURN_ITEMS && evbuffer_get_length(out) < TURN_BYTES; made++) {
        item = client->make(client);
        if (item == NULL) {
            client_end_list(client);
            return;
        }
        client_send(client, item);
        client->sent++;
    }
}

void client_list(struct client *client, json_t *(*make)(struct client *client))
{
    client->make = make;
    fill(client);
}

/* Takes source. */
void client_read(struct client *client, struct clerk_source *source)
{
    client->reading = clerk_begin(client->control->clerk, source, client);
    if (client->reading == NULL)
        client_finish(client, EX_TEMPFAIL, "too many ask for what is on disk; try again in a moment");
}

/* While nothing is sent, nobody else notices. */
static bool has_left(const struct client *client)
{
    struct pollfd wire = { .fd = bufferevent_getfd(client->wire) };

    return poll(&wire, 1, 0) > 0;
}

static void send_batch(struct client *client, const struct clerk_batch *batch)
{
    json_t *item;
    size_t i;

    json_array_foreach(batch->items, i, item)
        client_send(client, json_incref(item));
    client->sent += json_array_size(batch->items);
    if (!batch->good)
        client_finish(client, EX_TEMPFAIL, batch->why.text);
    else if (batch->end)
        client_end_list(client);
    else if (has_left(client))
        client_free(client);
    else if (json_array_size(batch->items) == 0)
        clerk_more(client->reading);        /* else on_written() asks for more */
}

struct control_job *client_job(struct client *client)
{
    struct control_job *job = mem_zero(sizeof(*job));

    mailbox_ref(client->control->mailbox);
    job->mailbox = client->control->mailbox;
    job->client = client;
    client->job = job;
    return job;
}

static void on_read(struct bufferevent *wire, void *self)
{
    struct evbuffer *in = bufferevent_get_input(wire);
    struct client *client = self;
    size_t length;
    char *line = evbuffer_readln(in, &length, EVBUFFER_EOL_LF);

    if (line == NULL && evbuffer_get_length(in) < REQUEST_MAX)
        return;
    bufferevent_disable(wire, EV_READ);
    if (line == NULL)
        client_finish(client, EXIT_FAILURE + 1, "the request is too long");
    else
        client_obey(client, line, length);
    free(line);
}

static void on_written(struct bufferevent *wire, void *self)
{
    struct client *client = self;

    if (client->finished && evbuffer_get_length(bufferevent_get_output(wire)) == 0)
        client_free(client);
    else if (!client->finished && client->make != NULL)
        fill(client);
    else if (!client->finished && client->reading != NULL)
        clerk_more(client->reading);
}

/* Gone, broken or too slow: all the same to us. */
static void on_trouble(struct bufferevent *wire, short what, void *self)
{
    (void)wire;
    (void)what;
    client_free(self);
}

static void send_lines(struct client *client, const char *lines)
{
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        AUTO(free) char *line = strndup(lines, length);

        if (line == NULL)
            mem_out();
        client_send(client, json_pack("{s:o}", "line", report_text(line)));
        lines += length + (lines[length] == '\n');
    }
}

static void on_mail(evutil_socket_t bell, short what, void *self)
{
    struct control *c = self;
    struct control_job *job, *next;
    struct clerk_batch batch;
    uint64_t rings;
    size_t i;

    (void)what;
    if (read(bell, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
        log_error("control: eventfd: %s", strerror(errno));
    for (job = mailbox_take(c->mailbox, false); job != NULL; job = next) {
        next = job->next;
        if (job->client != NULL) {
            job->client->job = NULL;
            if (job->item != NULL)
                client_send(job->client, json_incref(job->item));
            if (job->lines != NULL)
                send_lines(job->client, job->lines);
            client_finish(job->client, job->exit_code, job->error);
        }
        job_free(job);
    }
    for (i = 0; i < CLERK_READINGS_MAX && clerk_collect(c->clerk, &batch); i++) {
        send_batch(clerk_whose(batch.reading), &batch);
        json_decref(batch.items);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *from, int size, void *self)
{
    const struct timeval patience = { .tv_sec = REQUEST_SECONDS }, slowness = { .tv_sec = ANSWER_SECONDS };
    struct control *c = self;
    struct client *client = mem_zero(sizeof(*client));

    (void)from;
    (void)size;
    client->control = c;
    client->peer = peer_of(socket);
    client->wire = bufferevent_socket_new(c->loop, socket, BEV_OPT_CLOSE_ON_FREE);
    if (client->wire == NULL)
        mem_out();
    client->next = c->clients;
    client->link = &c->clients;
    if (client->next != NULL)
        client->next->link = &client->next;
    c->clients = client;
    bufferevent_setcb(client->wire, on_read, on_written, on_trouble, client);
    bufferevent_setwatermark(client->wire, EV_READ, 0, REQUEST_MAX);
    bufferevent_setwatermark(client->wire, EV_WRITE, REFILL_BYTES, 0);
    bufferevent_set_timeouts(client->wire, &patience, &slowness);
    if (++c->client_count == CLIENTS_MAX)
        evconnlistener_disable(listener);
    if (bufferevent_enable(client->wire, EV_READ | EV_WRITE) == 0)
        return;
    if (log_due(&c->said_at))
        log_warning("control: cannot listen to a connection: %s", strerror(errno));
    client_free(client);
}

/* Out of descriptors, most likely: trying again at once would only burn the processor. */
static void on_accept_trouble(struct evconnlistener *listener, void *self)
{
    struct control *c = self;

    if (log_due(&c->said_at))
        log_warning("control: cannot accept a connection: %s", strerror(errno));
    evconnlistener_disable(listener);
    breathe(c);
}

static void on_breath(evutil_socket_t none, short what, void *self)
{
    struct control *c = self;

    (void)none;
    (void)what;
    c->breathing = false;
    if (c->client_count < CLIENTS_MAX && evconnlistener_enable(c->listener) != 0)
        breathe(c);
}

struct control *control_open(struct event_base *loop, int socket, struct engine *engine, const struct control_hooks *hooks)
{
    struct mailbox *mailbox = mailbox_new();
    struct control *c = mem_zero(sizeof(*c));

    *c = (struct control){ .loop = loop, .engine = engine, .hooks = *hooks, .mailbox = mailbox,
                           .started_ms = clock_ms() };
    c->clerk = clerk_open(mailbox->bell);
    peer_own_name(c->own_name);
    evutil_make_socket_nonblocking(socket);
    c->mail = event_new(loop, mailbox->bell, EV_READ | EV_PERSIST, on_mail, c);
    c->breather = evtimer_new(loop, on_breath, c);
    c->listener = evconnlistener_new(loop, on_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0,
                                     socket);
    if (c->mail == NULL || c->breather == NULL || c->listener == NULL)
        mem_out();
    evconnlistener_set_error_cb(c->listener, on_accept_trouble);
    if (event_add(c->mail, NULL) != 0 || evconnlistener_enable(c->listener) != 0)
        mem_lack("a control socket that is listened to");
    return c;
}

void control_close(struct control *c)
{
    struct control_job *job, *next;

    if (c == NULL)
        return;
    while (c->clients != NULL)
        client_free(c->clients);
    for (job = mailbox_take(c->mailbox, true); job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
    clerk_close(c->clerk);
    evconnlistener_free(c->listener);
    event_free(c->breather);
    event_free(c->mail);
    mailbox_unref(c->mailbox);
    free(c);
}
