#include "mta/sendmail_table.h"

#include "base/memory.h"
#include "mta/names.h"
#include "mta/sendmail_cf.h"
#include "mta/table.h"
#include "policy/roads.h"

#include <string.h>

/*
 * Sendmail's map `mandatory`. danelaw.m4 asks it for user@d, d, .d, .parent of d, ..., and `.` (everyone), and takes the first
 * line that it finds, as ruleset_find() does:
 *
 *     mandatory  some connector that may rule this mail is mandatory, has a floor of encryption, leads to hosts other than the
 *                domain's own (which may have none), or is overridden: while the daemon is dead, it waits
 *     road       another one may take another mailer
 *     named      another connector
 *     own        a domain of the MTA's own, that a wildcard would swallow
 *
 * For mail under no key the daemon is never asked. All mail of a connector for some senders only has its line: the daemon
 * sees who sends it.
 */

enum word { WORD_NONE = 0, WORD_NAMED, WORD_ROAD, WORD_MANDATORY };

static const char *const words[] = { [WORD_NAMED] = "named", [WORD_ROAD] = "road", [WORD_MANDATORY] = "mandatory" };

bool sendmail_table_must_wait(const struct connector *c)
{
    bool floored = tls_strength(c->tls) >= tls_strength(TLS_ENCRYPT);

    return connector_is_mandatory(c) || floored || c->override != NULL || c->smart_host_count > 0 || *c->route->next_hop != '\0';
}

static enum word word_of(const struct connector *c)
{
    if (sendmail_table_must_wait(c))
        return WORD_MANDATORY;
    if (c->fallback != NULL || strcmp(c->route->transport, ROAD_SENDMAIL) != 0)
        return WORD_ROAD;
    return connector_is_idle(c) ? WORD_NONE : WORD_NAMED;
}

/* The strictest of all who may rule mail under the pattern. */
static enum word word_for(const struct ruleset *rules, const struct pattern *p)
{
    struct connector_list list = { 0 };
    enum word found = WORD_NONE, one;
    size_t i;

    ruleset_candidates(rules, p, &list);
    for (i = 0; i < list.count; i++) {
        one = list.items[i]->is_default ? WORD_NONE : word_of(list.items[i]);
        if (one > found)
            found = one;
    }
    connector_list_done(&list);
    return found;
}

/* Whether a wider line would say something of a recipient who needs none. */
static bool is_swallowed(const struct sheet *s, const struct pattern *p)
{
    struct text key;
    bool swallowed;

    if (p->kind == PATTERN_EVERYONE)
        return false;
    text_init(&key, 1024);
    text_print(&key, "%s%s", p->kind == PATTERN_BELOW ? "." : "", p->domain);
    swallowed = sheet_swallows(s, text_words(&key)) || (p->kind == PATTERN_ADDRESS && sheet_has(s, text_words(&key)));
    text_done(&key);
    return swallowed;
}

/* Who asks for nothing needs a line only where a wider one would have the mail wait. */
static void add_pattern(struct sheet *s, const struct ruleset *rules, const struct pattern *p, struct sheet *idle)
{
    enum word word = word_for(rules, p);

    if (idle == NULL && word != WORD_NONE)
        sheet_add(s, p, words[word], (int)word);
    else if (idle != NULL && word == WORD_NONE && is_swallowed(s, p))
        sheet_add(idle, p, words[WORD_NAMED], WORD_NAMED);
}

static void add_patterns(struct sheet *s, const struct ruleset *rules, struct sheet *idle)
{
    size_t i, j;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        for (j = 0; j < c->recipient_count && !c->test_mode; j++)
            add_pattern(s, rules, &c->recipients[j], idle);
    }
}

static void add_connectors(struct sheet *s, const struct ruleset *rules)
{
    struct sheet idle;

    s->own = "own";
    s->verbatim = true;
    add_patterns(s, rules, NULL);
    sheet_settle(s);
    idle = sheet_beside(s);
    add_patterns(s, rules, &idle);
    sheet_join(s, &idle);
}

void sendmail_table_render(const struct ruleset *rules, const struct tables_own *own, struct text *ret)
{
    struct sheet s;

    sheet_init(&s);
    add_connectors(&s, rules);
    sheet_add_own(&s, own);
    sheet_print(&s, ret);
    sheet_done(&s);
}

/* The MTA's own domains */

/* relay-domains may hold networks: `192.168.1`, `IPv6:2001:db8`. */
static bool is_network(const char *word)
{
    return word[strspn(word, "0123456789.")] == '\0' || strchr(word, ':') != NULL;
}

static void add_own(struct names *found, const char *word, bool below, struct arena *memory)
{
    const char *name = is_network(word) ? NULL : names_canonical(word, memory);
    char *parent;

    if (name == NULL)
        return;
    names_add(found, name);
    if (!below || *name == '.')
        return;
    parent = arena_take(memory, strlen(name) + 2);
    *parent = '.';
    strcpy(parent + 1, name);
    names_add(found, parent);
}

/* What Sendmail delivers itself, or relays: R holds for all below a name, too. */
static bool read_classes(const struct sendmail_cf *cf, struct names *found, struct fault *why)
{
    static const char *const classes[] = { "w", "{VirtHost}", "R" };
    const char *const *members;
    size_t count, i, j;

    for (i = 0; i < COUNT_OF(classes); i++) {
        if (!sendmail_cf_class(cf, classes[i], &members, &count, why))
            return false;
        for (j = 0; j < count; j++)
            add_own(found, members[j], *classes[i] == 'R', cf->memory);
    }
    names_sort(found);
    return true;
}

static bool read_own(struct draft *d, struct arena *memory, struct tables_own *ret, struct fault *why)
{
    struct names found = { NULL };
    struct sendmail_cf cf;
    struct fault inner;
    bool good = sendmail_cf_read(d->config_dir, memory, &cf, &inner);

    if (good) {
        good = read_classes(&cf, &found, &inner);
        sendmail_cf_done(&cf);
    }
    if (good)
        names_give(&found, memory, ret);
    names_done(&found);
    return good || fault_set(why, "Sendmail's own domains can't be told, so connectors for *.domain are refused, which could "
                             "swallow their mail: %.300s", inner.text);
}

/* The map */

static bool ask(struct draft *d, const struct settings *set, struct fault *why)
{
    const char *type = *set->tables.type == '\0' ? "hash" : set->tables.type;

    if (strcmp(type, "hash") != 0 && strcmp(type, "btree") != 0)
        return fault_set(why, "tables.type: \"%s\" is no type that Sendmail's map may have; write hash or btree", type);
    d->type = type;
    d->suffix = ".db";
    d->config_dir = set->tables.config_dir;
    return makemap_find(set, &d->makemap, why);
}

static bool fill(struct draft *d, const struct ruleset *rules, struct fault *why)
{
    struct tables_own own = { NULL };

    add_connectors(&d->sheet, rules);
    if (sheet_has_wildcards(&d->sheet) && !read_own(d, d->memory, &own, why))
        return false;
    sheet_add_own(&d->sheet, &own);
    return true;
}

static bool make_index(const struct draft *d, const char *path, struct fault *why)
{
    struct text lines;
    size_t i;
    bool good;

    text_init(&lines, PAIR_BYTES_MAX);
    for (i = 0; i < d->sheet.count; i++)
        text_print(&lines, "%s\t%s\n", d->sheet.lines[i].key, d->sheet.lines[i].value);
    good = makemap_index(&d->makemap, d->type, path, &lines, why);
    text_done(&lines);
    return good;
}

static bool list(const struct draft *d, const char *path, char **ret, struct fault *why)
{
    return makemap_list(&d->makemap, d->type, path, ret, why);
}

const struct table_kind sendmail_table = {
    .mta = "sendmail", .folder = "/sendmail", .name = "mandatory",
    .ask = ask, .own = read_own, .fill = fill, .index = make_index, .list = list,
};
