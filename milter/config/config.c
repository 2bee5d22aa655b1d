#include "config/config.h"

#include "base/memory.h"
#include "config/reader.h"

#include <dirent.h>
#include <malloc.h>
#include <string.h>

/* Reading so many leaves a hole in the heap that only malloc_trim() gives back. */
enum { MANY_CONNECTORS = 1000 };

static struct configuration *configuration_new(void)
{
    struct configuration *c = mem_zero(sizeof(*c));
    size_t i;

    c->memory = arena_new();
    c->rules = ruleset_new();
    for (i = 0; settings_groups[i].name != NULL; i++)
        groups_preset(settings_groups[i].settings, &c->settings, c->memory);
    return c;
}

void config_free(struct configuration *c)
{
    if (c == NULL)
        return;
    ruleset_unref(c->rules);
    arena_free(c->memory);
    free(c);
}

AUTO_DEFINE(config_free, struct configuration *)

static struct group settings_group(struct reader *r, struct source *s, const char *name, config_setting_t *node)
{
    return (struct group){ .reader = r, .source = s, .node = node, .before = "", .name = name,
                           .behind = name[0] == '\0' ? "" : ".", .target = &r->made->settings,
                           .memory = r->made->memory, .keep = true };
}

static void read_member(const struct group *g, const struct setting *known, const config_setting_t *node)
{
    if (groups_read_member(g, known, node))
        checks_value(g, groups_find(known, config_setting_name(node)));
}

static void read_group(const struct group *g, const struct setting *known)
{
    char example[80];
    int count, i;

    snprintf(example, sizeof(example), "%s = { %s = ...; };", g->name, known->name);
    if (!groups_is(g, example))
        return;
    count = config_setting_length(g->node);
    for (i = 0; i < count; i++)
        read_member(g, known, config_setting_get_elem(g->node, (unsigned)i));
}

static const char *const rules_groups[] = { "defaults", "routes", "connectors" };

/* Where a setting belongs that stands outside its group; NULL: nowhere. */
static const char *home_of(const char *name)
{
    size_t i;

    for (i = 1; settings_groups[i].name != NULL; i++) {
        if (groups_find(settings_groups[i].settings, name) != NULL)
            return settings_groups[i].name;
    }
    return groups_find(connectors_settings, name) == NULL ? NULL : "defaults";
}

static void unknown(const struct group *top, const char *name)
{
    struct nearest near = { .wanted = name };
    const char *home = home_of(name);
    const struct setting *known;
    char offer[FAULTS_SHOW_SIZE];
    size_t i;

    for (known = settings_groups[0].settings; known->name != NULL; known++)
        faults_nearer(&near, known->name);
    for (i = 1; settings_groups[i].name != NULL; i++)
        faults_nearer(&near, settings_groups[i].name);
    for (i = 0; i < COUNT_OF(rules_groups); i++)
        faults_nearer(&near, rules_groups[i]);
    if (home != NULL)
        faults_setting(top, name, "stands outside its group; write %s = { %s = ...; };", home, name);
    else
        faults_setting(top, name, "unknown setting; %s", faults_offer(&near, offer));
}

static bool is_group(const char *name)
{
    size_t i;

    for (i = 1; settings_groups[i].name != NULL; i++) {
        if (strcmp(settings_groups[i].name, name) == 0)
            return true;
    }
    for (i = 0; i < COUNT_OF(rules_groups); i++) {
        if (strcmp(rules_groups[i], name) == 0)
            return true;
    }
    return false;
}

static void read_top(struct reader *r, struct source *s)
{
    config_setting_t *root = config_root_setting(&s->tree);
    struct group top = settings_group(r, s, "", root);
    int count = config_setting_length(root), i;

    for (i = 0; i < count; i++) {
        const config_setting_t *node = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(node);

        if (groups_find(settings_groups[0].settings, name) != NULL)
            read_member(&top, settings_groups[0].settings, node);
        else if (!is_group(name))
            unknown(&top, name);
    }
}

static void read_settings(struct reader *r, struct source *s)
{
    const struct settings *set = &r->made->settings;
    struct group sockets[3], tables;
    const char *spoken[] = { set->milter.socket, set->maps.socket, set->control.socket };
    config_setting_t *root = config_root_setting(&s->tree);
    size_t i;

    read_top(r, s);
    for (i = 1; settings_groups[i].name != NULL; i++) {
        struct group g = settings_group(r, s, settings_groups[i].name,
                                        config_setting_get_member(root, settings_groups[i].name));

        if (g.node != NULL)
            read_group(&g, settings_groups[i].settings);
    }
    tables = settings_group(r, s, "tables", config_setting_get_member(root, "tables"));
    checks_tables(&tables);
    sockets[0] = settings_group(r, s, "milter", config_setting_get_member(root, "milter"));
    sockets[1] = settings_group(r, s, "maps", config_setting_get_member(root, "maps"));
    sockets[2] = settings_group(r, s, "control", config_setting_get_member(root, "control"));
    spoken[0] = set->milter.socket, spoken[1] = set->maps.socket, spoken[2] = set->control.socket;
    checks_sockets(sockets, spoken, COUNT_OF(sockets));
}

static void read_main(struct reader *r, struct source *s)
{
    config_setting_t *root = config_root_setting(&s->tree), *connectors;

    read_settings(r, s);
    routes_read(r, s, config_setting_get_member(root, "routes"));
    connectors_defaults(r, s, config_setting_get_member(root, "defaults"));
    connectors = config_setting_get_member(root, "connectors");
    if (connectors != NULL)
        connectors_read(r, s, connectors);
}

/* Exactly one `connectors = ( ... )`. */
static void read_connectors_file(struct reader *r, const char *path, const char *folder)
{
    struct source s;
    config_setting_t *root;

    if (source_open(&s, r, path, folder)) {
        root = config_root_setting(&s.tree);
        if (config_setting_length(root) != 1 || config_setting_get_member(root, "connectors") == NULL)
            faults_add(r, (struct spot){ .file = s.path },
                       "a file in connectors_dir holds one setting and no other; write connectors = ( ... );");
        else
            connectors_read(r, &s, config_setting_get_elem(root, 0));
    }
    source_close(&s);
}

static int is_conf(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

static int by_octets(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_folder(struct reader *r, struct source *s)
{
    struct group top = settings_group(r, s, "", config_root_setting(&s->tree));
    const char *folder = r->made->settings.connectors_dir;
    struct dirent **entries = NULL;
    struct fault why;
    int count, i;

    if (folder[0] == '\0')
        return;
    folder = r->made->settings.connectors_dir = source_join(r->made->memory, s->folder, folder);
    if (!checks_readable(folder, true, &why)) {
        faults_setting(&top, "connectors_dir", "%s", why.text);
        return;
    }
    count = scandir(folder, &entries, is_conf, by_octets);
    if (count < 0)
        faults_setting(&top, "connectors_dir", "%.300s can't be read", folder);
    for (i = 0; i < count; i++) {
        read_connectors_file(r, source_join(r->scratch, folder, entries[i]->d_name), folder);
        free(entries[i]);
    }
    free(entries);
}

static const char *folder_of(struct arena *memory, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return ".";
    return slash == path ? "/" : arena_bytes(memory, path, (size_t)(slash - path));
}

static void read_all(struct reader *r, const char *path)
{
    struct source s;

    if (source_open(&s, r, path, folder_of(r->scratch, path))) {
        read_main(r, &s);
        read_folder(r, &s);
    }
    source_close(&s);
    if (r->fault_count > 0)
        return;
    ruleset_freeze(r->made->rules);
    connectors_hints(r);
}

bool config_load(const char *path, struct configuration **ret, struct config_report *report)
{
    AUTO(config_free) struct configuration *made = configuration_new();
    struct reader r = { .report = report, .made = made, .scratch = arena_new() };

    read_all(&r, path);
    seen_done(&r.names);
    seen_done(&r.patterns);
    seen_done(&r.tested);
    arena_free(r.scratch);
    if (ruleset_count(made->rules) > MANY_CONNECTORS)
        malloc_trim(0);
    if (r.fault_count > 0)
        return false;
    if (ret != NULL)
        *ret = take(made);
    return true;
}
