#include "server/stream.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 20000 };

static struct event_base *loop;
static struct stream *stream;
static int far_end;
static int ready, gone;
static bool takes;                          /* drains what comes */

static void on_ready(void *unused)
{
    (void)unused;
    ready++;
    if (takes) {
        evbuffer_drain(stream_input(stream), evbuffer_get_length(stream_input(stream)));
        stream_go_on(stream);
    }
}

static void on_gone(void *unused)
{
    (void)unused;
    gone++;
    stream_free(stream);
    stream = NULL;
}

static void open_stream(unsigned idle_seconds)
{
    static const struct stream_face face = { .ready = on_ready, .gone = on_gone };
    int ends[2];

    ready = gone = 0;
    takes = false;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    far_end = ends[0];
    loop = event_base_new();
    stream = stream_new(loop, ends[1], idle_seconds, MOST, &face, NULL);
    assert_non_null(stream);
}

static int close_stream(void **unused)
{
    (void)unused;
    if (stream != NULL)
        stream_free(stream);
    stream = NULL;
    event_base_free(loop);
    close(far_end);
    return 0;
}

static void turn(void)
{
    event_base_loop(loop, EVLOOP_NONBLOCK);
}

static void what_is_sent_leaves_at_once(void **unused)
{
    char words[16];

    (void)unused;
    open_stream(60);
    stream_send(stream, "hello", 5);
    assert_int_equal(read(far_end, words, sizeof(words)), 5);
    assert_int_equal(stream_unsent(stream), 0);
}

static void what_the_socket_does_not_take_follows_in_order(void **unused)
{
    static char out[3 * 1000 * 1000], in[sizeof(out)];
    size_t have = 0, i;
    ssize_t got;

    (void)unused;
    open_stream(60);
    for (i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 7 / 3);
    for (i = 0; i < sizeof(out); i += 1000)
        stream_send(stream, out + i, 1000);
    assert_true(stream_unsent(stream) > 0);
    while (have < sizeof(out)) {
        got = read(far_end, in + have, sizeof(in) - have);
        if (got > 0)
            have += (size_t)got;
        turn();
    }
    assert_memory_equal(in, out, sizeof(out));
    assert_int_equal(stream_unsent(stream), 0);
    assert_true(ready > 0);                 /* whoever waited for it is told */
}

static void fill(void)
{
    static const char words[1000];

    while (write(far_end, words, sizeof(words)) > 0)
        ;
}

static void input_that_nobody_takes_stays_in_the_kernel(void **unused)
{
    size_t before;
    int i;

    (void)unused;
    open_stream(60);
    for (i = 0; i < 100; i++) {
        fill();
        turn();
    }
    before = evbuffer_get_length(stream_input(stream));
    assert_true(before >= MOST && before < MOST + 20000);
    takes = true;
    on_ready(NULL);
    turn();
    turn();
    assert_true(ready > 2);
    assert_int_equal(gone, 0);
}

static void who_is_idle_is_let_go(void **unused)
{
    (void)unused;
    open_stream(1);
    event_base_dispatch(loop);              /* ends when there is nothing more to listen to */
    assert_int_equal(gone, 1);
    assert_int_equal(ready, 0);
}

static void who_closes_is_gone_and_what_waits_with_him(void **unused)
{
    static const char words[1000];
    int i;

    (void)unused;
    open_stream(60);
    for (i = 0; i < 3000; i++)
        stream_send(stream, words, sizeof(words));
    close(far_end);
    far_end = -1;
    for (i = 0; i < 10 && gone == 0; i++)
        turn();
    assert_int_equal(gone, 1);
}

/* A question that got no answer would have the next one's. */
static void who_can_not_be_sent_an_answer_is_let_go_but_not_inside(void **unused)
{
    int i;

    (void)unused;
    open_stream(60);
    shutdown(far_end, SHUT_RD);
    stream_send(stream, "lost", 4);
    assert_int_equal(gone, 0);
    for (i = 0; i < 10 && gone == 0; i++)
        turn();
    assert_int_equal(gone, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_sent_leaves_at_once, close_stream),
        cmocka_unit_test_teardown(what_the_socket_does_not_take_follows_in_order, close_stream),
        cmocka_unit_test_teardown(input_that_nobody_takes_stays_in_the_kernel, close_stream),
        cmocka_unit_test_teardown(who_is_idle_is_let_go, close_stream),
        cmocka_unit_test_teardown(who_can_not_be_sent_an_answer_is_let_go_but_not_inside, close_stream),
        cmocka_unit_test_teardown(who_closes_is_gone_and_what_waits_with_him, close_stream),
    };

    signal(SIGPIPE, SIG_IGN);               /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
