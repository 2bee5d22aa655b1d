/* With the real SQLite, each test in a folder of its own. */
#include "store/audit.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

static char folder[64];
static struct store *store;

static int open_store(void **state)
{
    struct settings settings = { .store.directory = folder };

    (void)state;
    strcpy(folder, "/tmp/danelaw-audit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    store = store_open(&settings);
    return 0;
}

static int close_store(void **state)
{
    char command[128];

    (void)state;
    store_close(store);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void written(uint64_t count)
{
    int64_t until = clock_ms() + WAIT_MS;
    struct store_status now;

    do {
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        store_status(store, &now);
    } while (now.written < count && clock_ms() < until);
    assert_int_equal(now.written, count);
}

struct list {
    struct audit_reader face;
    char text[4096];
    int64_t last;
    size_t count, most;
};

static bool take_entry(struct audit_reader *self, const struct audit_entry *e)
{
    struct list *list = (struct list *)self;
    size_t length = strlen(list->text);

    snprintf(list->text + length, sizeof(list->text) - length, "%s|%s|%s|%s|%s\n", e->by, e->action,
             e->connector == NULL ? "-" : e->connector, e->before == NULL ? "-" : e->before,
             e->after == NULL ? "-" : e->after);
    list->last = e->id;
    return ++list->count < list->most;
}

static void what_was_noted_is_read_newest_first(void **state)
{
    struct list list = { .face.each = take_entry, .most = 100 };
    struct fault why;

    (void)state;
    audit_note(store, &(struct audit_entry){ .by = "root", .action = "reload", .after = "3 connectors" });
    audit_note(store, &(struct audit_entry){ .by = "root (alice)", .action = "mode set", .connector = "P", .before = "a",
                                             .after = "b" });
    written(2);
    assert_true(audit_read(store, 0, 10, &list.face, &why));
    assert_string_equal(list.text, "root (alice)|mode set|P|a|b\nroot|reload|-|-|3 connectors\n");
}

static void it_is_read_in_slices(void **state)
{
    struct list list = { .face.each = take_entry, .most = 100 };
    struct fault why;
    int i;

    (void)state;
    for (i = 0; i < 5; i++)
        audit_note(store, &(struct audit_entry){ .by = "root", .action = "reload" });
    written(5);
    assert_true(audit_read(store, 0, 2, &list.face, &why));
    assert_int_equal(list.count, 2);
    assert_true(audit_read(store, list.last, 2, &list.face, &why));
    assert_int_equal(list.count, 4);
    assert_true(audit_read(store, list.last, 2, &list.face, &why));
    assert_int_equal(list.count, 5);
    list.count = 0;
    list.most = 1;                                  /* the reader has had enough */
    assert_true(audit_read(store, 0, 5, &list.face, &why));
    assert_int_equal(list.count, 1);
}

static void the_oldest_make_room(void **state)
{
    struct list list = { .face.each = take_entry, .most = SIZE_MAX };
    struct fault why;
    int i;

    (void)state;
    for (i = 0; i < AUDIT_MOST + 20; i++)
        audit_note(store, &(struct audit_entry){ .by = "root", .action = i < 20 ? "old" : "new" });
    written(AUDIT_MOST + 20);
    assert_true(audit_read(store, 0, SIZE_MAX / 2, &list.face, &why));
    assert_int_equal(list.count, AUDIT_MOST);
    assert_null(strstr(list.text, "old"));
}

static void it_is_read_from_the_file_without_a_daemon(void **state)
{
    struct settings settings = { .store.directory = folder };
    struct list list = { .face.each = take_entry, .most = 100 };
    struct fault why;

    (void)state;
    audit_note(store, &(struct audit_entry){ .by = "danelawd", .action = "mode expired", .connector = "P" });
    store_close(store);
    assert_true(audit_peek(folder, 0, 10, &list.face, &why));
    assert_string_equal(list.text, "danelawd|mode expired|P|-|-\n");
    store = store_open(&settings);
}

static void without_a_store_the_log_has_it(void **state)
{
    (void)state;
    audit_note(NULL, &(struct audit_entry){ .by = "root", .action = "reload" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_noted_is_read_newest_first, open_store, close_store),
        cmocka_unit_test_setup_teardown(it_is_read_in_slices, open_store, close_store),
        cmocka_unit_test_setup_teardown(the_oldest_make_room, open_store, close_store),
        cmocka_unit_test_setup_teardown(it_is_read_from_the_file_without_a_daemon, open_store, close_store),
        cmocka_unit_test(without_a_store_the_log_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
