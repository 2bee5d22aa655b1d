#include "mta/tables.h"

#include "base/log.h"
#include "base/memory.h"
#include "mta/own.h"
#include "mta/table.h"

#include <stdio.h>
#include <string.h>

/*
 * What both MTAs' tables have in common: a sheet of lines, made of the connectors and the MTA's own domains, becomes a text;
 * pair.c writes it and its index.
 *
 *     ask() -> fill() -> pair_write() -> index() -> list(), compared with the sheet
 */

static const struct table_kind *const kinds[] = { &postfix_table, &sendmail_table };

struct job {
    const struct table_kind *kind;
    struct draft draft;
};

/* NULL: none is to be written. */
static const struct table_kind *kind_of(const struct settings *set)
{
    size_t i;

    for (i = 0; i < COUNT_OF(kinds); i++) {
        if (strcmp(set->tables.mta, kinds[i]->mta) == 0)
            return kinds[i];
    }
    return NULL;
}

const char *table_joined(const struct draft *d, const char *a, const char *b)
{
    size_t length = strlen(a);
    char *made = arena_take(d->memory, length + strlen(b) + 1);

    memcpy(made, a, length);
    strcpy(made + length, b);
    return made;
}

static void job_init(struct job *j, const struct table_kind *kind, const struct settings *set)
{
    struct draft *d = &j->draft;

    *j = (struct job){ .kind = kind, .draft.memory = arena_new() };
    sheet_init(&d->sheet);
    text_init(&d->text, PAIR_BYTES_MAX);
    d->folder = table_joined(d, set->store.directory, kind->folder);
    d->path = table_joined(d, table_joined(d, d->folder, "/"), kind->name);
}

static void job_done(struct job *j)
{
    sheet_done(&j->draft.sheet);
    text_done(&j->draft.text);
    arena_free(j->draft.memory);
}

static bool has_wrong_byte(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    }
    return false;
}

/* The first line names the table, so that a change of type is a change of text. */
static bool draw_up(struct job *j, const struct settings *set, const struct ruleset *rules, struct fault *why)
{
    struct draft *d = &j->draft;
    size_t i;

    if (!j->kind->ask(d, set, why) || !j->kind->fill(d, rules, why))
        return false;
    for (i = 0; i < d->sheet.count; i++) {
        if (has_wrong_byte(d->sheet.lines[i].key) || has_wrong_byte(d->sheet.lines[i].value))
            return fault_set(why, "the line for \"%.100s\" would have control characters in it", d->sheet.lines[i].key);
    }
    text_print(&d->text, "# %s:%s\n", d->type, d->path);
    sheet_print(&d->sheet, &d->text);
    return !d->text.full || fault_set(why, "%s: too long", d->path);
}

/* All lines, and no more. */
static bool compare(const struct draft *d, const char *lines, struct fault *why)
{
    size_t i;

    for (i = 0; i < d->sheet.count; i++) {
        const char *key = d->sheet.lines[i].key, *value = d->sheet.lines[i].value;
        size_t key_length = strlen(key), length = strlen(value);

        if (strncmp(lines, key, key_length) != 0 || lines[key_length] != '\t' ||
            strncmp(lines + key_length + 1, value, length) != 0 || lines[key_length + 1 + length] != '\n')
            return fault_set(why, "%s.new: the new index does not give \"%.200s\" back", d->path, key);
        lines += key_length + length + 2;
    }
    return *lines == '\0' || fault_set(why, "%s.new: the new index has more than was written", d->path);
}

static bool make_index(const void *job, const char *path, struct fault *why)
{
    const struct job *j = job;

    return j->kind->index(&j->draft, path, why);
}

static bool read_back(const void *job, const char *path, struct fault *why)
{
    const struct job *j = job;
    AUTO(free) char *lines = NULL;

    return j->kind->list(&j->draft, path, &lines, why) && compare(&j->draft, lines, why);
}

static struct pair pair_of(const struct job *j)
{
    return (struct pair){ .folder = j->draft.folder, .name = j->kind->name, .suffix = j->draft.suffix, .text = &j->draft.text,
                          .indexer = j, .index = make_index, .read_back = read_back };
}

bool tables_write(const struct settings *set, const struct ruleset *rules, bool *ret_changed, struct fault *why)
{
    const struct table_kind *kind = kind_of(set);
    struct pair pair;
    struct job j;
    bool good;

    if (kind == NULL) {
        *ret_changed = false;
        return true;
    }
    job_init(&j, kind, set);
    good = draw_up(&j, set, rules, why);
    if (good) {
        pair = pair_of(&j);
        good = pair_write(&pair, ret_changed, why);
    }
    if (good && *ret_changed && j.draft.sheet.tightened != NULL)
        log_warning("tables: %s takes its domain's stricter road, because Postfix would take its line for every extension of "
                    "it, too; to have it laxer, empty recipient_delimiter in main.cf", j.draft.sheet.tightened);
    job_done(&j);
    return good;
}

bool tables_current(const struct settings *set, const struct ruleset *rules, struct fault *why)
{
    const struct table_kind *kind = kind_of(set);
    struct pair pair;
    struct job j;
    bool good;

    if (kind == NULL)
        return true;
    job_init(&j, kind, set);
    good = draw_up(&j, set, rules, why);
    if (good) {
        pair = pair_of(&j);
        good = pair_current(&pair, why);
    }
    job_done(&j);
    return good;
}

bool tables_own(const struct settings *set, struct arena *memory, struct tables_own *ret, struct fault *why)
{
    const struct table_kind *kind = kind_of(set);
    struct job j;
    bool good;

    if (kind == NULL)
        kind = &postfix_table;
    job_init(&j, kind, set);
    good = kind->ask(&j.draft, set, why) && kind->own(&j.draft, memory, ret, why);
    job_done(&j);
    return good;
}

bool tables_own_has(const struct tables_own *own, const char *domain)
{
    return domain_is_among(own->domains, own->count, domain);
}

bool tables_look(const struct settings *set, uint64_t *ret)
{
    const struct table_kind *kind = kind_of(set);
    struct job j;
    bool good;

    if (kind == NULL) {
        *ret = 0;
        return true;
    }
    job_init(&j, kind, set);
    good = pair_look(j.draft.folder, kind->name, ret);
    job_done(&j);
    return good;
}

void tables_distrust(const struct settings *set)
{
    const struct table_kind *kind = kind_of(set);
    struct job j;

    if (kind == NULL)
        return;
    job_init(&j, kind, set);
    pair_distrust(j.draft.folder, kind->name);
    job_done(&j);
}

bool tables_there(const struct settings *set)
{
    const struct table_kind *kind = kind_of(set);
    struct job j;
    bool there;

    if (kind == NULL)
        return false;
    job_init(&j, kind, set);
    there = pair_there(j.draft.folder, kind->name);
    job_done(&j);
    return there;
}

bool tables_name(const struct settings *set, struct text *ret, struct fault *why)
{
    struct job j;
    bool good;

    job_init(&j, &postfix_table, set);
    good = postfix_table.ask(&j.draft, set, why);
    if (good)
        text_print(ret, "%s:%s", j.draft.type, j.draft.path);
    job_done(&j);
    return good;
}

void tables_shown(const struct settings *set, struct text *ret)
{
    const struct table_kind *kind = kind_of(set);
    struct job j;

    job_init(&j, kind == NULL ? &postfix_table : kind, set);
    if (j.kind->ask(&j.draft, set, NULL))
        text_print(ret, "%s:", j.draft.type);
    text_put(ret, j.draft.path);
    job_done(&j);
}
