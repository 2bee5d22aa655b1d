#include "base/arena.h"

#include "base/memory.h"

#include <stdalign.h>
#include <string.h>

enum { BLOCK_SIZE = 16 * 1024 };

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *blocks;
};

struct arena *arena_new(void)
{
    return mem_zero(sizeof(struct arena));
}

static struct block *block_new(size_t wanted)
{
    size_t size = wanted > BLOCK_SIZE / 4 ? wanted : BLOCK_SIZE;
    struct block *b = mem_zero(sizeof(*b) + size);

    b->size = size;
    return b;
}

void *arena_take(struct arena *a, size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct block *b = a->blocks;
    void *got;

    if (b == NULL || b->size - b->used < rounded) {
        b = block_new(rounded);
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
