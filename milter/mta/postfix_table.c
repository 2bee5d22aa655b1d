#include "mta/table.h"

#include "base/memory.h"
#include "mta/own.h"

#include <string.h>

/* Postfix's table: which road each partner's mail takes. */

#define PROBE "nothing.danelaw.invalid"

static const struct index_kind {
    const char *type, *suffix;
} kinds[] = {
    { "hash", ".db" }, { "btree", ".db" }, { "lmdb", ".lmdb" }, { "cdb", ".cdb" },
};

static bool choose_type(struct draft *d, const char *type, struct fault *why)
{
    size_t i;

    for (i = 0; i < COUNT_OF(kinds); i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            d->type = kinds[i].type;
            d->suffix = kinds[i].suffix;
            return true;
        }
    }
    return fault_set(why, "tables.type: Postfix's table type \"%s\" can't be changed safely while Postfix reads it; write hash, "
                     "btree, lmdb or cdb", type);
}

/* The settings' own words, else what Postfix says of itself. */
static bool ask(struct draft *d, const struct settings *set, struct fault *why)
{
    static const char *const names[] = { "default_database_type", "command_directory",
                                         "parent_domain_matches_subdomains", "recipient_delimiter", NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_find(set, d->memory, &d->conf, why) || !postconf_read(&d->conf, true, names, values, why))
        return false;
    if (values[2] != NULL && postconf_has_word(values[2], "transport_maps"))
        return fault_set(why, "parent_domain_matches_subdomains: with transport_maps in it, Postfix takes a domain's line for "
                         "all below it, and no connector could mean just one; take it out in main.cf");
    d->sheet.extensions = values[3] == NULL || *values[3] != '\0';
    d->postmap.config_dir = set->tables.config_dir;
    d->postmap.program = set->tables.postmap;
    if (*d->postmap.program == '\0')
        d->postmap.program = table_joined(d, values[1] == NULL ? "/usr/sbin" : values[1], "/postmap");
    return choose_type(d, *set->tables.type != '\0' || values[0] == NULL ? set->tables.type : values[0], why);
}

static bool fill(struct draft *d, const struct ruleset *rules, struct fault *why)
{
    struct tables_own own = { NULL };

    sheet_add_connectors(&d->sheet, rules);
    if (sheet_has_wildcards(&d->sheet) && !own_read(&d->conf, &d->postmap, &d->sheet, d->path, &own, why))
        return false;
    sheet_add_own(&d->sheet, &own);
    return true;
}

static bool read_own(struct draft *d, struct arena *memory, struct tables_own *ret, struct fault *why)
{
    d->conf.memory = memory;
    return own_read(&d->conf, &d->postmap, NULL, NULL, ret, why);
}

static bool make_index(const struct draft *d, const char *path, struct fault *why)
{
    return postmap_index(&d->postmap, table_joined(d, table_joined(d, d->type, ":"), path), why);
}

/* Of a key that nobody has there is nothing to come: an index that answers everything is as wrong as one that is empty. */
static bool list(const struct draft *d, const char *path, char **ret, struct fault *why)
{
    const char *table = table_joined(d, table_joined(d, d->type, ":"), path);
    struct text keys;
    size_t i;
    bool good;

    text_init(&keys, PAIR_BYTES_MAX);
    for (i = 0; i < d->sheet.count; i++)
        text_print(&keys, "%s\n", d->sheet.lines[i].key);
    text_put(&keys, PROBE "\n");
    good = postmap_query(&d->postmap, table, &keys, ret, why);
    text_done(&keys);
    return good;
}

const struct table_kind postfix_table = {
    .mta = "postfix", .folder = "/postfix", .name = "transport",
    .ask = ask, .own = read_own, .fill = fill, .index = make_index, .list = list,
};
