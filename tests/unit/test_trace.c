/*
 * The trace on the real SQLite, each test in a folder of its own. What needs a disk that is full or read-only mounts one in a
 * private mount namespace, and skips itself where we may not.
 */
#include "store/trace_search.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/policies.h"
#include "store/trace_item.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, ROWS_MOST = 40000, DAYS = 30, PLENTY = 10 * 1000 * 1000 };

static const int64_t day_ms = 24 * 60 * 60 * 1000;

/* Time: the real one, and what a test adds to it; and what is said loudly */

static _Atomic int64_t ahead;
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[64 * 1024];

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);
void __wrap_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void __wrap_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + ahead;
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - ahead);
}

static void hear(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static void hear(const char *format, va_list args)
{
    size_t length;

    pthread_mutex_lock(&said_lock);
    length = strlen(said);
    vsnprintf(said + length, sizeof(said) - length - 1, format, args);
    strcat(said, "\n");
    pthread_mutex_unlock(&said_lock);
}

void __wrap_log_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hear(format, args);
    va_end(args);
}

void __wrap_log_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hear(format, args);
    va_end(args);
}

static int heard(const char *words)
{
    const char *at = said;
    int count = 0;

    pthread_mutex_lock(&said_lock);
    for (; (at = strstr(at, words)) != NULL; at++)
        count++;
    pthread_mutex_unlock(&said_lock);
    return count;
}

/* A folder, and what runs in it */

static char base[256], folder[300];
static struct settings settings;
static struct store *store;
static struct policies *policies;
static struct trace *trace;

static void path_of(const char *name, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s", folder, name);
}

static void open_with(uint64_t days, uint64_t most)
{
    settings.store.directory = folder;
    store = store_open(&settings);
    policies = policies_open(store, 1000, (int64_t)clock_wall());
    trace = trace_open(store, days, most);
}

static void open_for(uint64_t days)
{
    open_with(days, PLENTY);
}

static void open_all(void)
{
    open_for(DAYS);
}

static void close_all(void)
{
    trace_close(trace);
    policies_close(policies);
    store_close(store);
    trace = NULL;
    policies = NULL;
    store = NULL;
}

static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *found;
    char inner[1024];

    if (dir == NULL)
        return;
    while ((found = readdir(dir)) != NULL) {
        snprintf(inner, sizeof(inner), "%s/%s", path, found->d_name);
        if (found->d_name[0] != '.' && unlink(inner) != 0)
            rmdir(inner);
    }
    closedir(dir);
}

static int begin(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(base, sizeof(base), "%s/trace.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(base) == NULL)
        return -1;
    snprintf(folder, sizeof(folder), "%s", base);
    said[0] = '\0';
    ahead = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    close_all();
    if (strcmp(folder, base) != 0) {
        umount2(folder, MNT_DETACH);
        rmdir(folder);
    }
    empty_folder(base);
    return rmdir(base);
}

static void mount_disk(const char *size)
{
    char options[64];

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        skip();
    snprintf(folder, sizeof(folder), "%s/disk", base);
    snprintf(options, sizeof(options), "size=%s", size);
    assert_int_equal(mkdir(folder, 0700), 0);
    if (mount("tmpfs", folder, "tmpfs", 0, options) != 0) {
        rmdir(folder);
        snprintf(folder, sizeof(folder), "%s", base);
        skip();
    }
}

static void fill_disk(void)
{
    static char block[1024];
    char path[400];
    int fd;

    path_of("filler", path, sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void free_disk(void)
{
    char path[400];

    path_of("filler", path, sizeof(path));
    assert_int_equal(unlink(path), 0);
}

static void scribble(void)
{
    char path[400], garbage[8192];
    int fd;

    memset(garbage, 0x5a, sizeof(garbage));
    path_of("danelaw.db", path, sizeof(path));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, garbage, sizeof(garbage), 0), sizeof(garbage));
    close(fd);
}

/* The first number that comes of it, past the store; -1: none, or it can't be had. */
static int64_t sql(const char *words)
{
    sqlite3_stmt *statement = NULL;
    int64_t answer = -1;
    char path[400];
    sqlite3 *db;

    path_of("danelaw.db", path, sizeof(path));
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, WAIT_MS);
        if (sqlite3_prepare_v2(db, words, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
            answer = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return answer;
}

static void pause_ms(long ms)
{
    struct timespec span = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&span, NULL);
}

static struct trace_status status(void)
{
    struct trace_status now;

    trace_status(trace, &now);
    return now;
}

static void settle(void)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (status().waiting > 0 && __real_clock_ms() < until)
        pause_ms(5);
    assert_int_equal(status().waiting, 0);
}

/* How many rows are in the file as the trace reckons. */
static int64_t rows_known(void)
{
    return sql("SELECT rows + (SELECT count(*) FROM trace WHERE at > upto) FROM trace_size");
}

/* Until the table has so many rows. */
static void until_rows(int64_t count)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (sql("SELECT count(*) FROM trace") != count && __real_clock_ms() < until)
        pause_ms(20);
    assert_int_equal(sql("SELECT count(*) FROM trace"), count);
    assert_int_equal(rows_known(), count);
}

static bool store_is_good(void)
{
    struct store_status now;

    store_status(store, &now);
    return now.good;
}

static struct trace_row plain_row(int64_t at)
{
    return (struct trace_row){ .at = at, .where = "rcpt", .queue_id = "4gQ", .from = "al@home.example", .to = "bo@bank.example",
                               .connector = "Bank", .dane = "usable", .sts = "absent", .verdict = "deliver",
                               .route = "dane-mandatory", .policy = "dane-only", .took_ms = 3 };
}

static void note(int64_t at)
{
    struct trace_row row = plain_row(at);

    trace_note(trace, &row);
}

/* Until some more rows are in the file, whatever the store has to do for it first. */
static void until_written_again(void)
{
    int64_t until = __real_clock_ms() + WAIT_MS;
    uint64_t before = status().written;

    while (status().written == before && __real_clock_ms() < until) {
        ahead += 1000;
        note(clock_wall_ms());
        pause_ms(20);
    }
    assert_true(status().written > before);
}

static void until_dropping(void)
{
    int64_t until = __real_clock_ms() + WAIT_MS;
    uint64_t before = status().dropped;

    while (status().dropped == before && __real_clock_ms() < until) {
        ahead += 1000;
        note(clock_wall_ms());
        pause_ms(20);
    }
    assert_true(status().dropped > before);
}

static void keep_policy(const char *name)
{
    static const char body[] = "version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 604800\n";
    struct sts_policy *policy;
    struct domain domain;

    assert_true(domain_parse(name, &domain, NULL));
    assert_true(sts_policy_parse(body, strlen(body), &policy, NULL));
    assert_true(policies_put(policies, &domain, "1", policy, body, strlen(body), (int64_t)clock_wall()));
    sts_policy_unref(policy);
}

static void until_policies(int64_t count)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (sql("SELECT count(*) FROM policies") != count && __real_clock_ms() < until)
        pause_ms(20);
    assert_int_equal(sql("SELECT count(*) FROM policies"), count);
}

/* What was found, in its order. */
static struct {
    int64_t at[ROWS_MOST];
    char to[80];                                    /* of the last */
    size_t count, batches;
    bool (*check)(const struct trace_row *row);     /* or NULL */
} found;

static void find_row(void *self, const struct trace_row *row)
{
    (void)self;
    assert_true(found.count < ROWS_MOST);
    assert_true(found.check == NULL || found.check(row));
    snprintf(found.to, sizeof(found.to), "%s", row->to == NULL ? "" : row->to);
    found.at[found.count++] = row->at;
}

static size_t find(struct trace_filter filter)
{
    struct trace_search *search;
    struct fault why = { "" };
    bool last = false;

    found.count = found.batches = 0;
    if (filter.limit == 0)
        filter.limit = ROWS_MOST;
    search = trace_search_new(store, NULL, &filter);
    while (!last) {
        assert_true(trace_search_next(search, NULL, find_row, NULL, &last, &why));
        found.batches++;
    }
    trace_search_free(search);
    return found.count;
}

/* The tests */

static const struct trace_row odd = {
    .at = 1700000000123, .where = "rcpt", .queue_id = "4gQ", .from = "", .to = "bo@bank.example", .connector = "B\xc3\xb6rse \xff",
    .shadow = true, .dane = "absent", .sts = "enforce", .verdict = "hold", .reason = "dane-required",
    .route = "dane-mandatory", .policy = NULL, .took_ms = 17,
};

static bool is_odd(const struct trace_row *row)
{
    json_t *item = trace_item(row);
    char *line = json_dumps(item, JSON_COMPACT);

    assert_string_equal(line, "{\"time\":\"2023-11-14T22:13:20.123Z\",\"where\":\"rcpt\",\"queue_id\":\"4gQ\",\"from\":\"\","
                              "\"to\":\"bo@bank.example\",\"connector\":\"B??rse ?\",\"shadow\":true,\"dane\":\"absent\","
                              "\"sts\":\"enforce\",\"verdict\":\"hold\",\"reason\":\"dane-required\","
                              "\"route\":\"dane-mandatory\",\"policy\":null,\"took_ms\":17}");
    free(line);
    json_decref(item);
    return true;
}

static void a_row_comes_back_as_it_was_noted(void **state)
{
    (void)state;
    open_for(3650);
    trace_note(trace, &odd);
    settle();
    found.check = is_odd;
    assert_int_equal(find((struct trace_filter){ 0 }), 1);
    found.check = NULL;
    close_all();
    open_for(3650);
    assert_int_equal(find((struct trace_filter){ 0 }), 1);
    assert_string_equal(said, "");
}

static void what_a_dead_daemon_left_can_be_read(void **state)
{
    struct trace_filter filter = { .limit = 10 };
    struct trace_search *search;
    struct fault why;
    bool last;

    (void)state;
    open_all();
    note(clock_wall_ms());
    close_all();
    found.count = 0;
    search = trace_search_new(NULL, folder, &filter);
    assert_true(trace_search_next(search, NULL, find_row, NULL, &last, &why));
    assert_true(last);
    assert_int_equal(found.count, 1);
    trace_search_free(search);
    search = trace_search_new(NULL, "/nowhere", &filter);
    assert_false(trace_search_next(search, NULL, find_row, NULL, &last, &why));
    assert_true(why.text[0] != '\0');
    trace_search_free(search);
}

static void rows_of_one_moment_all_have_their_place(void **state)
{
    int64_t now = clock_wall_ms();
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < 5000; i++)
        note(now);
    note(now - 60000);                              /* told late, or by a clock that was set back */
    for (i = 0; i < 100; i++)
        note(now - 60000);
    settle();
    assert_int_equal(status().dropped, 0);
    until_rows(5101);
    assert_int_equal(find((struct trace_filter){ 0 }), 5101);
    assert_true(found.batches > 10);
    for (i = 1; i < found.count; i++)
        assert_true(found.at[i] <= found.at[i - 1]);
    assert_in_range(found.at[5099], now - 60000, now - 60000 + 5);
}

static void add_mixed_rows(int64_t now)
{
    struct trace_row row = plain_row(now);

    trace_note(trace, &row);                        /* the newest */
    row.at = now - 1000;
    row.to = "Carol@Bank.example";
    row.queue_id = "4gR";
    row.verdict = "hold";
    trace_note(trace, &row);
    row.at = now - 2000;
    row.where = "map";
    row.to = "[bank.example]:587";
    row.queue_id = NULL;
    row.from = NULL;
    row.connector = "(default)";
    row.verdict = "pass";
    trace_note(trace, &row);
    row.at = now - 3600 * 1000;
    row.where = "rcpt";
    row.to = "bo@shop.example";
    row.verdict = "bounce";
    trace_note(trace, &row);
    settle();
}

static void each_filter_finds_its_rows(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    open_all();
    add_mixed_rows(now);
    assert_int_equal(find((struct trace_filter){ 0 }), 4);
    assert_string_equal(found.to, "bo@shop.example");
    assert_int_equal(find((struct trace_filter){ .limit = 2 }), 2);
    assert_string_equal(found.to, "Carol@Bank.example");
    assert_int_equal(find((struct trace_filter){ .since_ms = now - 60000 }), 3);
    assert_int_equal(find((struct trace_filter){ .since_ms = now + 60000 }), 0);
    assert_int_equal(find((struct trace_filter){ .to = "CAROL@bank.example" }), 1);
    assert_int_equal(find((struct trace_filter){ .to = "[bank.example]:587" }), 1);
    assert_int_equal(find((struct trace_filter){ .to = "%" }), 0);
    assert_int_equal(find((struct trace_filter){ .domain = "bank.example" }), 3);
    assert_int_equal(find((struct trace_filter){ .domain = "shop.example" }), 1);
    assert_int_equal(find((struct trace_filter){ .connector = "Bank" }), 2);
    assert_int_equal(find((struct trace_filter){ .connector = "(default)" }), 2);
    assert_int_equal(find((struct trace_filter){ .connector = "bank" }), 0);
    assert_int_equal(find((struct trace_filter){ .queue_id = "4gR" }), 1);
    assert_int_equal(find((struct trace_filter){ .verdict = "hold" }), 1);
    assert_int_equal(find((struct trace_filter){ .verdict = "deliver" }), 1);
    assert_int_equal(find((struct trace_filter){ .verdict = "pass" }), 1);
    assert_int_equal(find((struct trace_filter){ .verdict = "bounce", .domain = "bank.example" }), 0);
    assert_int_equal(find((struct trace_filter){ .verdict = "hold", .domain = "bank.example", .connector = "Bank",
                                                 .to = "carol@bank.example", .queue_id = "4gR" }), 1);
    assert_int_equal(find((struct trace_filter){ .verdict = "bounce", .since_ms = now - 60000 }), 0);
}

static void a_long_search_comes_back_now_and_then(void **state)
{
    struct trace_filter filter = { .queue_id = "4gQ", .verdict = "hold", .limit = 10 };     /* each run of rows has both */
    const atomic_bool unwanted = true;
    struct trace_search *search;
    struct fault why;
    bool last = true;
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < 20000; i++) {
        note(clock_wall_ms());
        if (i % 100 == 0)
            trace_note(trace, &(struct trace_row){ .at = clock_wall_ms(), .queue_id = "4gR", .verdict = "hold" });
        if (i % 4000 == 0)
            settle();
    }
    settle();
    assert_int_equal(find(filter), 0);
    assert_true(found.batches > 2);
    search = trace_search_new(store, NULL, &filter);
    assert_true(trace_search_next(search, &unwanted, find_row, NULL, &last, &why));
    assert_false(last);
    trace_search_free(search);
}

static void old_rows_go(void **state)
{
    int64_t now = clock_wall_ms();
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < 2500; i++)
        note(now - (DAYS + 1) * day_ms);
    for (i = 0; i < 10; i++)
        note(now - (DAYS - 1) * day_ms);
    settle();
    trace_tend(trace, now);
    until_rows(10);
}

static void without_days_there_is_no_trace(void **state)
{
    (void)state;
    open_all();
    note(clock_wall_ms());
    close_all();
    open_for(0);
    note(clock_wall_ms());
    until_rows(0);
    assert_int_equal(status().written + status().dropped + status().waiting, 0);
}

static void the_oldest_make_room_where_there_are_too_many(void **state)
{
    int64_t now = clock_wall_ms();
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < 3000; i++)
        note(now - 3000 + (int64_t)i);
    settle();
    close_all();
    open_with(DAYS, 800);
    until_rows(800);
    find((struct trace_filter){ 0 });
    assert_int_equal(found.at[0], now - 1);
    assert_int_equal(found.at[799], now - 800);
}

static void at_the_limit_all_stay_and_past_it_the_oldest_go(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    open_with(DAYS, 500);
    for (i = 0; i < 500; i++)
        note(now - 1000 + i);
    settle();
    trace_tend(trace, now);
    close_all();                            /* writes what waits, the look at the rows, too */
    assert_int_equal(sql("SELECT count(*) FROM trace"), 500);
    open_with(DAYS, 500);
    note(now);
    settle();
    trace_tend(trace, now);
    until_rows(500);
    find((struct trace_filter){ 0 });
    assert_int_equal(found.at[0], now);
    assert_int_equal(sql("SELECT min(at) FROM trace") / 1000, now - 999);
}

/* The minute's look alone would come too late. */
static void a_flood_of_decisions_stays_near_the_limit(void **state)
{
    int64_t now = clock_wall_ms(), until;
    int i;

    (void)state;
    open_with(DAYS, 2000);
    for (i = 0; i < ROWS_MOST; i++) {
        note(now - ROWS_MOST + i);
        if (i % 4000 == 3999) {
            settle();
            assert_in_range(sql("SELECT count(*) FROM trace"), 2000, 3000);
        }
    }
    until = __real_clock_ms() + WAIT_MS;
    while (sql("SELECT count(*) FROM trace") > 3000 && __real_clock_ms() < until)
        pause_ms(50);
    assert_in_range(sql("SELECT count(*) FROM trace"), 2000, 3000);
    assert_true(sql("SELECT max(at) FROM trace") / 1000 == now - 1);
    assert_int_equal(rows_known(), sql("SELECT count(*) FROM trace"));
}

static void a_lowered_limit_has_the_oldest_go_in_bites(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    open_all();
    for (i = 0; i < 5300; i++) {
        note(now - 5300 + i);
        if (i % 4000 == 0)
            settle();
    }
    close_all();
    open_with(DAYS, 1);
    until_rows(1);
    assert_true(sql("SELECT max(at) FROM trace") / 1000 == now - 1);
}

static void closing_does_not_wait_for_old_rows(void **state)
{
    clock_t worked;
    int64_t begun;
    size_t i;

    (void)state;
    open_for(3650);
    for (i = 0; i < ROWS_MOST; i++) {
        note(clock_wall_ms() - 100 * day_ms);
        if (i % 4000 == 0)
            settle();
    }
    settle();
    close_all();
    open_for(1);
    worked = clock();
    begun = __real_clock_ms();
    close_all();
    worked = clock() - worked;
    assert_true(__real_clock_ms() - begun < 1500 || worked < CLOCKS_PER_SEC / 2);       /* others may be at work, too */
    open_for(1);
    until_rows(0);
}

static void what_waits_is_written_on_closing(void **state)
{
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < 2000; i++)
        note(clock_wall_ms());
    close_all();
    assert_int_equal(sql("SELECT count(*) FROM trace"), 2000);
}

/* Trouble */

static void nothing_piles_up_while_nothing_can_be_written(void **state)
{
    size_t i;

    (void)state;
    settings.store.directory = "/proc/nowhere";
    store = store_open(&settings);
    policies = policies_open(store, 1000, (int64_t)clock_wall());
    trace = trace_open(store, DAYS, PLENTY);
    for (i = 0; i < 100000; i++)
        note(clock_wall_ms());
    assert_true(status().waiting <= 16384);
    assert_int_equal(status().written, 0);
    until_dropping();
    close_all();
    assert_int_equal(heard("running on from memory"), 1);
    assert_int_equal(heard("unwritten"), 0);                    /* that is for what had to be kept */
}

static void a_full_disk_costs_the_trace_first(void **state)
{
    (void)state;
    mount_disk("16m");
    open_all();
    until_written_again();
    fill_disk();
    until_dropping();
    assert_int_equal(heard("decisions are not traced until there is room"), 1);
    until_dropping();
    assert_int_equal(heard("decisions are not traced until there is room"), 1);
    assert_true(status().paused);
    free_disk();
    until_written_again();
    assert_false(status().paused);
    assert_int_equal(heard("decisions are traced"), 1);
    assert_true(store_is_good());
    assert_true(find((struct trace_filter){ 0 }) >= 2);
}

/* Its own rows fill the disk: the oldest go, the newest stay, and policies have their room. */
static void a_disk_full_of_trace_goes_on(void **state)
{
    int64_t now = clock_wall_ms(), until = __real_clock_ms() + 3 * WAIT_MS;
    int64_t i;

    (void)state;
    mount_disk("12m");
    open_all();
    for (i = 0; heard("decisions are not traced until there is room") == 0 && __real_clock_ms() < until; i++) {
        if (i % 500 == 0) {
            ahead += 1000;
            settle();
        }
        note(now - 10000000 + i);
    }
    assert_int_equal(heard("decisions are not traced until there is room"), 1);
    assert_true(store_is_good());
    keep_policy("a.example");
    until_policies(1);
    until_written_again();
    assert_true(heard("decisions are traced") >= 1);
    assert_true(sql("SELECT min(at) FROM trace") > (now - 10000000) * 1000);
    assert_true(find((struct trace_filter){ .since_ms = now }) > 0);
    assert_true(store_is_good());
}

static void a_read_only_disk_is_read(void **state)
{
    (void)state;
    mount_disk("16m");
    open_all();
    until_written_again();
    close_all();
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    open_all();
    until_dropping();
    assert_false(store_is_good());
    assert_true(find((struct trace_filter){ 0 }) >= 1);         /* what is there can be read */
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT, NULL), 0);
    until_written_again();
    assert_true(store_is_good());
    assert_int_equal(heard("running on from memory"), 1);
}

static void a_file_that_was_broken_is_followed_by_a_new_one(void **state)
{
    (void)state;
    open_all();
    keep_policy("a.example");
    until_written_again();
    close_all();
    scribble();
    open_all();
    until_written_again();
    assert_true(store_is_good());
    assert_int_equal(heard("a new one is made"), 1);
    keep_policy("a.example");
    until_policies(1);
}

static void a_reader_who_finds_the_file_broken_has_it_replaced(void **state)
{
    struct trace_filter filter = { .limit = 1 };
    int64_t until = __real_clock_ms() + WAIT_MS;
    struct trace_search *search;
    struct fault why;
    bool last;

    (void)state;
    open_all();
    keep_policy("a.example");
    until_written_again();
    settle();
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    scribble();
    search = trace_search_new(store, NULL, &filter);
    assert_false(trace_search_next(search, NULL, find_row, NULL, &last, &why));
    trace_search_free(search);
    while (heard("a new one is made") == 0 && __real_clock_ms() < until)
        pause_ms(20);
    assert_int_equal(heard("a new one is made"), 1);
    until_policies(1);                                          /* written anew, from memory */
    until_written_again();
    assert_true(store_is_good());
    assert_true(find((struct trace_filter){ 0 }) >= 1);
}

static void a_file_that_is_removed_is_made_anew(void **state)
{
    (void)state;
    open_all();
    keep_policy("a.example");
    until_written_again();
    settle();
    empty_folder(folder);
    until_written_again();
    until_written_again();
    until_policies(1);
    assert_true(store_is_good());
    assert_true(sql("SELECT count(*) FROM trace") >= 1);
    assert_int_equal(heard("moved or deleted"), 1);
}

/* Threads */

enum { NOTERS = 4, NOTES = 2000 };

static void *note_some(void *argument)
{
    int i;

    (void)argument;
    for (i = 0; i < NOTES; i++) {
        note(clock_wall_ms());
        if (i % 500 == 0)
            trace_tend(trace, clock_wall_ms());
    }
    return NULL;
}

static void many_may_note_while_some_read(void **state)
{
    struct trace_filter filter = { .limit = 3000 };
    pthread_t threads[NOTERS];
    struct trace_status now;
    size_t i;

    (void)state;
    open_all();
    for (i = 0; i < NOTERS; i++)
        thread_start(&threads[i], "noter", note_some, NULL);
    for (i = 0; i < 20; i++)
        find(filter);
    for (i = 0; i < NOTERS; i++)
        pthread_join(threads[i], NULL);
    settle();
    now = status();
    assert_int_equal(now.written + now.dropped, NOTERS * NOTES);
    assert_int_equal(sql("SELECT count(*) FROM trace"), (int64_t)now.written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_comes_back_as_it_was_noted, begin, end),
        cmocka_unit_test_setup_teardown(what_a_dead_daemon_left_can_be_read, begin, end),
        cmocka_unit_test_setup_teardown(rows_of_one_moment_all_have_their_place, begin, end),
        cmocka_unit_test_setup_teardown(each_filter_finds_its_rows, begin, end),
        cmocka_unit_test_setup_teardown(a_long_search_comes_back_now_and_then, begin, end),
        cmocka_unit_test_setup_teardown(old_rows_go, begin, end),
        cmocka_unit_test_setup_teardown(without_days_there_is_no_trace, begin, end),
        cmocka_unit_test_setup_teardown(the_oldest_make_room_where_there_are_too_many, begin, end),
        cmocka_unit_test_setup_teardown(at_the_limit_all_stay_and_past_it_the_oldest_go, begin, end),
        cmocka_unit_test_setup_teardown(a_flood_of_decisions_stays_near_the_limit, begin, end),
        cmocka_unit_test_setup_teardown(a_lowered_limit_has_the_oldest_go_in_bites, begin, end),
        cmocka_unit_test_setup_teardown(closing_does_not_wait_for_old_rows, begin, end),
        cmocka_unit_test_setup_teardown(what_waits_is_written_on_closing, begin, end),
        cmocka_unit_test_setup_teardown(nothing_piles_up_while_nothing_can_be_written, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_the_trace_first, begin, end),
        cmocka_unit_test_setup_teardown(a_disk_full_of_trace_goes_on, begin, end),
        cmocka_unit_test_setup_teardown(a_read_only_disk_is_read, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_was_broken_is_followed_by_a_new_one, begin, end),
        cmocka_unit_test_setup_teardown(a_reader_who_finds_the_file_broken_has_it_replaced, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_is_removed_is_made_anew, begin, end),
        cmocka_unit_test_setup_teardown(many_may_note_while_some_read, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
