#include "policy/dns.h"

#include "base/arena.h"

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
