/* Visits to mail hosts on loopback: what each kind of host comes to, who goes first, and how it all ends. */
#include "lookup/probe.h"
#include "lookup/probe_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail_host.h"
#include "name_server.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

enum { LONG = 600, SIGHTS_MAX = 64 };

/* Those who wait for a visit */

struct awaited {
    struct probe_landing face;
    struct probe_sight sight;       /* with a chain of its own */
    int place;                      /* among the test's: 1, 2, ... */
    atomic_int landings;
};

static struct crowd crowd;
static atomic_int arrivals;

static void arrive(struct probe_landing *self, const struct probe_sight *sight)
{
    struct awaited *a = (struct awaited *)self;

    a->sight = *sight;
    if (sight->chain != NULL)
        a->sight.chain = cert_chain_ref(sight->chain);
    atomic_fetch_add(&a->landings, 1);
    a->place = atomic_fetch_add(&arrivals, 1) + 1;
    crowd_count(&crowd);
}

static void awaited_init(struct awaited *a)
{
    *a = (struct awaited){ .face.arrive = arrive };
}

static void awaited_done(struct awaited *a)
{
    assert_int_equal(1, atomic_load(&a->landings));
    cert_chain_unref(a->sight.chain);
}

static int begin(void **state)
{
    (void)state;
    crowd_init(&crowd);
    atomic_store(&arrivals, 0);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    crowd_done(&crowd);
    return 0;
}

/* Settings and targets */

static struct settings settings_for(uint32_t concurrency, uint32_t timeout)
{
    struct settings set = { .probe = { .helo = "", .bind = "", .concurrency = concurrency, .timeout = timeout } };

    return set;
}

static struct probe *open_probe(uint32_t concurrency, uint32_t timeout)
{
    struct settings set = settings_for(concurrency, timeout);
    struct probe *p;

    assert_true(probe_open(&set, &p, NULL));
    return p;
}

static void close_probe(struct probe *p)
{
    probe_shut(p);
    probe_free(p);
}

static struct probe_target target_of(const char *name, uint16_t port, enum probe_kind kind)
{
    struct probe_target t = { .port = port, .kind = kind };

    if (*name != '\0')
        assert_true(domain_parse(name, &t.host, NULL));
    return t;
}

static void go(struct probe *p, const struct probe_target *t, const char *address, struct awaited *a)
{
    struct sockaddr_storage at = host_at(address);

    awaited_init(a);
    probe_go(p, t, &at, 1, &a->face);
}

/* One visit at one host, from the beginning to the end of both; release a->sight by awaited_done(). */
static void visit(const struct host_manner *m, const struct probe_target *wished, struct awaited *a, struct mail_host *h)
{
    struct probe_target t = *wished;
    struct probe *p = open_probe(2, LONG);

    host_listen(h, m, "127.0.0.1", 8);
    host_start(h);
    t.port = h->port;
    go(p, &t, "127.0.0.1", a);
    crowd_wait(&crowd, 1);
    if (a->sight.state != PROBE_UNREACHABLE && a->sight.state != PROBE_TLS_FAILED)
        host_await(&h->quits, 1);
    close_probe(p);
    host_close(h);
}

static void assert_shows(const struct awaited *a, bool ecdsa)
{
    uint8_t *der = NULL;
    int length = i2d_X509(host_certificate(ecdsa), &der);

    assert_int_equal(PROBE_SEEN, a->sight.state);
    assert_string_equal("", a->sight.why);
    assert_int_equal(1, a->sight.chain->count);
    assert_int_equal(length, a->sight.chain->lengths[0]);
    assert_memory_equal(der, a->sight.chain->certificates[0], (size_t)length);
    OPENSSL_free(der);
}

/* Good visits */

static void a_good_host_shows_its_chain_under_its_name(void **state)
{
    struct probe_target t = target_of("mx.example", 0, PROBE_ANY);
    static struct mail_host h;
    struct awaited a;

    (void)state;
    visit(&host_polite, &t, &a, &h);
    assert_true(a.sight.state == PROBE_SEEN && a.sight.chain->count == 1);
    assert_string_equal("127.0.0.1", a.sight.address);
    assert_string_equal("TLSv1.3", a.sight.tls);
    assert_string_equal("mx.example", h.sni);
    assert_int_equal(1, atomic_load(&h.visits));
    awaited_done(&a);
}

static void an_address_is_no_name_to_send(void **state)
{
    struct probe_target none = target_of("", 0, PROBE_ANY), literal = none;
    static struct mail_host h;
    struct awaited a;

    (void)state;
    visit(&host_polite, &none, &a, &h);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("", h.sni);
    awaited_done(&a);
    literal.host.length = (uint8_t)snprintf(literal.host.name, sizeof(literal.host.name), "127.0.0.1");
    crowd.count = 0;
    visit(&host_polite, &literal, &a, &h);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("", h.sni);
    awaited_done(&a);
}

static void the_wished_kind_of_certificate_is_shown(void **state)
{
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    static struct mail_host h;
    struct awaited a;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        struct probe_target t = target_of("mx.example", 0, i % 2 == 0 ? PROBE_RSA : PROBE_ECDSA);
        struct host_manner m = host_polite;

        m.version = versions[i / 2];
        crowd.count = 0;
        visit(&m, &t, &a, &h);
        assert_shows(&a, t.kind == PROBE_ECDSA);
        assert_string_equal(i / 2 == 0 ? "TLSv1.2" : "TLSv1.3", a.sight.tls);
        awaited_done(&a);
    }
}

static void a_kind_that_is_not_there_is_not_shown(void **state)
{
    static struct mail_host h;
    struct awaited a;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        struct probe_target t = target_of("mx.example", 0, i % 2 == 0 ? PROBE_RSA : PROBE_ECDSA);
        struct host_manner m = host_polite;

        m.version = i / 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        m.rsa = t.kind == PROBE_ECDSA;
        m.ecdsa = t.kind == PROBE_RSA;
        crowd.count = 0;
        visit(&m, &t, &a, &h);
        assert_int_equal(PROBE_TLS_FAILED, a.sight.state);
        assert_true(strncmp(a.sight.why, "TLS: ", 5) == 0 && a.sight.chain == NULL);
        awaited_done(&a);
    }
}

static void old_tls_is_no_tls(void **state)
{
    struct probe_target t = target_of("mx.example", 0, PROBE_ANY);
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct awaited a;

    (void)state;
    m.version = TLS1_1_VERSION;
    visit(&m, &t, &a, &h);
    assert_int_equal(PROBE_TLS_FAILED, a.sight.state);
    awaited_done(&a);
}

static void a_host_that_will_not_say_goodbye_delays_nobody(void **state)
{
    struct probe *p = open_probe(1, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct probe_target t;
    struct awaited a;

    (void)state;
    m.mute_in_tls = true;
    host_listen(&h, &m, "127.0.0.1", 8);
    host_start(&h);
    t = target_of("mx.example", h.port, PROBE_ANY);
    go(p, &t, "127.0.0.1", &a);
    crowd_wait(&crowd, 1);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    awaited_done(&a);
    host_await(&h.stuck, 1);
    close_probe(p);
    host_close(&h);
}

/* Who we say we are, and where we come from */

static void visit_as(struct settings *set, const char *address, struct awaited *a, struct mail_host *h)
{
    struct probe_target t;
    struct probe *p;

    assert_true(probe_open(set, &p, NULL));
    host_listen(h, &host_polite, address, 8);
    host_start(h);
    t = target_of("mx.example", h->port, PROBE_ANY);
    crowd.count = 0;
    go(p, &t, address, a);
    crowd_wait(&crowd, 1);
    close_probe(p);
    host_close(h);
}

static void we_say_our_name(void **state)
{
    struct settings set = settings_for(1, LONG);
    char own[256] = "", wanted[300];
    static struct mail_host h;
    struct awaited a;

    (void)state;
    gethostname(own, sizeof(own) - 1);
    snprintf(wanted, sizeof(wanted), "%s\r\n", strchr(own, '.') == NULL ? "[IPv6:::1]" : own);
    visit_as(&set, "::1", &a, &h);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("::1", a.sight.address);
    assert_int_equal(0, strcasecmp(wanted, h.helo));
    awaited_done(&a);
    set.probe.helo = "mail.home.example";
    visit_as(&set, "127.0.0.1", &a, &h);
    assert_string_equal("mail.home.example\r\n", h.helo);
    awaited_done(&a);
}

static void we_come_from_where_we_are_told_to(void **state)
{
    struct settings set = settings_for(1, LONG);
    static struct mail_host h;
    struct awaited a;

    (void)state;
    set.probe.bind = "127.0.0.9";
    visit_as(&set, "127.0.0.1", &a, &h);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    awaited_done(&a);
    visit_as(&set, "::1", &a, &h);          /* another family's hosts are visited from anywhere */
    assert_int_equal(PROBE_SEEN, a.sight.state);
    awaited_done(&a);
    set.probe.bind = "192.0.2.77";
    visit_as(&set, "127.0.0.1", &a, &h);
    assert_int_equal(PROBE_UNREACHABLE, a.sight.state);
    assert_non_null(strstr(a.sight.why, "probe.bind"));
    awaited_done(&a);
}

static void a_source_that_is_no_address_is_a_fault(void **state)
{
    struct settings set = settings_for(1, LONG);
    struct fault why;
    struct probe *p;

    (void)state;
    set.probe.bind = "eth0";
    assert_false(probe_open(&set, &p, &why));
    assert_string_equal("probe.bind: \"eth0\" is no address", why.text);
}

/* Hosts that don't want to, or can't */

#define ENDLESS_LINE "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    struct host_manner m;
    enum probe_state state;
    const char *why;
} strange[] = {
    { { "421 4.3.2 too busy\r\n", "", "" }, PROBE_REFUSED, "greeting: 421 4.3.2 too busy" },
    { { "554-no mail here\r\n554 go away\r\n", "", "" }, PROBE_REFUSED, "greeting: 554-no mail here" },
    { { "554 \x1b[31mr\xc3\xa9""d\r\n", "", "" }, PROBE_REFUSED, "greeting: 554 ?[31mr??d" },
    { { "", "", "" }, PROBE_UNREACHABLE, "greeting: the host hung up" },
    { { "220 mx.exa", "", "", .leaves = true }, PROBE_UNREACHABLE, "greeting: the host hung up" },
    { { "SSH-2.0-OpenSSH_9.2\r\n", "", "" }, PROBE_UNREACHABLE, "greeting: no reply as in SMTP" },
    { { "200 mx\r\n", "", "" }, PROBE_UNREACHABLE, "greeting: 200 mx" },
    { { "220 mx\r\n250 more\r\n", "", "" }, PROBE_UNREACHABLE, "greeting: the host says more than it was asked" },
    { { "220-mx\r\n221 other\r\n", "", "" }, PROBE_UNREACHABLE, "greeting: a reply with two codes" },
    { { "220-mx\r\n", "", "", .again = "220-and more\r\n" }, PROBE_UNREACHABLE, "greeting: a reply without an end" },
    { { "220 ", "", "", .again = ENDLESS_LINE }, PROBE_UNREACHABLE, "greeting: a line without an end" },
    { { HOST_GREETING, "", "" }, PROBE_UNREACHABLE, "EHLO: the host hung up" },
    { { HOST_GREETING, "502 5.5.1 what?\r\n", "" }, PROBE_REFUSED, "EHLO: 502 5.5.1 what?" },
    { { HOST_GREETING, "450 4.7.1 greylisted\r\n", "" }, PROBE_REFUSED, "EHLO: 450 4.7.1 greylisted" },
    { { HOST_GREETING, "ehlo\r\n", "" }, PROBE_UNREACHABLE, "EHLO: no reply as in SMTP" },
    { { HOST_GREETING, "250 mx.example\r\n", "" }, PROBE_NO_STARTTLS, "the host does not offer STARTTLS" },
    { { HOST_GREETING, "250-STARTTLS\r\n250 STARTTLSX\r\n", "" }, PROBE_NO_STARTTLS, NULL },
    { { HOST_GREETING, HOST_EHLO, "" }, PROBE_UNREACHABLE, "STARTTLS: the host hung up" },
    { { HOST_GREETING, HOST_EHLO, "454 4.7.0 no entropy\r\n" }, PROBE_REFUSED, "STARTTLS: 454 4.7.0 no entropy" },
    { { HOST_GREETING, HOST_EHLO, "501 5.5.4 no\r\n" }, PROBE_REFUSED, "STARTTLS: 501 5.5.4 no" },
    { { HOST_GREETING, HOST_EHLO, "250 fine\r\n" }, PROBE_UNREACHABLE, "STARTTLS: 250 fine" },
    { { HOST_GREETING, HOST_EHLO, "220 go\r\n250 injected\r\n" }, PROBE_UNREACHABLE,
      "STARTTLS: the host says more than it was asked" },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_HANGS_UP }, PROBE_TLS_FAILED, "TLS: the host hung up" },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_TALKS_PLAIN }, PROBE_TLS_FAILED, NULL },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_CUTS_SHORT }, PROBE_TLS_FAILED, "TLS: the host hung up" },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_FLOODS }, PROBE_TLS_FAILED, NULL },
};

static void every_strange_host_is_called_what_it_is(void **state)
{
    struct probe_target t = target_of("mx.example", 0, PROBE_ANY);
    static struct mail_host h;
    struct awaited a;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(strange); i++) {
        crowd.count = 0;
        visit(&strange[i].m, &t, &a, &h);
        if (a.sight.state != strange[i].state || (strange[i].why != NULL && strcmp(strange[i].why, a.sight.why) != 0))
            fail_msg("%zu: %d, %s", i, (int)a.sight.state, a.sight.why);
        assert_true(a.sight.why[0] != '\0' && a.sight.chain == NULL && a.sight.tls[0] == '\0');
        awaited_done(&a);
    }
}

static void a_closed_port_is_unreachable(void **state)
{
    struct probe *p = open_probe(2, LONG);
    static struct mail_host h;
    struct probe_target t;
    struct awaited a, b;

    (void)state;
    host_listen(&h, &host_polite, "127.0.0.1", 1);
    t = target_of("mx.example", h.port, PROBE_ANY);
    host_close(&h);
    go(p, &t, "127.0.0.1", &a);
    awaited_init(&b);
    probe_go(p, &t, &(struct sockaddr_storage){ .ss_family = AF_UNIX }, 1, &b.face);    /* inside the call */
    assert_string_equal("no address to visit", b.sight.why);
    crowd_wait(&crowd, 2);
    assert_int_equal(PROBE_UNREACHABLE, a.sight.state);
    assert_string_equal("connection: Connection refused", a.sight.why);
    close_probe(p);
    awaited_done(&a);
    awaited_done(&b);
}

/* Hosts that stop in the middle */

static const struct {
    struct host_manner m;
    enum probe_state state;
    const char *why;
} stalling[] = {
    { { NULL, NULL, NULL }, PROBE_UNREACHABLE, "greeting: no answer in time" },
    { { "220-", NULL, NULL, .again = "x" , .drips = true }, PROBE_UNREACHABLE, "greeting: no answer in time" },
    { { HOST_GREETING, NULL, NULL }, PROBE_UNREACHABLE, "EHLO: no answer in time" },
    { { HOST_GREETING, "250-mx.example\r\n250-START", NULL }, PROBE_UNREACHABLE, "EHLO: no answer in time" },
    { { HOST_GREETING, HOST_EHLO, NULL }, PROBE_UNREACHABLE, "STARTTLS: no answer in time" },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_SILENT }, PROBE_TLS_FAILED, "TLS: no answer in time" },
    { { HOST_GREETING, HOST_EHLO, HOST_STARTTLS, .tls = HOST_DRIPS }, PROBE_TLS_FAILED, "TLS: no answer in time" },
};

enum { STALLING = COUNT_OF(stalling) };

static struct mail_host stalls[STALLING], unlistening;
static int queued[8];

/* A host whose queue of connections is full answers no SYN any more. */
static void stop_listening(struct mail_host *h)
{
    struct sockaddr_storage at = host_at("127.0.0.1");
    size_t i;

    host_listen(h, &host_polite, "127.0.0.1", 0);
    ((struct sockaddr_in *)&at)->sin_port = htons(h->port);
    for (i = 0; i < COUNT_OF(queued); i++) {
        queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(queued[i], (struct sockaddr *)&at, sizeof(struct sockaddr_in));
    }
}

static void start_stalling(struct probe *p, struct awaited a[STALLING + 1])
{
    struct probe_target t = target_of("mx.example", 0, PROBE_ANY);
    size_t i;

    t.urgent = true;                        /* all at once */
    stop_listening(&unlistening);
    for (i = 0; i < STALLING; i++) {
        host_listen(&stalls[i], &stalling[i].m, "127.0.0.1", 8);
        host_start(&stalls[i]);
        t.port = stalls[i].port;
        go(p, &t, "127.0.0.1", &a[i]);
    }
    t.port = unlistening.port;
    go(p, &t, "127.0.0.1", &a[STALLING]);
}

static void end_stalling(void)
{
    size_t i;

    for (i = 0; i < STALLING; i++)
        host_close(&stalls[i]);
    for (i = 0; i < COUNT_OF(queued); i++)
        close(queued[i]);
    host_close(&unlistening);
}

static void a_visit_has_its_time_wherever_it_stalls(void **state)
{
    struct probe *p = open_probe(STALLING + 1, 12);
    struct awaited a[STALLING + 1];
    size_t i;

    (void)state;
    start_stalling(p, a);
    crowd_wait(&crowd, STALLING + 1);
    for (i = 0; i < STALLING; i++) {
        if (a[i].sight.state != stalling[i].state || strcmp(stalling[i].why, a[i].sight.why) != 0)
            fail_msg("%zu: %d, %s", i, (int)a[i].sight.state, a[i].sight.why);
        awaited_done(&a[i]);
    }
    assert_int_equal(PROBE_UNREACHABLE, a[STALLING].sight.state);
    assert_string_equal("connection: no answer in time", a[STALLING].sight.why);
    awaited_done(&a[STALLING]);
    close_probe(p);
    end_stalling();
}

static void closing_ends_visits_wherever_they_are(void **state)
{
    struct probe *p = open_probe(STALLING + 1, LONG);
    struct awaited a[STALLING + 1];
    size_t i;

    (void)state;
    start_stalling(p, a);
    for (i = 0; i < STALLING; i++) {
        host_await(&stalls[i].visits, 1);
        if (i != 3)                         /* which waits for a command */
            host_await(&stalls[i].stuck, 1);
    }
    close_probe(p);
    for (i = 0; i <= STALLING; i++) {
        assert_int_equal(PROBE_UNREACHABLE, a[i].sight.state);
        if (strstr(a[i].sight.why, "the daemon stops") == NULL)
            fail_msg("%zu: %s", i, a[i].sight.why);
        awaited_done(&a[i]);
    }
    end_stalling();
}

/* Order */

static void one_visit_at_an_address_at_a_time(void **state)
{
    struct probe *p = open_probe(8, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h, other;
    struct probe_target t, elsewhere;
    struct awaited a[20], b;
    size_t i;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "127.0.0.1", 64);
    host_start(&h);
    host_listen(&other, &host_polite, "127.0.0.1", 8);
    host_start(&other);
    t = target_of("mx.example", h.port, PROBE_ANY);
    elsewhere = target_of("mx.example", other.port, PROBE_ANY);
    for (i = 0; i < COUNT_OF(a); i++) {
        t.urgent = i % 2 == 0;
        go(p, &t, "127.0.0.1", &a[i]);
    }
    go(p, &elsewhere, "127.0.0.1", &b);     /* the same address, another port: a host of its own */
    crowd_wait(&crowd, 1);
    host_await(&h.visits, 1);
    assert_int_equal(1, b.place);
    assert_int_equal(1, atomic_load(&h.visits));
    host_release(&h);
    crowd_wait(&crowd, COUNT_OF(a) + 1);
    assert_int_equal(COUNT_OF(a), atomic_load(&h.visits));
    close_probe(p);
    for (i = 0; i < COUNT_OF(a); i++) {
        assert_int_equal(PROBE_SEEN, a[i].sight.state);
        awaited_done(&a[i]);
    }
    awaited_done(&b);
    host_close(&h);
    host_close(&other);
}

static void urgent_visits_come_before_others(void **state)
{
    static const char *const addresses[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.4", "127.0.0.3" };
    static const bool urgent[] = { false, false, false, false, true, true };
    static const int places[] = { 1, 4, 5, 6, 2, 3 };
    struct probe *p = open_probe(1, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct probe_target t;
    struct awaited a[6];
    size_t i;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "0.0.0.0", 64);
    host_start(&h);
    t = target_of("mx.example", h.port, PROBE_ANY);
    for (i = 0; i < 6; i++) {
        t.urgent = urgent[i];
        go(p, &t, addresses[i], &a[i]);
        if (i == 0)
            host_await(&h.visits, 1);
    }
    host_release(&h);
    crowd_wait(&crowd, 6);
    close_probe(p);
    assert_int_equal(places[4], a[4].place);
    assert_int_equal(places[5], a[5].place);
    for (i = 0; i < 6; i++) {
        assert_true(urgent[i] || i == 0 || a[i].place > 3);
        awaited_done(&a[i]);
    }
    host_close(&h);
}

static void others_never_take_all_threads(void **state)
{
    static const char *const addresses[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4" };
    struct probe *p = open_probe(4, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h, quick;
    struct awaited a[4], b;
    struct probe_target t;
    size_t i;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "0.0.0.0", 64);
    host_start(&h);
    host_listen(&quick, &host_polite, "127.0.0.1", 8);
    host_start(&quick);
    t = target_of("mx.example", h.port, PROBE_ANY);
    for (i = 0; i < 4; i++)
        go(p, &t, addresses[i], &a[i]);
    host_await(&h.visits, 3);
    t.port = quick.port;
    t.urgent = true;
    go(p, &t, "127.0.0.1", &b);
    crowd_wait(&crowd, 1);
    assert_int_equal(PROBE_SEEN, b.sight.state);
    assert_int_equal(3, atomic_load(&h.visits));
    awaited_done(&b);
    host_release(&h);
    crowd_wait(&crowd, 5);
    close_probe(p);
    for (i = 0; i < 4; i++)
        awaited_done(&a[i]);
    host_close(&h);
    host_close(&quick);
}

static void thousands_of_visits_have_a_ceiling(void **state)
{
    enum { MORE = 100, ALL = 1 + PROBE_WAITING_MAX + MORE + 1 };
    struct awaited *a = mem_array(ALL, sizeof(*a));
    struct probe *p = open_probe(1, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct probe_target t;
    size_t i;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "0.0.0.0", 8);
    host_start(&h);
    t = target_of("mx.example", h.port, PROBE_ANY);
    for (i = 0; i < ALL - 1; i++) {
        char address[16];

        snprintf(address, sizeof(address), "127.0.%zu.1", i % 200);
        go(p, &t, address, &a[i]);
        if (i == 0)
            host_await(&h.visits, 1);
    }
    assert_int_equal(MORE, atomic_load(&arrivals));
    assert_string_equal("too many visits at once", a[ALL - 2].sight.why);
    t.urgent = true;
    go(p, &t, "127.0.0.1", &a[ALL - 1]);    /* for mail there is still room */
    assert_int_equal(MORE, atomic_load(&arrivals));
    close_probe(p);
    assert_int_equal(ALL, atomic_load(&arrivals));
    for (i = 0; i < ALL; i++) {
        assert_int_equal(PROBE_UNREACHABLE, a[i].sight.state);
        awaited_done(&a[i]);
    }
    host_close(&h);
    free(a);
}

static void who_comes_after_the_end_lands_at_once(void **state)
{
    struct probe_target t = target_of("mx.example", 25, PROBE_ANY);
    struct probe *p = open_probe(1, LONG);
    struct awaited a;

    (void)state;
    probe_shut(p);
    go(p, &t, "127.0.0.1", &a);
    assert_string_equal("the daemon stops", a.sight.why);
    awaited_done(&a);
    probe_free(p);
}

/* Several addresses */

static void go_all(struct probe *p, uint16_t port, const char *const *addresses, size_t count, struct awaited *a)
{
    struct probe_target t = target_of("mx.example", port, PROBE_ANY);
    struct sockaddr_storage at[PROBE_ADDRESSES_MAX];
    size_t i;

    for (i = 0; i < count; i++)
        at[i] = host_at(addresses[i]);
    awaited_init(a);
    crowd.count = 0;
    probe_go(p, &t, at, count, &a->face);
    crowd_wait(&crowd, 1);
}

static void the_next_address_is_tried(void **state)
{
    static const char *const addresses[] = { "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.4" };
    struct probe *p = open_probe(2, LONG);
    struct host_manner busy = { "421 4.3.2 busy\r\n", "", "" };
    static struct mail_host good, refusing;
    struct awaited a;

    (void)state;
    host_listen(&good, &host_polite, "127.0.0.1", 8);
    host_start(&good);
    go_all(p, good.port, addresses, 5, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("127.0.0.1", a.sight.address);
    awaited_done(&a);
    host_listen(&refusing, &busy, "127.0.0.1", 8);
    host_start(&refusing);
    go_all(p, refusing.port, addresses, 5, &a);     /* whoever came furthest is told of */
    assert_int_equal(PROBE_REFUSED, a.sight.state);
    assert_string_equal("127.0.0.1", a.sight.address);
    assert_string_equal("greeting: 421 4.3.2 busy", a.sight.why);
    awaited_done(&a);
    go_all(p, refusing.port, addresses, 3, &a);
    assert_int_equal(PROBE_UNREACHABLE, a.sight.state);
    assert_string_equal("127.0.0.2", a.sight.address);
    awaited_done(&a);
    close_probe(p);
    host_close(&good);
    host_close(&refusing);
}

static void a_silent_address_leaves_time_for_the_next(void **state)
{
    static const char *const addresses[] = { "127.0.0.1", "127.0.0.2" };
    struct sockaddr_storage at = host_at("127.0.0.2");
    struct probe *p = open_probe(1, 16);
    static struct mail_host h;
    struct awaited a;
    int yes = 1;

    (void)state;
    stop_listening(&unlistening);
    h.port = unlistening.port;
    ((struct sockaddr_in *)&at)->sin_port = htons(h.port);
    host_listen(&h, &host_polite, "127.0.0.2", 8);
    close(h.listener);
    h.listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(h.listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    assert_int_equal(0, bind(h.listener, (struct sockaddr *)&at, sizeof(struct sockaddr_in)));
    assert_int_equal(0, listen(h.listener, 8));
    host_start(&h);
    go_all(p, unlistening.port, addresses, 2, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("127.0.0.2", a.sight.address);
    awaited_done(&a);
    close_probe(p);
    host_close(&h);
    for (size_t i = 0; i < COUNT_OF(queued); i++)
        close(queued[i]);
    host_close(&unlistening);
}

/* Through the front door, with our own resolver */

static bool answer_body(struct packet *p, const char *name, int type, bool by_tcp)
{
    static const uint8_t dead[] = { 127, 0, 0, 99 }, live[] = { 127, 0, 0, 1 }, live6[16] = { [15] = 1 };
    const uint8_t *octets = type == AAAA ? live6 : begins(name, "six.") ? dead : live;
    size_t start;

    (void)by_tcp;
    if (begins(name, "fail.")) {
        p->bytes[3] = (uint8_t)((p->bytes[3] & 0xf0) | SERVFAIL);
        return true;
    }
    if (begins(name, "mute."))
        return false;
    if (begins(name, "gone.") || (type != A && type != AAAA)) {
        deny(p, NXDOMAIN);
        return true;
    }
    if (type == AAAA && !begins(name, "six.")) {
        deny(p, 0);
        return true;
    }
    start = put_record(p, 6, name, type, 300);
    memcpy(p->bytes + p->length, octets, type == A ? 4 : 16);
    p->length += type == A ? 4 : 16;
    end_record(p, start);
    return true;
}

static struct lookup *open_lookup(void)
{
    static char forward[32];
    static const char *items[] = { forward };
    static const char *anchor[] = { "elsewhere.invalid. IN DS 1 13 2 "      /* the system's would want a signed root */
                                    "0000000000000000000000000000000000000000000000000000000000000000" };
    struct settings set = settings_for(4, LONG);
    struct lookup *l;
    struct fault why;

    set.resolver.trust_anchor_file = set.resolver.root_hints = set.resolver.when_broken = set.sts.ca_file = "";
    set.resolver.trust_anchor = (struct setting_list){ anchor, 1 };
    set.resolver.forward = (struct setting_list){ items, 1 };
    set.resolver.timeout = 60;
    set.resolver.cache = 8 * 1024 * 1024;
    snprintf(forward, sizeof(forward), "127.0.0.1@%u", server.port);
    if (!dns_open(&set, &l, &why))
        fail_msg("%s", why.text);
    return l;
}

static void ask_door(struct lookup *l, const char *name, uint16_t port, struct awaited *a)
{
    struct probe_target t = { .port = port };

    t.host.length = (uint8_t)snprintf(t.host.name, sizeof(t.host.name), "%s", name);
    awaited_init(a);
    crowd.count = 0;
    l->probe(l, &t, &a->face);
    crowd_wait(&crowd, 1);
}

static void addresses_are_asked_of_our_own_dns(void **state)
{
    struct lookup *l = open_lookup();
    static struct mail_host v4, v6;
    struct awaited a;

    (void)state;
    host_listen(&v4, &host_polite, "127.0.0.1", 8);
    host_start(&v4);
    host_listen(&v6, &host_polite, "::1", 8);
    host_start(&v6);
    ask_door(l, "four.example", v4.port, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("127.0.0.1", a.sight.address);
    awaited_done(&a);
    ask_door(l, "six.example", v6.port, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    assert_string_equal("::1", a.sight.address);
    awaited_done(&a);
    ask_door(l, "::1", v6.port, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    awaited_done(&a);
    ask_door(l, "127.0.0.1", v4.port, &a);
    assert_int_equal(PROBE_SEEN, a.sight.state);
    awaited_done(&a);
    ask_door(l, "gone.example", v4.port, &a);
    assert_int_equal(PROBE_UNREACHABLE, a.sight.state);
    assert_string_equal("gone.example has no address", a.sight.why);
    assert_string_equal("", a.sight.address);
    awaited_done(&a);
    ask_door(l, "fail.example", v4.port, &a);
    assert_int_equal(PROBE_UNREACHABLE, a.sight.state);
    assert_non_null(strstr(a.sight.why, "the address of fail.example can not be had: "));
    awaited_done(&a);
    ask_door(l, "", v4.port, &a);
    assert_string_equal("no host to visit", a.sight.why);
    awaited_done(&a);
    l->close(l);
    host_close(&v4);
    host_close(&v6);
}

/* A visit that lands and asks for another, as long as the doors close. */
struct insisting {
    struct probe_landing face;
    struct lookup *lookup;
    struct probe_target target;
    struct awaited last;
};

static void insist(struct probe_landing *self, const struct probe_sight *sight)
{
    struct insisting *i = (struct insisting *)self;

    (void)sight;
    i->lookup->probe(i->lookup, &i->target, &i->last.face);
}

static void closing_lets_everyone_arrive(void **state)
{
    enum { NAMES = 200 };
    struct lookup *l = open_lookup();
    struct awaited *a = mem_array(NAMES, sizeof(*a));
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct insisting again = { .face.arrive = insist, .lookup = l };
    size_t i;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "127.0.0.1", 8);
    host_start(&h);
    again.target = target_of("four.example", h.port, PROBE_ANY);
    awaited_init(&again.last);
    l->probe(l, &again.target, &again.face);
    host_await(&h.visits, 1);
    for (i = 0; i < NAMES; i++) {
        struct probe_target t = again.target;

        snprintf(t.host.name, sizeof(t.host.name), "%s%zu.example", i % 2 == 0 ? "mute." : "four.", i);
        awaited_init(&a[i]);
        l->probe(l, &t, &a[i].face);
    }
    l->close(l);
    assert_int_equal(NAMES + 1, atomic_load(&arrivals));
    for (i = 0; i < NAMES; i++) {
        assert_int_equal(PROBE_UNREACHABLE, a[i].sight.state);
        awaited_done(&a[i]);
    }
    awaited_done(&again.last);
    host_close(&h);
    free(a);
}

/* Descriptors */

/* Those connected to the port; they must all be closed for whoever we execute. */
static size_t count_connections(uint16_t port)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *found;
    size_t count = 0;

    assert_non_null(folder);
    while ((found = readdir(folder)) != NULL) {
        struct sockaddr_in peer;
        socklen_t size = sizeof(peer);
        int fd = atoi(found->d_name);

        if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sin_family != AF_INET ||
            ntohs(peer.sin_port) != port)
            continue;
        assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        count++;
    }
    closedir(folder);
    return count;
}

static void descriptors_stay_ours_and_are_given_back(void **state)
{
    struct probe *p = open_probe(2, LONG);
    struct host_manner m = host_polite;
    static struct mail_host h;
    struct probe_target t;
    struct awaited a;

    (void)state;
    m.held = true;
    host_listen(&h, &m, "127.0.0.1", 8);
    host_start(&h);
    t = target_of("mx.example", h.port, PROBE_ANY);
    go(p, &t, "127.0.0.1", &a);
    host_await(&h.visits, 1);
    assert_int_equal(1, count_connections(h.port));
    host_release(&h);
    crowd_wait(&crowd, 1);
    close_probe(p);
    assert_int_equal(0, count_connections(h.port));
    awaited_done(&a);
    host_close(&h);
}

/* Replies by themselves */

static void a_reply_is_read_as_it_stands_in_the_rfc(void **state)
{
    static const char ehlo[] = "250-mx.example\r\n250-starttls\r\n250 HELP\r\n250 behind\r\n";
    struct reply r = { .state = REPLY_MORE }, alone = { .state = REPLY_MORE }, first = { .state = REPLY_MORE };

    (void)state;
    assert_int_equal(strlen(ehlo) - strlen("250 behind\r\n"), reply_read(&r, ehlo, strlen(ehlo)));
    assert_true(r.state == REPLY_WHOLE && r.code == 250 && r.starttls);
    assert_string_equal("250-mx.example", r.words);
    assert_int_equal(5, reply_read(&alone, "220\r\n", 5));
    assert_true(alone.state == REPLY_WHOLE && alone.code == 220 && !alone.starttls);
    assert_int_equal(14, reply_read(&first, "250 STARTTLS\r\n", 14));
    assert_false(first.starttls);
}

static void a_reply_has_ceilings(void **state)
{
    struct reply lines = { .state = REPLY_MORE }, line = { .state = REPLY_MORE };
    size_t taken = 0, i;

    (void)state;
    for (i = 0; i < REPLY_LINES_MAX + 1; i++)
        taken += reply_read(&lines, "220-x\r\n", 7);
    assert_int_equal(REPLY_GARBAGE, lines.state);
    assert_int_equal(7 * REPLY_LINES_MAX, taken);
    for (i = taken = 0; i < 2 * REPLY_LINE_MAX; i++)
        taken += reply_read(&line, i < 3 ? "2" : " ", 1);
    assert_int_equal(REPLY_GARBAGE, line.state);
    assert_int_equal(REPLY_LINE_MAX, taken);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

static int set_up(void **state)
{
    return hosts_set_up(state) != 0 || server_start(state) != 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    server_stop(state);
    return hosts_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_host_shows_its_chain_under_its_name),
        TEST(an_address_is_no_name_to_send),
        TEST(the_wished_kind_of_certificate_is_shown),
        TEST(a_kind_that_is_not_there_is_not_shown),
        TEST(old_tls_is_no_tls),
        TEST(a_host_that_will_not_say_goodbye_delays_nobody),
        TEST(we_say_our_name),
        TEST(we_come_from_where_we_are_told_to),
        TEST(a_source_that_is_no_address_is_a_fault),
        TEST(every_strange_host_is_called_what_it_is),
        TEST(a_closed_port_is_unreachable),
        TEST(a_visit_has_its_time_wherever_it_stalls),
        TEST(closing_ends_visits_wherever_they_are),
        TEST(one_visit_at_an_address_at_a_time),
        TEST(urgent_visits_come_before_others),
        TEST(others_never_take_all_threads),
        TEST(thousands_of_visits_have_a_ceiling),
        TEST(who_comes_after_the_end_lands_at_once),
        TEST(the_next_address_is_tried),
        TEST(a_silent_address_leaves_time_for_the_next),
        TEST(addresses_are_asked_of_our_own_dns),
        TEST(closing_lets_everyone_arrive),
        TEST(descriptors_stay_ours_and_are_given_back),
        cmocka_unit_test(a_reply_is_read_as_it_stands_in_the_rfc),
        cmocka_unit_test(a_reply_has_ceilings),
    };

    return cmocka_run_group_tests_name("probe", tests, set_up, tear_down);
}
