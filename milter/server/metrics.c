#include "server/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/http.h"
#include "server/report.h"
#include "store/holds.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN_SECONDS = 30, WHY_SIZE = 512, COUNT_SECONDS = 1, SLICES_AT_ONCE = 16 };

struct metrics {
    struct metrics_sources from;
    const char *listen;
    int64_t started;                    /* wall milliseconds */
    struct event_base *loop;
    struct http *door;                  /* NULL: its address could not be had yet */
    struct event *again;
    struct event *count;
    unsigned slice;                     /* of the clocks: the next to count */
    size_t counted;                     /* in the slices before */
};

bool metrics_health(const struct metrics_sources *from, struct text *ret)
{
    struct report_house house = { .store = from->hooks->store, .trace = from->hooks->trace, .tables_good = true };
    char why[WHY_SIZE] = "";

    if (from->hooks->status != NULL)
        from->hooks->status(from->hooks->self, &house.tables_good, why, sizeof(why));
    house.tables_why = why;
    if (report_health(from->engine, &house, ret) != EXIT_SUCCESS)
        return false;
    text_put(ret, "ok\n");
    return true;
}

static void turn(void *self, const char *path, struct http_answer *answer)
{
    const struct metrics *m = self;

    if (strcmp(path, "/metrics") == 0) {
        answer->code = HTTP_OK;
        answer->type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_print(&m->from, m->started, &answer->body);
    } else if (strcmp(path, "/healthz") == 0) {
        answer->code = metrics_health(&m->from, &answer->body) ? HTTP_OK : HTTP_SERVUNAVAIL;
    } else {
        text_put(&answer->body, "Not Found; there are /metrics and /healthz\n");
    }
}

static void open_door(struct metrics *m, int socket)
{
    m->door = http_open(m->loop, socket, &(struct http_pages){ .self = m, .turn = turn });
}

static void on_again(evutil_socket_t unused, short what, void *metrics)
{
    struct metrics *m = metrics;
    int socket;

    (void)unused, (void)what;
    if (!http_listen(m->listen, &socket, NULL))
        return;
    log_info("http: metrics and health are at %s now", m->listen);
    event_del(m->again);
    open_door(m, socket);
}

/* There may be more clocks than the loop has time to count at once. */
static void on_count(evutil_socket_t unused, short what, void *metrics)
{
    struct metrics *m = metrics;
    struct hold_slice some;
    int i;

    (void)unused, (void)what;
    for (i = 0; i < SLICES_AT_ONCE; i++) {
        holds_read(m->from.hooks->holds, m->slice, (int64_t)clock_wall(), &some);
        m->counted += some.count;
        hold_slice_done(&some);
        m->slice = (m->slice + 1) % HOLDS_SLICES;
        if (m->slice == 0) {
            m->from.holds = m->counted;
            m->counted = 0;
        }
    }
}

struct metrics *metrics_open(struct event_base *loop, const char *listen, int socket, const struct metrics_sources *from)
{
    struct timeval pause = { .tv_sec = AGAIN_SECONDS }, tick = { .tv_sec = COUNT_SECONDS };
    struct metrics *m;

    if (*listen == '\0')
        return NULL;
    m = mem_zero(sizeof(*m));
    *m = (struct metrics){ .from = *from, .listen = listen, .started = clock_wall_ms(), .loop = loop };
    m->again = event_new(loop, -1, EV_PERSIST, on_again, m);
    m->count = event_new(loop, -1, EV_PERSIST, on_count, m);
    if (m->again == NULL || m->count == NULL)
        mem_out();
    if (from->hooks->holds != NULL)
        event_add(m->count, &tick);
    if (socket >= 0)
        open_door(m, socket);
    else
        event_add(m->again, &pause);
    return m;
}

void metrics_close(struct metrics *m)
{
    if (m == NULL)
        return;
    http_close(m->door);
    event_free(m->again);
    event_free(m->count);
    free(m);
}
