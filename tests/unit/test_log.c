#include "base/log.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/ring.h"
#include "base/thread.h"
#include "ear.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SPEAKERS = 8, LINES_EACH = 2000, FLOOD = 4000, HEARD_SIZE = 16 * 1024 * 1024 };

static char heard[HEARD_SIZE];

/* A pipe in the place of standard error. */
struct mouth {
    int kept, end;
};

static void mouth_open(struct mouth *m)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    m->kept = dup(STDERR_FILENO);
    m->end = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
}

/* What is written from here on finds its reader at the end. */
static void mouth_shut(struct mouth *m)
{
    dup2(m->kept, STDERR_FILENO);
    close(m->kept);
}

/* Reads into heard behind so many octets until the words have come, or until the other end is closed; gives the length. */
static size_t hear(int end, size_t length, const char *words)
{
    struct pollfd ear = { .fd = end, .events = POLLIN };
    size_t from = length;
    ssize_t some;

    heard[length] = '\0';
    while (words == NULL || strstr(heard + from, words) == NULL) {
        from = words != NULL && length > strlen(words) ? length - strlen(words) : 0;
        assert_int_equal(poll(&ear, 1, 60 * 1000), 1);
        some = read(end, heard + length, HEARD_SIZE - 1 - length);
        assert_true(some >= 0);
        if (some == 0)
            break;
        length += (size_t)some;
        heard[length] = '\0';
    }
    return length;
}

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; (text = strchr(text, '\n')) != NULL; text++)
        count++;
    return count;
}

static void lines_go_round_in_their_memory(void **state)
{
    char memory[64], line[64];
    struct ring r = { .memory = memory, .size = sizeof(memory) };
    unsigned put = 0, taken = 0;
    size_t length;
    uint8_t kind;

    (void)state;
    assert_false(ring_take(&r, &kind, line, sizeof(line), &length));
    while (taken < 1000) {
        while (ring_fits(&r, 5 + put % 7)) {
            snprintf(line, sizeof(line), "%05u......", put);
            ring_put(&r, (uint8_t)(put % 3), line, (uint16_t)(5 + put % 7));
            put++;
        }
        assert_false(ring_take(&r, &kind, line, 4, &length));
        assert_true(ring_take(&r, &kind, line, sizeof(line), &length));
        assert_int_equal(length, 5 + taken % 7);
        assert_int_equal(kind, taken % 3);
        line[5] = '\0';
        assert_int_equal(strtoul(line, NULL, 10), taken);
        taken++;
    }
    assert_true(put > taken);
}

static void without_a_start_who_speaks_writes(void **state)
{
    char said[256];
    struct ear e;

    (void)state;
    ear_open(&e);
    log_info("one %d", 1);
    log_stop();
    log_flush();
    log_error("two");
    ear_close(&e, said, sizeof(said));
    assert_string_equal(said, "test_log: one 1\ntest_log: error: two\n");
}

static void *speak(void *number)
{
    int i;

    for (i = 0; i < LINES_EACH; i++)
        log_info("speaker %d line %d%s", *(int *)number, i, i % 100 == 99 ? " ......................................" : "");
    return NULL;
}

/* All lines of all speakers, whole, each speaker's in order. */
static void assert_all_said(char *text)
{
    int next[SPEAKERS] = { 0 }, who, line, i;
    char *rest, *one;

    for (one = strtok_r(text, "\n", &rest); one != NULL; one = strtok_r(NULL, "\n", &rest)) {
        assert_int_equal(sscanf(one, "test_log: speaker %d line %d", &who, &line), 2);
        assert_in_range(who, 0, SPEAKERS - 1);
        assert_int_equal(line, next[who]);
        next[who]++;
    }
    for (i = 0; i < SPEAKERS; i++)
        assert_int_equal(next[i], LINES_EACH);
}

static void lines_of_many_threads_come_whole_and_in_order(void **state)
{
    pthread_t speakers[SPEAKERS];
    int numbers[SPEAKERS], i;
    struct ear e;

    (void)state;
    ear_open(&e);
    log_start();
    for (i = 0; i < SPEAKERS; i++) {
        numbers[i] = i;
        thread_start(&speakers[i], "speaker", speak, &numbers[i]);
    }
    for (i = 0; i < SPEAKERS; i++)
        pthread_join(speakers[i], NULL);
    log_stop();
    ear_close(&e, heard, HEARD_SIZE);
    assert_all_said(heard);
}

static void a_line_comes_by_itself(void **state)
{
    struct mouth m;
    int i;

    (void)state;
    mouth_open(&m);
    log_start();
    for (i = 0; i < 3; i++) {
        log_info("a first one");
        hear(m.end, 0, "test_log: a first one\n");
        log_info("and one soon behind it");
        hear(m.end, 0, "test_log: and one soon behind it\n");
    }
    log_stop();
    mouth_shut(&m);
    close(m.end);
}

static void the_end_writes_all_and_then_who_speaks_writes_again(void **state)
{
    char want[64 * 100] = "", one[64], said[64 * 100];
    struct ear e;
    int i;

    (void)state;
    ear_open(&e);
    for (i = 0; i < 90; i++) {
        if (i % 10 == 0)
            log_start();
        log_warning("line %d", i);
        if (i % 10 == 8)
            log_stop();
        snprintf(one, sizeof(one), "test_log: warning: line %d\n", i);
        strcat(want, one);
    }
    ear_close(&e, said, sizeof(said));
    assert_string_equal(said, want);
}

static void what_was_said_is_written_after_a_flush(void **state)
{
    struct ear e;
    int i;

    (void)state;
    ear_open(&e);
    log_start();
    for (i = 0; i < 1000; i++)
        log_info("line %d", i);
    log_flush();
    ear_close(&e, heard, HEARD_SIZE);
    log_stop();
    assert_int_equal(count_lines(heard), 1000);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    char said[4096], words[3000];
    struct ear e;

    (void)state;
    memset(words, 'x', sizeof(words));
    words[sizeof(words) - 1] = '\0';
    ear_open(&e);
    log_start();
    log_info("%s", words);
    log_info("short");
    log_stop();
    ear_close(&e, said, sizeof(said));
    assert_int_equal(strcspn(said, "\n"), 2046);
    assert_string_equal(strchr(said, '\n'), "\ntest_log: short\n");
}

/* Far more than there is room for, at once. */
static void flood(void)
{
    int i;

    for (i = 0; i < FLOOD; i++)
        log_info("flood %6d %1000s", i, ".");
}

/* The first lines, in order, one that counts the others, and then all goes on. */
static void assert_flood(char *text)
{
    size_t dropped = 0, told = 0, next = 0;
    char *rest, *one;
    unsigned number;

    for (one = strtok_r(text, "\n", &rest); one != NULL; one = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(one, "test_log: warning: log: %u lines of the last", &number) == 1) {
            assert_non_null(strstr(one, " seconds could not be written"));
            dropped = number;
            told++;
        } else if (sscanf(one, "test_log: flood %u ", &number) == 1) {
            assert_int_equal(number, next);
            assert_int_equal(told, 0);
            next++;
        } else {
            assert_string_equal(one, "test_log: it goes on");
        }
    }
    assert_int_equal(told, 1);
    assert_true(next > 900);
    assert_int_equal(next + dropped, FLOOD);
}

static void where_nobody_reads_lines_are_dropped_and_counted(void **state)
{
    struct mouth m;
    size_t length;

    (void)state;
    mouth_open(&m);
    log_start();
    flood();                                /* would take an hour if each waited */
    length = hear(m.end, 0, "could not be written\n");
    log_info("it goes on");
    length = hear(m.end, length, "it goes on\n");
    log_stop();
    mouth_shut(&m);
    hear(m.end, length, NULL);
    close(m.end);
    assert_flood(heard);
}

static void *flood_body(void *none)
{
    flood();
    return none;
}

static void where_somebody_reads_slowly_nothing_is_dropped(void **state)
{
    pthread_t speaker;
    struct mouth m;
    size_t length;

    (void)state;
    mouth_open(&m);
    log_start();
    thread_start(&speaker, "speaker", flood_body, NULL);
    length = hear(m.end, 0, "flood   3999 ");
    pthread_join(speaker, NULL);
    log_stop();
    mouth_shut(&m);
    hear(m.end, length, NULL);
    close(m.end);
    assert_null(strstr(heard, "could not be written"));
    assert_int_equal(count_lines(heard), FLOOD);
}

/* This program once more, as one that ends in some way; its words are in heard. Gives its status. */
static int run_one_that(const char *how)
{
    char program[] = "/proc/self/exe", word[32];
    char *const argv[] = { program, word, NULL };
    posix_spawn_file_actions_t actions;
    extern char **environ;
    int ends[2], status;
    pid_t child;

    snprintf(word, sizeof(word), "%s", how);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    assert_int_equal(posix_spawn(&child, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (strcmp(how, "unheard") != 0)
        hear(ends[0], 0, NULL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ends[0]);
    return status;
}

/* The part of the program that was run again. */
static int end(const char *how)
{
    int i;

    signal(SIGABRT, SIG_DFL);
    log_open("dying", false, "mail");
    log_start();
    if (strcmp(how, "unheard") == 0) {
        flood();
        log_stop();
        return 7;
    }
    for (i = 0; i < 1000; i++)
        log_info("line %d", i);
    errno = EMFILE;
    if (strcmp(how, "lacking") == 0)
        mem_lack("what it takes");
    mem_out();
}

static void who_runs_out_of_memory_writes_what_waits_first(void **state)
{
    int status;

    (void)state;
    status = run_one_that("starving");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(count_lines(heard), 1001);
    assert_non_null(strstr(heard, "dying: line 999\ndying: error: out of memory; the process ends\n"));
    status = run_one_that("lacking");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(heard, "dying: line 999\ndying: error: there can't be what it takes: Too many open files; "));
}

static void an_end_with_nobody_reading_is_one(void **state)
{
    int status;

    (void)state;
    status = run_one_that("unheard");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_round_in_their_memory),
        cmocka_unit_test(without_a_start_who_speaks_writes),
        cmocka_unit_test(lines_of_many_threads_come_whole_and_in_order),
        cmocka_unit_test(a_line_comes_by_itself),
        cmocka_unit_test(the_end_writes_all_and_then_who_speaks_writes_again),
        cmocka_unit_test(what_was_said_is_written_after_a_flush),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(where_nobody_reads_lines_are_dropped_and_counted),
        cmocka_unit_test(where_somebody_reads_slowly_nothing_is_dropped),
        cmocka_unit_test(who_runs_out_of_memory_writes_what_waits_first),
        cmocka_unit_test(an_end_with_nobody_reading_is_one),
    };

    if (argc > 1)
        return end(argv[1]);
    log_open("test_log", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
