#include "config/seen.h"

#include "base/memory.h"

/* Open addressing; at most three quarters full, a zero `who` marks an empty slot. */

static void place(struct seen *s, const struct sighting *it)
{
    size_t at = it->hash & (s->room - 1);

    while (s->slots[at].who != NULL)
        at = (at + 1) & (s->room - 1);
    s->slots[at] = *it;
}

static void make_room(struct seen *s)
{
    struct seen larger = { .room = s->room == 0 ? 64 : s->room * 2, .used = s->used };
    size_t i;

    if (s->room > 0 && s->used < s->room / 4 * 3)
        return;
    larger.slots = mem_array(larger.room, sizeof(*larger.slots));
    for (i = 0; i < s->room; i++) {
        if (s->slots[i].who != NULL)
            place(&larger, &s->slots[i]);
    }
    free(s->slots);
    *s = larger;
}

const struct sighting *seen_before(struct seen *s, const struct sighting *it,
                                   bool (*same)(const struct sighting *, const struct sighting *))
{
    size_t at;

    make_room(s);
    for (at = it->hash & (s->room - 1); s->slots[at].who != NULL; at = (at + 1) & (s->room - 1)) {
        if (s->slots[at].hash == it->hash && same(&s->slots[at], it))
            return &s->slots[at];
    }
    s->slots[at] = *it;
    s->used++;
    return NULL;
}

void seen_done(struct seen *s)
{
    free(s->slots);
    *s = (struct seen){ 0 };
}
