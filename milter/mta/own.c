#include "mta/own.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "mta/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, FILE_BYTES_MAX = 64 * 1024 * 1024 };

/* One parameter's list while it is read. Postfix takes the first pattern that matches, so a `!name` counts from there on. */
struct reading {
    const struct postconf *conf;
    const struct postmap *postmap;
    const struct sheet *sheet;
    const char *parameter;
    bool hierarchies;               /* relay_domains: it may cover what is below a name */
    bool parents;                   /* ... and does so for every name (parent_domain_matches_subdomains) */
    struct names *found, refused;
};

static bool refuse(const struct reading *r, const char *word, const char *what, struct fault *why)
{
    return fault_set(why, "%s: \"%s\" %s, and a connector for *.domain could swallow mail for domains of your own; write "
                     "the domains out there, or name the connector's domains one by one", r->parameter, word, what);
}

static void add_key(struct reading *r, const char *key)
{
    if (!names_have(&r->refused, key) && (r->sheet == NULL || sheet_swallows(r->sheet, key)))
        names_add(r->found, key);
}

static bool add_domain(struct reading *r, const char *word, bool refused, struct fault *why)
{
    const char *name = names_canonical(word, r->conf->memory);
    char *below;

    if (name == NULL || (*name == '.' && (!r->hierarchies || r->parents)))
        return true;
    if (r->found->count > NAMES_MAX)
        return fault_set(why, "%s: more than %d domains", r->parameter, NAMES_MAX);
    if (refused) {
        names_add(&r->refused, name);
        return true;
    }
    add_key(r, name);
    if (r->parents) {
        below = arena_take(r->conf->memory, strlen(name) + 2);
        below[0] = '.';
        strcpy(below + 1, name);
        add_key(r, below);
    }
    return true;
}

static bool read_keys(struct reading *r, const char *table, struct fault *why)
{
    AUTO(free) char *lines = NULL;
    char *line, *next;
    struct fault inner;

    if (!maps_list(r->postmap, table, &lines, &inner))
        return fault_set(why, "%s cannot be read, so connectors for *.domain are refused: %s", r->parameter, inner.text);
    for (line = lines; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        line[strcspn(line, "\t")] = '\0';
        if (strchr(line, '@') == NULL && !add_domain(r, line, false, why))
            return false;
    }
    return true;
}

static bool read_list(struct reading *r, const char *list, unsigned depth, struct fault *why);

static bool read_list_file(struct reading *r, const char *path, unsigned depth, struct fault *why)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0, total = 0;
    ssize_t length;
    bool good = true;

    if (file == NULL)
        return fault_set(why, "%s cannot be read, so connectors for *.domain are refused: %s: %s", r->parameter, path,
                         strerror(errno));
    while (good && (length = getline(&line, &room, file)) >= 0) {
        total += (size_t)length;
        if (total > FILE_BYTES_MAX)
            good = fault_set(why, "%s: %s: too long", r->parameter, path);
        else if (line[strspn(line, " \t")] != '#')
            good = read_list(r, line, depth + 1, why);
    }
    if (good && !feof(file))        /* for want of memory, too, getline() ends */
        good = fault_set(why, "%s: %s: %s", r->parameter, path, strerror(errno));
    free(line);
    fclose(file);
    return good;
}

static bool read_word(struct reading *r, const char *word, unsigned depth, struct fault *why)
{
    bool refused = false;
    const char *name = word;

    for (; *name == '!'; name++)
        refused = !refused;
    if (*name != '[' && *name != '/' && strchr(name, ':') == NULL)
        return add_domain(r, name, refused, why);
    if (*name == '[')
        return true;                /* an address literal: no table key of ours */
    if (refused)
        return refuse(r, word, "excludes what we can't see", why);
    if (*name == '/')
        return depth < DEPTH_MAX ? read_list_file(r, name, depth, why) : refuse(r, word, "is nested too deeply", why);
    if (!maps_can_list(maps_behind_proxy(name)))
        return refuse(r, word, "is a table whose domains can't be listed", why);
    return read_keys(r, maps_behind_proxy(name), why);
}

static bool read_list(struct reading *r, const char *list, unsigned depth, struct fault *why)
{
    const char *word;

    while ((word = postconf_word(&list, r->conf->memory)) != NULL) {
        if (!read_word(r, word, depth, why))
            return false;
    }
    return true;
}

/* `.d :` would let out of the wildcard what a `!sub.d` keeps from being ours. */
static bool check_refused(const struct reading *r, struct fault *why)
{
    size_t i, j;

    for (i = 0; i < r->refused.count; i++) {
        const char *name = r->refused.items[i];

        for (j = 0; j < r->found->count; j++) {
            const char *below = r->found->items[j];
            size_t length = strlen(below);

            if (*below == '.' && strlen(name) > length && strcmp(name + strlen(name) - length, below) == 0)
                return refuse(r, name, "is excluded from a domain that is ours with all below", why);
        }
    }
    return true;
}

static bool read_parameter(struct reading *r, const char *value, struct fault *why)
{
    bool good;

    r->refused = (struct names){ NULL };
    good = value == NULL || (read_list(r, value, 0, why) && check_refused(r, why));
    names_done(&r->refused);
    return good;
}

/* Takes off the keys that a table has, as the lines that it answered with name them in order. */
static void take_off(struct names *n, const char *lines)
{
    size_t i, kept = 0;

    for (i = 0; i < n->count; i++) {
        size_t length = strlen(n->items[i]);

        if (strncmp(lines, n->items[i], length) != 0 || lines[length] != '\t') {
            n->items[kept++] = n->items[i];
            continue;
        }
        lines += strcspn(lines, "\n");
        lines += *lines == '\n';
    }
    n->count = kept;
}

static bool take_off_known(const struct postmap *postmap, const char *table, struct names *n, struct fault *why)
{
    AUTO(free) char *lines = NULL;
    struct fault inner;
    struct text keys;
    size_t i;
    bool good;

    text_init(&keys, FILE_BYTES_MAX);
    for (i = 0; i < n->count; i++)
        text_print(&keys, "%s\n", n->items[i]);
    good = postmap_query(postmap, table, &keys, &lines, &inner);
    text_done(&keys);
    if (!good)
        return fault_set(why, "transport_maps cannot be read, so connectors for *.domain are refused: %s", inner.text);
    take_off(n, lines);
    return true;
}

/* A line `d :` of ours would hide the site's own line for d. */
static bool take_off_routed(const struct reading *r, const char *maps, const char *ours, struct fault *why)
{
    const char *word;

    while (maps != NULL && (word = postconf_word(&maps, r->conf->memory)) != NULL && r->found->count > 0) {
        const char *table = maps_behind_proxy(word), *path = strchr(table, ':');

        if (path == NULL || strcmp(path + 1, ours) == 0 || !maps_asked_for_domains(table))
            continue;
        if (!take_off_known(r->postmap, table, r->found, why))
            return false;
    }
    return true;
}

enum { RELAY, PARENTS = 4, MAPS };

/* Those of the first `lists` parameters. */
static bool read_own(const struct postconf *conf, const struct postmap *postmap, const struct sheet *sheet, const char *ours,
                     size_t lists, struct tables_own *ret, struct fault *why)
{
    static const char *const names[] = { "relay_domains", "mydestination", "virtual_alias_domains",
                                         "virtual_mailbox_domains", "parent_domain_matches_subdomains",
                                         "transport_maps", NULL };
    const char *values[COUNT_OF(names)] = { NULL };
    struct names found = { NULL };
    struct reading r = { .conf = conf, .postmap = postmap, .sheet = sheet, .found = &found };
    bool good = postconf_read(conf, true, names, values, why);
    size_t i;

    for (i = RELAY; good && i < lists; i++) {
        r.parameter = names[i];
        r.hierarchies = i == RELAY;
        r.parents = i == RELAY && values[PARENTS] != NULL && postconf_has_word(values[PARENTS], names[RELAY]);
        good = read_parameter(&r, values[i], why);
    }
    names_sort(&found);
    good = good && (ours == NULL || take_off_routed(&r, values[MAPS], ours, why));
    if (good)
        names_give(&found, conf->memory, ret);
    names_done(&found);
    return good;
}

bool own_read(const struct postconf *conf, const struct postmap *postmap, const struct sheet *sheet, const char *ours,
              struct tables_own *ret, struct fault *why)
{
    return read_own(conf, postmap, sheet, ours, PARENTS, ret, why);
}

bool own_read_relayed(const struct postconf *conf, const struct postmap *postmap, const struct sheet *sheet,
                      const char *ours, struct tables_own *ret, struct fault *why)
{
    return read_own(conf, postmap, sheet, ours, RELAY + 1, ret, why);
}
