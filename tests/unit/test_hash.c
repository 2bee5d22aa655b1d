#include "base/hash.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_same_bytes_have_the_same_hash(void **state)
{
    static const char name[] = "mx.bank.example";
    char shifted[sizeof(name) + 8];
    size_t by;

    (void)state;
    assert_true(hash_text(name) == hash_text(name));
    assert_true(hash_text(name) == hash_bytes(name, sizeof(name) - 1));
    for (by = 0; by < 8; by++) {                        /* wherever they lie */
        memcpy(shifted + by, name, sizeof(name));
        assert_true(hash_text(shifted + by) == hash_text(name));
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void each_length_and_each_bit_counts(void **state)
{
    unsigned char bytes[33] = { 0 };
    uint64_t seen[34 + 33 * 8];
    size_t count = 0, i;

    (void)state;
    for (i = 0; i <= 33; i++)
        seen[count++] = hash_bytes(bytes, i);
    for (i = 0; i < 33 * 8; i++) {
        bytes[i / 8] ^= (unsigned char)(1U << i % 8);
        seen[count++] = hash_bytes(bytes, sizeof(bytes));
        bytes[i / 8] ^= (unsigned char)(1U << i % 8);
    }
    assert_int_equal(count, COUNT_OF(seen));
    qsort(seen, count, sizeof(seen[0]), by_value);
    for (i = 1; i < count; i++)
        assert_true(seen[i] != seen[i - 1]);
}

static void names_that_look_alike_spread(void **state)
{
    enum { NAMES = 65536, SLOTS = 1024 };
    static unsigned slots[2][SLOTS];
    char name[32];
    unsigned i;

    (void)state;
    for (i = 0; i < NAMES; i++) {
        uint64_t hash;

        snprintf(name, sizeof(name), "partner%u.example", i);
        hash = hash_text(name);
        slots[0][hash % SLOTS]++;
        slots[1][(hash >> 32) % SLOTS]++;
    }
    for (i = 0; i < SLOTS; i++) {                       /* 64 each; eight standard deviations */
        assert_true(slots[0][i] > 0 && slots[0][i] < 128);
        assert_true(slots[1][i] > 0 && slots[1][i] < 128);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes_have_the_same_hash),
        cmocka_unit_test(each_length_and_each_bit_counts),
        cmocka_unit_test(names_that_look_alike_spread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
