/*
 * What the trace costs: noting a decision, writing it with few and with many rows there (rows a second, and the processor's time
 * for each row, which includes noting it and what the kernel does for it), and finding the first hundred rows of each filter. The file stays in DIRECTORY, so that a second run goes on from there.
 *
 * usage: trace DIRECTORY ROWS [MOST]     MOST: store.trace_rows; once more rows are there, old ones go as fast as new ones come
 */
#include "base/clock.h"
#include "base/memory.h"
#include "store/trace_search.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SAMPLE = 50000, PARTS = 5, STORM = 100 * 1000, STORM_MS = 3000, QUEUE_MOST = 8000, FIRST = 100,
    RECIPIENTS = 500 * 1000, DOMAINS = 50 * 1000, CONNECTORS = 200,
};

static const int64_t day_ms = 24 * 60 * 60 * 1000;

static struct store *store;
static struct trace *trace;
static uint64_t seed = 1;

static uint64_t chance(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* A few domains have most of the mail. */
static unsigned some_domain(void)
{
    return chance(3) > 0 ? (unsigned)chance(20) : (unsigned)chance(DOMAINS);
}

static void note(int64_t at)
{
    char id[32], from[80], to[80], connector[40];
    bool ours = chance(10) == 0, held = chance(1000) == 0;
    struct trace_row row = { .at = at, .where = "rcpt", .queue_id = id, .from = from, .to = to, .connector = connector,
                             .dane = "usable", .sts = "absent", .verdict = held ? "hold" : "deliver",
                             .reason = held ? "dane-required" : NULL, .route = ours ? "dane-mandatory" : NULL,
                             .policy = "dane-only", .took_ms = 1 };

    snprintf(id, sizeof(id), "4g%08llXz%04X", (unsigned long long)at & 0xffffffff, (unsigned)chance(65536));
    snprintf(from, sizeof(from), "user%u@home.example", (unsigned)chance(2000));
    snprintf(to, sizeof(to), "user%u@partner%u.example", (unsigned)chance(RECIPIENTS / 100), some_domain());
    snprintf(connector, sizeof(connector), ours ? "Partner %u" : "(default)", (unsigned)chance(CONNECTORS));
    trace_note(trace, &row);
}

static size_t waiting(void)
{
    struct trace_status now;

    trace_status(trace, &now);
    return now.waiting;
}

static void note_many(uint64_t count, int64_t at)
{
    uint64_t i;

    for (i = 0; i < count; i++) {
        while (i % 256 == 0 && waiting() > QUEUE_MOST)
            usleep(1000);
        note(at + (int64_t)(i / 5));                /* 5,000 a second */
    }
    while (waiting() > 0)
        usleep(1000);
}

static void measure_notes(void)
{
    int64_t begun = clock_ms();
    unsigned i, rounds = 20;
    int64_t spent = 0;

    for (i = 0; i < rounds; i++) {
        unsigned j;

        begun = clock_ms();
        for (j = 0; j < QUEUE_MOST; j++)
            note(clock_wall_ms() - day_ms);
        spent += clock_ms() - begun;
        while (waiting() > 0)
            usleep(1000);
    }
    printf("noting: %.2f us a row, on the asker's thread\n", (double)spent * 1000 / (rounds * QUEUE_MOST));
}

/* Microseconds of the processor, all threads. */
static double worked(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void measure_writing(const char *when, uint64_t count, int64_t at)
{
    uint64_t done, part = count / PARTS > SAMPLE ? count / PARTS : count;
    struct trace_status status;
    int64_t begun;
    double before;

    for (done = 0; done < count; done += part) {
        begun = clock_ms();
        before = worked();
        note_many(part, at + (int64_t)(done / 5));
        printf("writing, %s: %8.0f rows a second, %5.2f us of the processor a row\n", when,
               (double)part * 1000 / (double)(clock_ms() - begun + 1), (worked() - before) / (double)part);
    }
    trace_status(trace, &status);
    if (status.dropped > 0)
        printf("dropped: %llu rows\n", (unsigned long long)status.dropped);
}

/* As fast as decisions could ever come: does the queue hold until the writer has them? */
static void measure_storm(void)
{
    int64_t begun = clock_ms(), now;
    struct trace_status before, after;
    size_t noted = 0, most = 0;

    trace_status(trace, &before);
    while ((now = clock_ms()) < begun + STORM_MS) {
        for (; noted < (size_t)(now - begun) * (STORM / 1000); noted++)
            note(clock_wall_ms());
        most = waiting() > most ? waiting() : most;
        usleep(500);
    }
    while (waiting() > 0)
        usleep(1000);
    trace_status(trace, &after);
    printf("%d decisions a second: %zu waited at most, %llu dropped\n", STORM, most,
           (unsigned long long)(after.dropped - before.dropped));
}

static void count_row(void *self, const struct trace_row *row)
{
    (void)row;
    ++*(size_t *)self;
}

static void measure_filter(const char *name, struct trace_filter filter)
{
    int64_t begun = clock_ms();
    struct trace_search *search;
    size_t found = 0, batches = 0;
    struct fault why;
    bool end = false;

    filter.limit = FIRST;
    search = trace_search_new(store, NULL, &filter);
    while (!end && trace_search_next(search, NULL, count_row, &found, &end, &why))
        batches++;
    printf("%-34s %3zu rows in %5lld ms, %zu batches\n", name, found, (long long)(clock_ms() - begun), batches);
    trace_search_free(search);
}

static void measure_filters(void)
{
    int64_t now = clock_wall_ms();

    measure_filter("nothing", (struct trace_filter){ 0 });
    measure_filter("--since 24h", (struct trace_filter){ .since_ms = now - 86400000 });
    measure_filter("--to, 20 domains' worth", (struct trace_filter){ .to = "USER7@partner3.example" });
    measure_filter("--to, rare", (struct trace_filter){ .to = "user7@partner30003.example" });
    measure_filter("--to, never", (struct trace_filter){ .to = "nobody@partner3.example" });
    measure_filter("--domain, big", (struct trace_filter){ .domain = "partner3.example" });
    measure_filter("--domain, rare", (struct trace_filter){ .domain = "partner30003.example" });
    measure_filter("--connector", (struct trace_filter){ .connector = "Partner 7" });
    measure_filter("--connector (default)", (struct trace_filter){ .connector = "(default)" });
    measure_filter("--queue-id, never", (struct trace_filter){ .queue_id = "4gNOBODY" });
    measure_filter("--verdict hold", (struct trace_filter){ .verdict = "hold" });
    measure_filter("--verdict deliver", (struct trace_filter){ .verdict = "deliver" });
    measure_filter("--verdict bounce (never)", (struct trace_filter){ .verdict = "bounce" });
    measure_filter("--domain, big --verdict hold", (struct trace_filter){ .domain = "partner3.example", .verdict = "hold" });
    measure_filter("--domain, big --connector", (struct trace_filter){ .domain = "partner3.example", .connector = "Partner 7" });
    measure_filter("--domain, rare --connector", (struct trace_filter){ .domain = "partner30003.example", .connector = "Partner 7" });
}

static void show_size(const char *directory)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof(path), "%s/danelaw.db", directory);
    if (stat(path, &st) == 0)
        printf("file: %lld MB\n", (long long)st.st_size / 1024 / 1024);
}

int main(int argc, char **argv)
{
    struct settings set = { 0 };
    uint64_t rows;

    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: trace DIRECTORY ROWS [MOST]\n");
        return 2;
    }
    rows = strtoull(argv[2], NULL, 10);
    set.store.directory = argv[1];
    store = store_open(&set);
    trace = trace_open(store, 3650, argc == 4 ? strtoull(argv[3], NULL, 10) : 1000 * 1000 * 1000);
    measure_notes();
    measure_writing("as it was found        ", SAMPLE, clock_wall_ms() - (int64_t)(rows / 5) - SAMPLE / 5);
    measure_writing("the rows asked for     ", rows, clock_wall_ms() - (int64_t)(rows / 5));
    measure_writing("with the rows asked for", SAMPLE, clock_wall_ms());
    measure_storm();
    show_size(argv[1]);
    measure_filters();
    trace_close(trace);
    store_close(store);
    return 0;
}
