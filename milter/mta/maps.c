#include "mta/maps.h"

#include "base/memory.h"
#include "mta/cdb.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 256 * 1024 * 1024 };

const char *maps_behind_proxy(const char *table)
{
    while (strncmp(table, "proxy:", 6) == 0)
        table += 6;
    return table;
}

static bool is_one_of(const char *table, const char *const kinds[], size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strncmp(table, kinds[i], strlen(kinds[i])) == 0)
            return true;
    }
    return false;
}

bool maps_can_list(const char *table)
{
    static const char *const kinds[] = { "hash:", "btree:", "lmdb:", "cdb:", "dbm:", "sdbm:", "texthash:", "inline:" };

    return is_one_of(table, kinds, COUNT_OF(kinds));
}

bool maps_asked_for_domains(const char *table)
{
    static const char *const kinds[] = { "regexp:", "pcre:", "cidr:", "socketmap:", "tcp:", "static:" };

    return !is_one_of(table, kinds, COUNT_OF(kinds));
}

bool maps_is_text(const char *table)
{
    static const char *const kinds[] = { "regexp:", "pcre:", "cidr:", "static:", "texthash:" };

    return is_one_of(table, kinds, COUNT_OF(kinds));
}

static bool read_file(const char *path, char **ret, struct fault *why)
{
    FILE *file = fopen(path, "re");
    char some[16 * 1024], *zero;
    struct text all;
    bool good;
    size_t got;

    if (file == NULL)
        return fault_set(why, "%s: %s", path, strerror(errno));
    text_init(&all, TEXT_BYTES_MAX);
    while ((got = fread(some, 1, sizeof(some), file)) > 0 && !all.full) {
        while ((zero = memchr(some, '\0', got)) != NULL)
            *zero = '?';                /* nothing behind it may hide */
        text_add(&all, some, got);
    }
    good = !ferror(file) && !all.full;
    fclose(file);
    if (good)
        *ret = text_give(&all);
    text_done(&all);
    return good || fault_set(why, "%s: can't be read, or is too long", path);
}

bool maps_text(const char *table, char **ret, struct fault *why)
{
    const char *colon = strchr(table, ':');
    char *at;

    if (colon[1] == '/')
        return read_file(colon + 1, ret, why);
    *ret = mem_text(colon + 1);
    for (at = *ret; *at != '\0'; at++) {
        if (*at == '{' || *at == '}')
            *at = '\n';                 /* an entry a line, as in a file */
    }
    return true;
}

bool maps_list(const struct postmap *p, const char *table, char **ret, struct fault *why)
{
    return strncmp(table, "cdb:", 4) == 0 ? cdb_list(table + 4, ret, why) : postmap_list(p, table, ret, why);
}
