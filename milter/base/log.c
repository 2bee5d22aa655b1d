#include "base/log.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

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

enum { SAY_AGAIN_MS = 60 * 1000 };

static bool to_syslog;                      /* written before threads start */
static char name[32] = "danelaw";
static _Atomic int loudest = LOG_LEVEL_INFO;

bool log_open(const char *program, bool syslog_wanted, const char *facility)
{
    size_t i;

    snprintf(name, sizeof(name), "%s", program);
    to_syslog = false;
    if (!syslog_wanted)
        return true;
    for (i = 0; i < COUNT_OF(facilities); i++) {
        if (strcmp(facilities[i].word, facility) != 0)
            continue;
        openlog(name, LOG_PID | LOG_NDELAY, facilities[i].code);
        to_syslog = true;
        return true;
    }
    return false;
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

/* To standard error in one write, so that lines of several threads never mix. */
static void say(enum log_level level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void say(enum log_level level, const char *format, va_list args)
{
    char line[2048];
    int head, body;
    size_t length;
    ssize_t told;

    if ((int)level > atomic_load(&loudest))
        return;
    if (to_syslog) {
        vsyslog(levels[level].priority, format, args);
        return;
    }
    head = snprintf(line, sizeof(line), "%s: %s%s", name, level == LOG_LEVEL_INFO ? "" : levels[level].word,
                    level == LOG_LEVEL_INFO ? "" : ": ");
    if (head < 0)
        return;
    body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
    if (body < 0)
        return;
    length = strlen(line);
    line[length++] = '\n';
    told = write(STDERR_FILENO, line, length);
    (void)told;                             /* nobody is left to tell */
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
