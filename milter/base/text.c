#include "base/text.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_init(struct text *t, size_t ceiling)
{
    *t = (struct text){ .ceiling = ceiling };
}

void text_done(struct text *t)
{
    free(t->bytes);
    text_init(t, t->ceiling);
}

/* Makes room for `more` bytes and a NUL. */
static bool make_room(struct text *t, size_t more)
{
    size_t wanted = t->length + more + 1;

    if (t->full || more > t->ceiling || t->length + more > t->ceiling) {
        t->full = true;
        return false;
    }
    if (wanted > t->room) {
        t->room = wanted < 128 ? 128 : wanted + wanted / 2;
        t->bytes = mem_grow(t->bytes, t->room, 1);
    }
    return true;
}

bool text_add(struct text *t, const char *bytes, size_t length)
{
    if (!make_room(t, length))
        return false;
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    t->bytes[t->length] = '\0';
    return true;
}

bool text_put(struct text *t, const char *words)
{
    return text_add(t, words, strlen(words));
}

bool text_print(struct text *t, const char *format, ...)
{
    size_t room;
    va_list args;
    int length;

    if (!make_room(t, 0))
        return false;
    room = t->room - t->length;
    va_start(args, format);
    length = vsnprintf(t->bytes + t->length, room, format, args);       /* mostly it fits */
    va_end(args);
    if (length < 0 || !make_room(t, (size_t)length)) {
        t->bytes[t->length] = '\0';
        return false;
    }
    if ((size_t)length >= room) {
        va_start(args, format);
        vsnprintf(t->bytes + t->length, (size_t)length + 1, format, args);
        va_end(args);
    }
    t->length += (size_t)length;
    return true;
}

const char *text_words(const struct text *t)
{
    return t->bytes == NULL ? "" : t->bytes;
}

char *text_give(struct text *t)
{
    char *bytes = t->bytes == NULL ? mem_text("") : t->bytes;

    text_init(t, t->ceiling);
    return bytes;
}

char *text_printable(const char *bytes, bool quoted, char *ret, size_t size)
{
    size_t at = 0;

    for (; *bytes != '\0' && at + 1 < size; bytes++, at++) {
        bool plain = *bytes >= 0x20 && *bytes < 0x7f && !(quoted && (*bytes == '"' || *bytes == '\\'));

        ret[at] = *bytes;
        if (!plain)
            ret[at] = '?';
    }
    ret[at] = '\0';
    return ret;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

size_t text_distance(const char *a, const char *b)
{
    size_t row[64], columns = strlen(b), i, j;

    if (strlen(a) >= COUNT_OF(row) || columns >= COUNT_OF(row))
        return (size_t)-1;
    for (j = 0; j <= columns; j++)
        row[j] = j;
    for (i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];

        row[0] = i;
        for (j = 1; j <= columns; j++) {
            size_t above = row[j];

            row[j] = least(above + 1, row[j - 1] + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[columns];
}
