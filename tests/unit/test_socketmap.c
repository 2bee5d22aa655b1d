#include "server/socketmap.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "ear.h"
#include "fake_lookup.h"
#include "server/listen.h"
#include "site.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUDGET = 60, PATIENT = FAKE_WAIT_MS };

/* A map server on a socket of its own, before an engine with a scripted resolver. */
struct site_map {
    struct settings set;
    struct fake *fake;
    struct engine *engine;
    struct event_base *loop;
    struct socketmap *map;
    pthread_t thread;
    char folder[64], path[96];
};

static void *loop_body(void *loop)
{
    event_base_loop(loop, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static void start(struct site_map *s, uint32_t clients)
{
    struct listen_access access = { .owner = geteuid(), .group = (gid_t)-1, .mode = 0660 };
    struct ruleset *rules = rules_new();
    char spec[128];
    int listening;

    *s = (struct site_map){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                   .tlsa_records = 16 },
                                     .maps = { .budget = BUDGET, .clients = clients } } };
    s->fake = fake_new();
    rules_add(rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example *.friend.example b\xc3\xbc" "cher.example");
    rules_add(rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    rules_senders(rules, rules_add(rules, "Boss", MODE_MANDATORY, MODE_NONE, "absent.boss.example"), "boss@home.example");
    fake_says(s->fake, "absent.boss.example", FAKE_ABSENT);
    fake_says(s->fake, "absent.friend.example", FAKE_ABSENT);
    fake_says(s->fake, "unusable.friend.example", FAKE_UNUSABLE);
    fake_says(s->fake, "bogus.friend.example", FAKE_BOGUS);
    ruleset_freeze(rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 },
                            rules);
    ruleset_unref(rules);
    snprintf(s->folder, sizeof(s->folder), "/tmp/danelaw-map-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof(s->path), "%s/map.sock", s->folder);
    snprintf(spec, sizeof(spec), "unix:%s", s->path);
    assert_true(listen_open(spec, &access, &listening, NULL));
    s->loop = event_base_new();
    s->map = socketmap_open(s->loop, listening, &s->set, s->engine);
    thread_start(&s->thread, "doors", loop_body, s->loop);
}

/* In the order of the daemon. */
static void stop(struct site_map *s)
{
    event_base_loopexit(s->loop, NULL);
    pthread_join(s->thread, NULL);
    engine_close(s->engine);
    socketmap_close(s->map);
    event_base_free(s->loop);
    fake_free(s->fake);
    unlink(s->path);
    rmdir(s->folder);
}

static int client(const struct site_map *s)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(c >= 0);
    snprintf(where.sun_path, sizeof(where.sun_path), "%s", s->path);
    while (connect(c, (struct sockaddr *)&where, sizeof(where)) != 0) {
        assert_true(errno == EINTR || errno == EAGAIN);
        usleep(1000);
    }
    return c;
}

static void send_bytes(int c, const char *bytes, size_t length)
{
    assert_int_equal(send(c, bytes, length, MSG_NOSIGNAL), length);
}

static void send_request(int c, const char *words)
{
    char frame[12000];
    int length = snprintf(frame, sizeof(frame), "%zu:%s,", strlen(words), words);

    send_bytes(c, frame, (size_t)length);
}

/* One octet, or -1 at the end; -2: nothing within the time. */
static int read_octet(int c, int patience_ms)
{
    struct pollfd wait = { .fd = c, .events = POLLIN };
    unsigned char octet;
    ssize_t got;

    if (poll(&wait, 1, patience_ms) != 1)
        return -2;
    got = recv(c, &octet, 1, 0);
    return got == 1 ? octet : -1;
}

/* The next reply, without its frame; "EOF" or "silence". */
static const char *reply_within(int c, int patience_ms)
{
    static char reply[21000];
    size_t length = 0, i;
    int octet;

    while ((octet = read_octet(c, patience_ms)) >= '0' && octet <= '9')
        length = length * 10 + (size_t)(octet - '0');
    if (octet < 0)
        return octet == -1 ? "EOF" : "silence";
    assert_int_equal(octet, ':');
    assert_true(length < sizeof(reply));
    for (i = 0; i < length; i++) {
        octet = read_octet(c, PATIENT);
        assert_true(octet >= 0);
        reply[i] = (char)octet;
    }
    reply[length] = '\0';
    assert_int_equal(read_octet(c, PATIENT), ',');
    return reply;
}

static const char *ask(int c, const char *words)
{
    send_request(c, words);
    return reply_within(c, PATIENT);
}

#define assert_starts(text, start)                                          \
    do {                                                                    \
        const char *text_ = (text);                                         \
        if (strncmp(text_, start, strlen(start)) != 0)                      \
            fail_msg("\"%s\" does not start with \"%s\"", text_, start);    \
    } while (0)

/* Answers */

static void each_kind_of_answer_has_its_word(void **state)
{
    struct site_map s;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");
    assert_string_equal(ask(c, "postfix-tls unusable.friend.example"), "OK encrypt");
    assert_string_equal(ask(c, "postfix-tls absent.friend.example"), "NOTFOUND ");
    assert_starts(ask(c, "postfix-tls bogus.friend.example"), "TEMP ");
    assert_starts(ask(c, "postfix-mandatory friend.example"), "TEMP ");
    assert_starts(ask(c, "explain bo@friend.example"), "OK connector \"Friend\"");
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");      /* one connection serves them all */
    close(c);
    stop(&s);
}

static void every_spelling_of_a_next_hop_is_understood(void **state)
{
    static const char *const same[] = { "friend.example", "FRIEND.Example", "friend.example.", "Friend.EXAMPLE.",
                                        "friend.example:25", "friend.example:smtp", "friend.example.:25" };
    static const char *const umlaut[] = { "b\xc3\xbc" "cher.example", "B\xc3\x9c" "CHER.example", "xn--bcher-kva.example",
                                          "XN--BCHER-KVA.EXAMPLE.", "bu\xcc\x88" "cher.example" };
    static const char *const bracketed[] = { "[friend.example]", "[FRIEND.example.]", "[friend.example]:25", "[friend.example]:smtp" };
    char request[128];
    struct site_map s;
    size_t i;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    for (i = 0; i < COUNT_OF(same); i++) {
        snprintf(request, sizeof(request), "postfix-tls %s", same[i]);
        assert_string_equal(ask(c, request), "OK dane-only");
    }
    assert_int_equal(fake_searches(s.fake, "friend.example"), 1);
    for (i = 0; i < COUNT_OF(umlaut); i++) {
        snprintf(request, sizeof(request), "postfix-tls %s", umlaut[i]);
        assert_string_equal(ask(c, request), "OK dane-only");
    }
    assert_int_equal(fake_searches(s.fake, "xn--bcher-kva.example"), 1);
    for (i = 0; i < COUNT_OF(bracketed); i++) {
        snprintf(request, sizeof(request), "postfix-tls %s", bracketed[i]);
        assert_string_equal(ask(c, request), "OK dane-only");
    }
    assert_int_equal(fake_searches(s.fake, "[friend.example]"), 1);
    assert_string_equal(ask(c, "postfix-tls [friend.example]:587"), "OK dane-only");
    assert_string_equal(ask(c, "postfix-tls friend.example:submission"), "OK dane-only");
    assert_int_equal(fake_searches(s.fake, "[friend.example]:587"), 1);
    assert_int_equal(fake_searches(s.fake, "friend.example:587"), 1);
    assert_string_equal(ask(c, "postfix-tls [192.0.2.1]"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls [192.0.2.1]:587"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls [ipv6:2001:db8::1]"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls [IPv6:2001:DB8::1]:25"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls .friend.example"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls .example"), "NOTFOUND ");
    close(c);
    stop(&s);
}

/* By a spelling that no table has, mail may come here that its connector wants elsewhere. */
static void a_domain_in_other_letters_is_judged_by_all_who_rule_it(void **state)
{
    struct site_map s;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    assert_string_equal(ask(c, "postfix-tls absent.boss.example"), "NOTFOUND ");
    assert_string_equal(ask(c, "postfix-tls absent.b\xef\xbd\x8f" "ss.example"), "TEMP held by danelaw; its log says why");
    assert_string_equal(ask(c, "postfix-tls b\xef\xbd\x81" "nk.example"), "OK dane-only");
    close(c);
    stop(&s);
}

static void an_unreadable_key_is_temp_and_the_connection_goes_on(void **state)
{
    static const char *const keys[] = { "", " ", "a..b", "[friend.example", "[friend.example]x", "friend.example:0",
                                        "friend.example:99999", "friend.example:", "friend example", "2001:db8::1",
                                        "\xff\xfe.example", "bo@friend.example", "*", "[]", "friend.example\n" };
    char request[1024];
    struct site_map s;
    size_t i;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    for (i = 0; i < COUNT_OF(keys); i++) {
        snprintf(request, sizeof(request), "postfix-tls %s", keys[i]);
        assert_starts(ask(c, request), "TEMP ");
    }
    memset(request, 'x', 700);
    memcpy(request, "postfix-tls ", 12);
    request[700] = '\0';
    assert_starts(ask(c, request), "TEMP ");
    assert_starts(ask(c, "postfix-tls"), "TEMP ");
    assert_starts(ask(c, ""), "TEMP ");
    send_bytes(c, "28:postfix-tls friend.example\0z,", 32);
    assert_starts(reply_within(c, PATIENT), "TEMP ");
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");
    close(c);
    stop(&s);
}

static void sendmails_table_always_has_a_value(void **state)
{
    static const char *const garbage[] = {
        "danelaw ", "danelaw route", "danelaw route<bo@friend.example>", "danelaw gate<bo@friend.example><><x>", "danelaw",
        "danelaw route<bo@friend.example><><x>y", "danelaw tlsrcpt<bo@friend.example>", "danelaw route<bo@friend.example><><\x1b>",
    };
    struct site_map s;
    size_t i;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    assert_string_equal(ask(c, "danelaw route<bo@stranger.example><al@home.example><NOQUEUE>"), "OK pass");
    assert_string_equal(ask(c, "danelaw gate<bo@stranger.example><><NOQUEUE><NONE><mx.stranger.example><192.0.2.1><><>"), "OK pass");
    assert_string_equal(ask(c, "danelaw route<bo@Friend.example.><al@home.example><NOQUEUE>"), "OK danelaw:friend.example");
    assert_string_equal(ask(c, "danelaw route <bo@bank.example> <> <NOQUEUE>"), "OK danelaw-dane:bank.example");
    assert_string_equal(ask(c, "danelaw gate<bo@bank.example><><NOQUEUE><NONE><mx1.bank.example.><192.0.2.1><><>"),
                        "OK tlsa-invalid: mx1.bank.example does not offer STARTTLS - connector Bank");
    assert_starts(ask(c, "danelaw gate<bo@bogus.friend.example><><NOQUEUE><OK><mx.example><192.0.2.1><TLSv1.3><00>"),
                  "OK dnssec-invalid: ");
    for (i = 0; i < COUNT_OF(garbage); i++)
        assert_starts(ask(c, garbage[i]), "TEMP ");
    assert_string_equal(ask(c, "danelaw route<bo@stranger.example><><NOQUEUE>"), "OK pass");
    close(c);
    stop(&s);
}

static void a_gate_that_waits_holds_no_other_question_and_refuses_after_the_budget(void **state)
{
    struct site_map s;
    int c, other;

    (void)state;
    start(&s, 100);
    s.set.maps.budget = 1;
    fake_parks(s.fake, "friend.example");
    c = client(&s);
    other = client(&s);
    send_request(c, "danelaw gate<bo@friend.example><><NOQUEUE><OK><mx1.friend.example><192.0.2.1><TLSv1.3><00>");
    assert_string_equal(ask(other, "danelaw route<bo@friend.example><><NOQUEUE>"), "OK danelaw:friend.example");
    assert_starts(reply_within(c, PATIENT), "OK dns-temp: ");    /* TEMP would let it go: the partner is not mandatory */
    fake_lets_go(s.fake, "friend.example");
    close(c);
    close(other);
    stop(&s);
}

static void an_unknown_table_is_temp_and_a_line_in_the_log(void **state)
{
    char words[4096];
    struct site_map s;
    struct ear ear;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    ear_open(&ear);
    assert_starts(ask(c, "transport\x1b friend.example"), "TEMP ");
    ear_close(&ear, words, sizeof(words));
    assert_non_null(strstr(words, "unknown table"));
    assert_non_null(strstr(words, "transport?"));
    assert_null(strchr(words, 0x1b));
    close(c);
    stop(&s);
}

/* Framing */

static void garbage_closes_the_connection_and_no_other(void **state)
{
    static const char *const garbage[] = { "hello\n", "GET / HTTP/1.0\r\n\r\n", "-1:,", "01:a,", "3:abc;", ":abc,", "3abc,", " 3:abc,",
                                           "99999999999999999999:", "10001:", "4294967297:a,", "\n" };
    struct site_map s;
    int bad, good;
    size_t i;

    (void)state;
    start(&s, 100);
    good = client(&s);
    for (i = 0; i < COUNT_OF(garbage); i++) {
        bad = client(&s);
        send_bytes(bad, garbage[i], strlen(garbage[i]));
        assert_string_equal(reply_within(bad, PATIENT), "EOF");
        close(bad);
        assert_string_equal(ask(good, "postfix-tls friend.example"), "OK dane-only");
    }
    close(good);
    stop(&s);
}

static void requests_may_come_octet_by_octet(void **state)
{
    static const char request[] = "26:postfix-tls friend.example,";
    struct site_map s;
    size_t i;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    for (i = 0; i < sizeof(request) - 1; i++) {
        assert_string_equal(reply_within(c, 0), "silence");
        send_bytes(c, request + i, 1);
        usleep(2000);
    }
    assert_string_equal(reply_within(c, PATIENT), "OK dane-only");
    close(c);
    stop(&s);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    static char requests[64 * 1024];
    struct site_map s;
    size_t length = 0;
    int c, i;

    (void)state;
    start(&s, 100);
    c = client(&s);
    for (i = 0; i < 300; i++) {
        const char *key = i % 3 == 0 ? "postfix-tls friend.example" : i % 3 == 1 ? "postfix-tls .x" : "nonsense x";

        length += (size_t)snprintf(requests + length, sizeof(requests) - length, "%zu:%s,", strlen(key), key);
    }
    send_bytes(c, requests, length);
    for (i = 0; i < 300; i++)
        assert_starts(reply_within(c, PATIENT), i % 3 == 0 ? "OK dane-only" : i % 3 == 1 ? "NOTFOUND " : "TEMP ");
    close(c);
    stop(&s);
}

static void the_largest_request_is_answered_and_one_more_octet_closes(void **state)
{
    static char big[10100];
    struct site_map s;
    int c;

    (void)state;
    start(&s, 100);
    c = client(&s);
    memset(big, 'x', sizeof(big));
    memcpy(big, "10000:postfix-tls ", 18);
    big[10006] = ',';
    send_bytes(c, big, 10007);
    assert_starts(reply_within(c, PATIENT), "TEMP ");
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");
    memcpy(big, "10001:", 6);
    send_bytes(c, big, 6);
    assert_string_equal(reply_within(c, PATIENT), "EOF");
    close(c);
    stop(&s);
}

/* Waiting */

static void after_the_budget_the_answer_is_temp_and_the_late_one_is_dropped(void **state)
{
    struct site_map s;
    int64_t begin;
    int c, other;

    (void)state;
    start(&s, 100);
    s.set.maps.budget = 1;
    fake_parks(s.fake, "friend.example");
    c = client(&s);
    begin = clock_ms();
    assert_starts(ask(c, "postfix-tls friend.example"), "TEMP ");
    assert_in_range(clock_ms() - begin, 950, PATIENT / 2);
    s.set.maps.budget = BUDGET;
    other = client(&s);
    send_request(other, "postfix-tls friend.example");      /* the search still goes on: this one waits with it */
    usleep(100000);
    assert_int_equal(fake_searches(s.fake, "friend.example"), 1);
    fake_lets_go(s.fake, "friend.example");
    assert_string_equal(reply_within(other, PATIENT), "OK dane-only");
    assert_string_equal(reply_within(c, 200), "silence");   /* one question, one answer */
    assert_string_equal(ask(c, "postfix-tls unusable.friend.example"), "OK encrypt");
    close(c);
    close(other);
    stop(&s);
}

static void what_comes_behind_an_open_question_waits_its_turn(void **state)
{
    struct site_map s;
    int c, other;

    (void)state;
    start(&s, 100);
    fake_parks(s.fake, "cold.friend.example");
    c = client(&s);
    other = client(&s);
    send_request(c, "postfix-tls cold.friend.example");
    send_request(c, "postfix-tls unusable.friend.example");
    send_request(c, "postfix-tls .x");
    assert_string_equal(ask(other, "postfix-tls friend.example"), "OK dane-only");      /* nobody else waits */
    assert_string_equal(reply_within(c, 100), "silence");
    fake_lets_go(s.fake, "cold.friend.example");
    assert_string_equal(reply_within(c, PATIENT), "OK dane-only");
    assert_string_equal(reply_within(c, PATIENT), "OK encrypt");
    assert_string_equal(reply_within(c, PATIENT), "NOTFOUND ");
    close(c);
    close(other);
    stop(&s);
}

static void two_thousand_connections_are_served_at_once(void **state)
{
    enum { MANY = 2000 };
    static int clients[MANY];
    struct rlimit limit;
    struct site_map s;
    int i;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 2 * MANY + 100)
        skip();
    start(&s, 4096);
    fake_parks(s.fake, "cold.friend.example");
    log_set_level(LOG_LEVEL_ERROR);
    for (i = 0; i < MANY; i++) {
        clients[i] = client(&s);
        send_request(clients[i], "postfix-tls cold.friend.example");
    }
    assert_string_equal(reply_within(clients[MANY - 1], 100), "silence");
    fake_lets_go(s.fake, "cold.friend.example");
    for (i = 0; i < MANY; i++)
        assert_string_equal(reply_within(clients[i], PATIENT), "OK dane-only");
    assert_int_equal(fake_searches(s.fake, "cold.friend.example"), 1);
    for (i = 0; i < MANY; i++)
        assert_string_equal(ask(clients[i], "postfix-tls cold.friend.example"), "OK dane-only");
    log_set_level(LOG_LEVEL_INFO);
    for (i = 0; i < MANY; i++)
        close(clients[i]);
    stop(&s);
}

static void past_the_limit_clients_wait_until_one_goes(void **state)
{
    struct site_map s;
    int clients[8], i;

    (void)state;
    start(&s, 5);
    for (i = 0; i < 8; i++)
        clients[i] = client(&s);
    for (i = 0; i < 5; i++)
        assert_string_equal(ask(clients[i], "postfix-tls friend.example"), "OK dane-only");
    for (i = 5; i < 8; i++) {
        send_request(clients[i], "postfix-tls friend.example");
        assert_string_equal(reply_within(clients[i], 100), "silence");
    }
    close(clients[0]);
    assert_string_equal(reply_within(clients[5], PATIENT), "OK dane-only");
    assert_string_equal(reply_within(clients[6], 100), "silence");
    close(clients[5]);
    send_bytes(clients[1], "garbage", 7);                   /* thrown out: also a place */
    assert_string_equal(reply_within(clients[6], PATIENT), "OK dane-only");
    assert_string_equal(reply_within(clients[7], PATIENT), "OK dane-only");
    for (i = 0; i < 8; i++) {
        if (i != 0 && i != 5)
            close(clients[i]);
    }
    stop(&s);
}

static void who_goes_while_waiting_harms_nobody(void **state)
{
    struct site_map s;
    int c, i;

    (void)state;
    start(&s, 100);
    fake_parks(s.fake, "cold.friend.example");
    for (i = 0; i < 50; i++) {
        c = client(&s);
        send_request(c, "postfix-tls cold.friend.example");
        if (i % 3 == 0)
            send_request(c, "postfix-tls friend.example");
        if (i % 3 == 1)
            send_bytes(c, "garbage", 7);
        if (i % 2 == 0)
            usleep(2000);
        if (i % 5 == 0)
            setsockopt(c, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        close(c);
    }
    usleep(50000);
    fake_lets_go(s.fake, "cold.friend.example");
    c = client(&s);
    assert_string_equal(ask(c, "postfix-tls cold.friend.example"), "OK dane-only");
    close(c);
    stop(&s);
}

static void closing_while_many_wait_ends_their_connections(void **state)
{
    struct site_map s;
    int clients[40], i;

    (void)state;
    start(&s, 100);
    fake_parks(s.fake, "*");
    for (i = 0; i < 40; i++) {
        char request[64];

        clients[i] = client(&s);
        snprintf(request, sizeof(request), "postfix-tls d%d.friend.example", i / 2);
        send_request(clients[i], request);
        send_request(clients[i], "postfix-tls friend.example");
    }
    assert_true(fake_wait_searches(s.fake, "d19.friend.example", 1));
    stop(&s);
    for (i = 0; i < 40; i++) {
        assert_string_equal(reply_within(clients[i], PATIENT), "EOF");
        close(clients[i]);
    }
}

/* Strangers */

static void who_does_not_read_his_answers_is_not_asked_for_more(void **state)
{
    static char flood[64 * 1024];
    struct site_map s;
    size_t sent = 0, i;
    int c, blocked;

    (void)state;
    start(&s, 100);
    log_set_level(LOG_LEVEL_ERROR);
    for (i = 0; i + 4 <= sizeof(flood); i += 4)
        memcpy(flood + i, "1:x,", 4);
    c = client(&s);
    fcntl(c, F_SETFL, O_NONBLOCK);
    for (blocked = 0; blocked < 100 && sent < 32 * 1024 * 1024;) {
        ssize_t put = send(c, flood, sizeof(flood) - sizeof(flood) % 4, MSG_NOSIGNAL);

        if (put > 0) {
            sent += (size_t)put - (size_t)put % 4;
            blocked = 0;
            if (put % 4 != 0)
                break;                      /* a cut request: good enough */
        } else {
            blocked++;
            usleep(5000);
        }
    }
    log_set_level(LOG_LEVEL_INFO);
    if (sent > 4 * 1024 * 1024)
        fail_msg("%zu octets of requests were taken from somebody who reads no answers", sent);
    close(c);
    c = client(&s);
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");
    close(c);
    stop(&s);
}

static void who_reads_late_loses_no_answer(void **state)
{
    enum { REQUESTS = 60000 };
    struct site_map s;
    pid_t child;
    int c, i;

    (void)state;
    start(&s, 100);
    log_set_level(LOG_LEVEL_ERROR);
    c = client(&s);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (i = 0; i < REQUESTS; i++) {
            if (send(c, "14:postfix-tls .x,", 18, MSG_NOSIGNAL) != 18)
                _exit(1);
        }
        _exit(0);
    }
    usleep(300000);
    for (i = 0; i < REQUESTS; i++)
        assert_string_equal(reply_within(c, PATIENT), "NOTFOUND ");
    log_set_level(LOG_LEVEL_INFO);
    waitpid(child, &i, 0);
    assert_int_equal(i, 0);
    close(c);
    stop(&s);
}

static double processor_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void without_descriptors_it_waits_in_peace(void **state)
{
    struct rlimit before, few;
    struct site_map s;
    pid_t child;
    double used;
    int c, low;

    (void)state;
    start(&s, 4096);
    low = dup(STDERR_FILENO);
    close(low);
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = (rlim_t)low + 10;
    setrlimit(RLIMIT_NOFILE, &few);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_NOFILE, &before);
        for (c = 0; c < 40; c++)
            client(&s);
        pause();
        _exit(0);
    }
    usleep(300000);
    used = processor_seconds();
    usleep(1000000);
    used = processor_seconds() - used;
    setrlimit(RLIMIT_NOFILE, &before);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (used > 0.3)
        fail_msg("%.2f s of processor time in one second", used);
    c = client(&s);
    assert_string_equal(ask(c, "postfix-tls friend.example"), "OK dane-only");
    close(c);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_answer_has_its_word),
        cmocka_unit_test(every_spelling_of_a_next_hop_is_understood),
        cmocka_unit_test(a_domain_in_other_letters_is_judged_by_all_who_rule_it),
        cmocka_unit_test(an_unreadable_key_is_temp_and_the_connection_goes_on),
        cmocka_unit_test(sendmails_table_always_has_a_value),
        cmocka_unit_test(a_gate_that_waits_holds_no_other_question_and_refuses_after_the_budget),
        cmocka_unit_test(an_unknown_table_is_temp_and_a_line_in_the_log),
        cmocka_unit_test(garbage_closes_the_connection_and_no_other),
        cmocka_unit_test(requests_may_come_octet_by_octet),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(the_largest_request_is_answered_and_one_more_octet_closes),
        cmocka_unit_test(after_the_budget_the_answer_is_temp_and_the_late_one_is_dropped),
        cmocka_unit_test(what_comes_behind_an_open_question_waits_its_turn),
        cmocka_unit_test(two_thousand_connections_are_served_at_once),
        cmocka_unit_test(past_the_limit_clients_wait_until_one_goes),
        cmocka_unit_test(who_goes_while_waiting_harms_nobody),
        cmocka_unit_test(closing_while_many_wait_ends_their_connections),
        cmocka_unit_test(who_does_not_read_his_answers_is_not_asked_for_more),
        cmocka_unit_test(who_reads_late_loses_no_answer),
        cmocka_unit_test(without_descriptors_it_waits_in_peace),
    };

    signal(SIGPIPE, SIG_IGN);
    log_open("test_socketmap", false, "mail");
    evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
