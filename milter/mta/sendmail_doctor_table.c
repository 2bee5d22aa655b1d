#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"
#include "mta/sendmail_doctor_maps.h"
#include "mta/sendmail_table.h"
#include "mta/tables.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The generated map of mandatory recipients: what holds their mail while danelawd is down. */

#define NAME "danelaw_mandatory"
#define INCLUDE "include("

static const char *const rewrite = "danelaw reload, or danelaw tables while danelawd is down";

static const char *wanted_path(const struct sendmail_doctor *d)
{
    return sendmail_say(d, "%s/" SENDMAIL_TABLE, d->set->store.directory);
}

static const char *type_of(const struct sendmail_doctor *d)
{
    return strcmp(d->set->tables.type, "btree") == 0 ? "btree" : "hash";
}

static bool is_type(const struct sendmail_doctor *d, const struct sendmail_map *map)
{
    return strcmp(map->type, type_of(d)) == 0;
}

/* Whatever makes a key not be found makes its mail nobody's. */
static void check_options(struct sendmail_doctor *d, const struct sendmail_map *map)
{
    const char *other = map->options + strspn(map->options, "tT");

    if (!is_type(d, map))
        sendmail_find(d, DOCTOR_LEAK, map->line,
                      sendmail_say(d, "the map is of type %.50s, and danelawd writes %s", map->type, type_of(d)),
                      sendmail_say(d, "define(`DANELAW_MANDATORY_TYPE', `%s')dnl", type_of(d)));
    if (map->on_failure == NULL || strcmp(map->on_failure, "<TMPF>") != 0)
        sendmail_find(d, DOCTOR_LEAK, map->line, "without -T<TMPF> a map that can't be read has no mandatory recipients",
                      sendmail_wanted(d, INCLUDE));
    if (strchr(map->options, 't') == NULL)
        sendmail_find(d, DOCTOR_HOLD, map->line, "without -t Sendmail doesn't leave it to the rules what a map is that "
                                                 "can't be read",
                      sendmail_wanted(d, INCLUDE));
    if (*other == 'o')
        sendmail_find(d, DOCTOR_LEAK, map->line, "with -o a map that isn't there has no mandatory recipients",
                      sendmail_wanted(d, INCLUDE));
    else if (*other != '\0')
        sendmail_find(d, DOCTOR_LEAK, map->line, sendmail_say(d, "-%c changes what is looked for or found", *other),
                      sendmail_wanted(d, INCLUDE));
}

/* The path without the ending that makemap gives it. */
static bool is_ours(const struct sendmail_doctor *d, const struct sendmail_map *map)
{
    return doctor_same_path(map->place, wanted_path(d)) ||
           doctor_same_path(sendmail_say(d, "%s.db", map->place), sendmail_say(d, "%s.db", wanted_path(d)));
}

static const char *key_of(const struct sendmail_doctor *d, const struct pattern *p)
{
    switch (p->kind) {
    case PATTERN_EVERYONE:
        return ".";
    case PATTERN_BELOW:
        return sendmail_say(d, ".%s", p->domain);
    case PATTERN_DOMAIN:
        return p->domain;
    case PATTERN_ADDRESS:
        return sendmail_say(d, "%s@%s", p->local, p->domain);
    case PATTERN_NULL_SENDER:
        break;
    }
    return NULL;
}

/* Entries of the map as Sendmail finds them, to be looked up. */
struct found {
    const char **keys;
    size_t count, room;
};

static void take_keys(struct found *f, char *lines)
{
    const char *key, *value;

    while (sendmail_map_next(&lines, &key, &value)) {
        if (strncmp(value, "mandatory", 9) != 0)
            continue;
        if (f->count == f->room) {
            f->room = f->room == 0 ? 256 : f->room * 2;
            f->keys = mem_grow(f->keys, f->room, sizeof(*f->keys));
        }
        f->keys[f->count++] = key;
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_missing(const struct sendmail_doctor *d, const struct found *f, const struct connector *c,
                        struct doctor_keys *ret)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        const char *key = key_of(d, &c->recipients[i]);

        if (key != NULL && (f->count == 0 || bsearch(&key, f->keys, f->count, sizeof(*f->keys), by_text) == NULL))
            doctor_keys_add(ret, key);
    }
}

/* The index is what Sendmail reads: the recipients of all whose mail must wait are in it. */
static void check_present(struct sendmail_doctor *d, char *lines)
{
    struct found f = { .count = 0 };
    struct doctor_keys missing;
    size_t i;

    take_keys(&f, lines);
    if (f.count > 0)
        qsort(f.keys, f.count, sizeof(*f.keys), by_text);
    doctor_keys_init(&missing);
    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (!c->test_mode && sendmail_table_must_wait(c))
            add_missing(d, &f, c, &missing);
    }
    if (missing.count > 0)
        sendmail_find_at(d, DOCTOR_LEAK, wanted_path(d),
                         sendmail_say(d, "recipients whose mail must wait for danelawd are not in the map: %s",
                                      doctor_keys_give(d->report, &missing)), rewrite);
    text_done(&missing.text);
    free(f.keys);
}

static void check_index(struct sendmail_doctor *d, const struct sendmail_map *map)
{
    const char *path = sendmail_say(d, "%s.db", map->place);
    AUTO(free) char *lines = NULL;
    struct fault why;

    if (access(path, R_OK) != 0 && errno == EACCES && geteuid() != 0) {
        sendmail_unread(d, sendmail_say(d, "%s: %s", path, strerror(EACCES)));
        return;
    }
    if (!sendmail_check_path(d, map->place, path))
        return;
    if (access(path, R_OK) != 0) {
        sendmail_find_at(d, DOCTOR_HOLD, map->place,
                         sendmail_say(d, "%s: %s; without it all mail for other domains waits", path, strerror(errno)),
                         rewrite);
    } else if (!sendmail_map_list(d, map, &lines, &why)) {
        sendmail_map_unread(d, map, &why, rewrite);
    } else {
        check_present(d, lines);
        d->has_map = true;
    }
}

/* The daemon's own word counts, where it is there to give it: only it knows of fallbacks taken and modes overridden. */
static void check_current(struct sendmail_doctor *d)
{
    struct fault why;

    if (d->stale != NULL && *d->stale == '\0')
        return;
    if (d->stale != NULL)
        fault_set(&why, "%s", d->stale);
    else if (tables_current(d->set, d->rules, &why))
        return;
    sendmail_find_at(d, DOCTOR_LEAK, wanted_path(d), sendmail_say(d, "the map is not current: %s", why.text), rewrite);
}

void sendmail_check_table(struct sendmail_doctor *d)
{
    struct sendmail_map map;
    bool there = sendmail_map_find(d, NAME, &map);

    if (strcmp(d->set->tables.mta, "sendmail") != 0)
        sendmail_find_at(d, DOCTOR_LEAK, "danelaw.conf: tables.mta",
                         sendmail_say(d, "it is \"%s\", so that the daemon writes no map of mandatory recipients",
                                      d->set->tables.mta),
                         "tables = { mta = \"sendmail\"; };");
    else
        check_current(d);
    if (!there) {
        sendmail_find(d, DOCTOR_LEAK, NULL, "there is no map \"" NAME "\", which says whose mail waits for danelawd",
                      sendmail_wanted(d, INCLUDE));
        return;
    }
    check_options(d, &map);
    if (!is_ours(d, &map))
        sendmail_find(d, DOCTOR_LEAK, map.line, sendmail_say(d, "%.200s is not the map that danelawd writes", map.place),
                      sendmail_say(d, "define(`DANELAW_MANDATORY_MAP', `%s')dnl", wanted_path(d)));
    else if (is_type(d, &map))
        check_index(d, &map);
}
