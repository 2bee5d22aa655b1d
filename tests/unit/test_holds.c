/*
 * The clocks of refused recipients, with the real SQLite, each test in a folder of its own.
 */
#include "store/holds.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/writer.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include <cmocka.h>

enum { HOUR = 3600, DAY = 24 * HOUR, WAIT_MS = 60000, CROWD = 8 };

static int64_t now_is;                  /* what the tests begin with */
static char folder[64];
static struct settings settings;
static struct store *store;
static struct holds *holds;

static void open_with(size_t most)
{
    settings.store.directory = folder;
    store = store_open(&settings);
    holds = holds_open(store, most, now_is);
}

static void close_all(void)
{
    holds_close(take(holds));
    store_close(take(store));
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/danelaw-holds-XXXXXX");
    now_is = (int64_t)clock_wall();
    if (mkdtemp(folder) == NULL)
        return -1;
    open_with(1000);
    return 0;
}

static int teardown(void **state)
{
    char command[200];

    (void)state;
    close_all();
    snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", folder, folder);
    return system(command);
}

static void restart(void)
{
    close_all();
    open_with(1000);
}

static void settle(void)
{
    int64_t until = clock_ms() + WAIT_MS;
    struct store_status s;

    do {
        usleep(2000);
        store_status(store, &s);
    } while (s.waiting > 0 && clock_ms() < until);
    assert_int_equal(s.waiting, 0);
}

/* Something asked of the clock of al@home.example, or whomever, and a recipient. */

static void key_of(const char *connector, const char *from, const char *to, struct address two[2], struct hold_key *ret)
{
    address_parse(from, &two[0]);
    address_parse(to, &two[1]);
    *ret = (struct hold_key){ connector, &two[0], &two[1] };
}

static enum hold_state note(const char *connector, const char *from, const char *to, int64_t now)
{
    struct address two[2];
    struct hold_key key;

    key_of(connector, from, to, two, &key);
    return holds_note(holds, &key, REASON_DANE_REQUIRED, DAY, now);
}

static enum hold_state refuse(const char *to, int64_t after)
{
    return note("Bank", "al@home.example", to, now_is + after);
}

static void end(const char *connector, const char *from, const char *to)
{
    struct address two[2];
    struct hold_key key;

    key_of(connector, from, to, two, &key);
    holds_end(holds, &key);
}

static size_t forget(const char *connector, const char *to)
{
    struct address recipient;

    if (to != NULL)
        address_parse(to, &recipient);
    return holds_forget(holds, connector, to == NULL ? NULL : &recipient, now_is);
}

/* Refuses often enough that only a clock that was begun anew would still run, but for the last refusal. */
static void wear_out(const char *to)
{
    int64_t after;

    for (after = 0; after < DAY; after += 6 * HOUR)
        assert_int_equal(refuse(to, after), HOLD_RUNNING);
}

/* The clock of a recipient, as it is listed; false: there is none. */
static bool listed(const char *to, struct held *ret)
{
    static char connector[100], sender[ADDRESS_TEXT_SIZE];
    struct hold_slice slice;
    bool found = false;
    unsigned i;
    size_t j;

    for (i = 0; i < HOLDS_SLICES; i++) {
        holds_read(holds, i, now_is, &slice);
        for (j = 0; j < slice.count; j++) {
            if (strcmp(slice.items[j].recipient, to) != 0)
                continue;
            assert_false(found);
            found = true;
            *ret = slice.items[j];
            ret->connector = strcpy(connector, ret->connector);
            ret->sender = strcpy(sender, ret->sender);
        }
        hold_slice_done(&slice);
    }
    return found;
}

static int ask(const char *words)
{
    char path[100];
    sqlite3_stmt *statement;
    sqlite3 *db;
    int answer;

    snprintf(path, sizeof(path), "%s/danelaw.db", folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, WAIT_MS);
    assert_int_equal(sqlite3_prepare_v2(db, words, -1, &statement, NULL), SQLITE_OK);
    answer = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return answer;
}

/* The tests */

static void a_clock_runs_out_once_and_then_begins_anew(void **state)
{
    (void)state;
    wear_out("bo@bank.example");
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
    assert_int_equal(holds_count(holds, now_is + DAY), 0);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_RUNNING);
    assert_int_equal(refuse("bo@bank.example", DAY + 6 * HOUR), HOLD_RUNNING);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 1);
    assert_int_equal(ask("SELECT attempts FROM holds"), 2);
}

static void each_connector_sender_and_recipient_has_a_clock_of_its_own(void **state)
{
    (void)state;
    wear_out("bo@bank.example");
    assert_int_equal(note("Other", "al@home.example", "bo@bank.example", now_is + DAY), HOLD_RUNNING);
    assert_int_equal(note("Bank", "cy@home.example", "bo@bank.example", now_is + DAY), HOLD_RUNNING);
    assert_int_equal(note("Bank", "<>", "bo@bank.example", now_is + DAY), HOLD_RUNNING);
    assert_int_equal(note("Bank", "al@home.example", "cy@bank.example", now_is + DAY), HOLD_RUNNING);
    assert_int_equal(note("Bank", "al@home.example", "bo@[192.0.2.1]", now_is + DAY), HOLD_RUNNING);
    assert_int_equal(holds_count(holds, now_is + DAY), 6);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
}

static void letter_case_and_spelling_make_no_other_clock(void **state)
{
    struct held h;

    (void)state;
    note("Bank", "Al@Home.Example", "Bo@BANK.example", now_is);
    note("Bank", "<al@home.example>", "\"bo\"@bank.example.", now_is + 1);
    note("Bank", "AL@home.example", "bo@Bank.Example", now_is + 2);
    assert_int_equal(holds_count(holds, now_is), 1);
    assert_true(listed("bo@bank.example", &h));
    assert_int_equal(h.hold.attempts, 3);
    assert_string_equal(h.sender, "al@home.example");
    note("Bank", "<>", "u@b\xc3\xbc" "cher.example", now_is);
    assert_true(listed("u@xn--bcher-kva.example", &h));
    assert_string_equal(h.sender, "");
}

static void what_can_not_be_told_from_others_has_no_clock(void **state)
{
    char broken[400] = "";

    (void)state;
    memset(broken, 'x', 300);
    strcat(broken, "@bank.example");
    assert_int_equal(refuse(broken, 0), HOLD_RUNNING);
    assert_int_equal(note("Bank", broken, "bo@bank.example", now_is), HOLD_RUNNING);
    end("Bank", broken, "bo@bank.example");
    assert_int_equal(holds_count(holds, now_is), 0);
}

static void an_accepted_recipient_ends_its_clock_and_no_other(void **state)
{
    (void)state;
    end("Bank", "al@home.example", "bo@bank.example");
    wear_out("bo@bank.example");
    wear_out("cy@bank.example");
    end("Bank", "AL@home.example", "BO@bank.example");
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_RUNNING);
    assert_int_equal(refuse("cy@bank.example", DAY), HOLD_EXPIRED);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 1);
}

static void clocks_go_on_after_a_restart(void **state)
{
    struct held h;

    (void)state;
    wear_out("bo@bank.example");
    restart();
    assert_int_equal(holds_count(holds, now_is + 18 * HOUR), 1);
    assert_true(listed("bo@bank.example", &h));
    assert_string_equal(h.connector, "Bank");
    assert_int_equal(h.hold.since, now_is);
    assert_int_equal(h.hold.last, now_is + 18 * HOUR);
    assert_int_equal(h.hold.attempts, 4);
    assert_int_equal(h.hold.reason, REASON_DANE_REQUIRED);
    assert_int_equal(h.patience, DAY);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
    restart();
    assert_int_equal(holds_count(holds, now_is + DAY), 0);
}

static void a_clock_that_ended_stays_ended_after_a_restart(void **state)
{
    (void)state;
    wear_out("bo@bank.example");
    settle();
    end("Bank", "al@home.example", "bo@bank.example");
    restart();
    assert_int_equal(holds_count(holds, now_is), 0);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_RUNNING);
}

/* As after a kill: the process is gone, whatever reached the file counts. */
static void clocks_outlive_a_process_that_was_killed(void **state)
{
    int status;
    pid_t child;

    (void)state;
    close_all();
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        open_with(1000);
        wear_out("bo@bank.example");
        settle();
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_with(1000);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
}

static void what_was_untouched_for_too_long_is_not_taken_up_again(void **state)
{
    (void)state;
    refuse("bo@bank.example", 0);
    refuse("cy@bank.example", 3 * HOUR);
    close_all();
    now_is += 7 * HOUR;
    open_with(1000);
    assert_int_equal(holds_count(holds, now_is), 1);
    assert_int_equal(ask("SELECT count(*) FROM holds WHERE recipient LIKE 'cy@%'"), 1);
}

/* The store may hold what memory has no idea of, and must not: it would come back once the mail is through. */
static void rows_that_can_not_be_clocks_are_deleted(void **state)
{
    char words[1024];

    (void)state;
    close_all();
    snprintf(words, sizeof(words),
             "INSERT INTO holds (connector, sender, recipient, since, last, attempts, reason, patience) VALUES "
             "('a', '', 'ahead@x', %1$lld, %2$lld, 1, 'dns-temp', 100), ('a', '', 'never@x', 0, %1$lld, 1, 'dns-temp', 86400),"
             "('a', '', 'reason@x', %1$lld, %1$lld, 1, 'whim', 86400), ('a', '', 'count@x', %1$lld, %1$lld, 0, 'dns-temp', 86400),"
             "('a', '', 'text@x', 'now', 'now', 'x', 'dns-temp', 86400), ('a', '', 'good@x', %1$lld, %1$lld, 1, 'dns-temp', 86400),"
             "('a', '', 'patience@x', %1$lld, %1$lld, 1, 'dns-temp', -1)",
             (long long)now_is, (long long)now_is - 1);
    ask(words);
    open_with(1000);
    assert_int_equal(holds_count(holds, now_is), 1);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 1);
}

static void forgetting_is_by_connector_by_recipient_or_all(void **state)
{
    (void)state;
    note("Bank", "al@home.example", "bo@bank.example", now_is);
    note("Bank", "cy@home.example", "bo@bank.example", now_is);
    note("Bank", "cy@home.example", "di@bank.example", now_is);
    note("Other", "cy@home.example", "bo@bank.example", now_is);
    note("Third", "cy@home.example", "ed@third.example", now_is);
    assert_int_equal(forget("Nobody", NULL), 0);
    assert_int_equal(forget(NULL, "nobody@bank.example"), 0);
    assert_int_equal(forget(NULL, "BO@Bank.example"), 3);
    assert_int_equal(holds_count(holds, now_is), 2);
    assert_int_equal(forget("Bank", NULL), 1);
    assert_int_equal(forget(NULL, NULL), 1);
    assert_int_equal(holds_count(holds, now_is), 0);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 0);
    assert_int_equal(note("Bank", "al@home.example", "bo@bank.example", now_is), HOLD_RUNNING);
}

static void a_crowd_pushes_out_what_was_untouched_for_longest(void **state)
{
    char to[64];
    int i;

    (void)state;
    close_all();
    open_with(100);
    for (i = 0; i < 100; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", i);
        refuse(to, 0);
    }
    refuse("u0@bank.example", 1);
    for (i = 100; i < 150; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", i);
        refuse(to, 2);
    }
    assert_int_equal(holds_count(holds, now_is + 2), 100);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 100);
    assert_int_equal(ask("SELECT count(*) FROM holds WHERE recipient = 'u0@bank.example'"), 1);
    assert_int_equal(ask("SELECT count(*) FROM holds WHERE recipient = 'u1@bank.example'"), 0);
    close_all();
    open_with(10);
    assert_int_equal(holds_count(holds, now_is + 2), 10);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 10);
}

static void long_addresses_take_the_room_of_several(void **state)
{
    char to[600];
    int i;

    (void)state;
    close_all();
    open_with(1000);
    for (i = 0; i < 1000; i++) {
        snprintf(to, sizeof(to), "%0240d@bank.example", i);
        note("Bank", to, to, now_is);
    }
    assert_in_range(holds_count(holds, now_is), 300, 500);
}

static void many_are_listed_whole_while_the_table_grows(void **state)
{
    struct hold_slice slice;
    size_t seen = 0, i;
    char to[64];
    unsigned s;
    int n = 0;

    (void)state;
    close_all();
    open_with(20000);
    for (s = 0; s < HOLDS_SLICES; s++) {
        for (i = 0; i < 20; i++) {
            snprintf(to, sizeof(to), "u%d@bank.example", n++);
            refuse(to, 0);
        }
    }
    for (s = 0; s < HOLDS_SLICES; s++) {
        holds_read(holds, s, now_is, &slice);
        seen += slice.count;
        hold_slice_done(&slice);
    }
    assert_int_equal(seen, n);
    assert_int_equal(holds_count(holds, now_is), n);
    assert_int_equal(forget(NULL, NULL), n);
}

static void what_is_over_goes_by_and_by(void **state)
{
    char to[64];
    int i;

    (void)state;
    for (i = 0; i < 10; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", i);
        refuse(to, 0);
    }
    for (i = 0; i < 6; i++)
        refuse("bo@bank.example", 7 * HOUR);
    assert_int_equal(holds_count(holds, now_is + 7 * HOUR), 1);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 1);
}

static void without_a_store_memory_counts(void **state)
{
    struct holds *kept = holds;

    (void)state;
    holds = holds_open(NULL, 100, now_is);
    wear_out("bo@bank.example");
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
    assert_int_equal(forget(NULL, NULL), 0);
    holds_close(holds);
    holds = kept;
}

static void a_file_that_is_deleted_is_written_anew(void **state)
{
    char command[200];
    int64_t until = clock_ms() + WAIT_MS;

    (void)state;
    wear_out("bo@bank.example");
    settle();
    snprintf(command, sizeof(command), "rm -f %s/danelaw.db*", folder);
    assert_int_equal(system(command), 0);
    refuse("cy@bank.example", 18 * HOUR);
    snprintf(command, sizeof(command), "test -s %s/danelaw.db", folder);
    while (system(command) != 0 && clock_ms() < until)
        usleep(20000);
    settle();
    while (ask("SELECT count(*) FROM holds") != 2 && clock_ms() < until)
        usleep(20000);
    assert_int_equal(ask("SELECT count(*) FROM holds"), 2);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_EXPIRED);
}

/* What was in it may have ended meanwhile, for all we know. */
static void a_file_that_can_not_be_read_is_forgotten(void **state)
{
    char command[200];

    (void)state;
    wear_out("bo@bank.example");
    close_all();
    snprintf(command, sizeof(command), "printf 'garbage garbage garbage' | dd of=%s/danelaw.db conv=notrunc status=none", folder);
    assert_int_equal(system(command), 0);
    open_with(1000);
    assert_int_equal(holds_count(holds, now_is), 0);
    assert_int_equal(refuse("bo@bank.example", DAY), HOLD_RUNNING);
}

struct peeked {
    size_t count;
    char last[ADDRESS_TEXT_SIZE];
};

static void peek(void *self, const struct held *held)
{
    struct peeked *p = self;

    p->count++;
    strcpy(p->last, held->recipient);
}

static void the_file_can_be_read_past_a_daemon(void **state)
{
    struct peeked p = { 0 };
    struct fault why;

    (void)state;
    refuse("bo@bank.example", 0);
    settle();
    assert_true(holds_peek(folder, now_is, peek, &p, &why));
    assert_int_equal(p.count, 1);
    assert_string_equal(p.last, "bo@bank.example");
    close_all();
    assert_true(holds_peek(folder, now_is + 7 * HOUR, peek, &p, &why));
    assert_int_equal(p.count, 1);
    assert_false(holds_peek("/nonexistent", now_is, peek, &p, &why));
    open_with(1000);
}

/* A job that keeps the writer busy until it is told to go on. */

static atomic_bool held_up;

static bool run_wait(struct store_job *self, struct writer *w)
{
    (void)self;
    (void)w;
    while (held_up)
        usleep(1000);
    return true;
}

static void free_job(struct store_job *self)
{
    free(self);
}

/* Once a crowd filled the store's queue, and what others had to write was lost. */
static void a_crowd_does_not_fill_the_queue_and_is_written_in_the_end(void **state)
{
    struct store_job *job = mem_zero(sizeof(*job));
    int64_t until = clock_ms() + WAIT_MS;
    struct store_status s;
    char to[64];
    int i;

    (void)state;
    close_all();
    open_with(20000);
    held_up = true;
    *job = (struct store_job){ .run = run_wait, .free = free_job };
    store_push(store, job);
    for (i = 0; i < 12000; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", i);
        refuse(to, 0);
    }
    store_status(store, &s);
    assert_in_range(s.waiting, 4096, 10000);
    held_up = false;
    while (ask("SELECT count(*) FROM holds") != 12000 && clock_ms() < until)
        usleep(20000);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM holds"), 12000);
    store_status(store, &s);
    assert_int_equal(s.dropped, 0);
    refuse("u11999@bank.example", 1);                   /* of which no job was made before */
    settle();
    assert_int_equal(ask("SELECT attempts FROM holds WHERE recipient = 'u11999@bank.example'"), 2);
}

static bool run_full(struct store_job *self, struct writer *w)
{
    (void)self;
    w->code = SQLITE_FULL;
    return false;
}

/* Once what the last of the crowd left behind was lost itself, as a sanitizer sees. */
static void a_crowd_that_is_never_written_is_let_go_whole(void **state)
{
    struct store_job *job = mem_zero(sizeof(*job));
    char to[64];
    int i;

    (void)state;
    close_all();
    open_with(20000);
    *job = (struct store_job){ .run = run_full, .free = free_job };
    store_push(store, job);
    for (i = 0; i < 9000; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", i);
        refuse(to, 0);
    }
    restart();
    assert_int_equal(refuse("u0@bank.example", 0), HOLD_RUNNING);
}

/* Many threads at once: refusing, accepting, forgetting and listing. */

static void *rush(void *number)
{
    struct hold_slice slice;
    unsigned dice = (unsigned)(uintptr_t)number;
    char to[64];
    int i;

    for (i = 0; i < 3000; i++) {
        snprintf(to, sizeof(to), "u%d@bank.example", rand_r(&dice) % 300);
        switch (rand_r(&dice) % 8) {
        case 0:
            end("Bank", "al@home.example", to);
            break;
        case 1:
            holds_read(holds, (unsigned)rand_r(&dice) % HOLDS_SLICES, now_is, &slice);
            hold_slice_done(&slice);
            break;
        default:
            refuse(to, rand_r(&dice) % (2 * HOUR));
            break;
        }
        if (i % 1000 == 999)
            forget(NULL, to);
    }
    return NULL;
}

static void a_rush_leaves_memory_and_file_alike(void **state)
{
    pthread_t threads[CROWD];
    uintptr_t i;

    (void)state;
    close_all();
    open_with(200);
    for (i = 0; i < CROWD; i++)
        thread_start(&threads[i], "rush", rush, (void *)(i + 1));
    for (i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    settle();
    assert_true(holds_count(holds, now_is + 2 * HOUR) <= 200);
    assert_int_equal(ask("SELECT count(*) FROM holds"), holds_count(holds, now_is + 2 * HOUR));
}

/* Of many who come when the hold has run out, one is refused for good. */

static atomic_int permanent;

static void *come(void *self)
{
    (void)self;
    if (refuse("bo@bank.example", DAY) == HOLD_EXPIRED)
        atomic_fetch_add(&permanent, 1);
    return NULL;
}

static void of_many_at_once_one_is_refused_for_good(void **state)
{
    pthread_t threads[CROWD];
    int i;

    (void)state;
    wear_out("bo@bank.example");
    for (i = 0; i < CROWD; i++)
        thread_start(&threads[i], "come", come, NULL);
    for (i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(permanent, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clock_runs_out_once_and_then_begins_anew),
        TEST(each_connector_sender_and_recipient_has_a_clock_of_its_own),
        TEST(letter_case_and_spelling_make_no_other_clock),
        TEST(what_can_not_be_told_from_others_has_no_clock),
        TEST(an_accepted_recipient_ends_its_clock_and_no_other),
        TEST(clocks_outlive_a_process_that_was_killed),
        TEST(clocks_go_on_after_a_restart),
        TEST(a_clock_that_ended_stays_ended_after_a_restart),
        TEST(what_was_untouched_for_too_long_is_not_taken_up_again),
        TEST(rows_that_can_not_be_clocks_are_deleted),
        TEST(forgetting_is_by_connector_by_recipient_or_all),
        TEST(a_crowd_pushes_out_what_was_untouched_for_longest),
        TEST(long_addresses_take_the_room_of_several),
        TEST(many_are_listed_whole_while_the_table_grows),
        TEST(what_is_over_goes_by_and_by),
        TEST(without_a_store_memory_counts),
        TEST(a_file_that_is_deleted_is_written_anew),
        TEST(a_file_that_can_not_be_read_is_forgotten),
        TEST(the_file_can_be_read_past_a_daemon),
        TEST(a_crowd_does_not_fill_the_queue_and_is_written_in_the_end),
        TEST(a_crowd_that_is_never_written_is_let_go_whole),
        TEST(a_rush_leaves_memory_and_file_alike),
        TEST(of_many_at_once_one_is_refused_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
