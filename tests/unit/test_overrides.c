/* With the real SQLite, each test in a folder of its own. */
#include "store/overrides.h"

#include "base/clock.h"
#include "base/memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

static char folder[64];
static struct store *store;
static struct overrides *overrides;
static atomic_int called;

static void on_more(void *self)
{
    (void)self;
    atomic_fetch_add(&called, 1);
}

static void open_both(void)
{
    struct settings settings = { .store.directory = folder };

    store = store_open(&settings);
    overrides = overrides_open(store, (struct overrides_hook){ .call = on_more });
}

static void close_both(void)
{
    overrides_close(overrides);
    store_close(store);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/danelaw-overrides-XXXXXX");
    assert_non_null(mkdtemp(folder));
    atomic_store(&called, 0);
    open_both();
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    close_both();
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static struct override of(const char *name, enum mode dane, int64_t until)
{
    struct override o = { .sets_dane = true, .smtp_dane = dane, .until = until, .set_at = 5, .by = "root (alice)" };

    snprintf(o.connector, sizeof(o.connector), "%s", name);
    return o;
}

static void put(const char *name, enum mode dane, int64_t until)
{
    struct override o = of(name, dane, until);
    struct fault why;

    assert_true(overrides_put(overrides, &o, &why));
}

static void kept(void)
{
    assert_true(overrides_await(overrides, clock_ms() + WAIT_MS));
}

static size_t count(void)
{
    uint64_t version;
    size_t n;

    free(overrides_list(overrides, &n, &version));
    return n;
}

static void break_file(void)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/danelaw.db", folder);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "this is no database at all, and never was", 41), 41);
    close(fd);
}

static void they_are_there_again_after_a_restart(void **state)
{
    struct override o;
    struct fault why;

    (void)state;
    put("P", MODE_OPPORTUNISTIC, 77);
    put("Q", MODE_MANDATORY, 0);
    kept();
    close_both();
    open_both();
    assert_int_equal(count(), 2);
    assert_true(overrides_get(overrides, "P", &o));
    assert_true(o.sets_dane && !o.sets_sts);
    assert_int_equal(o.smtp_dane, MODE_OPPORTUNISTIC);
    assert_int_equal(o.until, 77);
    assert_int_equal(o.set_at, 5);
    assert_string_equal(o.by, "root (alice)");
    assert_true(overrides_sure(overrides, &why));
    kept();                                     /* nothing to wait for */
}

static void the_second_takes_the_place_of_the_first(void **state)
{
    struct override second = of("P", MODE_NONE, 0), o;
    struct fault why;

    (void)state;
    put("P", MODE_OPPORTUNISTIC, 77);
    second.sets_dane = false;
    second.sets_sts = true;
    second.mta_sts = MODE_NONE;
    assert_true(overrides_put(overrides, &second, &why));
    kept();
    close_both();
    open_both();
    assert_int_equal(count(), 1);
    assert_true(overrides_get(overrides, "P", &o));
    assert_true(!o.sets_dane && o.sets_sts);
}

static void what_is_dropped_does_not_come_back(void **state)
{
    struct override o;

    (void)state;
    put("P", MODE_OPPORTUNISTIC, 77);
    put("Q", MODE_OPPORTUNISTIC, 77);
    overrides_drop(overrides, "P");
    overrides_drop(overrides, "nobody");
    kept();
    close_both();
    open_both();
    assert_int_equal(count(), 1);
    assert_false(overrides_get(overrides, "P", &o));
}

static void the_version_changes_with_every_change(void **state)
{
    uint64_t first, second, third;
    size_t n;

    (void)state;
    free(overrides_list(overrides, &n, &first));
    put("P", MODE_NONE, 0);
    free(overrides_list(overrides, &n, &second));
    overrides_drop(overrides, "P");
    free(overrides_list(overrides, &n, &third));
    assert_true(first != second && second != third);
}

static void they_have_a_ceiling(void **state)
{
    struct override o;
    struct fault why;
    char name[16];
    int i;

    (void)state;
    for (i = 0; i < OVERRIDES_MOST; i++) {
        snprintf(name, sizeof(name), "P%d", i);
        put(name, MODE_NONE, 0);
    }
    o = of("one more", MODE_NONE, 0);
    assert_false(overrides_put(overrides, &o, &why));
    put("P7", MODE_OPPORTUNISTIC, 0);
    kept();
}

static void a_broken_file_leaves_a_doubt_that_outlives_a_restart(void **state)
{
    struct fault why = { "" };

    (void)state;
    put("P", MODE_MANDATORY, 0);
    kept();
    close_both();
    break_file();
    open_both();
    assert_int_equal(count(), 0);
    assert_false(overrides_sure(overrides, &why));
    assert_non_null(strstr(why.text, "broken"));
    put("Q", MODE_NONE, 9);                     /* says nothing about those that are lost */
    kept();
    close_both();
    open_both();
    assert_int_equal(count(), 1);
    assert_false(overrides_sure(overrides, &why));
    overrides_trust(overrides);
    assert_true(overrides_sure(overrides, &why));
    close_both();
    open_both();
    assert_true(overrides_sure(overrides, &why));
    assert_int_equal(count(), 1);
}

static void take_file_away(void)
{
    char path[128], away[128];

    snprintf(path, sizeof(path), "%s/danelaw.db", folder);
    snprintf(away, sizeof(away), "%s/away", folder);
    assert_int_equal(rename(path, away), 0);
}

static void a_file_that_was_taken_away_leaves_a_doubt_that_outlives_a_restart(void **state)
{
    struct fault why = { "" };
    struct override *found;
    size_t n;

    (void)state;
    put("P", MODE_MANDATORY, 0);
    kept();
    close_both();
    take_file_away();
    assert_false(overrides_peek(folder, &found, &n, &why));
    assert_non_null(strstr(why.text, "taken away"));
    open_both();
    assert_int_equal(count(), 0);
    assert_false(overrides_sure(overrides, &why));
    close_both();
    open_both();
    assert_false(overrides_sure(overrides, &why));
    overrides_trust(overrides);
    close_both();
    open_both();
    assert_true(overrides_sure(overrides, &why));
}

/* The new file was begun, and then the disk was full, or the process ended. */
static void a_loss_is_noted_however_late_the_new_file_is_made(void **state)
{
    char path[128], has[128], lost[128];
    struct fault why = { "" };
    struct override *found;
    size_t n;

    (void)state;
    close_both();
    take_file_away();
    snprintf(has, sizeof(has), "%s/has-danelaw.db", folder);
    snprintf(lost, sizeof(lost), "%s/lost-danelaw.db", folder);
    snprintf(path, sizeof(path), "%s/danelaw.db", folder);
    assert_int_equal(rename(has, lost), 0);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_false(overrides_peek(folder, &found, &n, &why));
    open_both();
    assert_false(overrides_sure(overrides, &why));
    assert_int_equal(access(has, F_OK), 0);
    assert_int_not_equal(access(lost, F_OK), 0);
}

/* What memory has goes into the new one. */
static void a_file_that_is_taken_away_meanwhile_loses_no_override(void **state)
{
    struct fault why = { "" };
    struct override o;

    (void)state;
    put("P", MODE_MANDATORY, 0);
    kept();
    take_file_away();
    put("Q", MODE_MANDATORY, 0);
    kept();
    close_both();
    open_both();
    assert_true(overrides_get(overrides, "P", &o));
    assert_true(overrides_get(overrides, "Q", &o));
    assert_true(overrides_sure(overrides, &why));
}

static void a_new_store_is_no_reason_for_doubt(void **state)
{
    struct fault why;

    (void)state;
    assert_true(overrides_sure(overrides, &why));
    assert_int_equal(count(), 0);
}

/* A folder in the file's place can be read by nobody, not even root. */
static void what_could_not_be_read_at_start_is_read_later(void **state)
{
    char path[128], away[128];
    int64_t until;
    struct fault why = { "" };
    struct override o;

    (void)state;
    put("P", MODE_MANDATORY, 0);
    kept();
    close_both();
    snprintf(path, sizeof(path), "%s/danelaw.db", folder);
    snprintf(away, sizeof(away), "%s/away", folder);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    open_both();
    assert_false(overrides_sure(overrides, &why));
    put("Q", MODE_MANDATORY, 0);
    assert_false(overrides_await(overrides, clock_ms() + 100));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(away, path), 0);
    for (until = clock_ms() + WAIT_MS; atomic_load(&called) == 0 && clock_ms() < until;)
        usleep(20000);
    overrides_load(overrides);
    assert_true(overrides_get(overrides, "P", &o));
    assert_true(overrides_get(overrides, "Q", &o));
    assert_true(overrides_sure(overrides, &why));
    kept();
    close_both();
    open_both();
    assert_int_equal(count(), 2);
}

static void the_command_reads_them_from_the_file(void **state)
{
    struct override *found;
    struct fault why = { "" };
    size_t n;

    (void)state;
    put("P", MODE_OPPORTUNISTIC, 77);
    kept();
    assert_true(overrides_peek(folder, &found, &n, &why));
    assert_int_equal(n, 1);
    assert_string_equal(found[0].connector, "P");
    free(found);
    assert_true(overrides_peek("/tmp/danelaw-nowhere-at-all", &found, &n, &why));
    assert_int_equal(n, 0);
    free(found);
    close_both();
    break_file();
    assert_false(overrides_peek(folder, &found, &n, &why));
    open_both();
    assert_false(overrides_peek(folder, &found, &n, &why));
    assert_non_null(strstr(why.text, "lost"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(they_are_there_again_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_second_takes_the_place_of_the_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_dropped_does_not_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_version_changes_with_every_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(they_have_a_ceiling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_file_leaves_a_doubt_that_outlives_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_taken_away_leaves_a_doubt_that_outlives_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loss_is_noted_however_late_the_new_file_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_taken_away_meanwhile_loses_no_override, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_store_is_no_reason_for_doubt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_read_at_start_is_read_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_command_reads_them_from_the_file, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
