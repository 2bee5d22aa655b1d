#include "policy/evidence.h"

#include "base/memory.h"

#include <string.h>

struct evidence *evidence_new(enum dane_state dane, const char *why, int64_t fresh_until)
{
    size_t words = strlen(why) + 1;
    struct evidence *e = mem_zero(sizeof(*e) + words);

    e->dane = dane;
    e->sts = STS_ABSENT;
    e->mx_failed = dane == DANE_UNKNOWN || dane == DANE_BOGUS;
    e->fresh_until = fresh_until;
    e->why = memcpy(e + 1, why, words);
    atomic_init(&e->users, 1);
    return e;
}

struct evidence *evidence_ref(struct evidence *e)
{
    atomic_fetch_add_explicit(&e->users, 1, memory_order_relaxed);
    return e;
}

void evidence_unref(struct evidence *e)
{
    if (e != NULL && atomic_fetch_sub_explicit(&e->users, 1, memory_order_acq_rel) == 1)
        free(e);
}
