#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "mta/own.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/*
 * The generated table: that it is written, says what the connectors ask for, and stands in transport_maps of whoever
 * routes mail.
 */

static const char *const rewrite = "danelaw reload, or danelaw tables while danelawd is down";

enum { KEYS_BYTES_MAX = 256 * 1024 * 1024 };

/* As main.cf would have it: what we are told has each $name replaced. */
static void put_word(const char *word, struct text *ret)
{
    for (; *word != '\0'; word++)
        text_print(ret, *word == '$' ? "$$" : "%c", *word);
}

/* What transport_maps should be. */
static const char *wanted_maps(const struct doctor *d, const char *now)
{
    struct text line;
    const char *kept, *word;

    text_init(&line, 64 * 1024);
    text_print(&line, "transport_maps = %s", d->table);
    if (!doctor_has_spellings(now))
        text_put(&line, ", regexp:{{" SETUP_SPELLINGS "$$/ " ROAD_OPPORTUNISTIC ":}}");
    while ((word = postconf_word(&now, d->memory)) != NULL) {
        const char *path = strchr(maps_behind_proxy(word), ':');

        if (path != NULL && strcmp(path + 1, d->table_path) == 0)
            continue;
        text_put(&line, ", ");
        put_word(word, &line);
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

/* Where a requirement of its own would be missed. */
static bool something_demanded(const struct doctor *d)
{
    size_t i;

    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (!c->test_mode && (connector_is_mandatory(c) || c->tls >= TLS_ENCRYPT))
            return true;
    }
    return false;
}

/* Postfix finds the hosts of a domain by what Unicode makes of its name, but its line in a table as it is written. */
static void check_spellings(struct doctor *d)
{
    size_t i;

    for (i = 0; i < d->service_count && something_demanded(d); i++) {
        const struct doctor_service *s = &d->services[i];
        const char *maps = strcmp(s->command, "trivial-rewrite") == 0 ? doctor_value(d, s, "transport_maps") : "";

        if (!doctor_has_table(d, maps) || doctor_has_spellings(maps) || doctor_service(d, s->name, s->type) != s ||
            strcmp(doctor_value(d, s, "smtputf8_enable"), "yes") != 0)
            continue;
        doctor_find(d, DOCTOR_LEAK, "main.cf: transport_maps",
                    "a partner's domain in other letters, as with wide or composed ones, is found in DNS, but not in the table: "
                    "mail by sendmail(1), or while danelawd is down, goes past its road",
                    wanted_maps(d, maps));
    }
}

/* A line `key<TAB>value` of the text, and the rest of what the index says of all its keys. */
static void compare_line(const char *line, size_t length, const char **answers, struct doctor_keys *wrong, struct arena *memory)
{
    size_t key = (size_t)((const char *)memchr(line, '\t', length) - line);
    const char *at = *answers;
    bool answered = strncmp(at, line, key + 1) == 0;

    if (!answered || strncmp(at, line, length) != 0 || at[length] != '\n')
        doctor_keys_add(wrong, wrong->count < 100 ? arena_bytes(memory, line, key) : "");
    if (answered) {
        *answers += strcspn(at, "\n");
        *answers += **answers == '\n';
    }
}

static bool is_entry(const char *line, size_t length)
{
    return *line != '#' && memchr(line, '\t', length) != NULL;
}

static void put_keys(const char *lines, struct text *ret)
{
    size_t length;

    for (; *lines != '\0'; lines += length, lines += *lines == '\n') {
        length = strcspn(lines, "\n");
        if (is_entry(lines, length)) {
            text_add(ret, lines, strcspn(lines, "\t"));
            text_put(ret, "\n");
        }
    }
}

/* The index is what Postfix reads; the text beside it says what should be in it. */
static void compare_index(struct doctor *d, const char *lines, const char *answers)
{
    struct doctor_keys wrong;
    size_t length;

    doctor_keys_init(&wrong);
    for (; *lines != '\0'; lines += length, lines += *lines == '\n') {
        length = strcspn(lines, "\n");
        if (is_entry(lines, length))
            compare_line(lines, length, &answers, &wrong, d->memory);
    }
    if (wrong.count > 0)
        doctor_find(d, DOCTOR_LEAK, d->table, doctor_say(d, "what Postfix finds in the table is not what its text says: %s",
                                                         doctor_keys_give(d->report, &wrong)), rewrite);
    text_done(&wrong.text);
}

static void check_index(struct doctor *d)
{
    AUTO(free) char *lines = NULL, *answers = NULL;
    struct fault why;
    struct text keys;

    if (!maps_text(doctor_say(d, "texthash:%s", d->table_path), &lines, &why))
        return;                     /* not current, and said */
    text_init(&keys, KEYS_BYTES_MAX);
    put_keys(lines, &keys);
    text_put(&keys, "nothing.danelaw.invalid\n");
    if (postmap_query(&d->postmap, d->table, &keys, &answers, &why))
        compare_index(d, lines, answers);
    else
        doctor_find(d, DOCTOR_HOLD, d->table, doctor_say(d, "Postfix can't read the table, and defers all mail: %s", why.text),
                    rewrite);
    text_done(&keys);
}

/* Whatever road it takes now, a mandatory connector's mail has a line. */
static void check_present(struct doctor *d)
{
    AUTO(free) char *answers = NULL;
    struct doctor_keys missing;
    const char *at, *value;
    struct text keys;
    size_t i;

    text_init(&keys, KEYS_BYTES_MAX);
    doctor_keys_init(&missing);
    for (i = 0; i < d->sheet.count; i++)
        text_print(&keys, "%s\n", d->sheet.lines[i].key);
    at = keys.length > 0 && postmap_query(&d->postmap, d->table, &keys, &answers, NULL) ? answers : NULL;
    for (i = 0; at != NULL && i < d->sheet.count; i++) {
        size_t length = strlen(d->sheet.lines[i].key);

        if (strncmp(at, d->sheet.lines[i].key, length) == 0 && at[length] == '\t') {
            at += strcspn(at, "\n");
            at += *at == '\n';
        } else if (doctor_is_strict(d, d->sheet.lines[i].key, &value)) {
            doctor_keys_add(&missing, d->sheet.lines[i].key);
        }
    }
    if (missing.count > 0)
        doctor_find(d, DOCTOR_LEAK, d->table, doctor_say(d, "mandatory connectors' mail has no line in the table: %s",
                                                         doctor_keys_give(d->report, &missing)), rewrite);
    text_done(&missing.text);
    text_done(&keys);
}

/* The daemon's own word counts, where it is there to give it: only it knows of fallbacks taken and modes overridden. */
static void check_current(struct doctor *d)
{
    struct fault why;

    if (d->stale != NULL && *d->stale == '\0')
        return;
    if (d->stale != NULL)
        fault_set(&why, "%s", d->stale);
    else if (tables_current(d->set, d->rules, &why))
        return;
    if (strstr(why.text, "parent_domain_matches_subdomains") != NULL)
        doctor_find(d, DOCTOR_LEAK, "main.cf: parent_domain_matches_subdomains", why.text,
                    "take transport_maps out of parent_domain_matches_subdomains");
    else
        doctor_find(d, DOCTOR_LEAK, *d->table == '\0' ? d->table_path : d->table,
                    doctor_say(d, "the table is not current: %s", why.text), rewrite);
}

/* A line `d :` keeps the site's own domains out of a wildcard; mail that is only relayed leaves all the same. */
static void check_relayed(struct doctor *d)
{
    struct tables_own own = { .count = 0 };
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
                                  "its own way: %s", doctor_keys_give(d->report, &keys)),
                    "name those that are the partner's in the connector's recipients, beside its *.domain");
    text_done(&keys.text);
}

/* The folder is the daemon's own. */
static bool can_look(struct doctor *d)
{
    const char *folder = doctor_say(d, "%s/postfix", d->set->store.directory);

    if (geteuid() == 0 || access(folder, R_OK | X_OK) == 0 || errno != EACCES)
        return true;
    doctor_unread(d, doctor_say(d, "%s: %s", folder, strerror(EACCES)));
    return false;
}

void doctor_table(struct doctor *d)
{
    if (strcmp(d->set->tables.mta, "postfix") != 0) {
        doctor_find(d, DOCTOR_LEAK, "danelaw.conf: tables.mta",
                    doctor_say(d, "it is \"%s\", so that the daemon writes no table", d->set->tables.mta),
                    "tables = { mta = \"postfix\"; };");
        return;
    }
    if (can_look(d)) {
        check_current(d);
        if (*d->table != '\0') {
            check_index(d);
            check_present(d);
        }
    }
    if (*d->table == '\0')
        return;
    check_routers(d);
    check_spellings(d);
    check_relayed(d);
}
