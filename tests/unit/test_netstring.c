#include "base/netstring.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 10000 };

struct found {
    enum netstring_state state;
    char *payload;              /* a copy, or NULL */
    size_t length, used;
};

/* Reads from a block of exactly this size, so that the address sanitizer sees any step past it. */
static struct found read_bytes(const char *bytes, size_t length, size_t most)
{
    char *copy = malloc(length == 0 ? 1 : length);
    struct found f = { .length = SIZE_MAX, .used = SIZE_MAX };
    const char *at = NULL;

    memcpy(copy, bytes, length);
    f.state = netstring_read(copy, length, most, &at, &f.length, &f.used);
    if (f.state == NETSTRING_WHOLE) {
        f.payload = mem_zero(f.length + 1);
        memcpy(f.payload, at, f.length);
    } else {
        assert_null(at);                                /* ret_* only on success */
        assert_true(f.length == SIZE_MAX && f.used == SIZE_MAX);
    }
    free(copy);
    return f;
}

static enum netstring_state state_of(const char *bytes, size_t length)
{
    struct found f = read_bytes(bytes, length, MOST);

    free(f.payload);
    return f.state;
}

static enum netstring_state state_of_text(const char *text)
{
    return state_of(text, strlen(text));
}

static void a_whole_one_is_taken_apart(void **state)
{
    static const struct {
        const char *bytes, *payload;
        size_t used;
    } tries[] = {
        { "0:,", "", 3 },
        { "1:a,", "a", 4 },
        { "11:postfix-tls,", "postfix-tls", 15 },
        { "3:a,b,", "a,b", 6 },
        { "3:1:,,", "1:,", 6 },
        { "1:a,1:b,", "a", 4 },
        { "1:a,garbage", "a", 4 },
        { "10:0123456789,", "0123456789", 14 },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct found f = read_bytes(tries[i].bytes, strlen(tries[i].bytes), MOST);

        assert_int_equal(f.state, NETSTRING_WHOLE);
        assert_string_equal(f.payload, tries[i].payload);
        assert_int_equal(f.length, strlen(tries[i].payload));
        assert_int_equal(f.used, tries[i].used);
        free(f.payload);
    }
}

static void any_bytes_may_be_inside(void **state)
{
    struct found f = read_bytes("5:\0\n,\xff:,", 8, MOST);

    (void)state;
    assert_int_equal(f.state, NETSTRING_WHOLE);
    assert_int_equal(f.length, 5);
    assert_memory_equal(f.payload, "\0\n,\xff:", 5);
    free(f.payload);
}

static void every_cut_is_partial(void **state)
{
    static const char *const wholes[] = { "0:,", "1:a,", "23:postfix-tls d.example.x,", "100:" };
    char longest[MOST + 16];
    size_t i, length, header;

    (void)state;
    for (i = 0; i < COUNT_OF(wholes); i++) {
        for (length = 0; length < strlen(wholes[i]); length++)
            assert_int_equal(state_of(wholes[i], length), NETSTRING_PARTIAL);
    }
    header = (size_t)snprintf(longest, sizeof(longest), "%d:", MOST);
    memset(longest + header, 'x', MOST);
    longest[header + MOST] = ',';
    for (length = 0; length < header + MOST + 1; length += length < 8 || length > header + MOST - 8 ? 1 : 97)
        assert_int_equal(state_of(longest, length), NETSTRING_PARTIAL);
    assert_int_equal(state_of(longest, header + MOST + 1), NETSTRING_WHOLE);
}

static void an_overlong_one_is_broken_as_soon_as_it_shows(void **state)
{
    struct found f;

    (void)state;
    assert_int_equal(state_of_text("10000"), NETSTRING_PARTIAL);
    assert_int_equal(state_of_text("10001"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("10001:"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("2000"), NETSTRING_PARTIAL);
    assert_int_equal(state_of_text("20000"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("18446744073709551616"), NETSTRING_BROKEN);      /* 2^64 */
    assert_int_equal(state_of_text("18446744073709551619:abc,"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("99999999999999999999999999999999999999"), NETSTRING_BROKEN);
    f = read_bytes("18446744073709551619:abc,", 25, SIZE_MAX);
    assert_int_equal(f.state, NETSTRING_BROKEN);                                    /* and no sum runs over */
    f = read_bytes("18446744073709551615:", 21, SIZE_MAX);
    assert_int_not_equal(f.state, NETSTRING_WHOLE);
    assert_int_equal(read_bytes("4:abcd,", 7, 3).state, NETSTRING_BROKEN);
    assert_int_equal(read_bytes("1:a,", 4, 0).state, NETSTRING_BROKEN);
    f = read_bytes("3:abc,", 6, 3);
    assert_int_equal(f.state, NETSTRING_WHOLE);
    free(f.payload);
}

static void leading_zeros_are_broken(void **state)
{
    static const char *const tries[] = { "00", "00:,", "01", "01:a,", "0000000000", "007:1234567," };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++)
        assert_int_equal(state_of_text(tries[i]), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("0"), NETSTRING_PARTIAL);
    assert_int_equal(state_of_text("0:"), NETSTRING_PARTIAL);
}

static void a_missing_comma_is_broken_as_soon_as_it_shows(void **state)
{
    (void)state;
    assert_int_equal(state_of_text("3:abc"), NETSTRING_PARTIAL);
    assert_int_equal(state_of_text("3:abcd"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("3:abcd,"), NETSTRING_BROKEN);
    assert_int_equal(state_of_text("0:a"), NETSTRING_BROKEN);
    assert_int_equal(state_of("0:\0", 3), NETSTRING_BROKEN);
}

static void what_has_no_length_is_broken(void **state)
{
    static const char *const tries[] = { ":", ":,", ",", "a", " 1:a,", "+1:a,", "-1:a,", "1 :a,", "1;a,", "0x1:a,", "1a", "\n",
                                         "GET / HTTP/1.0\r\n", "get d.example\n" };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++)
        assert_int_equal(state_of_text(tries[i]), NETSTRING_BROKEN);
    assert_int_equal(state_of("\0", 1), NETSTRING_BROKEN);
    assert_int_equal(state_of("\xff", 1), NETSTRING_BROKEN);
}

static void what_was_broken_stays_broken(void **state)
{
    static const char alphabet[] = "0123:,a";
    char bytes[6];
    size_t code, length, rest, total = 7 * 7 * 7 * 7 * 7;

    (void)state;
    for (code = 0; code < total; code++) {
        bool broken = false;

        for (length = 0, rest = code; length < 5; length++, rest /= 7) {
            enum netstring_state now;

            bytes[length] = alphabet[rest % 7];
            now = state_of(bytes, length + 1);
            assert_true(!broken || now == NETSTRING_BROKEN);
            broken = now == NETSTRING_BROKEN;
            if (now == NETSTRING_WHOLE)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_one_is_taken_apart),
        cmocka_unit_test(any_bytes_may_be_inside),
        cmocka_unit_test(every_cut_is_partial),
        cmocka_unit_test(an_overlong_one_is_broken_as_soon_as_it_shows),
        cmocka_unit_test(leading_zeros_are_broken),
        cmocka_unit_test(a_missing_comma_is_broken_as_soon_as_it_shows),
        cmocka_unit_test(what_has_no_length_is_broken),
        cmocka_unit_test(what_was_broken_stays_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
