#include "cli/output.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/text.h"

#include <string.h>

enum { PAGE_WIDTH = 100, COLUMN_LEAST = 12, LABEL_WIDTH = 14 };

struct table {
    struct arena *memory;
    size_t columns, shrinking, rows, room;
    const char **cells;                 /* the headings first */
    size_t widths[TABLE_COLUMNS_MAX];   /* so far */
};

void output_json(const json_t *item)
{
    char *line = json_dumps(item, JSON_COMPACT);

    if (line == NULL)
        mem_out();
    puts(line);
    free(line);
}

json_t *output_text(const char *text)
{
    json_t *value = json_string(text);
    AUTO(free) char *plain = NULL;
    size_t size = strlen(text) + 1;

    if (value != NULL)
        return value;
    plain = mem_zero(size);
    return json_string(text_printable(text, false, plain, size));
}

const char *output_member(const json_t *item, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(item, key));

    return text == NULL ? otherwise : text;
}

/* How much of text is one character to be shown; ret_bad: it must not be. C1 controls are two octets in UTF-8. */
static size_t character(const char *text, bool *ret_bad)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = 1;

    *ret_bad = at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0);
    if (at[0] >= 0x80) {
        while ((at[length] & 0xc0) == 0x80)
            length++;
    }
    return length;
}

static size_t width_of(const char *text)
{
    size_t width = 0;
    bool bad;

    for (; *text != '\0'; text += character(text, &bad))
        width++;
    return width;
}

/* At most `width` characters of the first `octets`; returns how many. */
static size_t put_some(const char *text, size_t octets, size_t width)
{
    const char *end = text + strnlen(text, octets);
    size_t put = 0, length;
    bool bad;

    for (; text < end && put < width; text += length, put++) {
        length = character(text, &bad);
        if (bad)
            putchar('?');
        else
            fwrite(text, 1, length, stdout);
    }
    return put;
}

void output_put(const char *text)
{
    put_some(text, (size_t)-1, (size_t)-1);
}

char *output_span(int64_t seconds, char ret[static OUTPUT_SPAN_SIZE])
{
    enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
    long long s = seconds;

    if (s >= DAY)
        snprintf(ret, OUTPUT_SPAN_SIZE, "%lld d %lld h", s / DAY, s % DAY / HOUR);
    else if (s >= HOUR)
        snprintf(ret, OUTPUT_SPAN_SIZE, "%lld h %lld min", s / HOUR, s % HOUR / MINUTE);
    else
        snprintf(ret, OUTPUT_SPAN_SIZE, "%lld min %lld s", s / MINUTE, s % MINUTE);
    return ret;
}

/* The length of the next line: whole words as far as the page reaches, at least one. */
static size_t line_length(const char *text, size_t width)
{
    size_t length = strcspn(text, " "), more;

    while (text[length] == ' ') {
        more = 1 + strcspn(text + length + 1, " ");
        if (length + more > width)
            break;
        length += more;
    }
    return length;
}

void output_field(const char *label, const char *text)
{
    size_t length;

    do {
        length = line_length(text, PAGE_WIDTH - LABEL_WIDTH - 2);
        printf("  %-*s", LABEL_WIDTH, label);
        put_some(text, length, (size_t)-1);
        putchar('\n');
        text += length + (text[length] == ' ');
        label = "";
    } while (*text != '\0');
}

char *output_list(const json_t *list, const char *otherwise)
{
    struct text all;
    const json_t *entry;
    size_t i;

    if (json_array_size(list) == 0)
        return mem_text(otherwise);
    text_init(&all, (size_t)1 << 24);
    json_array_foreach(list, i, entry)
        text_print(&all, "%s%s", i == 0 ? "" : ", ", json_string_value(entry) == NULL ? "?" : json_string_value(entry));
    return text_give(&all);
}

struct table *table_new(const char *const headings[], size_t shrinking)
{
    struct table *t = mem_zero(sizeof(*t));

    t->memory = arena_new();
    t->shrinking = shrinking;
    while (headings[t->columns] != NULL)
        t->columns++;
    table_add(t, headings);
    return t;
}

void table_add(struct table *t, const char *const cells[])
{
    size_t i;

    if (t->rows == t->room) {
        t->room = t->room == 0 ? 64 : t->room * 2;
        t->cells = mem_grow(t->cells, t->room * t->columns, sizeof(*t->cells));
    }
    for (i = 0; i < t->columns; i++)
        t->cells[t->rows * t->columns + i] = arena_text(t->memory, cells[i]);
    t->rows++;
}

static void shrink(const struct table *t, size_t *widths)
{
    size_t total = 0, widest, i;

    for (i = 0; i < t->columns; i++)
        total += widths[i] + (i > 0 ? 2 : 0);
    for (; total > PAGE_WIDTH; total--) {
        for (widest = 0, i = 1; i < t->shrinking; i++) {
            if (widths[i] > widths[widest])
                widest = i;
        }
        if (t->shrinking == 0 || widths[widest] <= COLUMN_LEAST)
            return;
        widths[widest]--;
    }
}

static void print_cell(const char *text, size_t width, bool last)
{
    size_t put = 0;

    if (width_of(text) > width) {
        put = put_some(text, (size_t)-1, width - 3);
        fputs("...", stdout);
        put += 3;
    } else {
        put = put_some(text, (size_t)-1, width);
    }
    if (!last)
        printf("%*s", (int)(width - put + 2), "");
}

void table_print(struct table *t)
{
    size_t widths[TABLE_COLUMNS_MAX], row, i;

    for (row = 0; row < t->rows; row++) {
        for (i = 0; i < t->columns; i++) {
            size_t width = width_of(t->cells[row * t->columns + i]);

            if (width > t->widths[i])
                t->widths[i] = width;
        }
    }
    memcpy(widths, t->widths, sizeof(widths));
    shrink(t, widths);
    for (row = 0; row < t->rows; row++) {
        for (i = 0; i < t->columns; i++)
            print_cell(t->cells[row * t->columns + i], widths[i], i + 1 == t->columns);
        putchar('\n');
    }
}

void table_flush(struct table *t)
{
    table_print(t);
    arena_free(t->memory);
    t->memory = arena_new();
    t->rows = 0;
}

void table_free(struct table *t)
{
    arena_free(t->memory);
    free(t->cells);
    free(t);
}
