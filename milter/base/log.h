#ifndef DANELAW_BASE_LOG_H
#define DANELAW_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Where the log goes: syslog with a facility, or standard error. Call before threads start; log_set_level any time. */
bool log_open(const char *program, bool to_syslog, const char *facility);
void log_set_level(enum log_level level);
bool log_level_parse(const char *word, enum log_level *ret);

/*
 * From log_start() on lines are written by a thread of their own; before it by who speaks. After the last fork, before other
 * threads. log_stop() when they have ended: returns when all is written, or when for a second nothing could be; does nothing
 * where there was no start.
 */
void log_start(void);
void log_stop(void);
/* For who is about to end the process: waits until all that has been said is written, at most two seconds. Any thread. */
void log_flush(void);

/*
 * One line, in words for an administrator. Any thread. After log_start() it waits only where a megabyte of lines is yet to be
 * written, and never longer than a second: then lines are dropped, and a later line counts them.
 */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For what may happen many times a second: true at first, and then a minute after the last time that it was. One thread; *said_at
   begins with 0. */
bool log_due(int64_t *said_at);

#endif
