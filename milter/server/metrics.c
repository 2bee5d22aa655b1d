#include "server/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/http.h"
#include "server/report.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN_SECONDS = 30, WHY_SIZE = 512 };

struct metrics {
    struct metrics_sources from;
    const char *listen;
    int64_t started;                    /* wall milliseconds */
    struct event_base *loop;
    struct http *door;                  /* NULL: its address could not be had yet */
    struct event *again;
};

bool metrics_health(const struct metrics_sources *from, struct text *ret)
{
    struct report_house house = { .store = from->hooks->store, .tables_good = true };
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
        answer->code = HTTP_GOOD;
        answer->type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_print(&m->from, m->started, &answer->body);
    } else if (strcmp(path, "/healthz") == 0) {
        answer->code = metrics_health(&m->from, &answer->body) ? HTTP_GOOD : HTTP_UNAVAILABLE;
    } else if (strcmp(path, "/") == 0) {
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

struct metrics *metrics_open(struct event_base *loop, const char *listen, int socket, const struct metrics_sources *from)
{
    struct timeval pause = { .tv_sec = AGAIN_SECONDS };
    struct metrics *m;

    if (*listen == '\0')
        return NULL;
    m = mem_zero(sizeof(*m));
    *m = (struct metrics){ .from = *from, .listen = listen, .started = clock_wall_ms(), .loop = loop };
    m->again = event_new(loop, -1, EV_PERSIST, on_again, m);
    if (m->again == NULL)
        mem_out();
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
    free(m);
}
