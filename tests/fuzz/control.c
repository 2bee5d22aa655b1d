/*
 * The control socket as whoever may open it writes there, through the server's own client and a real engine with a scripted
 * resolver; the wire is in memory. The first octet says whether the kernel vouches for the client. Whatever the line says,
 * the answer is lines of JSON of which the last, and no other, has an exit status of danelaw(1); and who isn't trusted
 * changes nothing.
 */
#include "fuzz.h"

#include "../unit/fake_lookup.h"
#include "../unit/rules.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/client.h"
#include "server/modes.h"
#include "server/trace_list.h"
#include "store/holds.h"
#include "wire.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>

enum { TRIES = 64 };

static struct settings settings = { .resolver = { .when_broken = "hold-mandatory", .entries = 1000, .cache = 64 << 20,
                                                  .tlsa_records = 16 } };
static struct fake *fake;
static struct engine *engine;
static struct holds *holds;
static struct control *control;
static bool trusted;

struct peer __wrap_peer_of(int socket);

struct peer __wrap_peer_of(int socket)
{
    return (struct peer){ .trusted = trusted, .uid = trusted && socket < 0 ? 0 : 65534 };
}

/* What the daemon would do */

static void reload(void *self, struct control_job *job)
{
    (void)self;
    must(trusted && is_printable(control_job_by(job)));
    control_job_done(job, EX_CONFIG, "one line\nand another\xff\n");
}

static void mode(void *self, const struct mode_order *order, struct control_job *job)
{
    (void)self;
    must(trusted && strlen(order->connector) < sizeof(order->connector) && strncmp(control_job_by(job), "root", 4) == 0);
    must(order->span >= 0 && order->span <= MODES_SPAN_MOST && !(order->span > 0 && order->permanent));
    must(order->clear != (order->sets_dane || order->sets_sts));
    control_job_end(job, EX_OK, json_pack("{s:s}", "name", "Bank"), NULL);
}

static void tables(void *self, enum tables_order order, struct control_job *job)
{
    (void)self;
    must(trusted || order == TABLES_CHECK);
    control_job_end(job, EXIT_FAILURE, NULL, "they are not current");
}

static void stop(void)
{
    control_close(control);
    engine_close(engine);
    holds_close(holds);
    fake_free(fake);
}

static void start(void)
{
    struct ruleset *rules = rules_new();

    log_set_level(LOG_LEVEL_ERROR);
    fake = fake_new();
    rules_add(rules, "Bank", "bank.example *.bank.example", "", MODE_MANDATORY, MODE_NONE);
    rules_add(rules, "Firm", "bo@firm.example", "home.example", MODE_OPPORTUNISTIC, MODE_MANDATORY);
    ruleset_freeze(rules);
    fake_says(fake, "*", FAKE_ABSENT);
    fake_says(fake, "bank.example", FAKE_USABLE);
    holds = holds_open(NULL, 1000, 1);
    engine = engine_open(&settings, fake_lookup(fake), &(struct engine_memory){ .holds = holds }, rules);
    control = control_open(wire_loop(), eventfd(0, EFD_CLOEXEC), engine,
                           &(struct control_hooks){ .reload = reload, .mode = mode, .tables = tables, .holds = holds });
    must(control != NULL && atexit(stop) == 0);
    ruleset_unref(rules);
}

/* Somebody waits. */
static size_t hold(void)
{
    struct address to = rules_address("bo@bank.example"), from = rules_address("al@home.example");
    int64_t now = clock_wall();

    holds_note(holds, &(struct hold_key){ .connector = "Bank", .sender = &from, .recipient = &to }, REASON_DANE_REQUIRED, 86400,
               now);
    return holds_count(holds, now);
}

static bool is_exit(json_int_t status)
{
    return status == EX_OK || status == 1 || status == 2 || status == EX_UNAVAILABLE || status == EX_TEMPFAIL ||
           status == EX_CONFIG;
}

static void check_answer(struct evbuffer *in)
{
    bool last = false;
    size_t length;
    char *line;

    while ((line = evbuffer_readln(in, &length, EVBUFFER_EOL_LF)) != NULL) {
        json_t *item = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);

        must(!last && json_is_object(item) && strlen(line) == length);
        last = json_object_get(item, "exit") != NULL;
        must(!last || is_exit(json_integer_value(json_object_get(item, "exit"))));
        json_decref(item);
        free(line);
    }
    must(last && evbuffer_get_length(in) == 0);
}

static void say(const struct feed *f)
{
    struct bufferevent *wire = wire_connect();
    size_t length = (size_t)(f->end - f->at);
    bool whole = memchr(f->at, '\n', length) != NULL;
    int tries;

    bufferevent_write(wire, f->at, length);
    for (tries = 0; whole && tries < TRIES && !wire_is_cut(wire); tries++)
        wire_run();
    wire_run();
    must(wire_is_cut(wire) == whole);
    if (whole)
        check_answer(bufferevent_get_input(wire));
    wire_leave(wire);
}

/* The filters of the trace, which the engine's own test house has none of; nothing is read. */
static void check_filters(const struct feed *f)
{
    json_t *request = json_loadb((const char *)f->at, (size_t)(f->end - f->at), JSON_DISABLE_EOF_CHECK, NULL);
    struct clerk_source *source;
    struct fault why = { "" };

    if (request == NULL)
        return;
    source = trace_list(NULL, request, &why);
    if (source == NULL)
        must(is_printable(why.text) && why.text[0] != '\0');
    else
        source->free(source);
    json_decref(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    size_t held;

    if (engine == NULL)
        start();
    trusted = (feed_octet(&f) & 1) != 0;
    held = hold();
    say(&f);
    must(trusted || holds_count(holds, clock_wall()) == held);
    check_filters(&f);
    return 0;
}
