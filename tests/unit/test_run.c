#include "base/memory.h"
#include "mta/run.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void programs_get_a_clean_start(void **state)
{
    const char *argv[] = { "/bin/sh", "-c", "env | sort | grep -v '^PWD=\\|^_=\\|^SHLVL='; ls /proc/self/fd | wc -l; "
                           "grep SigBlk /proc/self/status", NULL };
    sigset_t all, old;
    struct run r;
    int leak = open("/dev/null", O_RDONLY);             /* not close-on-exec, as a library might do */

    (void)state;
    setenv("MAIL_CONFIG", "/elsewhere", 1);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    assert_true(run_program(argv, NULL, 0, &r, NULL));
    sigprocmask(SIG_SETMASK, &old, NULL);
    unsetenv("MAIL_CONFIG");
    close(leak);
    assert_string_equal(text_words(&r.out), "LANG=C\nLC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n4\n"
                                            "SigBlk:\t0000000000000000\n");
    run_done(&r);
}

static void input_larger_than_any_buffer_comes_back_whole(void **state)
{
    const char *argv[] = { "/bin/cat", NULL }, *deaf[] = { "/bin/true", NULL };
    size_t length = 3 * 1024 * 1024 + 7;
    AUTO(free) char *input = mem_zero(length);
    struct run r;

    (void)state;
    memset(input, 'x', length);
    assert_true(run_program(argv, input, length, &r, NULL));
    assert_int_equal(r.code, 0);
    assert_int_equal(r.out.length, length);
    assert_memory_equal(r.out.bytes, input, length);
    run_done(&r);
    assert_true(run_program(deaf, input, length, &r, NULL));        /* and nobody is killed by SIGPIPE */
    run_done(&r);
}

struct counter {
    struct run_reader reader;
    size_t lines, octets;
    char last[16];
};

static void count_line(struct run_reader *reader, const char *line, size_t length)
{
    struct counter *c = (struct counter *)reader;

    assert_int_equal(strlen(line), length);
    c->lines++;
    c->octets += length + 1;
    if (length < sizeof(c->last))
        memcpy(c->last, line, length + 1);
}

static void lines_come_one_by_one_however_many_there_are(void **state)
{
    const char *much[] = { "/bin/sh", "-c", "yes \"$(printf %0999d 7)\" | head -n 80000; echo; echo end; printf rest; exit 3", NULL };
    struct counter c = { .reader.line = count_line };
    struct run r;

    (void)state;
    assert_true(run_lines(much, &c.reader, &r, NULL));
    assert_int_equal(r.code, 3);
    assert_int_equal(c.lines, 80002);                               /* what has no end is no line */
    assert_int_equal(c.octets, 80000 * 1000 + 5);                   /* more than run_program() would read */
    assert_string_equal(c.last, "end");
    run_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_get_a_clean_start),
        cmocka_unit_test(input_larger_than_any_buffer_comes_back_whole),
        cmocka_unit_test(lines_come_one_by_one_however_many_there_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
