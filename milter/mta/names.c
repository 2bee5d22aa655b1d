#include "mta/names.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

void names_done(struct names *n)
{
    free(n->items);
    *n = (struct names){ NULL };
}

void names_add(struct names *n, const char *name)
{
    if (n->count == n->room) {
        n->room = n->room == 0 ? 16 : n->room * 2;
        n->items = mem_grow(n->items, n->room, sizeof(*n->items));
    }
    n->items[n->count++] = name;
}

bool names_have(const struct names *n, const char *name)
{
    size_t i;

    for (i = 0; i < n->count; i++) {
        if (strcmp(n->items[i], name) == 0)
            return true;
    }
    return false;
}

const char *names_canonical(const char *word, struct arena *memory)
{
    char name[1024];
    struct domain d;
    size_t i;

    if (*word == '[' || strchr(word + (*word == '.'), '.') == NULL || strlen(word) >= sizeof(name))
        return NULL;
    if (domain_parse(word + (*word == '.'), &d, NULL)) {
        snprintf(name, sizeof(name), "%s%s", *word == '.' ? "." : "", d.name);
        return arena_text(memory, name);
    }
    for (i = 0; word[i] != '\0'; i++)
        name[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] + ('a' - 'A')) : word[i];
    name[i] = '\0';
    return arena_text(memory, name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void names_sort(struct names *n)
{
    size_t i, kept = 0;

    if (n->count == 0)
        return;
    qsort(n->items, n->count, sizeof(*n->items), by_name);
    for (i = 1; i < n->count; i++) {
        if (strcmp(n->items[kept], n->items[i]) != 0)
            n->items[++kept] = n->items[i];
    }
    n->count = kept + 1;
}

void names_give(const struct names *n, struct arena *memory, struct tables_own *ret)
{
    const char **items = arena_take(memory, (n->count + 1) * sizeof(*items));

    if (n->count > 0)
        memcpy(items, n->items, n->count * sizeof(*items));
    *ret = (struct tables_own){ .domains = items, .count = n->count };
}
