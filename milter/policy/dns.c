#include "policy/dns.h"

#include "base/arena.h"
#include "base/text.h"

struct dns_answers *dns_answers_new(void)
{
    struct arena *memory = arena_new();
    struct dns_answers *answers = arena_take(memory, sizeof(*answers));

    answers->memory = memory;
    return answers;
}

void dns_answers_free(struct dns_answers *answers)
{
    if (answers != NULL)
        arena_free(answers->memory);        /* answers live in it themselves */
}

bool dns_txt_join(const uint8_t *data, size_t length, struct text *ret)
{
    size_t at = 0;

    while (at < length) {
        size_t piece = data[at];

        if (at + 1 + piece > length || !text_add(ret, (const char *)data + at + 1, piece))
            return false;
        at += 1 + piece;
    }
    return true;
}
