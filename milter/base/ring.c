#include "base/ring.h"

#include <string.h>

/* What stands before each line. */
struct label {
    uint16_t length;
    uint8_t kind;
};

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void append(struct ring *r, const void *bytes, size_t length)
{
    size_t end = (r->first + r->used) % r->size, straight = lesser(length, r->size - end);

    memcpy(r->memory + end, bytes, straight);
    memcpy(r->memory, (const char *)bytes + straight, length - straight);
    r->used += length;
}

/* From so far behind the oldest octet. */
static void look(const struct ring *r, size_t behind, void *ret, size_t length)
{
    size_t at = (r->first + behind) % r->size, straight = lesser(length, r->size - at);

    memcpy(ret, r->memory + at, straight);
    memcpy((char *)ret + straight, r->memory, length - straight);
}

bool ring_fits(const struct ring *r, size_t length)
{
    return sizeof(struct label) + length <= r->size - r->used;
}

void ring_put(struct ring *r, uint8_t kind, const char *line, uint16_t length)
{
    struct label label = { .length = length, .kind = kind };

    append(r, &label, sizeof(label));
    append(r, line, length);
}

bool ring_take(struct ring *r, uint8_t *ret_kind, char *ret_line, size_t size, size_t *ret_length)
{
    struct label label;

    if (r->used == 0)
        return false;
    look(r, 0, &label, sizeof(label));
    if (label.length > size)
        return false;
    look(r, sizeof(label), ret_line, label.length);
    r->used -= sizeof(label) + label.length;
    /* Empty, it begins anew: what never fills up touches little of its memory. */
    r->first = r->used == 0 ? 0 : (r->first + sizeof(label) + label.length) % r->size;
    *ret_kind = label.kind;
    *ret_length = label.length;
    return true;
}
