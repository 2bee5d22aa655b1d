#include "mta/sendmail_doctor_maps.h"

#include "base/memory.h"
#include "mta/makemap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LIST_MAX = 64 * 1024 * 1024 };

static const char *skip(const char *text)
{
    return text + strspn(text, " \t");
}

/* An option's letter with what hangs on it; returns what follows. */
static const char *take_option(const struct sendmail_doctor *d, const char *word, struct sendmail_map *map)
{
    size_t length = strcspn(word, " \t");
    const char *value;

    if (length < 2)
        return word + length;
    value = arena_bytes(d->memory, word + 2, length - 2);
    if (word[1] == 'T')
        map->on_failure = value;
    else if (word[1] == 'd')
        map->limit = value;
    map->options = sendmail_say(d, "%s%c", map->options, word[1]);
    /* The column's name of -k and -v may stand by itself. */
    word += length;
    return length == 2 && strchr("kv", word[-1]) != NULL ? skip(word) + strcspn(skip(word), " \t") : word;
}

bool sendmail_map_find(const struct sendmail_doctor *d, const char *name, struct sendmail_map *ret)
{
    const struct sendmail_line *line = sendmail_line_of(d, 'K', name);
    struct sendmail_map map = { .line = line, .options = "", .place = "" };
    const char *at;
    size_t length;

    if (line == NULL)
        return false;
    at = skip(skip(line->text) + strlen(name));
    length = strcspn(at, " \t");
    map.type = arena_bytes(d->memory, at, length);
    for (at = skip(at + length); *at == '-'; at = skip(at))
        at = take_option(d, at, &map);
    map.place = arena_bytes(d->memory, at, strcspn(at, " \t"));
    *ret = map;
    return true;
}

static bool find_makemap(const struct sendmail_doctor *d, struct makemap *ret, struct fault *why)
{
    struct settings set = *d->set;

    if (strcmp(set.tables.mta, "postfix") == 0)
        set.tables.postmap = "";    /* another MTA's program */
    return makemap_find(&set, ret, why);
}

static bool list_index(const struct sendmail_doctor *d, const struct sendmail_map *map, char **ret, struct fault *why)
{
    struct makemap makemap;

    return find_makemap(d, &makemap, why) && makemap_list(&makemap, map->type, map->place, ret, why);
}

/* -k and -v, that swap columns, are for other files than the MTA's own. */
static bool list_text(const struct sendmail_map *map, char **ret, struct fault *why)
{
    FILE *file = strpbrk(map->options, "kvz") == NULL ? fopen(map->place, "re") : NULL;
    char buffer[8192];
    struct text all;
    size_t length;

    if (file == NULL)
        return fault_set(why, "%s: cannot be listed: %s", map->place, strerror(errno));
    text_init(&all, LIST_MAX);
    while ((length = fread(buffer, 1, sizeof(buffer), file)) > 0)
        text_add(&all, buffer, length);
    fclose(file);
    *ret = text_give(&all);
    return true;
}

bool sendmail_map_is_listable(const struct sendmail_map *map)
{
    static const char *const types[] = { "hash", "btree", "dbm", "cdb", "text" };
    size_t i;

    for (i = 0; i < COUNT_OF(types); i++) {
        if (strcmp(map->type, types[i]) == 0)
            return true;
    }
    return false;
}

/* Keys are compared without regard to case; values are not. */
static void fold_keys(char *lines)
{
    for (; *lines != '\0'; lines += *lines == '\n') {
        for (; *lines != '\0' && strchr(" \t\n", *lines) == NULL; lines++)
            *lines = *lines >= 'A' && *lines <= 'Z' ? (char)(*lines + 'a' - 'A') : *lines;
        lines += strcspn(lines, "\n");
    }
}

bool sendmail_map_list(const struct sendmail_doctor *d, const struct sendmail_map *map, char **ret, struct fault *why)
{
    char *lines;

    if (!sendmail_map_is_listable(map))
        return fault_set(why, "a map of type %.50s can't be listed", map->type);
    if (!(strcmp(map->type, "text") == 0 ? list_text(map, &lines, why) : list_index(d, map, &lines, why)))
        return false;
    fold_keys(lines);
    *ret = lines;
    return true;
}

void sendmail_map_unread(struct sendmail_doctor *d, const struct sendmail_map *map, const struct fault *why,
                         const char *fix)
{
    bool text = strcmp(map->type, "text") == 0;
    struct makemap makemap;

    if (geteuid() != 0 || (!text && !find_makemap(d, &makemap, NULL)))
        sendmail_unread(d, sendmail_say(d, "%s", why->text));
    else
        sendmail_find(d, DOCTOR_HOLD, map->line,
                      sendmail_say(d, "the map can't be read, and Sendmail needs it, too: %s", why->text),
                      fix != NULL ? fix : text ? map->place : sendmail_say(d, "makemap %s %s < %s", map->type, map->place,
                                                                           map->place));
}

bool sendmail_map_next(char **cursor, const char **ret_key, const char **ret_value)
{
    char *line = *cursor, *end, *value;

    for (; *line != '\0'; line = end) {
        end = line + strcspn(line, "\n");
        if (*end == '\n')
            *end++ = '\0';
        value = line + strcspn(line, " \t");
        if (*line == '#' || value == line)
            continue;
        *cursor = end;
        *ret_key = line;
        *ret_value = *value == '\0' ? value : value + 1 + strspn(value + 1, " \t");
        *value = '\0';
        return true;
    }
    *cursor = line;
    return false;
}
