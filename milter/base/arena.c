#include "base/arena.h"

#include "base/memory.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

/* Each block is twice as large as the one before. Blocks of the largest size are mapped by malloc one by one, and so go back to
   the system whole: what was taken beside them can't keep them. */
enum { BLOCK_LEAST = 4 * 1024, BLOCK_MOST = 256 * 1024 };

/* What our structs are made of. */
union any {
    void *pointer;
    uint64_t integer;
    double real;
};

struct block {
    struct block *next;
    size_t used, size;
    alignas(union any) char bytes[];
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

/* A block with room for what is wanted, behind its octets used. */
static struct block *make_room(struct arena *a, size_t wanted)
{
    struct block *b = block_new(a, wanted);

    if (a->blocks != NULL && b->size == wanted) {
        /* a giant gets a block to itself, behind the one that still has room */
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b;
}

static void *take_aligned(struct arena *a, size_t size, size_t alignment)
{
    struct block *b = a->blocks;
    size_t at = b == NULL ? 0 : (b->used + alignment - 1) & ~(alignment - 1);

    if (b == NULL || at > b->size || b->size - at < size) {
        b = make_room(a, size);
        at = 0;
    }
    b->used = at + size;
    return b->bytes + at;
}

void *arena_take(struct arena *a, size_t size)
{
    return take_aligned(a, size, alignof(union any));
}

char *arena_bytes(struct arena *a, const char *bytes, size_t length)
{
    char *got = take_aligned(a, length + 1, 1);

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
