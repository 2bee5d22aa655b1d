#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "policy/roads.h"

#include <string.h>
#include <unistd.h>

/*
 * Other transport tables. Postfix asks all of them for the whole address before it asks any for the domain, and all for
 * the domain before its parents (transport(5)): an entry that is more specific than ours wins wherever its table stands,
 * an equal one if its table stands first.
 */

enum { KEYS_BYTES_MAX = 256 * 1024 * 1024, REMOTE_KEYS_MAX = 1000 };

#define SOMEBODY "danelaw-doctor"       /* a local part that nobody has */

bool doctor_is_strict(struct doctor *d, const char *key, const char **ret_value)
{
    char local[ADDRESS_LOCAL_SIZE];
    struct domain domain;
    struct pattern p;
    struct road road;
    struct text value;

    if (!doctor_pattern(key, local, &domain, &p))
        return false;
    road = road_of(d->rules, &p);
    if (!road.strict || road.route == NULL)
        return false;
    text_init(&value, 64 * 1024);
    sheet_value(&road, &value);
    *ret_value = doctor_say(d, "%s", text_words(&value));
    text_done(&value);
    return true;
}

bool doctor_is_harmless(const struct doctor *d, const char *value, const char *ours)
{
    static const char *const roads[] = { ROAD_DANE, ROAD_STS };
    static const char *const commands[] = { "local", "virtual", "lmtp", "error", "discard" };
    const char *transport = arena_bytes(d->memory, value, strcspn(value, ":"));
    const struct doctor_service *s = doctor_service(d, transport, "unix");
    size_t i;

    for (i = 0; i < COUNT_OF(roads); i++) {
        if (strcmp(transport, roads[i]) == 0)
            return true;
    }
    for (i = 0; s != NULL && i < COUNT_OF(commands); i++) {
        if (strcmp(s->command, commands[i]) == 0)
            return true;
    }
    return strcmp(value, ours) == 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct sheet_line *)a)->key, ((const struct sheet_line *)b)->key);
}

static bool has_key(const struct doctor *d, const char *key)
{
    const struct sheet_line wanted = { .key = key };

    return d->sheet.count > 0 && bsearch(&wanted, d->sheet.lines, d->sheet.count, sizeof(*d->sheet.lines), by_key) != NULL;
}

/* One table of the list. */
struct other {
    struct doctor *d;
    const struct doctor_place *place;
    const char *word, *table;               /* as written; without proxy: */
    bool before;                            /* ours */
    struct doctor_keys keys, mentioned;
};

/* Lines `key<TAB>value`, each judged; asked: they answer what we asked as if it were mail. */
static void judge_lines(struct other *o, char *lines, bool asked)
{
    char *line, *next, *value;
    const char *ours;

    for (line = lines; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        value = line + strcspn(line, "\t");
        if (*value == '\0')
            continue;
        *value++ = '\0';
        if ((o->before || asked || !has_key(o->d, line)) && doctor_is_strict(o->d, line, &ours) &&
            !doctor_is_harmless(o->d, value, ours))
            doctor_keys_add(&o->keys, line);
    }
}

static void cannot_read(struct other *o, const struct fault *why)
{
    if (geteuid() == 0 && maps_can_list(o->table))
        doctor_find(o->d, DOCTOR_HOLD, o->place->where,
                    doctor_say(o->d, "%s can't be read, and Postfix defers all mail: %s", o->word, why->text),
                    doctor_say(o->d, "postmap %s", o->table));
    else
        doctor_unread(o->d, doctor_say(o->d, "%s: %s", o->place->where, why->text));
}

static void read_listed(struct other *o)
{
    AUTO(free) char *lines = NULL;
    struct fault why;

    if (maps_list(&o->d->postmap, o->table, &lines, &why))
        judge_lines(o, lines, false);
    else
        cannot_read(o, &why);
}

/* A key as mail would have it: tables that don't know domains are asked for somebody there. */
static void put_question(const char *key, bool domains, struct text *ret)
{
    if (domains || strchr(key, '@') != NULL)
        text_print(ret, "%s\n", key);
    else
        text_print(ret, *key == '.' ? SOMEBODY "@" SOMEBODY "%s\n" : SOMEBODY "@%s\n", key);
}

static size_t put_questions(struct other *o, size_t most, struct text *ret)
{
    bool domains = maps_asked_for_domains(o->table);
    const char *ours;
    size_t i, count = 0;

    for (i = 0; i < o->d->sheet.count; i++) {
        const char *key = o->d->sheet.lines[i].key;

        if (!doctor_is_strict(o->d, key, &ours) || (!o->before && domains))
            continue;               /* where ours stands first, it has answered */
        if (count++ < most)
            put_question(key, domains, ret);
    }
    return count;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._+", c) != NULL);
}

/* What a pattern's line means where it means itself: `/^al@bank\.example$/`, `[.]`. */
static void take_quotes_off(char *line)
{
    char *to = line;

    for (; *line != '\0'; line++) {
        if (strncmp(line, "[.]", 3) == 0) {
            *to++ = '.';
            line += 2;
        } else if (*line != '\\') {
            *to++ = *line;
        }
    }
    *to = '\0';
}

/* An address at the @: asked for if it is a whole one, else it is said that there is one. */
static void take_mention(struct other *o, const char *line, const char *at, struct text *ret_questions)
{
    const char *begin = at, *end = at + 1, *address, *ours;

    while (begin > line && is_word(begin[-1]))
        begin--;
    while (is_word(*end))
        end++;
    address = doctor_say(o->d, SOMEBODY "%.*s", (int)(end - at), at);
    if (!doctor_is_strict(o->d, address, &ours))
        return;
    if (begin < at)
        text_print(ret_questions, "%.*s\n", (int)(end - begin), begin);
    else
        doctor_keys_add(&o->mentioned, address + strlen(SOMEBODY "@"));
}

/* No probe of ours finds a pattern that is for one address. */
static void put_literals(struct other *o, struct text *ret)
{
    AUTO(free) char *lines = NULL;
    char *line, *next, *at;

    if (!maps_text(o->table, &lines, NULL))
        return;                     /* postmap will say so */
    for (line = lines; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        take_quotes_off(line);
        for (at = line; *line != '#' && (at = strchr(at, '@')) != NULL; at++)
            take_mention(o, line, at, ret);
    }
}

static bool is_pattern(const char *table)
{
    return strncmp(table, "regexp:", 7) == 0 || strncmp(table, "pcre:", 5) == 0;
}

static bool is_local(const char *table)
{
    return is_pattern(table) || strncmp(table, "static:", 7) == 0 || strncmp(table, "cidr:", 5) == 0;
}

static void ask(struct other *o)
{
    size_t most = is_local(o->table) ? SIZE_MAX : REMOTE_KEYS_MAX;
    AUTO(free) char *lines = NULL;
    struct fault why;
    struct text keys;
    size_t count;

    text_init(&keys, KEYS_BYTES_MAX);
    count = put_questions(o, most, &keys);
    if (is_pattern(o->table))
        put_literals(o, &keys);
    if (keys.length > 0 && !postmap_query(&o->d->postmap, o->table, &keys, &lines, &why))
        cannot_read(o, &why);
    else if (keys.length > 0)
        judge_lines(o, lines, true);
    text_done(&keys);
    if (!is_local(o->table))
        doctor_find(o->d, DOCTOR_HINT, o->place->where,
                    count > most ? doctor_say(o->d, "%s can't be listed, and was only asked for the first %d of %zu keys; "
                                              "an entry for a whole address in it would win over Danelaw's table", o->word,
                                              REMOTE_KEYS_MAX, count)
                                 : doctor_say(o->d, "%s can't be listed; an entry for a whole address in it would win over "
                                              "Danelaw's table", o->word),
                    doctor_say(o->d, "see to it that %s has no entry for an address of a mandatory connector's", o->word));
}

static void check_other(struct other *o)
{
    doctor_keys_init(&o->keys);
    doctor_keys_init(&o->mentioned);
    if (maps_can_list(o->table))
        read_listed(o);
    else
        ask(o);
    if (o->keys.count > 0)
        doctor_find(o->d, DOCTOR_LEAK, o->place->where,
                    doctor_say(o->d, "%s answers before Danelaw's table for mandatory connectors: %s", o->word,
                               doctor_keys_give(o->d->report, &o->keys)),
                    o->before ? doctor_say(o->d, "take these entries out of %s, or put it behind %s", o->word, o->d->table)
                              : doctor_say(o->d, "take these entries out of %s", o->word));
    else if (o->mentioned.count > 0)
        doctor_find(o->d, DOCTOR_HINT, o->place->where,
                    doctor_say(o->d, "%s has patterns for addresses of mandatory connectors: %s", o->word,
                               doctor_keys_give(o->d->report, &o->mentioned)),
                    doctor_say(o->d, "take them out of %s, or see to it that they lead to a road of Danelaw's", o->word));
    text_done(&o->keys.text);
    text_done(&o->mentioned.text);
}

bool doctor_is_table(const struct doctor *d, const char *table)
{
    const char *path = strchr(table, ':');

    return path != NULL && strcmp(path + 1, d->table_path) == 0;
}

bool doctor_has_table(const struct doctor *d, const char *list)
{
    const char *word;

    while ((word = postconf_word(&list, d->memory)) != NULL) {
        if (doctor_is_table(d, maps_behind_proxy(word)))
            return true;
    }
    return false;
}

bool doctor_has_spellings(const char *list)
{
    return strstr(list, "{" SETUP_SPELLINGS "$/ " ROAD_OPPORTUNISTIC ":}") != NULL;
}

static void check_list(struct doctor *d, const struct doctor_place *place)
{
    const char *list = place->value, *word;

    while ((word = postconf_word(&list, d->memory)) != NULL) {
        struct other o = { .d = d, .place = place, .word = word, .table = maps_behind_proxy(word) };

        if (strchr(word, ':') == NULL || doctor_is_table(d, o.table) || doctor_has_spellings(word))
            continue;
        o.before = doctor_has_table(d, list);
        check_other(&o);
    }
}

void doctor_transports(struct doctor *d)
{
    struct doctor_place place;
    size_t cursor = 0;

    while (doctor_next_place(d, "transport_maps", &cursor, &place)) {
        if (place.service == NULL || strcmp(place.service->command, "trivial-rewrite") == 0)
            check_list(d, &place);
    }
}
