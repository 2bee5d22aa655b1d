#include "mta/maps.h"

#include "base/memory.h"
#include "mta/cdb.h"

#include <string.h>

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

bool maps_list(const struct postmap *p, const char *table, char **ret, struct fault *why)
{
    return strncmp(table, "cdb:", 4) == 0 ? cdb_list(table + 4, ret, why) : postmap_list(p, table, ret, why);
}
