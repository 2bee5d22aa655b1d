#include "base/log.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/ring.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/*
 * Who speaks makes the line, and in the daemon a thread of its own writes it, so that no mail waits for a disk, nor for a
 * syslog that hangs. Between log_start() and log_stop():
 *
 *   log_info() ... ─► hand_over() ─► waiting ─► writer_body() ─► write_out()
 *
 * 1. Lines are written in the order in which they were handed over, whoever did it.
 * 2. The first line after a silence is written at once. While they keep coming they gather for GATHER_MS, so that nobody has
 *    to wake the writer for each.
 * 3. Who finds no room waits while the writer gets on, but never longer than PATIENCE_MS. From then on lines are dropped, and
 *    nobody waits, until half of the room is free; then one line tells of them.
 * 4. Nothing is written or allocated under the lock. So who ends the process for want of memory never holds it, and may wait
 *    in log_flush() until all is written that was said.
 */
enum { SAY_AGAIN_MS = 60 * 1000, LINE_SIZE = 2048, WAITING_SIZE = 1024 * 1024, BATCH_SIZE = 16 * 1024, GATHER_MS = 3,
       PATIENCE_MS = 1000, LAST_WORDS_MS = 2000, LOOK_MS = 50 };

/* Whoever wakes the writer says so here, for all others. */
enum writer { WRITER_WOKEN = 0, WRITER_SLEEPS, WRITER_GATHERS, WRITER_WRITES };

static const struct {
    const char *word;
    int priority;
} levels[] = {
    [LOG_LEVEL_ERROR] = { "error", LOG_ERR },
    [LOG_LEVEL_WARNING] = { "warning", LOG_WARNING },
    [LOG_LEVEL_INFO] = { "info", LOG_INFO },
    [LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

static const struct {
    const char *word;
    int code;
} facilities[] = {
    { "mail", LOG_MAIL },     { "daemon", LOG_DAEMON }, { "user", LOG_USER },     { "local0", LOG_LOCAL0 },
    { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 }, { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 },
    { "local5", LOG_LOCAL5 }, { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },
};

static bool to_syslog;                      /* written before threads start */
static char heads[COUNT_OF(levels)][64] = { "danelaw: error: ", "danelaw: warning: ", "danelaw: ", "danelaw: debug: " };
static _Atomic int loudest = LOG_LEVEL_INFO;

/* All guarded by lock, but for moved_at, which is atomic. */
static char room[WAITING_SIZE];
static struct {
    struct mutex lock;
    struct signal work, moved;              /* to the writer; by it */
    struct ring waiting;
    pthread_t thread;
    enum writer writer;
    bool running, stopping, dropping;
    uint64_t handed, taken, written;        /* lines since the start */
    uint64_t dropped;                       /* lines since dropped_since, while dropping */
    int64_t dropped_since;
    _Atomic int64_t moved_at;               /* when a write began, or got on */
} queue = { .lock = { PTHREAD_MUTEX_INITIALIZER } };

static void make_heads(const char *program)
{
    size_t i;

    for (i = 0; i < COUNT_OF(levels); i++) {
        if (to_syslog)                      /* it writes such by itself */
            heads[i][0] = '\0';
        else
            snprintf(heads[i], sizeof(heads[i]), "%s: %s%s", program, i == LOG_LEVEL_INFO ? "" : levels[i].word,
                     i == LOG_LEVEL_INFO ? "" : ": ");
    }
}

bool log_open(const char *program, bool syslog_wanted, const char *facility)
{
    static char name[32];
    size_t i;

    snprintf(name, sizeof(name), "%s", program);
    to_syslog = false;
    for (i = 0; syslog_wanted && i < COUNT_OF(facilities); i++) {
        if (strcmp(facilities[i].word, facility) != 0)
            continue;
        openlog(name, LOG_PID | LOG_NDELAY, facilities[i].code);
        to_syslog = true;
    }
    make_heads(name);
    return to_syslog == syslog_wanted;
}

void log_set_level(enum log_level level)
{
    atomic_store(&loudest, (int)level);
}

bool log_level_parse(const char *word, enum log_level *ret)
{
    size_t i;

    for (i = 0; i < COUNT_OF(levels); i++) {
        if (strcmp(levels[i].word, word) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Whole lines in one write, so that those of several processes mix as little as can be. */
static void write_all(const char *lines, size_t length)
{
    struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
    ssize_t some;

    while (length > 0) {
        some = write(STDERR_FILENO, lines, length);
        atomic_store(&queue.moved_at, clock_ms());
        if (some >= 0) {
            lines += some;
            length -= (size_t)some;
        } else if (errno == EAGAIN) {
            poll(&out, 1, -1);
        } else if (errno != EINTR) {
            return;                         /* nobody is left to tell */
        }
    }
}

/* For standard error one line or more, with their ends; for syslog one, without. */
static void write_out(enum log_level level, const char *lines, size_t length)
{
    if (to_syslog)
        syslog(levels[level].priority, "%.*s", (int)length, lines);
    else
        write_all(lines, length);
}

/* The writer */

/* As much as may be written at once. */
static size_t take_locked(enum log_level *ret_level, char *ret_lines, size_t size) HOLDING(&queue.lock)
{
    size_t length = 0, one;
    uint8_t level = 0;

    while ((length == 0 || !to_syslog) &&
           ring_take(&queue.waiting, &level, ret_lines + length, size - length, &one)) {
        length += one;
        queue.taken++;
    }
    *ret_level = (enum log_level)level;
    return length;
}

/* In the place of what was dropped, as soon as there is room for more than a few lines behind it. */
static void tell_dropped_locked(void) HOLDING(&queue.lock)
{
    char line[256];
    int length;

    if (!queue.dropping || queue.waiting.used > WAITING_SIZE / 2)
        return;
    length = snprintf(line, sizeof(line), "%slog: %llu lines of the last %lld seconds could not be written%s",
                      heads[LOG_LEVEL_WARNING], (unsigned long long)queue.dropped,
                      (long long)(clock_ms() - queue.dropped_since + 999) / 1000, to_syslog ? "" : "\n");
    ring_put(&queue.waiting, LOG_LEVEL_WARNING, line, (uint16_t)length);
    queue.handed++;
    queue.dropping = false;
}

/* True: there are lines; false: there are none, and there will be no more. */
static bool await_lines_locked(void) HOLDING(&queue.lock)
{
    if (!queue.stopping && queue.waiting.used < (to_syslog ? 1 : BATCH_SIZE)) {
        queue.writer = WRITER_GATHERS;
        signal_wait_until(&queue.work, &queue.lock, clock_ms() + GATHER_MS);
    }
    while (!queue.stopping && queue.waiting.used == 0) {
        queue.writer = WRITER_SLEEPS;
        signal_wait(&queue.work, &queue.lock);
    }
    return queue.waiting.used > 0;
}

static void *writer_body(void *none)
{
    static char lines[BATCH_SIZE];
    enum log_level level;
    size_t length;

    mutex_lock(&queue.lock);
    while (await_lines_locked()) {
        length = take_locked(&level, lines, sizeof(lines));
        tell_dropped_locked();
        queue.writer = WRITER_WRITES;
        atomic_store(&queue.moved_at, clock_ms());
        signal_all(&queue.moved);           /* there is room now */
        mutex_unlock(&queue.lock);
        write_out(level, lines, length);
        mutex_lock(&queue.lock);
        queue.written = queue.taken;
        signal_all(&queue.moved);
    }
    queue.running = false;
    signal_all(&queue.moved);
    mutex_unlock(&queue.lock);
    return none;
}

void log_start(void)
{
    queue.waiting = (struct ring){ .memory = room, .size = sizeof(room) };
    signal_init(&queue.work);
    signal_init(&queue.moved);
    queue.handed = queue.taken = queue.written = 0;
    queue.stopping = false;
    thread_start(&queue.thread, "log", writer_body, NULL);
    mutex_lock(&queue.lock);
    queue.running = true;                   /* not before: a start that fails wants to be told */
    mutex_unlock(&queue.lock);
}

/* Those who wait for the writer */

static bool is_stuck_locked(void) HOLDING(&queue.lock)
{
    return queue.writer == WRITER_WRITES && clock_ms() >= atomic_load(&queue.moved_at) + PATIENCE_MS;
}

/* Until the writer has moved, or a little while. */
static void await_move_locked(void) HOLDING(&queue.lock)
{
    signal_wait_until(&queue.moved, &queue.lock, clock_ms() + LOOK_MS);
}

/* Room for a line, or else it is dropped; or there is no writer any more. */
static void make_room_locked(size_t length) HOLDING(&queue.lock)
{
    int64_t until = clock_ms() + PATIENCE_MS;

    while (queue.running && !queue.dropping && !ring_fits(&queue.waiting, length)) {
        if (clock_ms() < until && !is_stuck_locked()) {
            await_move_locked();
            continue;
        }
        queue.dropping = true;
        queue.dropped = 0;
        queue.dropped_since = clock_ms();
    }
}

/* True: the writer, who may be gathering lines, is to be woken for this. */
static bool put_locked(enum log_level level, const char *line, size_t length) HOLDING(&queue.lock)
{
    bool hurry;

    ring_put(&queue.waiting, (uint8_t)level, line, (uint16_t)length);
    queue.handed++;
    hurry = level <= LOG_LEVEL_WARNING || queue.waiting.used >= BATCH_SIZE;
    if (queue.writer != WRITER_SLEEPS && (queue.writer != WRITER_GATHERS || !hurry))
        return false;
    queue.writer = WRITER_WOKEN;
    return true;
}

/* False: there is no writer. */
static bool hand_over(enum log_level level, const char *line, size_t length)
{
    bool running, wake = false;

    mutex_lock(&queue.lock);
    if (queue.running && !ring_fits(&queue.waiting, length))
        make_room_locked(length);
    running = queue.running;
    if (running && queue.dropping)
        queue.dropped++;
    else if (running)
        wake = put_locked(level, line, length);
    mutex_unlock(&queue.lock);
    if (wake)
        signal_one(&queue.work);
    return running;
}

void log_flush(void)
{
    int64_t until = clock_ms() + LAST_WORDS_MS;
    uint64_t last;

    mutex_lock(&queue.lock);
    last = queue.handed;
    while (queue.running && queue.written < last && clock_ms() < until && !is_stuck_locked())
        await_move_locked();
    mutex_unlock(&queue.lock);
}

void log_stop(void)
{
    bool ended;

    mutex_lock(&queue.lock);
    if (!queue.running) {
        mutex_unlock(&queue.lock);
        return;
    }
    queue.stopping = true;
    signal_one(&queue.work);
    while (queue.running && !is_stuck_locked())
        await_move_locked();
    ended = !queue.running;
    mutex_unlock(&queue.lock);
    if (ended)
        pthread_join(queue.thread, NULL);
    else
        pthread_detach(queue.thread);
}

/* Speaking */

static void say(enum log_level level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void say(enum log_level level, const char *format, va_list args)
{
    size_t head = strlen(heads[level]), length, most = LINE_SIZE - head - 2;
    UNCLEARED char line[LINE_SIZE];
    int body;

    if ((int)level > atomic_load(&loudest))
        return;
    memcpy(line, heads[level], head);
    body = vsnprintf(line + head, most + 1, format, args);
    if (body < 0)
        return;
    length = head + ((size_t)body < most ? (size_t)body : most);
    if (!to_syslog)
        line[length++] = '\n';
    if (!hand_over(level, line, length))
        write_out(level, line, length);
}

#define LOG_FUNCTION(function, level)           \
    void function(const char *format, ...)      \
    {                                           \
        va_list args;                           \
                                                \
        va_start(args, format);                 \
        say(level, format, args);               \
        va_end(args);                           \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

bool log_due(int64_t *said_at)
{
    int64_t now = clock_ms();
    bool due = *said_at == 0 || now >= *said_at + SAY_AGAIN_MS;

    if (due)
        *said_at = now;
    return due;
}
