#include "server/clients.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

static struct clients *parse(const char **items, size_t count)
{
    struct setting_list list = { .items = items, .count = count };
    struct clients *c = NULL;
    struct fault why;

    if (!clients_parse(&list, &c, &why))
        fail_msg("%s", why.text);
    return c;
}

static bool matches(const struct clients *c, const char *address)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    struct sockaddr_in four = { .sin_family = AF_INET };

    if (strchr(address, ':') != NULL) {
        assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
        return clients_match(c, (struct sockaddr *)&six);
    }
    assert_int_equal(inet_pton(AF_INET, address, &four.sin_addr), 1);
    return clients_match(c, (struct sockaddr *)&four);
}

static void a_network_covers_its_addresses_and_no_others(void **state)
{
    static const struct {
        const char *network, *inside, *outside;
    } cases[] = {
        { "127.0.0.0/8", "127.255.255.255", "128.0.0.0" },   { "192.0.2.0/24", "192.0.2.255", "192.0.3.0" },
        { "192.0.2.128/25", "192.0.2.128", "192.0.2.127" },  { "192.0.2.7", "192.0.2.7", "192.0.2.6" },
        { "192.0.2.7/32", "192.0.2.7", "192.0.2.8" },        { "192.0.2.6/31", "192.0.2.7", "192.0.2.8" },
        { "128.0.0.0/1", "255.255.255.255", "127.0.0.1" },   { "::1", "::1", "::2" },
        { "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::" }, { "2001:db8:80::/41", "2001:db8:ff::", "2001:db8:7f::" },
        { "2001:db8::8/127", "2001:db8::9", "2001:db8::a" }, { "::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9" },
        { "192.0.2.99/24", "192.0.2.1", "192.0.1.1" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(cases); i++) {
        const char *items[] = { cases[i].network };
        struct clients *c = parse(items, 1);

        assert_true(matches(c, cases[i].inside));
        assert_false(matches(c, cases[i].outside));
        clients_free(c);
    }
}

static void zero_bits_cover_a_whole_family(void **state)
{
    const char *four[] = { "0.0.0.0/0" }, *six[] = { "::/0" };
    struct clients *c = parse(four, 1);

    (void)state;
    assert_true(matches(c, "0.0.0.0"));
    assert_true(matches(c, "255.255.255.255"));
    assert_false(matches(c, "2001:db8::1"));
    clients_free(c);
    c = parse(six, 1);
    assert_true(matches(c, "2001:db8::1"));
    clients_free(c);
}

static void a_mapped_address_counts_as_ipv4(void **state)
{
    const char *items[] = { "10.0.0.0/8" };
    struct clients *c = parse(items, 1);

    (void)state;
    assert_true(matches(c, "::ffff:10.1.2.3"));
    assert_false(matches(c, "::ffff:11.1.2.3"));
    assert_false(matches(c, "::10.1.2.3"));
    clients_free(c);
}

static void any_of_the_list_will_do_and_none_matches_nothing(void **state)
{
    const char *items[] = { "127.0.0.0/8", "::1", "10.0.0.0/8" };
    struct clients *c = parse(items, 3);

    (void)state;
    assert_true(matches(c, "127.0.0.1"));
    assert_true(matches(c, "::1"));
    assert_true(matches(c, "10.9.9.9"));
    assert_false(matches(c, "192.0.2.1"));
    clients_free(c);
    c = parse(items, 0);
    assert_false(matches(c, "127.0.0.1"));
    clients_free(c);
    clients_free(NULL);
}

static void other_families_match_nothing(void **state)
{
    const char *items[] = { "0.0.0.0/0", "::/0" };
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    struct clients *c = parse(items, 2);

    (void)state;
    assert_false(clients_match(c, (struct sockaddr *)&where));
    clients_free(c);
}

static void nonsense_is_refused_with_advice(void **state)
{
    static const char *const bad[] = { "", "localhost", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/8x",
                                       "192.0.2.0/ 8", "::1/129", "::1/", "[::1]", "192.0.2.0/0008", "10.0.0.0/8/8",
                                       "2001:db8::/32 " };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(bad); i++) {
        const char *items[] = { "127.0.0.1", bad[i] };
        struct setting_list list = { .items = items, .count = 2 };
        struct clients *c = NULL;
        struct fault why = { "" };

        if (clients_parse(&list, &c, &why))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_null(c);
        assert_non_null(strstr(why.text, bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_covers_its_addresses_and_no_others),
        cmocka_unit_test(zero_bits_cover_a_whole_family),
        cmocka_unit_test(a_mapped_address_counts_as_ipv4),
        cmocka_unit_test(any_of_the_list_will_do_and_none_matches_nothing),
        cmocka_unit_test(other_families_match_nothing),
        cmocka_unit_test(nonsense_is_refused_with_advice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
