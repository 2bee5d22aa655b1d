/*
 * What a search leaves out, and how many rows there are: whatever happens to the file, each search finds what a look at all
 * rows finds. On the real SQLite, each test in a folder of its own.
 */
#include "store/trace_search.h"

#include "base/clock.h"
#include "base/memory.h"
#include "store/trace_blocks.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, DAYS = 30, PLENTY = 10 * 1000 * 1000, STEP_MS = 10 };

static const int64_t day_ms = 24 * 60 * 60 * 1000;

/* A folder, and what runs in it */

struct life {
    struct store *store;
    struct trace *trace;
};

static char folder[300];
static struct life life, other;
static unsigned number;                     /* of the next row */

static void path_of(const char *name, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s", folder, name);
}

static void open_life(struct life *l, uint64_t most)
{
    struct settings settings = { .store = { .directory = folder } };

    l->store = store_open(&settings);
    l->trace = trace_open(l->store, DAYS, most);
}

static void close_life(struct life *l)
{
    trace_close(l->trace);
    store_close(l->store);
    *l = (struct life){ 0 };
}

static int begin(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(folder, sizeof(folder), "%s/blocks.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(folder) == NULL)
        return -1;
    number = 0;
    open_life(&life, PLENTY);
    return 0;
}

static int end(void **state)
{
    struct dirent *found;
    char path[600];
    DIR *dir;

    (void)state;
    close_life(&life);
    close_life(&other);
    dir = opendir(folder);
    while (dir != NULL && (found = readdir(dir)) != NULL) {
        path_of(found->d_name, path, sizeof(path));
        if (found->d_name[0] != '.')
            unlink(path);
    }
    closedir(dir);
    return rmdir(folder);
}

/* The first number that comes of it, past the store; -1: none. */
static int64_t sql(const char *words)
{
    sqlite3_stmt *statement = NULL;
    int64_t answer = -1;
    char path[400];
    sqlite3 *db;

    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, WAIT_MS);
    assert_int_equal(sqlite3_prepare_v2(db, words, -1, &statement, NULL), SQLITE_OK);
    if (sqlite3_step(statement) == SQLITE_ROW)
        answer = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return answer;
}

static void sql_all(const char *words)
{
    char path[400];
    sqlite3 *db;

    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, words, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void pause_ms(long ms)
{
    struct timespec span = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&span, NULL);
}

static void until_sql(const char *words, int64_t wanted)
{
    int64_t until = clock_ms() + WAIT_MS;

    while (sql(words) != wanted && clock_ms() < until)
        pause_ms(20);
    assert_int_equal(sql(words), wanted);
}

/* Rows: many recipients, some domains and connectors, few that are held */

static void note_to(struct life *l, int64_t at)
{
    char id[32], to[64], connector[32];
    unsigned n = number++;
    struct trace_row row = { .at = at, .where = "rcpt", .queue_id = id, .from = "al@home.example", .to = to,
                             .connector = connector, .verdict = n % 997 == 0 ? "bounce" : n % 101 == 0 ? "hold" : "deliver" };

    snprintf(id, sizeof(id), "4g%u", n / 2);
    snprintf(to, sizeof(to), "User%u@p%u.example", n % 700, n % 37);
    snprintf(connector, sizeof(connector), n % 5 == 0 ? "Partner %u" : "(default)", n % 11);
    trace_note(l->trace, &row);
}

static void settle(struct life *l)
{
    int64_t until = clock_ms() + WAIT_MS;
    struct trace_status now;

    for (trace_status(l->trace, &now); now.waiting > 0 && clock_ms() < until; trace_status(l->trace, &now))
        pause_ms(2);
    assert_int_equal(now.waiting, 0);
    assert_int_equal(now.dropped, 0);
}

static void note_many(int64_t from, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        note_to(&life, from + (int64_t)i * STEP_MS);
        if (i % 8000 == 7999)
            settle(&life);
    }
    settle(&life);
}

/* Searching */

struct seen {
    size_t count, batches;
    int64_t last;
};

static void see(void *self, const struct trace_row *row)
{
    struct seen *seen = self;

    assert_true(seen->count == 0 || row->at <= seen->last);
    seen->last = row->at;
    seen->count++;
}

static struct seen find(struct trace_filter filter)
{
    struct seen seen = { 0 };
    struct trace_search *search;
    struct fault why;
    bool last = false;

    filter.limit = filter.limit == 0 ? PLENTY : filter.limit;
    search = trace_search_new(life.store, folder, &filter);
    for (; !last; seen.batches++)
        assert_true(trace_search_next(search, NULL, see, &seen, &last, &why));
    trace_search_free(search);
    return seen;
}

static void same(struct trace_filter filter, const char *condition)
{
    char words[400];

    snprintf(words, sizeof(words), "SELECT count(*) FROM trace WHERE %s", condition);
    assert_int_equal(find(filter).count, sql(words));
}

#define BLOCK_COUNT "SELECT count(*) FROM trace_blocks"
#define GAP_COUNT "SELECT count(*) FROM trace_gaps"
#define UNEVEN "SELECT count(*) FROM trace_blocks b WHERE rows <> (SELECT count(*) FROM trace WHERE at BETWEEN b.first AND b.last)"
#define RECKONED "SELECT rows + (SELECT count(*) FROM trace WHERE at > upto) FROM trace_size"
#define RANGES "(SELECT first, last FROM trace_blocks UNION ALL SELECT first, last FROM trace_gaps)"
#define HOLES "SELECT count(*) FROM (SELECT last, lead(first) OVER (ORDER BY first) AS next FROM " RANGES ") WHERE next <> last + 1"
#define BEHIND "SELECT upto - coalesce((SELECT max(last) FROM " RANGES "), 0) FROM trace_size"

/* As a look at all rows has it, and the file's own reckoning is right. */
static void all_is_well(void)
{
    same((struct trace_filter){ .queue_id = "4g500" }, "queue_id = '4g500'");
    same((struct trace_filter){ .queue_id = "4g500", .verdict = "hold" }, "queue_id = '4g500' AND verdict = 'hold'");
    same((struct trace_filter){ .to = "uSER77@p3.example" }, "recipient LIKE 'user77@p3.example'");
    same((struct trace_filter){ .to = "nobody@p3.example" }, "0");
    same((struct trace_filter){ .domain = "p7.example" }, "domain = 'p7.example'");
    same((struct trace_filter){ .domain = "p7.example", .verdict = "hold" }, "domain = 'p7.example' AND verdict = 'hold'");
    same((struct trace_filter){ .verdict = "bounce" }, "verdict = 'bounce'");
    same((struct trace_filter){ .connector = "Partner 4" }, "connector = 'Partner 4'");
    same((struct trace_filter){ .connector = "Partner 4", .verdict = "bounce" }, "connector = 'Partner 4' AND verdict = 'bounce'");
    same((struct trace_filter){ .connector = "Partner 4", .domain = "p1.example" },
         "connector = 'Partner 4' AND domain = 'p1.example'");
    same((struct trace_filter){ 0 }, "1");
    assert_int_equal(sql(RECKONED), sql("SELECT count(*) FROM trace"));
    assert_int_equal(sql(HOLES), 0);
    assert_int_equal(sql(BEHIND), 0);
}

/* The tests */

static void each_search_finds_what_a_look_at_all_rows_finds(void **state)
{
    (void)state;
    note_many(clock_wall_ms() - 500000, 20000);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 20000 / TRACE_BLOCK);
    assert_int_equal(sql(UNEVEN), 0);
}

static void a_search_through_many_blocks_goes_in_batches(void **state)
{
    struct seen seen;
    int64_t rows = 0;

    (void)state;
    note_many(clock_wall_ms() - 500000, 30000);
    seen = find((struct trace_filter){ .domain = "p7.example" });
    rows = sql("SELECT count(*) FROM trace WHERE domain = 'p7.example'");
    assert_int_equal(seen.count, rows);
    assert_true(seen.batches > 3);                              /* each block has it */
    assert_int_equal(find((struct trace_filter){ .domain = "never.example" }).batches, 1);
    assert_int_equal(find((struct trace_filter){ .domain = "p7.example", .limit = 300 }).count, 300);
}

/* What no rows can have made: a block that says it may have everything is only slower. */
static void marks_that_say_too_much_give_no_wrong_rows(void **state)
{
    (void)state;
    note_many(clock_wall_ms() - 500000, 10000);
    sql_all("UPDATE trace_blocks SET marks = CAST(replace(hex(zeroblob(1000)), '0', '\xff\xff') AS BLOB)");
    assert_int_equal(sql("SELECT length(marks) FROM trace_blocks"), TRACE_MARKS_SIZE);
    all_is_well();
    sql_all("UPDATE trace_blocks SET marks = x'00'");
    all_is_well();
    note_to(&life, clock_wall_ms() - 450000);
    settle(&life);
    all_is_well();
}

static void rows_of_a_clock_set_back_are_found_in_their_block(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 10000);
    number = 500000;
    note_to(&life, now - 480000);
    settle(&life);
    assert_int_equal(find((struct trace_filter){ .queue_id = "4g250000" }).count, 1);
    all_is_well();
    assert_int_equal(sql(GAP_COUNT), 0);
    assert_int_equal(sql(UNEVEN), 0);
}

static void a_block_that_gets_too_many_is_made_anew(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    note_many(now - 500000, 10000);
    for (i = 0; i < 5 * TRACE_BLOCK; i++)
        note_to(&life, now - 480000 + i % 100);
    settle(&life);
    all_is_well();
    assert_int_equal(sql(GAP_COUNT), 1);
    trace_tend(life.trace, now);
    until_sql(GAP_COUNT, 0);
    all_is_well();
    assert_int_equal(sql(UNEVEN), 0);
    assert_int_equal(sql("SELECT max(rows) FROM trace_blocks"), TRACE_BLOCK);
    note_many(now - 400000, 3000);
    all_is_well();
}

static void a_row_before_all_others_is_found_and_goes(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - (DAYS + 1) * day_ms, 5000);
    note_many(now - 100000, 5000);
    trace_tend(life.trace, now);
    until_sql("SELECT count(*) FROM trace", 5000);
    all_is_well();
    note_to(&life, now - (DAYS + 20) * day_ms);
    note_to(&life, now - (DAYS + 10) * day_ms);
    settle(&life);
    all_is_well();
    assert_int_equal(sql("SELECT count(*) FROM trace"), 5002);
    trace_tend(life.trace, now);
    until_sql("SELECT count(*) FROM trace", 5000);
    all_is_well();
}

static void a_restart_goes_on_within_a_block(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    for (i = 0; i < 6; i++) {
        note_many(now - 500000 + i * 50000, 700);
        close_life(&life);
        open_life(&life, PLENTY);
    }
    note_many(now - 500000 + i * 50000, 10);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 4210 / TRACE_BLOCK);
    assert_int_equal(sql(UNEVEN), 0);
}

static void copy_file(const char *from, const char *to)
{
    char path[600], block[64 * 1024];
    int in, out;
    ssize_t got;

    path_of(from, path, sizeof(path));
    in = open(path, O_RDONLY | O_CLOEXEC);
    path_of(to, path, sizeof(path));
    out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((got = read(in, block, sizeof(block))) > 0)
        assert_int_equal(write(out, block, (size_t)got), got);
    close(in);
    close(out);
}

static void rename_file(const char *from, const char *to)
{
    char old[600], new[600];

    path_of(from, old, sizeof(old));
    path_of(to, new, sizeof(new));
    assert_int_equal(rename(old, new), 0);
}

/* The file and its log as they stand while the daemon runs are what a kill leaves. */
static void a_kill_within_a_block_loses_nothing_that_was_written(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 3500);
    copy_file("danelaw.db-wal", "log");
    copy_file("danelaw.db", "file");
    close_life(&life);
    rename_file("file", "danelaw.db");
    rename_file("log", "danelaw.db-wal");
    open_life(&life, PLENTY);
    assert_int_equal(sql("SELECT count(*) FROM trace"), 3500);
    all_is_well();
    note_many(now - 300000, 1000);
    assert_int_equal(sql("SELECT count(*) FROM trace"), 4500);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 4500 / TRACE_BLOCK);
}

/* One job that can't be written undoes the whole batch, which is then written without it. */
static bool run_bad(struct store_job *self, struct writer *w)
{
    (void)self;
    (void)w;
    return false;
}

static void free_bad(struct store_job *self)
{
    free(self);
}

static void a_batch_that_is_undone_counts_nothing_twice(void **state)
{
    int64_t now = clock_wall_ms();
    struct store_job *bad;
    int i;

    (void)state;
    for (i = 0; i < 8000; i++) {
        note_to(&life, now - 500000 + i * STEP_MS);
        if (i % 700 == 0) {
            bad = mem_zero(sizeof(*bad));
            *bad = (struct store_job){ .run = run_bad, .free = free_bad };
            store_push(life.store, bad);
        }
    }
    settle(&life);
    assert_int_equal(sql("SELECT count(*) FROM trace"), 8000);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 8000 / TRACE_BLOCK);
}

/* As while a new daemon takes over. */
static void two_processes_may_write_to_one_file(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    open_life(&other, PLENTY);
    for (i = 0; i < 6000; i++) {
        note_to(i % 3 == 0 ? &other : &life, now - 500000 + i * STEP_MS);
        if (i % 300 == 0) {
            settle(&life);
            settle(&other);
        }
    }
    settle(&life);
    settle(&other);
    assert_int_equal(sql("SELECT count(*) FROM trace"), 6000);
    all_is_well();
    close_life(&life);
    life = other;
    other = (struct life){ 0 };
    note_many(now - 300000, 2000);
    all_is_well();
    assert_int_equal(sql(UNEVEN), 0);
}

/* Makes the file what it was with five indexes. */
static void go_back(void)
{
    sql_all("DROP TABLE trace_blocks; DROP TABLE trace_gaps; DROP TABLE trace_size; CREATE TABLE trace_size (rows INTEGER NOT NULL);"
            "CREATE INDEX trace_queue_id ON trace (queue_id) WHERE queue_id IS NOT NULL;"
            "CREATE INDEX trace_recipient ON trace (recipient COLLATE NOCASE); CREATE INDEX trace_domain ON trace (domain);"
            "CREATE INDEX trace_connector ON trace (connector) WHERE connector <> '(default)';"
            "CREATE INDEX trace_verdict ON trace (verdict) WHERE verdict <> 'deliver';"
            "INSERT INTO trace_size SELECT count(*) FROM trace;"
            "CREATE TRIGGER trace_more AFTER INSERT ON trace BEGIN UPDATE trace_size SET rows = rows + 1; END;"
            "CREATE TRIGGER trace_less AFTER DELETE ON trace BEGIN UPDATE trace_size SET rows = rows - 1; END;"
            "PRAGMA user_version = 5");
}

static void a_file_of_before_is_searched_and_covered(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 10000);
    close_life(&life);
    go_back();
    assert_int_equal(find((struct trace_filter){ .queue_id = "4g500" }).count, 2);      /* without a daemon */
    open_life(&life, PLENTY);
    all_is_well();
    note_many(now - 300000, 1000);
    all_is_well();
    until_sql(GAP_COUNT, 0);
    all_is_well();
    assert_int_equal(sql(UNEVEN), 0);
    assert_int_equal(sql("SELECT count(*) FROM sqlite_master WHERE type IN ('index', 'trigger') AND tbl_name = 'trace'"), 0);
}

static void who_died_on_the_way_to_another_schema_goes_on_there(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 3000);
    close_life(&life);
    go_back();
    sql_all("DROP INDEX trace_queue_id; DROP INDEX trace_recipient; PRAGMA user_version = 7");
    open_life(&life, PLENTY);
    note_many(now - 300000, 1000);
    until_sql(GAP_COUNT, 0);
    all_is_well();
    assert_int_equal(sql("SELECT count(*) FROM sqlite_master WHERE type IN ('index', 'trigger') AND tbl_name = 'trace'"), 0);
}

static void tending_makes_no_blocks_of_a_small_trace(void **state)
{
    int64_t now = clock_wall_ms();
    int i;

    (void)state;
    for (i = 0; i < 5; i++) {
        note_many(now - 500000 + 10000 * i, 5);
        trace_tend(life.trace, now);
        settle(&life);
    }
    note_many(now - 100000, 1);                                 /* written behind the last tending */
    assert_int_equal(sql(BLOCK_COUNT), 0);
    all_is_well();
}

static void rows_that_another_program_wrote_are_reckoned_with(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 3000);
    sql_all("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO trace (at, queue_id, domain, "
            "verdict) SELECT (SELECT max(at) FROM trace) + i, '4g500', 'p7.example', 'hold' FROM n");
    assert_int_equal(find((struct trace_filter){ .queue_id = "4g500" }).count, 3002);
    note_many(now - 300000, 1000);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 7000 / TRACE_BLOCK);
    assert_int_equal(sql(UNEVEN), 0);
}

static void blocks_go_with_their_rows(void **state)
{
    int64_t now = clock_wall_ms();

    (void)state;
    note_many(now - 500000, 10000);
    close_life(&life);
    open_life(&life, 2500);
    until_sql("SELECT count(*) FROM trace", 2500);
    all_is_well();
    assert_int_equal(sql(BLOCK_COUNT), 2);                      /* one of them in part */
    note_many(now - 300000, 10000);
    trace_tend(life.trace, now);
    until_sql("SELECT count(*) FROM trace", 2500);
    all_is_well();
    close_life(&life);
    open_life(&life, 1);
    until_sql("SELECT count(*) FROM trace", 1);
    note_many(now - 100000, 3);
    all_is_well();
}

/* Marks */

static void marks_forget_nothing_and_seldom_invent(void **state)
{
    uint8_t marks[TRACE_MARKS_SIZE] = { 0 };
    char id[32], to[64], domain[64];
    struct trace_keys keys = { .of = { id, to, domain, "(default)", "deliver" } };
    uint64_t tokens[TRACE_TOKENS];
    unsigned i, invented = 0;

    (void)state;
    for (i = 0; i < 2 * TRACE_BLOCK; i++) {
        snprintf(id, sizeof(id), "4g%08X", i);
        snprintf(to, sizeof(to), "user%u@p%u.example", i, i);
        snprintf(domain, sizeof(domain), "p%u.example", i);
        if (i < TRACE_BLOCK)
            trace_marks_add(marks, &keys);
        keys.of[TRACE_RECIPIENT] = NULL;
        if (i < TRACE_BLOCK)
            assert_true(trace_marks_may_have(marks, tokens, trace_marks_tokens(&keys, tokens)));
        keys = (struct trace_keys){ .of = { [TRACE_RECIPIENT] = to } };
        invented += i >= TRACE_BLOCK && trace_marks_may_have(marks, tokens, trace_marks_tokens(&keys, tokens));
        keys = (struct trace_keys){ .of = { id, to, domain, "(default)", "deliver" } };
    }
    assert_in_range(invented, 0, TRACE_BLOCK / 10);             /* rows in which nothing is twice are the worst */
}

static void the_domain_of_what_mail_goes_to(void **state)
{
    static const char *const pairs[][2] = { { "bo@Bank.example", "bank.example" }, { "bank.example:587", "bank.example" },
                                            { "[Mx.bank.example]:25", "mx.bank.example" }, { "a@b@c.example", "c.example" },
                                            { "bo@[IPv6:2001:db8::1]", "ipv6:2001:db8::1" }, { "", "" } };
    char domain[64];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(pairs); i++) {
        assert_int_equal(trace_marks_domain(pairs[i][0], domain), strlen(pairs[i][1]));
        assert_string_equal(domain, pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_forget_nothing_and_seldom_invent),
        cmocka_unit_test(the_domain_of_what_mail_goes_to),
        cmocka_unit_test_setup_teardown(each_search_finds_what_a_look_at_all_rows_finds, begin, end),
        cmocka_unit_test_setup_teardown(a_search_through_many_blocks_goes_in_batches, begin, end),
        cmocka_unit_test_setup_teardown(marks_that_say_too_much_give_no_wrong_rows, begin, end),
        cmocka_unit_test_setup_teardown(rows_of_a_clock_set_back_are_found_in_their_block, begin, end),
        cmocka_unit_test_setup_teardown(a_block_that_gets_too_many_is_made_anew, begin, end),
        cmocka_unit_test_setup_teardown(a_row_before_all_others_is_found_and_goes, begin, end),
        cmocka_unit_test_setup_teardown(a_restart_goes_on_within_a_block, begin, end),
        cmocka_unit_test_setup_teardown(a_kill_within_a_block_loses_nothing_that_was_written, begin, end),
        cmocka_unit_test_setup_teardown(a_batch_that_is_undone_counts_nothing_twice, begin, end),
        cmocka_unit_test_setup_teardown(two_processes_may_write_to_one_file, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_before_is_searched_and_covered, begin, end),
        cmocka_unit_test_setup_teardown(who_died_on_the_way_to_another_schema_goes_on_there, begin, end),
        cmocka_unit_test_setup_teardown(tending_makes_no_blocks_of_a_small_trace, begin, end),
        cmocka_unit_test_setup_teardown(rows_that_another_program_wrote_are_reckoned_with, begin, end),
        cmocka_unit_test_setup_teardown(blocks_go_with_their_rows, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
