#include "base/arena.h"

#include "base/memory.h"

#include <stdalign.h>
#include <string.h>

/* Each block is twice as large as the one before. Blocks of the largest size are mapped by malloc one by one, and so go back to
   the system whole: what was taken beside them can't keep them. */
enum { BLOCK_LEAST = 16 * 1024, BLOCK_MOST = 256 * 1024 };

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *blocks;
    size_t block_size;
};

struct arena *arena_new(void)
{
    struct arena *a = mem_zero(sizeof(*a));

    a->block_size = BLOCK_LEAST;
    return a;
}

static struct block *block_new(struct arena *a, size_t wanted)
{
    size_t size = wanted > a->block_size / 4 ? wanted : a->block_size;
    struct block *b = mem_zero(sizeof(*b) + size);

    if (size == a->block_size && size < BLOCK_MOST)
        a->block_size *= 2;
    b->size = size;
    return b;
}

void *arena_take(struct arena *a, size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct block *b = a->blocks;
    void *got;

    if (b == NULL || b->size - b->used < rounded) {
        b = block_new(a, rounded);
        if (a->blocks != NULL && b->size == rounded) {
            /* a giant gets a block to itself, behind the one that still has room */
            b->next = a->blocks->next;
            a->blocks->next = b;
        } else {
            b->next = a->blocks;
            a->blocks = b;
        }
    }
    got = b->bytes + b->used;
    b->used += rounded;
    return got;
}

char *arena_bytes(struct arena *a, const char *bytes, size_t length)
{
    char *got = arena_take(a, length + 1);

    memcpy(got, bytes, length);
    return got;
}

char *arena_text(struct arena *a, const char *text)
{
    return arena_bytes(a, text, strlen(text));
}

void arena_free(struct arena *a)
{
    struct block *b, *next;

    if (a == NULL)
        return;
    for (b = a->blocks; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}
