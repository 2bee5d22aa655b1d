#ifndef DANELAW_BASE_THREAD_H
#define DANELAW_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What clang's -Wthread-safety checks for us; gcc reads them as nothing. */
#ifdef __clang__
#define THREAD_NOTE(note) __attribute__((note))
#else
#define THREAD_NOTE(note)
#endif
#define CAPABILITY(name) THREAD_NOTE(capability(name))
#define GUARDED_BY(lock)        /* for readers: clang can't yet name one member of a C struct from another */
#define ACQUIRES(...) THREAD_NOTE(acquire_capability(__VA_ARGS__))
#define RELEASES(...) THREAD_NOTE(release_capability(__VA_ARGS__))
#define HOLDING(...) THREAD_NOTE(requires_capability(__VA_ARGS__))
#define UNCHECKED THREAD_NOTE(no_thread_safety_analysis)

struct CAPABILITY("mutex") mutex {
    pthread_mutex_t raw;
};

/* A condition on the monotonic clock. */
struct signal {
    pthread_cond_t raw;
};

void mutex_init(struct mutex *m);
void mutex_done(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRES(m);
void mutex_unlock(struct mutex *m) RELEASES(m);

void signal_init(struct signal *s);
void signal_done(struct signal *s);
void signal_one(struct signal *s);
void signal_all(struct signal *s);
void signal_wait(struct signal *s, struct mutex *m) HOLDING(m);
/* Until signalled or until clock_ms() reaches until_ms; false: the time is up. Either may also end early: look again. */
bool signal_wait_until(struct signal *s, struct mutex *m, int64_t until_ms) HOLDING(m);

/* Starts a thread with every signal blocked, so that signals stay with those who wait for them; ends the process on failure. */
void thread_start(pthread_t *ret, const char *name, void *(*body)(void *), void *argument);

#endif
