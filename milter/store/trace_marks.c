/*
 * A token is a hash of a column and its text. Each sets BITS bits of the marks; of a thousand rows that have nothing in common
 * but their connector, one block in twenty says yes to a token that is not there, of most mail far fewer. The hash has no key:
 * who chooses recipients so that theirs share bits with others makes a search slower, and no more than that.
 */
#include "store/trace_marks.h"

#include <string.h>

enum { BITS = 4, BIT_WIDTH = 64 / BITS };   /* of the hash, for each bit of the marks */

/* Two that are asked for together, and that most runs of rows have, but seldom in one row. */
static const enum trace_key pairs[TRACE_TOKENS - TRACE_KEYS][2] = {
    { TRACE_DOMAIN, TRACE_CONNECTOR }, { TRACE_DOMAIN, TRACE_VERDICT }, { TRACE_CONNECTOR, TRACE_VERDICT },
};

static inline char folded(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15;
    return x ^ (x >> 29);
}

/* FNV-1a; recipients are the same in upper and lower case. */
static uint64_t hash(enum trace_key key, const char *text)
{
    uint64_t h = 0xcbf29ce484222325 + (uint64_t)key;

    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)(key == TRACE_RECIPIENT ? folded(*text) : *text)) * 0x100000001b3;
    return mix(h);
}

size_t trace_marks_tokens(const struct trace_keys *keys, uint64_t ret[TRACE_TOKENS])
{
    uint64_t hashes[TRACE_KEYS];
    size_t count = 0, i;

    for (i = 0; i < TRACE_KEYS; i++) {
        if (keys->of[i] != NULL)
            ret[count++] = hashes[i] = hash((enum trace_key)i, keys->of[i]);
    }
    for (i = 0; i < TRACE_TOKENS - TRACE_KEYS; i++) {
        if (keys->of[pairs[i][0]] != NULL && keys->of[pairs[i][1]] != NULL)
            ret[count++] = mix(hashes[pairs[i][0]] * 3 + hashes[pairs[i][1]]);
    }
    return count;
}

static size_t place(uint64_t token, unsigned bit)
{
    return ((token >> (bit * BIT_WIDTH)) & 0xffff) * (TRACE_MARKS_SIZE * 8) >> BIT_WIDTH;
}

void trace_marks_add(uint8_t marks[TRACE_MARKS_SIZE], const struct trace_keys *keys)
{
    uint64_t tokens[TRACE_TOKENS];
    size_t count = trace_marks_tokens(keys, tokens), i;
    unsigned bit;

    for (i = 0; i < count; i++) {
        for (bit = 0; bit < BITS; bit++)
            marks[place(tokens[i], bit) / 8] |= (uint8_t)(1u << place(tokens[i], bit) % 8);
    }
}

bool trace_marks_may_have(const uint8_t marks[TRACE_MARKS_SIZE], const uint64_t *tokens, size_t count)
{
    size_t i;
    unsigned bit;

    for (i = 0; i < count; i++) {
        for (bit = 0; bit < BITS; bit++) {
            if ((marks[place(tokens[i], bit) / 8] >> place(tokens[i], bit) % 8 & 1) == 0)
                return false;
        }
    }
    return true;
}

size_t trace_marks_domain(const char *to, char *ret)
{
    const char *at = strrchr(to, '@'), *start = at == NULL ? to : at + 1;
    bool bracketed = *start == '[';
    size_t length, i;

    start += bracketed;
    length = strcspn(start, bracketed ? "]" : ":");
    for (i = 0; i < length; i++)
        ret[i] = folded(start[i]);
    ret[length] = '\0';
    return length;
}
