#include "mta/render.h"

#include "base/memory.h"

#include <string.h>

/*
 * Postfix asks for user+ext@d, user@d, d, .parent of d, .grandparent of d, ... and takes the first line it finds
 * (transport(5)). That is ruleset_find()'s order too, so each pattern becomes the key of the same rank, and a road is
 * only ever chosen by road_of().
 */

enum { KEY_MAX = 1024, VALUE_MAX = 64 * 1024 };

static const char *const banner =
    "# Made by Danelaw from its connectors, and made anew whenever they change: do not edit.\n";

void sheet_init(struct sheet *s)
{
    *s = (struct sheet){ .memory = arena_new(), .own = ":" };
}

void sheet_done(struct sheet *s)
{
    arena_free(s->memory);
    free(s->lines);
    *s = (struct sheet){ NULL };
}

/*
 * Postfix folds keys by Unicode's rules. Of all that a domain name may hold, only two letters then become others
 * (RFC 5892 2.6): sharp s, that becomes "ss", and the Greek final sigma.
 */
static const char *fold(struct arena *memory, const char *key)
{
    char *folded, *p;

    if (strstr(key, "\u00df") == NULL && strstr(key, "\u03c2") == NULL)
        return key;
    folded = arena_text(memory, key);
    for (p = folded; *p != '\0'; p++) {
        if (strncmp(p, "\u00df", 2) == 0)
            memcpy(p, "ss", 2);
        else if (strncmp(p, "\u03c2", 2) == 0)
            memcpy(p, "\u03c3", 2);
    }
    return folded;
}

static void add(struct sheet *s, const char *key, const char *value, int strictness)
{
    if (s->count == s->room) {
        s->room = s->room == 0 ? 64 : s->room * 2;
        s->lines = mem_grow(s->lines, s->room, sizeof(*s->lines));
    }
    key = arena_text(s->memory, key);
    s->lines[s->count++] = (struct sheet_line){ .key = key, .value = value, .strictness = strictness,
                                                .folded = s->verbatim ? key : fold(s->memory, key) };
}

static void add_smart_host(const struct next_hop *host, struct text *ret)
{
    if (host->bracketed)
        text_print(ret, "[%s]:%u", host->host.name, host->port);
    else if (host->port == 25)
        text_put(ret, host->host.name);
    else
        text_print(ret, "%s:%u", host->host.name, host->port);
}

void sheet_value(const struct road *road, struct text *ret)
{
    size_t i;

    text_print(ret, "%s:%s", road->route->transport, road->route->next_hop);
    if (road->hosts_of == NULL || *road->route->next_hop != '\0')
        return;
    for (i = 0; i < road->hosts_of->smart_host_count; i++) {
        if (i > 0)
            text_put(ret, ",");
        add_smart_host(&road->hosts_of->smart_hosts[i], ret);
    }
}

static int strictness_of(const struct road *road)
{
    if (strcmp(road->route->transport, ROAD_STS) == 0)
        return 3;
    if (strcmp(road->route->transport, ROAD_DANE) == 0)
        return 2;
    return strcmp(road->route->transport, ROAD_OPPORTUNISTIC) == 0 ? 0 : 1;
}

/* Letters, digits and what else may stand in a local part without quotes (RFC 5322 3.2.3); dots are looked at apart. */
static bool is_atext(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80 ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_dot_atom(const char *local)
{
    char before = '.';

    for (; *local != '\0'; before = *local++) {
        if (!is_atext(*local) && (*local != '.' || before == '.'))
            return false;
    }
    return before != '.';
}

/* The local part as Postfix looks it up: quoted where it must be. */
static void put_local(const char *local, struct text *ret)
{
    if (is_dot_atom(local)) {
        text_put(ret, local);
        return;
    }
    text_put(ret, "\"");
    for (; *local != '\0'; local++) {
        if (*local == '"' || *local == '\\')
            text_put(ret, "\\");
        text_add(ret, local, 1);
    }
    text_put(ret, "\"");
}

static void add_spelling(struct sheet *s, const struct pattern *p, const char *domain, const char *value, int strictness)
{
    struct text key;

    text_init(&key, KEY_MAX);
    if (p->kind == PATTERN_ADDRESS) {
        put_local(p->local, &key);
        text_put(&key, "@");
    } else if (p->kind == PATTERN_BELOW) {
        text_put(&key, ".");
    }
    text_put(&key, domain);
    add(s, text_words(&key), value, strictness);
    text_done(&key);
}

/* The name in U-labels where that is another spelling. Postfix turns neither into the other before it looks. */
static bool unicode_of(const char *domain, char *ret, size_t size)
{
    struct domain d;

    return domain_parse(domain, &d, NULL) && domain_unicode(&d, ret, size);
}

/* Where extensions are split off, a lax user@d must not open the way for all of user+anything@d. */
static struct road road_for(struct sheet *s, const struct ruleset *rules, const struct pattern *p)
{
    struct road own = road_of(rules, p), extended;
    char spelled[KEY_MAX];

    if (!s->extensions)
        return own;
    extended = road_of_extended(rules, p);
    if (extended.route != own.route && s->tightened == NULL)
        s->tightened = arena_text(s->memory, pattern_print(p, spelled, sizeof(spelled)));
    return extended;
}

void sheet_add(struct sheet *s, const struct pattern *p, const char *value, int strictness)
{
    char wide[KEY_MAX];

    if (p->kind == PATTERN_EVERYONE) {
        add(s, ".", value, strictness);
        return;
    }
    add_spelling(s, p, p->domain, value, strictness);
    if (unicode_of(p->domain, wide, sizeof(wide)))
        add_spelling(s, p, wide, value, strictness);
}

static void add_pattern(struct sheet *s, const struct ruleset *rules, const struct pattern *p)
{
    struct road road = road_for(s, rules, p);
    struct text value;
    const char *kept;

    if (road.route == NULL || p->kind == PATTERN_EVERYONE || p->kind == PATTERN_NULL_SENDER)
        return;
    text_init(&value, VALUE_MAX);
    sheet_value(&road, &value);
    kept = arena_text(s->memory, text_words(&value));
    text_done(&value);
    sheet_add(s, p, kept, strictness_of(&road));
}

static int by_folded(const void *a, const void *b)
{
    const struct sheet_line *x = a, *y = b;
    int order = strcmp(x->folded, y->folded);

    if (order == 0)
        order = (x->strictness < y->strictness) - (x->strictness > y->strictness);
    return order != 0 ? order : strcmp(x->key, y->key);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct sheet_line *)a)->key, ((const struct sheet_line *)b)->key);
}

/* Each key once; where two domains' spellings are one to Postfix, the stricter road takes both. */
void sheet_settle(struct sheet *s)
{
    size_t kept = 0, i;

    if (s->count == 0)
        return;
    qsort(s->lines, s->count, sizeof(*s->lines), by_folded);
    for (i = 1; i < s->count; i++) {
        if (strcmp(s->lines[kept].folded, s->lines[i].folded) != 0)
            s->lines[++kept] = s->lines[i];
        else if (s->lines[i].key == s->lines[i].folded)         /* this spelling serves a Postfix that doesn't fold, too */
            s->lines[kept].key = s->lines[i].key;
    }
    s->count = kept + 1;
    qsort(s->lines, s->count, sizeof(*s->lines), by_key);
}

void sheet_add_connectors(struct sheet *s, const struct ruleset *rules)
{
    size_t i, j;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        for (j = 0; j < c->recipient_count && !c->test_mode; j++)
            add_pattern(s, rules, &c->recipients[j]);
    }
    sheet_settle(s);
}

static const struct sheet_line *line_of(const struct sheet *s, const char *key)
{
    const struct sheet_line wanted = { .key = key };

    return s->count == 0 ? NULL : bsearch(&wanted, s->lines, s->count, sizeof(*s->lines), by_key);
}

bool sheet_has(const struct sheet *s, const char *key)
{
    return line_of(s, key) != NULL;
}

bool sheet_swallows(const struct sheet *s, const char *key)
{
    const char *dot;

    if (line_of(s, key) != NULL)
        return false;
    if (line_of(s, ".") != NULL)
        return true;
    for (dot = strchr(key + 1, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        if (line_of(s, dot) != NULL)
            return true;
    }
    return false;
}

bool sheet_has_wildcards(const struct sheet *s)
{
    size_t i;

    for (i = 0; i < s->count; i++) {
        if (s->lines[i].key[0] == '.')
            return true;
    }
    return false;
}

struct sheet sheet_beside(const struct sheet *s)
{
    return (struct sheet){ .memory = s->memory, .own = s->own, .verbatim = s->verbatim, .extensions = s->extensions };
}

void sheet_join(struct sheet *s, struct sheet *beside)
{
    size_t i;

    for (i = 0; i < beside->count; i++)
        add(s, beside->lines[i].key, beside->lines[i].value, beside->lines[i].strictness);
    free(beside->lines);
    beside->lines = NULL;
    sheet_settle(s);
}

void sheet_add_own(struct sheet *s, const struct tables_own *own)
{
    struct sheet more = sheet_beside(s);
    size_t i;

    for (i = 0; i < own->count; i++) {
        const char *key = own->domains[i];
        char wide[KEY_MAX] = ".";

        if (sheet_swallows(s, key))
            add(&more, key, s->own, -1);
        if (unicode_of(*key == '.' ? key + 1 : key, wide + 1, sizeof(wide) - 1) &&
            sheet_swallows(s, *key == '.' ? wide : wide + 1))
            add(&more, *key == '.' ? wide : wide + 1, s->own, -1);
    }
    sheet_join(s, &more);
}

void sheet_print(const struct sheet *s, struct text *ret)
{
    size_t i;

    text_put(ret, banner);
    for (i = 0; i < s->count; i++)
        text_print(ret, "%s\t%s\n", s->lines[i].key, s->lines[i].value);
}

void tables_render(const struct ruleset *rules, const struct tables_own *own, struct text *ret)
{
    struct sheet s;

    sheet_init(&s);
    sheet_add_connectors(&s, rules);
    sheet_add_own(&s, own);
    sheet_print(&s, ret);
    sheet_done(&s);
}
