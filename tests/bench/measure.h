#ifndef DANELAW_TESTS_BENCH_MEASURE_H
#define DANELAW_TESTS_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the load generators share: times, who is written to, sockets. They end the process where something is wrong. */

int64_t now_ns(void);                           /* monotonic */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Many times, in microseconds. */
struct series {
    uint32_t *us;
    size_t count, room;
};

void series_add(struct series *s, int64_t ns);
/* Sorts, and prints {"p50":1,"p90":2,"p99":3,"p999":4}; all 0 where there is none. */
void series_print(struct series *s);

/* Numbers from 0 to count - 1: one after the other, all as often, or by Zipf's law (the k-th a k-th as often as the first). */
struct choice {
    size_t count;
    double *until;                              /* NULL: all as often */
    bool in_order;                              /* the caller's wish */
    size_t next;
    uint64_t seed;
};

void choice_open(struct choice *c, size_t count, bool zipf, uint64_t seed);
size_t choice_take(struct choice *c);
/* Writes pattern with # replaced by a number. */
void pattern_fill(const char *pattern, size_t number, char *ret, size_t size);

/* A stream socket to a path that does not block once it is there; waits while the listener's queue is full. */
int stream_to(const char *path);
int listen_at(const char *path);
void raise_descriptors(void);                   /* to what the system allows */

/* Octets that came in and are not used up yet. */
struct inbox {
    uint8_t *bytes;
    size_t count, room;
};

/* Reads what is there; false: the other end has closed. */
bool inbox_read(struct inbox *in, int fd);
void inbox_use(struct inbox *in, size_t count);
/* Few octets at a time, so that they always fit into the socket. */
void send_all(int fd, const void *bytes, size_t count);

#endif
