#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "mta/own.h"
#include "policy/roads.h"

#include <string.h>
#include <unistd.h>

/*
 * The generated table: that it is written, says what the connectors ask for, and stands in transport_maps of whoever
 * routes mail.
 */

enum { KEYS_BYTES_MAX = 256 * 1024 * 1024 };

/* What transport_maps should be. */
static const char *wanted_maps(const struct doctor *d, const char *now)
{
    struct text line;
    const char *kept, *word;

    text_init(&line, 64 * 1024);
    text_print(&line, "transport_maps = %s", d->table);
    while ((word = postconf_word(&now, d->memory)) != NULL) {
        const char *path = strchr(maps_behind_proxy(word), ':');

        if (path == NULL || strcmp(path + 1, d->table_path) != 0)
            text_print(&line, ", %s", word);
    }
    kept = doctor_say(d, "%s", text_words(&line));
    text_done(&line);
    return kept;
}

static void check_listed(struct doctor *d, const struct doctor_place *place)
{
    const char *list = place->value, *word;

    while ((word = postconf_word(&list, d->memory)) != NULL) {
        const char *table = maps_behind_proxy(word), *path = strchr(table, ':');

        if (path == NULL || strcmp(path + 1, d->table_path) != 0)
            continue;
        d->routed = true;
        if (strcmp(table, d->table) != 0)
            doctor_find(d, DOCTOR_LEAK, place->where,
                        doctor_say(d, "%s is the wrong type: Danelaw writes %s, and Postfix never sees what changes", word,
                                   d->table), wanted_maps(d, place->value));
        return;
    }
    doctor_find(d, DOCTOR_LEAK, place->where, "Danelaw's table is not in it, so that nothing leads mail to its road",
                wanted_maps(d, place->value));
}

/* Those who route: trivial-rewrite, by main.cf unless the service says otherwise. */
static void check_routers(struct doctor *d)
{
    struct doctor_place place;
    size_t cursor = 0;

    while (doctor_next_place(d, "transport_maps", &cursor, &place)) {
        if (place.service == NULL || strcmp(place.service->command, "trivial-rewrite") == 0)
            check_listed(d, &place);
    }
}

static void add_differing(const struct sheet_line *line, const char **lines, struct doctor_keys *wrong)
{
    size_t length = strlen(line->key), value = strlen(line->value);
    const char *at = *lines;

    if (strncmp(at, line->key, length) != 0 || at[length] != '\t') {
        doctor_keys_add(wrong, line->key);
        return;
    }
    if (strncmp(at + length + 1, line->value, value) != 0 || at[length + 1 + value] != '\n')
        doctor_keys_add(wrong, line->key);
    *lines += strcspn(at, "\n");
    *lines += **lines == '\n';
}

/* The index is what Postfix reads, whatever the text beside it says. */
static void check_index(struct doctor *d)
{
    AUTO(free) char *answers = NULL;
    const char *lines;
    struct doctor_keys wrong;
    struct fault why;
    struct text keys;
    size_t i;

    text_init(&keys, KEYS_BYTES_MAX);
    for (i = 0; i < d->sheet.count; i++)
        text_print(&keys, "%s\n", d->sheet.lines[i].key);
    text_put(&keys, "nothing.danelaw.invalid\n");
    if (!postmap_query(&d->postmap, d->table, &keys, &answers, &why)) {
        text_done(&keys);
        doctor_find(d, DOCTOR_HOLD, d->table, doctor_say(d, "Postfix can't read the table, and defers all mail: %s", why.text),
                    "danelaw tables");
        return;
    }
    text_done(&keys);
    doctor_keys_init(&wrong);
    for (i = 0, lines = answers; i < d->sheet.count; i++)
        add_differing(&d->sheet.lines[i], &lines, &wrong);
    if (wrong.count > 0)
        doctor_find(d, DOCTOR_LEAK, d->table, doctor_say(d, "the table doesn't say what the connectors ask for: %s",
                                                         doctor_keys_give(d, &wrong)), "danelaw tables");
    text_done(&wrong.text);
}

/* The text beside it vouches for the lines that keep the site's own domains out of a wildcard. */
static void check_current(struct doctor *d)
{
    struct fault why;

    if (tables_current(d->set, d->rules, &why))
        return;
    if (strstr(why.text, "parent_domain_matches_subdomains") != NULL)
        doctor_find(d, DOCTOR_LEAK, "main.cf: parent_domain_matches_subdomains", why.text,
                    "take transport_maps out of parent_domain_matches_subdomains");
    else
        doctor_find(d, DOCTOR_LEAK, *d->table == '\0' ? d->table_path : d->table,
                    doctor_say(d, "the table is not current: %s", why.text), "danelaw tables");
}

/* A line `d :` keeps the site's own domains out of a wildcard; mail that is only relayed leaves all the same. */
static void check_relayed(struct doctor *d)
{
    struct tables_own own = { NULL };
    struct doctor_keys keys;
    struct fault why;
    size_t i;

    doctor_keys_init(&keys);
    if (sheet_has_wildcards(&d->sheet) &&
        own_read_relayed(&d->site.conf, &d->postmap, &d->sheet, d->table_path, &own, &why)) {
        for (i = 0; i < own.count; i++) {
            const char *value;

            if (doctor_is_strict(d, own.domains[i], &value))
                doctor_keys_add(&keys, own.domains[i]);
        }
    }
    if (keys.count > 0)
        doctor_find(d, DOCTOR_LEAK, "main.cf: relay_domains",
                    doctor_say(d, "they are below a mandatory connector's *.domain, but as this host relays for them they keep "
                                  "its own way: %s", doctor_keys_give(d, &keys)),
                    "name those that are the partner's in the connector's recipients, beside its *.domain");
    text_done(&keys.text);
}

void doctor_table(struct doctor *d)
{
    if (strcmp(d->set->tables.mta, "postfix") != 0) {
        doctor_find(d, DOCTOR_LEAK, "danelaw.conf: tables.mta",
                    doctor_say(d, "it is \"%s\", so that the daemon writes no table", d->set->tables.mta),
                    "tables = { mta = \"postfix\"; };");
        return;
    }
    check_current(d);
    if (*d->table == '\0')
        return;
    check_index(d);
    check_routers(d);
    check_relayed(d);
}
