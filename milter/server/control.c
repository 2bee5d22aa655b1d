#include "server/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/clerk.h"
#include "server/held.h"
#include "server/modes.h"
#include "server/peer.h"
#include "server/recall.h"
#include "server/report.h"
#include "server/trace_list.h"
#include "server/swept.h"
#include "store/audit.h"

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
 *   on_accept() -> on_read() -> obey() -> a verb -> finish() -> on_written(), all is out -> client_free()
 *                                           |          ^
 *                    a long list: fill() once, then from on_written() a bit each time the wire has room
 *                    begin_reading(): the same from disk, by the clerk; a batch comes to on_mail()
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

static const char only_trusted[] = "only root and the daemon's own user may change anything";

/* Where other threads leave finished jobs; counted, so that they may come late. */
struct mailbox {
    struct mutex lock;
    struct control_job *finished GUARDED_BY(lock);
    bool closed GUARDED_BY(lock);
    unsigned users GUARDED_BY(lock);
    int bell;                           /* eventfd */
};

struct control_job {
    struct control_job *next;
    struct mailbox *mailbox;
    struct client *client;              /* loop thread only; NULL: it left */
    char by[AUDIT_BY_SIZE];
    int exit_code;
    char *lines;                        /* an item each; or NULL */
    json_t *item;                       /* before them; or NULL */
    char *error;                        /* or NULL */
};

/* Loop thread only. */
struct client {
    struct control *control;
    struct client *next, **link;
    struct bufferevent *wire;
    struct control_job *job;            /* or NULL */
    json_t *(*make)(struct client *client);     /* gives the list's next item, NULL at its end; NULL: no list is being sent */
    struct ruleset *rules;              /* or NULL */
    size_t next_rule;
    struct recall *recall;              /* or NULL */
    struct held_list *held;             /* or NULL */
    struct clerk_reading *reading;      /* or NULL */
    size_t sent;                        /* items of the list */
    const char *nothing;                /* what to say, with exit 1, where the list is empty; or NULL */
    struct peer peer;
    bool finished;                      /* the last line is on its way */
};

/* Loop thread only. */
struct control {
    struct event_base *loop;
    struct engine *engine;
    struct control_hooks hooks;
    struct evconnlistener *listener;
    struct event *mail, *breather;
    struct mailbox *mailbox;
    struct clerk *clerk;
    struct client *clients;
    size_t client_count;
    bool breathing;
    int64_t started_ms;
    char own_name[PEER_NAME_SIZE];
};

static struct mailbox *mailbox_new(void)
{
    struct mailbox *m = mem_zero(sizeof(*m));

    mutex_init(&m->lock);
    m->users = 1;
    m->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->bell < 0) {
        log_error("control: eventfd: %s", strerror(errno));
        mutex_done(&m->lock);
        free(m);
        return NULL;
    }
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
    if (c->client_count-- == CLIENTS_MAX && !c->breathing)
        evconnlistener_enable(c->listener);
}

/* Takes item. */
static void send_item(struct client *client, json_t *item)
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
static void finish(struct client *client, int exit_code, const char *error)
{
    json_t *last = json_object();

    json_object_set_new(last, "exit", json_integer(exit_code));
    if (error != NULL)
        json_object_set_new(last, "error", report_text(error));
    client->finished = true;
    send_item(client, last);
}

static void finish_list(struct client *client)
{
    if (client->sent == 0 && client->nothing != NULL)
        finish(client, EXIT_FAILURE, client->nothing);
    else
        finish(client, EX_OK, NULL);
}

static void fill(struct client *client)
{
    struct evbuffer *out = bufferevent_get_output(client->wire);
    json_t *item;
    size_t made;

    for (made = 0; made < TURN_ITEMS && evbuffer_get_length(out) < TURN_BYTES; made++) {
        item = client->make(client);
        if (item == NULL) {
            finish_list(client);
            return;
        }
        send_item(client, item);
        client->sent++;
    }
}

static void begin_list(struct client *client, json_t *(*make)(struct client *client))
{
    client->make = make;
    fill(client);
}

/* Takes source. */
static void begin_reading(struct client *client, struct clerk_source *source)
{
    client->reading = clerk_begin(client->control->clerk, source, client);
    if (client->reading == NULL)
        finish(client, EX_TEMPFAIL, "too many ask for what is on disk; try again in a moment");
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
        send_item(client, json_incref(item));
    client->sent += json_array_size(batch->items);
    if (!batch->good)
        finish(client, EX_TEMPFAIL, batch->why.text);
    else if (batch->end)
        finish_list(client);
    else if (has_left(client))
        client_free(client);
    else if (json_array_size(batch->items) == 0)
        clerk_more(client->reading);        /* else on_written() asks for more */
}

static const char *member(const json_t *request, const char *key)
{
    const char *text = json_string_value(json_object_get(request, key));

    return text == NULL ? "" : text;
}

/* A domain alone is as good as an address there, but no user@domain rule can be meant. */
static bool read_recipient(const char *spoken, struct address *ret)
{
    struct fault why;

    *ret = (struct address){ .kind = ADDRESS_DOMAIN };
    if (strchr(spoken, '@') == NULL)
        return domain_parse(spoken, &ret->domain, &why);
    address_parse(spoken, ret);
    return ret->kind == ADDRESS_DOMAIN || ret->kind == ADDRESS_LITERAL;
}

/* Where nothing is known yet, whoever asks again in a while shall know more. */
static void search(struct engine *e, const struct address *to)
{
    struct text words;

    text_init(&words, 4096);
    engine_explain(e, to, &words);
    text_done(&words);
}

/* Takes item. */
static void send_connector(struct client *client, const json_t *request, json_t *item, const struct connector *c)
{
    if (json_is_true(json_object_get(request, "whole")))
        report_more(item, c);
    send_item(client, item);
}

static void show_match(struct client *client, const json_t *request)
{
    struct engine *e = client->control->engine;
    const json_t *sender = json_object_get(request, "from");
    const struct connector *c;
    struct address to, from = { 0 };    /* nobody in particular: only rules for any sender */

    if (!read_recipient(member(request, "address"), &to)) {
        finish(client, EXIT_FAILURE + 1, "that is neither an address nor a domain");
        return;
    }
    if (json_is_string(sender))
        address_parse(json_string_value(sender), &from);
    if (json_is_true(json_object_get(request, "search")))
        search(e, &to);
    c = ruleset_find(client->rules, &to, &from);
    send_connector(client, request, report_match(e, c, &to), c);
    finish(client, EX_OK, NULL);
}

static void show_named(struct client *client, const json_t *request)
{
    const char *name = member(request, "name");
    const struct connector *c = ruleset_named(client->rules, name);
    struct fault why;

    if (c == NULL && strcmp(name, ruleset_default(client->rules)->name) == 0)
        c = ruleset_default(client->rules);
    if (c == NULL) {
        fault_set(&why, "no connector is called \"%s\"", name);
        finish(client, EXIT_FAILURE, why.text);
        return;
    }
    send_connector(client, request, report_connector(client->control->engine, c), c);
    finish(client, EX_OK, NULL);
}

static json_t *next_rule(struct client *client)
{
    if (client->next_rule == ruleset_count(client->rules))
        return NULL;
    return report_connector(client->control->engine, ruleset_at(client->rules, client->next_rule++));
}

static void verb_connectors(struct client *client, const json_t *request)
{
    const char *what = member(request, "what");

    client->rules = engine_rules(client->control->engine);
    if (strcmp(what, "list") == 0)
        begin_list(client, next_rule);
    else if (strcmp(what, "show") == 0)
        show_named(client, request);
    else if (strcmp(what, "match") == 0)
        show_match(client, request);
    else
        finish(client, EXIT_FAILURE + 1, "this daemon can list, show or match connectors");
}

static json_t *next_recalled(struct client *client)
{
    return recall_next(client->recall);
}

static void show_cache(struct client *client, const struct domain *host, bool policies)
{
    struct control *c = client->control;

    if (policies)
        client->recall = recall_policies(c->hooks.policies, host);
    else
        client->recall = recall_evidence(c->engine, host);
    if (host != NULL)
        client->nothing = policies ? "no policy of that domain is kept" : "nothing is remembered of that domain";
    begin_list(client, next_recalled);
}

/* Who it is that asks for a change, for the audit. */
static char *client_by(const struct client *client, const json_t *request, char ret[static AUDIT_BY_SIZE])
{
    return peer_name(&client->peer, client->control->own_name, json_string_value(json_object_get(request, "sudo")), ret,
                     AUDIT_BY_SIZE);
}

static void audit_flush(struct client *client, const json_t *request, const struct domain *host, size_t evidence, size_t policies)
{
    char by[AUDIT_BY_SIZE], after[400];

    snprintf(after, sizeof(after), "%s: evidence about %zu next hops and %zu policies forgotten",
             host == NULL ? "everything" : host->name, evidence, policies);
    audit_note(client->control->hooks.store, &(struct audit_entry){ .by = client_by(client, request, by),
                                                                    .action = "cache flushed", .after = after });
}

static void flush_cache(struct client *client, const json_t *request, const struct domain *host, bool policies)
{
    size_t evidence, dropped;

    if (!client->peer.trusted) {
        finish(client, EXIT_FAILURE, only_trusted);
        return;
    }
    engine_cache_flush(client->control->engine, host, policies, &evidence, &dropped);
    audit_flush(client, request, host, evidence, dropped);
    send_item(client, json_pack("{s:I, s:I}", "evidence", (json_int_t)evidence, "policies", (json_int_t)dropped));
    finish(client, EX_OK, NULL);
}

static void verb_cache(struct client *client, const json_t *request)
{
    bool policies = json_is_true(json_object_get(request, "sts")), all = json_object_get(request, "domain") == NULL;
    const char *what = member(request, "what");
    struct next_hop hop;                /* as it is spelled in the list; its host is what counts */

    if (!all && !next_hop_parse(member(request, "domain"), &hop, NULL))
        finish(client, EXIT_FAILURE + 1, "that is no domain");
    else if (policies && client->control->hooks.policies == NULL)
        finish(client, EXIT_FAILURE, "no policies are kept");
    else if (strcmp(what, "show") == 0)
        show_cache(client, all ? NULL : &hop.host, policies);
    else if (strcmp(what, "flush") == 0)
        flush_cache(client, request, all ? NULL : &hop.host, policies);
    else
        finish(client, EXIT_FAILURE + 1, "this daemon can show or flush the cache");
}

static json_t *next_held(struct client *client)
{
    return held_next(client->held);
}

static void audit_forget(struct client *client, const json_t *request, size_t count)
{
    const char *connector = json_string_value(json_object_get(request, "connector")), *to = member(request, "to");
    char by[AUDIT_BY_SIZE], after[ADDRESS_TEXT_SIZE + 64], shown[ADDRESS_TEXT_SIZE];

    snprintf(after, sizeof(after), "%s: %zu hold clocks forgotten",
             connector != NULL || *to == '\0' ? "everything" : text_printable(to, false, shown, sizeof(shown)), count);
    audit_note(client->control->hooks.store, &(struct audit_entry){ .by = client_by(client, request, by), .connector = connector,
                                                                    .action = "holds forgotten", .after = after });
}

static void forget_held(struct client *client, const json_t *request)
{
    struct fault why;
    size_t count;

    if (!client->peer.trusted) {
        finish(client, EXIT_FAILURE, only_trusted);
        return;
    }
    if (!held_forget(client->control->hooks.holds, request, &count, &why)) {
        finish(client, EXIT_FAILURE + 1, why.text);
        return;
    }
    audit_forget(client, request, count);
    send_item(client, json_pack("{s:I}", "forgotten", (json_int_t)count));
    finish(client, EX_OK, NULL);
}

static void verb_held(struct client *client, const json_t *request)
{
    const char *what = member(request, "what");

    if (client->control->hooks.holds == NULL) {
        finish(client, EXIT_FAILURE, "no hold clocks are kept");
    } else if (strcmp(what, "list") == 0) {
        client->held = held_list(client->control->hooks.holds);
        begin_list(client, next_held);
    } else if (strcmp(what, "forget") == 0) {
        forget_held(client, request);
    } else {
        finish(client, EXIT_FAILURE + 1, "this daemon can list or forget what is held");
    }
}

static void verb_trace(struct client *client, const json_t *request)
{
    struct store *store = client->control->hooks.store;
    struct clerk_source *source;
    struct fault why;

    source = store == NULL ? NULL : trace_list(store, request, &why);
    client->nothing = "no such decision was found";
    if (store == NULL)
        finish_list(client);
    else if (source == NULL)
        finish(client, EXIT_FAILURE + 1, why.text);
    else
        begin_reading(client, source);
}

static void verb_status(struct client *client, const json_t *request)
{
    struct control *c = client->control;
    struct report_house house = { .store = c->hooks.store, .policies = c->hooks.policies,
                                  .holds = c->hooks.holds, .trace = c->hooks.trace, .tables_good = true };
    char why[512] = "";
    json_t *item;
    int exit;

    (void)request;
    if (c->hooks.status != NULL)
        c->hooks.status(c->hooks.self, &house.tables_good, why, sizeof(why));
    house.uptime_s = (clock_ms() - c->started_ms) / 1000;
    house.tables_why = why;
    item = report_status(c->engine, &house, &exit);
    send_item(client, item);
    finish(client, exit, NULL);
}

/* Something that takes its time on another thread, which ends the job. */
static struct control_job *job_new(struct client *client, const json_t *request)
{
    struct control_job *job = mem_zero(sizeof(*job));

    mailbox_ref(client->control->mailbox);
    job->mailbox = client->control->mailbox;
    job->client = client;
    client->job = job;
    client_by(client, request, job->by);
    return job;
}

static void verb_reload(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;

    hooks->reload(hooks->self, job_new(client, request));
}

static void verb_mode(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;
    struct mode_order order;
    struct fault why;

    if (modes_read(request, &order, &why))
        hooks->mode(hooks->self, &order, job_new(client, request));
    else
        finish(client, EXIT_FAILURE + 1, why.text);
}

static void verb_tables(struct client *client, const json_t *request)
{
    const struct control_hooks *hooks = &client->control->hooks;
    bool check = json_is_true(json_object_get(request, "check"));

    if (check || client->peer.trusted)
        hooks->tables(hooks->self, check, job_new(client, request));
    else
        finish(client, EXIT_FAILURE, only_trusted);
}

static void verb_audit(struct client *client, const json_t *request)
{
    (void)request;
    if (client->control->hooks.store == NULL)
        finish(client, EXIT_FAILURE, "no audit is kept");
    else
        begin_reading(client, modes_audit(client->control->hooks.store));
}

static void verb_swept(struct client *client, const json_t *request)
{
    const char *error = swept_record(client->control->engine, request);

    finish(client, error == NULL ? EX_OK : EXIT_FAILURE + 1, error);
}

static const struct {
    const char *name;
    void (*obey)(struct client *client, const json_t *request);
    bool changes;
} verbs[] = {
    { "connectors", verb_connectors, false },
    { "cache", verb_cache, false },     /* but to flush is a change */
    { "held", verb_held, false },       /* but to forget is a change */
    { "trace", verb_trace, false },
    { "status", verb_status, false },
    { "reload", verb_reload, true },
    { "mode", verb_mode, true },
    { "tables", verb_tables, false },   /* but to write is a change */
    { "audit", verb_audit, false },
    { "swept", verb_swept, true },
};

static void obey(struct client *client, const char *line, size_t length)
{
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    const char *verb = member(request, "verb");
    size_t i;

    for (i = 0; i < COUNT_OF(verbs) && strcmp(verbs[i].name, verb) != 0; i++)
        ;
    if (request == NULL)
        finish(client, EXIT_FAILURE + 1, "that is no line of JSON");
    else if (i == COUNT_OF(verbs))
        finish(client, EXIT_FAILURE + 1, "this daemon doesn't know that verb");
    else if (verbs[i].changes && !client->peer.trusted)
        finish(client, EXIT_FAILURE, only_trusted);
    else
        verbs[i].obey(client, request);
    json_decref(request);
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
        finish(client, EXIT_FAILURE + 1, "the request is too long");
    else
        obey(client, line, length);
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
        send_item(client, json_pack("{s:o}", "line", report_text(line)));
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
                send_item(job->client, json_incref(job->item));
            if (job->lines != NULL)
                send_lines(job->client, job->lines);
            finish(job->client, job->exit_code, job->error);
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
    bufferevent_enable(client->wire, EV_READ | EV_WRITE);
    if (++c->client_count == CLIENTS_MAX)
        evconnlistener_disable(listener);
}

/* Out of descriptors, most likely: trying again at once would only burn the processor. */
static void on_accept_trouble(struct evconnlistener *listener, void *self)
{
    const struct timeval breath = { .tv_sec = 1 };
    struct control *c = self;

    log_warning("control: cannot accept a connection: %s", strerror(errno));
    evconnlistener_disable(listener);
    c->breathing = true;
    evtimer_add(c->breather, &breath);
}

static void on_breath(evutil_socket_t none, short what, void *self)
{
    struct control *c = self;

    (void)none;
    (void)what;
    c->breathing = false;
    if (c->client_count < CLIENTS_MAX)
        evconnlistener_enable(c->listener);
}

struct control *control_open(struct event_base *loop, int socket, struct engine *engine, const struct control_hooks *hooks)
{
    struct mailbox *mailbox = mailbox_new();
    struct control *c;

    if (mailbox == NULL) {
        close(socket);
        return NULL;
    }
    c = mem_zero(sizeof(*c));
    *c = (struct control){ .loop = loop, .engine = engine, .hooks = *hooks, .mailbox = mailbox,
                           .started_ms = clock_ms() };
    c->clerk = clerk_open(mailbox->bell);
    peer_own_name(c->own_name);
    evutil_make_socket_nonblocking(socket);
    c->mail = event_new(loop, mailbox->bell, EV_READ | EV_PERSIST, on_mail, c);
    c->breather = evtimer_new(loop, on_breath, c);
    c->listener = evconnlistener_new(loop, on_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, socket);
    if (c->mail == NULL || c->breather == NULL || c->listener == NULL || event_add(c->mail, NULL) != 0)
        mem_out();
    evconnlistener_set_error_cb(c->listener, on_accept_trouble);
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
