#include "mta/cdb.h"

#include "base/memory.h"
#include "base/text.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * A constant database (D. J. Bernstein's cdb): 256 pairs that say where the hash tables are, then the records (length of
 * the key, length of the data, key, data), then the tables. Numbers are little-endian.
 */
enum { HEAD = 2048, FILE_MAX = 256 * 1024 * 1024 };

static uint32_t number(const char *at)
{
    uint32_t raw;

    memcpy(&raw, at, sizeof(raw));
    return le32toh(raw);
}

/* Where the records end: at the first of the tables. */
static size_t records_end(const char *bytes)
{
    uint32_t end = UINT32_MAX;
    size_t i;

    for (i = 0; i < HEAD; i += 8) {
        if (number(bytes + i) < end)
            end = number(bytes + i);
    }
    return end;
}

/* Postfix stores some tables with a NUL behind each text. */
static void put(const char *bytes, size_t length, struct text *ret)
{
    if (length > 0 && bytes[length - 1] == '\0')
        length--;
    text_add(ret, bytes, length);
}

static bool read_records(const char *bytes, size_t length, struct text *ret)
{
    size_t at = HEAD, end = length < HEAD ? 0 : records_end(bytes);

    if (length < HEAD || end > length || end < HEAD)
        return false;
    while (at < end) {
        size_t key, data;

        if (end - at < 8)
            return false;
        key = number(bytes + at);
        data = number(bytes + at + 4);
        at += 8;
        if (key > end - at || data > end - at - key)
            return false;
        put(bytes + at, key, ret);
        text_put(ret, "\t");
        put(bytes + at + key, data, ret);
        text_put(ret, "\n");
        at += key + data;
    }
    return !ret->full;
}

static bool read_file(const char *path, struct text *ret, struct fault *why)
{
    char some[16 * 1024];
    FILE *file = fopen(path, "re");
    size_t got;
    bool good;

    if (file == NULL)
        return fault_set(why, "%s: %s", path, strerror(errno));
    while ((got = fread(some, 1, sizeof(some), file)) > 0 && text_add(ret, some, got))
        ;
    good = !ferror(file) && !ret->full;
    fclose(file);
    return good || fault_set(why, "%s: cannot be read, or is too long", path);
}

bool cdb_list(const char *path, char **ret, struct fault *why)
{
    char name[4096];
    struct text bytes, lines;
    bool good;

    snprintf(name, sizeof(name), "%s.cdb", path);
    text_init(&bytes, FILE_MAX);
    text_init(&lines, FILE_MAX);
    good = read_file(name, &bytes, why);
    if (good && !read_records(text_words(&bytes), bytes.length, &lines))
        good = fault_set(why, "%s: is not a cdb table", name);
    if (good)
        *ret = text_give(&lines);
    text_done(&bytes);
    text_done(&lines);
    return good;
}
