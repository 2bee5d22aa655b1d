/* /metrics and /healthz: what they say, and how the door behaves to whoever knocks. */
#include "server/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "ear.h"
#include "fake_lookup.h"
#include "server/http.h"
#include "site.h"
#include "store/counters.h"
#include "store/holds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 60, PAGE_MAX = 4 * 1024 * 1024, CLIENTS_MAX = 64 };

static struct {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until house_open() */
    struct engine *engine;
    struct counters *counters;
    struct control_hooks hooks;
    struct metrics_sources sources;
    struct event_base *loop;
    struct metrics *metrics;
    pthread_t thread;
    uint16_t port;
    char listen[32];
    bool tables_good;
} house;

static void hook_status(void *self, bool *ret_good, char *ret_why, size_t size)
{
    (void)self;
    *ret_good = house.tables_good;
    snprintf(ret_why, size, "%s", house.tables_good ? "" : "no room\non disk");
}

static void house_init(void)
{
    memset(&house, 0, sizeof(house));
    house.set.resolver.when_broken = "hold-mandatory";
    house.set.resolver.entries = 10000;
    house.set.resolver.cache = 64 << 20;
    house.set.resolver.tlsa_records = 16;
    house.hooks.status = hook_status;
    house.tables_good = true;
    house.counters = counters_new(1000);
    house.fake = fake_new();
    house.rules = rules_new();
}

static void house_open(void)
{
    ruleset_freeze(house.rules);
    house.engine = engine_open(&house.set, fake_lookup(house.fake), &(struct engine_memory){ .counters = house.counters },
                               house.rules);
    ruleset_unref(take(house.rules));
    house.sources = (struct metrics_sources){ .engine = house.engine, .counters = house.counters, .hooks = &house.hooks };
}

static void *loop_body(void *unused)
{
    (void)unused;
    event_base_loop(house.loop, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

/* On a port of the kernel's choice. */
static void door_open(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(at);

    assert_int_equal(bind(s, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(s, 128), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&at, &size), 0);
    house.port = ntohs(at.sin_port);
    snprintf(house.listen, sizeof(house.listen), "127.0.0.1:%u", house.port);
    house.loop = event_base_new();
    house.metrics = metrics_open(house.loop, house.listen, s, &house.sources);
    thread_start(&house.thread, "doors", loop_body, NULL);
}

static void door_close(void)
{
    event_base_loopexit(house.loop, NULL);
    pthread_join(house.thread, NULL);
    metrics_close(house.metrics);
    event_base_free(house.loop);
}

static void house_close(void)
{
    engine_close(house.engine);
    fake_free(house.fake);
    counters_free(house.counters);
}

static void wait_until_proven(void)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    struct engine_status now = { 0 };

    while (!now.resolver_checked && clock_ms() < until) {
        engine_status(house.engine, &now);
        usleep(2000);
    }
    assert_true(now.resolver_checked);
}

static void dial_by(int s)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(house.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    assert_int_equal(connect(s, (struct sockaddr *)&at, sizeof(at)), 0);
}

static int dial(void)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    dial_by(s);
    return s;
}

static void say(int s, const char *words)
{
    assert_int_equal(send(s, words, strlen(words), MSG_NOSIGNAL), strlen(words));
}

/* All that comes until the other side has said all; ends the connection. Valid until the next. */
static const char *hear(int s)
{
    static char page[PAGE_MAX];
    struct pollfd ready = { .fd = s, .events = POLLIN };
    size_t length = 0;
    ssize_t got;

    do {
        assert_int_equal(poll(&ready, 1, PATIENCE_SECONDS * 1000), 1);
        got = recv(s, page + length, sizeof(page) - 1 - length, 0);
        assert_true(got >= 0);
        length += (size_t)got;
        assert_true(length < sizeof(page) - 1);
    } while (got > 0);
    page[length] = '\0';
    close(s);
    return page;
}

static const char *request(const char *words)
{
    int s = dial();

    say(s, words);
    return hear(s);
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

#define assert_has(page, words)                                             \
    do {                                                                    \
        const char *page_ = (page);                                         \
        if (strstr(page_, words) == NULL)                                   \
            fail_msg("no \"%s\" in:\n%s", words, page_);                    \
    } while (0)

#define assert_code(answer, code)                                           \
    do {                                                                    \
        const char *answer_ = (answer);                                     \
        if (strncmp(answer_, "HTTP/1.", 7) != 0 || strncmp(answer_ + 8, " " #code " ", 5) != 0) \
            fail_msg("not " #code ": %s", answer_);                         \
    } while (0)

/* The pages */

/* Every sample belongs to a family that was announced just before, and none is there twice. */
static void assert_well_formed(char *page)
{
    static const char *const tails[] = { "", "_bucket", "_sum", "_count" };
    char family[128] = "", name[128];
    const char *lines[20000];
    size_t count = 0, i;
    char *line, *rest;

    for (line = strtok_r(page, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        bool known = false;

        if (sscanf(line, "# HELP %127s", name) == 1) {
            snprintf(family, sizeof(family), "%s", name);
            continue;
        }
        if (sscanf(line, "# TYPE %127s", name) == 1) {
            assert_string_equal(name, family);
            continue;
        }
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, "{ "), line);
        for (i = 0; i < COUNT_OF(tails); i++) {
            known |= strlen(name) == strlen(family) + strlen(tails[i]) && strncmp(name, family, strlen(family)) == 0 &&
                     strcmp(name + strlen(family), tails[i]) == 0;
        }
        if (!known)
            fail_msg("\"%s\" is not of the family %s", line, family);
        *strrchr(line, ' ') = '\0';
        for (i = 0; i < count && count < 1000; i++)
            assert_string_not_equal(lines[i], line);
        assert_true(count < COUNT_OF(lines));
        lines[count++] = line;
    }
    assert_true(count > 50);
}

static char *print_page(void)
{
    struct text page;

    text_init(&page, PAGE_MAX);
    metrics_print(&house.sources, clock_wall_ms() - 90500, &page);
    return text_give(&page);
}

static void the_page_tells_what_was_decided(void **state)
{
    AUTO(free) char *page = NULL;

    (void)state;
    house_init();
    rules_add(house.rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example")->test_mode = true;
    rules_add(house.rules, "Friend", MODE_MANDATORY, MODE_NONE, "friend.example");
    house_open();
    counters_decided(house.counters, "Bank", false, WHERE_RCPT, VERDICT_HOLD, REASON_DANE_REQUIRED);
    counters_decided(house.counters, "Bank", false, WHERE_RCPT, VERDICT_HOLD, REASON_DANE_REQUIRED);
    counters_decided(house.counters, "Bank", false, WHERE_MAP, VERDICT_DELIVER, REASON_NONE);
    counters_decided(house.counters, "All", true, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    counters_took(house.counters, COUNTED_STS_POLICY, 40);
    counters_took(house.counters, COUNTED_STS_POLICY, 700);
    counters_took(house.counters, COUNTED_STS_POLICY, 70000);
    wait_until_proven();
    page = print_page();
    assert_has(page, "danelaw_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
    assert_has(page, "\ndanelaw_uptime_seconds 90\n");
    assert_has(page, "\ndanelaw_healthy 1\n");
    assert_has(page, "\ndanelaw_resolver_proven 1\n");
    assert_has(page, "\ndanelaw_tables_current 1\n");
    assert_has(page, "\ndanelaw_connectors 2\n");
    assert_has(page, "\ndanelaw_connectors_test_mode 1\n");
    assert_has(page, "\ndanelaw_decisions_total{connector=\"Bank\",where=\"rcpt\",verdict=\"hold\",reason=\"dane-required\"} 2\n");
    assert_has(page, "\ndanelaw_decisions_total{connector=\"Bank\",where=\"map\",verdict=\"deliver\",reason=\"-\"} 1\n");
    assert_has(page, "\ndanelaw_shadow_decisions_total{connector=\"All\",where=\"rcpt\",verdict=\"deliver\",reason=\"-\"} 1\n");
    assert_has(page, "\ndanelaw_lookup_seconds_bucket{kind=\"sts-policy\",le=\"0.025\"} 0\n");
    assert_has(page, "\ndanelaw_lookup_seconds_bucket{kind=\"sts-policy\",le=\"0.05\"} 1\n");
    assert_has(page, "\ndanelaw_lookup_seconds_bucket{kind=\"sts-policy\",le=\"1\"} 2\n");
    assert_has(page, "\ndanelaw_lookup_seconds_bucket{kind=\"sts-policy\",le=\"60\"} 2\n");
    assert_has(page, "\ndanelaw_lookup_seconds_bucket{kind=\"sts-policy\",le=\"+Inf\"} 3\n");
    assert_has(page, "\ndanelaw_lookup_seconds_sum{kind=\"sts-policy\"} 70.740\n");
    assert_has(page, "\ndanelaw_lookup_seconds_count{kind=\"sts-policy\"} 3\n");
    assert_well_formed(page);
    house_close();
}

static void evidence_and_searches_are_counted_by_state(void **state)
{
    AUTO(free) char *page = NULL;
    struct question q = { 0 };
    struct answer a;

    (void)state;
    house_init();
    rules_add(house.rules, "All", MODE_MANDATORY, MODE_NONE, "*");
    fake_says(house.fake, "bogus.example", FAKE_BOGUS);
    house_open();
    address_parse("bo@bogus.example", &q.to);
    engine_ask_by(house.engine, &q, clock_ms() + PATIENCE_SECONDS * 1000, &a);
    engine_tell(house.engine, &q.to, &q.from, NULL, &a);
    answer_done(&a);
    page = print_page();
    assert_has(page, "\ndanelaw_evidence{kind=\"dane\",state=\"bogus\"} 1\n");
    assert_has(page, "\ndanelaw_evidence{kind=\"dane\",state=\"usable\"} 0\n");
    assert_has(page, "\ndanelaw_evidence{kind=\"sts\",state=\"enforce\"} 0\n");
    assert_has(page, "\ndanelaw_lookup_seconds_count{kind=\"dane\"} 1\n");
    assert_has(page, "\ndanelaw_questions_total 1\n");
    assert_has(page, "\ndanelaw_decisions_total{connector=\"All\",where=\"rcpt\",verdict=\"hold\",reason=\"dnssec-invalid\"} 1\n");
    assert_well_formed(page);
    house_close();
}

static void visits_are_counted_by_how_far_they_came(void **state)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    char *page = NULL;

    (void)state;
    house_init();
    house.set.probe.interval = 900;
    house.set.probe.concurrency = 8;
    rules_add(house.rules, "Watched", MODE_MANDATORY, MODE_NONE, "bank.example")->probe = PROBING_WATCH;
    fake_probe(house.fake, "mx2.bank.example", PROBE_NO_STARTTLS, NULL);    /* mx1 is out of reach */
    house_open();
    do {
        free(page);
        page = print_page();
        usleep(20000);
    } while ((strstr(page, "\ndanelaw_probe_failures_total{proof=\"dane\"} 1\n") == NULL ||
              strstr(page, "\ndanelaw_probe_visits_total{state=\"unreachable\"} 1\n") == NULL) && clock_ms() < until);
    assert_has(page, "\ndanelaw_probe_failures_total{proof=\"dane\"} 1\n");
    assert_has(page, "\ndanelaw_probe_visits_total{state=\"unreachable\"} 1\n");
    assert_has(page, "\ndanelaw_probe_visits_total{state=\"no-starttls\"} 1\n");
    assert_has(page, "\ndanelaw_probe_hosts{state=\"no-starttls\"} 1\n");
    assert_has(page, "\ndanelaw_probe_hosts{state=\"seen\"} 0\n");
    assert_has(page, "\ndanelaw_probe_hosts_failing 1\n");
    assert_has(page, "\ndanelaw_probe_running 0\n");
    assert_well_formed(page);
    free(page);
    house_close();
}

static void a_name_can_not_break_out_of_its_label(void **state)
{
    AUTO(free) char *page = NULL;

    (void)state;
    house_init();
    house_open();
    counters_decided(house.counters, "a\\b\"c\nd \xc3\xa4", false, WHERE_RCPT, VERDICT_PASS, REASON_NONE);
    page = print_page();
    assert_has(page, "{connector=\"a\\\\b\\\"c\\nd \xc3\xa4\",where=");
    assert_well_formed(page);
    house_close();
}

static void however_many_connectors_there_are_the_page_stays_bounded(void **state)
{
    AUTO(free) char *page = NULL;
    char name[32];
    int i;

    (void)state;
    house_init();
    house_open();
    for (i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "connector %d", i);
        counters_decided(house.counters, name, false, WHERE_RCPT, VERDICT_PASS, REASON_NONE);
    }
    page = print_page();
    assert_has(page, "{connector=\"(others)\",where=\"rcpt\",verdict=\"pass\",reason=\"-\"} 4000\n");
    assert_true(strlen(page) < 200 * 1024);
    assert_well_formed(page);
    house_close();
}

static void health_is_what_status_says(void **state)
{
    struct text words;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    text_init(&words, 4096);
    assert_true(metrics_health(&house.sources, &words));
    assert_string_equal(text_words(&words), "ok\n");
    text_done(&words);
    house.tables_good = false;
    assert_false(metrics_health(&house.sources, &words));
    assert_string_equal(text_words(&words), "tables: no room?on disk\n");
    text_done(&words);
    house_close();
}

static void a_resolver_that_proves_nothing_is_unhealthy(void **state)
{
    AUTO(free) char *page = NULL;
    struct text words;

    (void)state;
    house_init();
    fake_root(house.fake, DNS_INSECURE, true);
    log_set_level(LOG_LEVEL_ERROR);
    house_open();
    wait_until_proven();
    text_init(&words, 4096);
    assert_false(metrics_health(&house.sources, &words));
    assert_has(text_words(&words), "resolver: the root is not signed under the trust anchor");
    text_done(&words);
    page = print_page();
    assert_has(page, "\ndanelaw_healthy 0\n");
    assert_has(page, "\ndanelaw_resolver_proven 0\n");
    house_close();
}

/* The door */

static void both_pages_are_served(void **state)
{
    const char *answer;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    door_open();
    answer = request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_code(answer, 200);
    assert_has(answer, "\r\nContent-Type: text/plain; version=0.0.4");
    assert_has(answer, "\r\nConnection: close\r\n");
    assert_has(body_of(answer), "danelaw_healthy 1\n");
    answer = request("GET /healthz?verbose=1 HTTP/1.0\n\n");
    assert_code(answer, 200);
    assert_string_equal(body_of(answer), "ok\n");
    assert_code(request("GET http://localhost:9469/healthz HTTP/1.1\r\n\r\n"), 200);
    answer = request("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_has(answer, "\r\nConnection: close\r\n");
    assert_null(strstr(answer, "keep-alive"));
    answer = request("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_code(answer, 200);
    assert_has(answer, "\r\nContent-Length: 3\r\n");
    assert_string_equal(body_of(answer), "");
    door_close();
    house.tables_good = false;
    door_open();
    answer = request("GET /healthz HTTP/1.1\r\n\r\n");
    assert_code(answer, 503);
    assert_string_equal(body_of(answer), "tables: no room?on disk\n");
    assert_code(request("HEAD /healthz HTTP/1.1\r\n\r\n"), 503);
    door_close();
    house_close();
}

static void all_else_is_refused(void **state)
{
    AUTO(free) char *endless = mem_zero(20001);

    (void)state;
    house_init();
    house_open();
    door_open();
    assert_code(request("GET / HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("GET /metrics/ HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("GET /../metrics HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("GET /%6detrics HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("GET metrics HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("GET http://x HTTP/1.1\r\n\r\n"), 404);
    assert_code(request("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), 501);
    assert_code(request("POST /metrics HTTP/1.1\r\nContent-Length: 5000\r\n\r\n"), 413);
    assert_code(request("DELETE /healthz HTTP/1.1\r\n\r\n"), 501);
    assert_code(request("\r\n\r\n"), 400);
    assert_code(request("GET /metrics\r\n\r\n"), 400);
    assert_code(request("EHLO me and you\r\n\r\n"), 400);
    memset(endless, 'x', 20000);
    assert_code(request(endless), 400);
    memcpy(endless, "GET /metrics HTTP/1.1\r\nX: ", 26);
    assert_code(request(endless), 400);
    door_close();
    house_close();
}

static void a_request_may_come_in_pieces_and_ends_its_connection(void **state)
{
    const char *answer, *words = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    int s;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    door_open();
    s = dial();
    for (; *words != '\0'; words++) {
        assert_int_equal(send(s, words, 1, MSG_NOSIGNAL), 1);
        usleep(500);
    }
    assert_string_equal(body_of(hear(s)), "ok\n");
    answer = request("GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n");
    assert_string_equal(body_of(answer), "ok\n");
    s = dial();                         /* who says that he has said all is answered, too */
    say(s, "GET /healthz HTTP/1.1\r\n\r\n");
    shutdown(s, SHUT_WR);
    assert_string_equal(body_of(hear(s)), "ok\n");
    door_close();
    house_close();
}

static void who_says_nothing_makes_room_for_others_in_time(void **state)
{
    int idle[CLIENTS_MAX + 20], i;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    door_open();
    for (i = 0; i < (int)COUNT_OF(idle); i++) {
        idle[i] = dial();
        say(idle[i], "GET /he");
    }
    assert_string_equal(body_of(request("GET /healthz HTTP/1.1\r\n\r\n")), "ok\n");
    for (i = 0; i < (int)COUNT_OF(idle); i++)
        assert_string_equal(hear(idle[i]), "");
    door_close();
    house_close();
}

/* However slowly, the header grows: no single pause is too long. */
static void who_drips_is_shut_out_in_time(void **state)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    struct pollfd told = { .events = POLLIN };
    char byte;

    (void)state;
    house_init();
    house_open();
    door_open();
    told.fd = dial();
    say(told.fd, "GET /healthz HTTP/1.1\r\nX: ");
    while (poll(&told, 1, 100) == 0 && clock_ms() < until)
        send(told.fd, "x", 1, MSG_NOSIGNAL);
    assert_true(recv(told.fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
    close(told.fd);
    door_close();
    house_close();
}

static void the_clocks_of_refused_recipients_are_counted_in_time(void **state)
{
    struct holds *holds = holds_open(NULL, 1000, (int64_t)clock_wall());
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    const char *answer = "";
    struct address to, from;
    char words[32];
    int i;

    (void)state;
    house_init();
    house.hooks.holds = holds;
    address_parse("al@home.example", &from);
    for (i = 0; i < 7; i++) {
        snprintf(words, sizeof(words), "bo%d@bank.example", i);
        address_parse(words, &to);
        holds_note(holds, &(struct hold_key){ "Bank", &from, &to }, REASON_DANE_REQUIRED, 86400, (int64_t)clock_wall());
    }
    house_open();
    door_open();
    do {
        usleep(50000);
        answer = request("GET /metrics HTTP/1.1\r\n\r\n");
    } while (strstr(answer, "\ndanelaw_holds 7\n") == NULL && clock_ms() < until);
    assert_has(answer, "\ndanelaw_holds 7\n");
    door_close();
    house_close();
    holds_close(holds);
}

static void who_leaves_early_does_no_harm(void **state)
{
    struct linger at_once = { .l_onoff = 1 };
    int s, i;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    door_open();
    for (i = 0; i < 200; i++) {
        s = dial();
        if (i % 2 == 0)
            say(s, "GET /metrics HTTP/1.1\r\n\r\n");
        setsockopt(s, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(s);
    }
    assert_string_equal(body_of(request("GET /healthz HTTP/1.1\r\n\r\n")), "ok\n");
    s = dial();                         /* still there at the end */
    door_close();
    close(s);
    house_close();
}

/* No descriptor is free from now on. Gives the limit as it was. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before, none;
    int next = dup(STDIN_FILENO);

    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){ .rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

static void await_words(const struct ear *ear)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    struct stat said = { 0 };

    while (said.st_size == 0 && clock_ms() < until) {
        usleep(2000);
        assert_int_equal(fstat(ear->heard, &said), 0);
    }
}

static void who_comes_while_no_descriptor_is_free_is_served_later(void **state)
{
    struct rlimit before;
    char said[4096];
    struct ear ear;
    int s;

    (void)state;
    house_init();
    house_open();
    wait_until_proven();
    door_open();
    s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ear_open(&ear);
    before = use_up_descriptors();
    dial_by(s);
    await_words(&ear);
    setrlimit(RLIMIT_NOFILE, &before);
    ear_close(&ear, said, sizeof(said));
    assert_has(said, "http: cannot take another connection: Too many open files");
    say(s, "GET /healthz HTTP/1.1\r\n\r\n");
    assert_string_equal(body_of(hear(s)), "ok\n");
    door_close();
    house_close();
}

static void a_port_that_is_taken_or_no_address_is_told(void **state)
{
    struct fault why;
    char spec[64];
    int s;

    (void)state;
    house_init();
    house_open();
    door_open();
    assert_false(http_listen(house.listen, &s, &why));
    assert_has(why.text, "in use");
    assert_false(http_listen("9469", &s, &why));
    assert_false(http_listen("nowhere.example:9469", &s, &why));
    snprintf(spec, sizeof(spec), "localhost:%u", house.port);
    assert_false(http_listen(spec, &s, &why));
    assert_has(why.text, "in use");
    door_close();
    assert_null(metrics_open(NULL, "", -1, &house.sources));
    house.loop = event_base_new();
    house.metrics = metrics_open(house.loop, house.listen, -1, &house.sources);      /* waits for its port */
    assert_non_null(house.metrics);
    metrics_close(house.metrics);
    event_base_free(house.loop);
    house_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_tells_what_was_decided),
        cmocka_unit_test(evidence_and_searches_are_counted_by_state),
        cmocka_unit_test(visits_are_counted_by_how_far_they_came),
        cmocka_unit_test(a_name_can_not_break_out_of_its_label),
        cmocka_unit_test(however_many_connectors_there_are_the_page_stays_bounded),
        cmocka_unit_test(health_is_what_status_says),
        cmocka_unit_test(a_resolver_that_proves_nothing_is_unhealthy),
        cmocka_unit_test(both_pages_are_served),
        cmocka_unit_test(all_else_is_refused),
        cmocka_unit_test(a_request_may_come_in_pieces_and_ends_its_connection),
        cmocka_unit_test(who_says_nothing_makes_room_for_others_in_time),
        cmocka_unit_test(who_drips_is_shut_out_in_time),
        cmocka_unit_test(the_clocks_of_refused_recipients_are_counted_in_time),
        cmocka_unit_test(who_leaves_early_does_no_harm),
        cmocka_unit_test(who_comes_while_no_descriptor_is_free_is_served_later),
        cmocka_unit_test(a_port_that_is_taken_or_no_address_is_told),
    };

    log_open("test_metrics", false, "mail");
    log_set_level(LOG_LEVEL_WARNING);
    evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
