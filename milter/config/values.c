#include "config/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    char letter;
    uint64_t times;
};

static const struct unit durations[] = { { 's', 1 }, { 'm', 60 }, { 'h', 60 * 60 }, { 'd', 24 * 60 * 60 }, { 0, 0 } };
static const struct unit sizes[] = { { 'K', 1024 }, { 'M', 1024 * 1024 }, { 'G', 1024 * 1024 * 1024 }, { 0, 0 } };

/* Digits and at most one unit behind them. */
static bool read_number(const char *spoken, const struct unit *units, bool bare, uint64_t *ret)
{
    unsigned long long number;
    char *end;

    if (*spoken < '0' || *spoken > '9')
        return false;
    errno = 0;
    number = strtoull(spoken, &end, 10);
    if (errno != 0)
        return false;
    if (*end == '\0' && bare) {
        *ret = number;
        return true;
    }
    for (; units->letter != 0; units++) {
        if (*end == units->letter && end[1] == '\0')
            return !__builtin_mul_overflow(number, units->times, ret);
    }
    return false;
}

bool values_number(const char *spoken, uint64_t *ret)
{
    static const struct unit none[] = { { 0, 0 } };

    return read_number(spoken, none, true, ret);
}

bool values_duration(const char *spoken, uint64_t *ret)
{
    return read_number(spoken, durations, true, ret);
}

bool values_size(const char *spoken, uint64_t *ret)
{
    return read_number(spoken, sizes, true, ret);
}

bool values_mode(const char *spoken, uint64_t *ret)
{
    size_t length = strlen(spoken);

    if (length < 3 || length > 4 || strspn(spoken, "01234567") != length)
        return false;
    *ret = strtoull(spoken, NULL, 8);
    return *ret <= 0777;
}

/* The largest unit that leaves nothing over. */
static void print_units(uint64_t value, const struct unit *units, char *ret, size_t size)
{
    const struct unit *best = NULL;

    for (; units->letter != 0; units++) {
        if (value != 0 && value % units->times == 0)
            best = units;
    }
    if (best == NULL)
        snprintf(ret, size, "%llu", (unsigned long long)value);
    else
        snprintf(ret, size, "\"%llu%c\"", (unsigned long long)(value / best->times), best->letter);
}

char *values_print(enum setting_kind kind, uint64_t value, char ret[static VALUES_PRINT_SIZE])
{
    switch (kind) {
    case SETTING_DURATION:
        print_units(value, durations, ret, VALUES_PRINT_SIZE);
        return ret;
    case SETTING_SIZE:
        print_units(value, sizes, ret, VALUES_PRINT_SIZE);
        return ret;
    case SETTING_MODE:
        snprintf(ret, VALUES_PRINT_SIZE, "\"%04llo\"", (unsigned long long)value);
        return ret;
    case SETTING_TEXT:
    case SETTING_FLAG:
    case SETTING_NUMBER:
    case SETTING_LIST:
    case SETTING_WORD:
        break;
    }
    snprintf(ret, VALUES_PRINT_SIZE, "%llu", (unsigned long long)value);
    return ret;
}

bool values_has_word(const char *words, const char *word)
{
    size_t length = strlen(word);

    while (words != NULL && length > 0) {
        size_t here = strcspn(words, " ");

        if (here == length && memcmp(words, word, length) == 0)
            return true;
        if (words[here] == '\0')
            return false;
        words += here + 1;
    }
    return false;
}

char *values_choices(const char *words, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    while (*words != '\0' && used < size) {
        int here = (int)strcspn(words, " ");
        const char *after = words[here] == '\0' ? words + here : words + here + 1;
        const char *between = used == 0 ? "" : *after == '\0' ? " or " : ", ";
        int wrote = snprintf(ret + used, size - used, "%s\"%.*s\"", between, here, words);

        used += wrote > 0 ? (size_t)wrote : 0;
        words = after;
    }
    return ret;
}

bool values_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at != 0) {
        static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
        size_t more = *at < 0x80 ? 0 : *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1, i;
        uint32_t point = more == 0 ? *at : *at & (0x3fU >> more);

        if (*at >= 0xf8 || (*at >= 0x80 && *at < 0xc2))
            return false;
        for (i = 1; i <= more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (at[i] & 0x3f);
        }
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
        at += more + 1;
    }
    return true;
}
