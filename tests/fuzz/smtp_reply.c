/* Whatever a mail host says: the same, said octet by octet, is the same reply, and nothing past its end is taken. */
#include "fuzz.h"

#include "lookup/probe_reply.h"

#include <string.h>

static void check(const struct reply *r, size_t taken, size_t length)
{
    size_t i;

    must(taken <= length && taken <= REPLY_OCTETS_MAX && r->lines <= REPLY_LINES_MAX);
    must(r->state != REPLY_MORE || taken == length);
    must(r->state != REPLY_GARBAGE || r->why != NULL);
    must(strlen(r->words) < REPLY_WORDS_SIZE);
    for (i = 0; r->words[i] != '\0'; i++)
        must(r->words[i] >= ' ' && r->words[i] < 0x7f);
    if (r->state == REPLY_WHOLE)
        must(r->code >= 200 && r->code < 600 && r->lines > 0 && strlen(r->words) >= 3);
}

static void compare(const struct reply *a, const struct reply *b)
{
    must(a->state == b->state && a->code == b->code && a->starttls == b->starttls && a->lines == b->lines);
    must(strcmp(a->words, b->words) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const char *said = (const char *)bytes;
    struct reply whole = { .state = REPLY_MORE }, slow = { .state = REPLY_MORE }, again = { .state = REPLY_MORE };
    size_t taken = reply_read(&whole, said, length), i;

    check(&whole, taken, length);
    for (i = 0; i < length && slow.state == REPLY_MORE; i++)
        must(reply_read(&slow, said + i, 1) == 1);
    must(i == taken);
    compare(&whole, &slow);
    if (whole.state == REPLY_WHOLE) {
        must(reply_read(&again, said, taken) == taken);
        compare(&whole, &again);
    }
    return 0;
}
