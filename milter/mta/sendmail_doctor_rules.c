#include "mta/sendmail_doctor_rules.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

/* Rewriting rules, out of sendmail.cf and out of the text of danelaw.m4 as it is installed. */

static const char *const source[] = {
#include "mta/danelaw_m4.inc"
    NULL,
};

/* Rulesets that have a number, too. */
static const struct {
    const char *name, *number;
} numbered[] = { { "ParseLocal", "98" }, { "parse", "0" } };

/* Without blanks at its ends, and with one where there are several. */
static const char *squeeze(const struct sendmail_doctor *d, const char *text, size_t length)
{
    char *kept = arena_bytes(d->memory, text, length), *from, *to = kept;

    for (from = kept; *from != '\0'; from++) {
        if (*from != ' ')
            *to++ = *from;
        else if (to > kept && to[-1] != ' ')
            *to++ = ' ';
    }
    while (to > kept && to[-1] == ' ')
        to--;
    *to = '\0';
    return kept;
}

static void add(const struct sendmail_doctor *d, struct sendmail_rules *r, const char *ruleset, const char *text,
                const struct sendmail_line *line)
{
    size_t left = strcspn(text, "\t");
    const char *right = text + left + strspn(text + left, "\t ");

    if (r->count == r->room) {
        r->room = r->room == 0 ? 512 : r->room * 2;
        r->items = mem_grow(r->items, r->room, sizeof(*r->items));
    }
    r->items[r->count++] = (struct sendmail_rule){
        .ruleset = ruleset, .left = squeeze(d, text, left), .right = squeeze(d, right, strcspn(right, "\t")), .line = line,
    };
}

/* `NAME`, `NAME=98`, `98` */
static const char *name_of(const struct sendmail_doctor *d, const char *text)
{
    const char *name;
    size_t i;

    text += strspn(text, " \t");
    name = arena_bytes(d->memory, text, strcspn(text, "= \t"));
    for (i = 0; i < COUNT_OF(numbered); i++) {
        if (strcmp(name, numbered[i].number) == 0)
            return numbered[i].name;
    }
    return name;
}

void sendmail_rules_read(const struct sendmail_doctor *d, struct sendmail_rules *ret)
{
    const char *ruleset = "";
    size_t i;

    *ret = (struct sendmail_rules){ .count = 0 };
    for (i = 0; i < d->cf.count; i++) {
        const struct sendmail_line *line = &d->cf.lines[i];

        if (line->command == 'S')
            ruleset = name_of(d, line->text);
        else if (line->command == 'R')
            add(d, ret, ruleset, line->text, line);
    }
}

/* What m4 calls the rulesets that sites have rules of their own in; NULL: no such line. */
static const char *section_of(const char *line)
{
    static const struct {
        const char *macro, *ruleset;
    } sections[] = { { "LOCAL_RULE_0", "ParseLocal" }, { "LOCAL_TLS_RCPT", "Local_tls_rcpt" },
                     { "LOCAL_TLS_SERVER", "Local_tls_server" }, { "LOCAL_RULESETS", "" } };
    size_t i;

    for (i = 0; i < COUNT_OF(sections); i++) {
        if (strcmp(line, sections[i].macro) == 0)
            return sections[i].ruleset;
    }
    return NULL;
}

/* What m4 leaves of a line: an apostrophe ends what it quotes, and no rule of ours has one. */
static const char *unquoted(const struct sendmail_doctor *d, const char *line)
{
    return arena_bytes(d->memory, line, strcspn(line, "'"));
}

void sendmail_rules_expected(const struct sendmail_doctor *d, struct sendmail_rules *ret)
{
    const char *ruleset = "";
    size_t i;

    *ret = (struct sendmail_rules){ .count = 0 };
    for (i = 0; source[i] != NULL; i++) {
        if (section_of(source[i]) != NULL)
            ruleset = section_of(source[i]);
        else if (source[i][0] == 'S')
            ruleset = name_of(d, source[i] + 1);
        else if (source[i][0] == 'R')
            add(d, ret, ruleset, unquoted(d, source[i] + 1), NULL);
    }
}

void sendmail_rules_done(struct sendmail_rules *r)
{
    free(r->items);
    *r = (struct sendmail_rules){ .count = 0 };
}

const struct sendmail_rule *sendmail_rules_next(const struct sendmail_rules *r, const char *ruleset, size_t *cursor)
{
    while (*cursor < r->count) {
        const struct sendmail_rule *rule = &r->items[(*cursor)++];

        if (strcasecmp(rule->ruleset, ruleset) == 0)
            return rule;
    }
    return NULL;
}

/* What a rule of the site's takes */

static bool is_final(const char *right)
{
    static const char *const harmless[] = { "error", "local", "discard" };
    size_t i;

    if (strncmp(right, "$@", 2) == 0)
        return true;
    if (strncmp(right, "$#", 2) != 0)
        return false;
    right += 2 + strspn(right + 2, " ");
    for (i = 0; i < COUNT_OF(harmless); i++) {
        size_t length = strlen(harmless[i]);

        if (strncmp(right, harmless[i], length) == 0 && strchr(" $", right[length]) != NULL)
            return false;
    }
    return true;
}

/* The host between `@` and `>` without blanks and final dot; "": there is none, so that it takes any. */
static const char *host_of(const struct sendmail_doctor *d, const char *left)
{
    const char *at = strchr(left, '@'), *end = at == NULL ? NULL : strchr(at, '>');
    char *kept, *from, *to;

    if (end == NULL)
        return "";
    kept = to = arena_bytes(d->memory, at + 1, (size_t)(end - at - 1));
    for (from = kept; *from != '\0'; from++) {
        if (*from != ' ')
            *to++ = *from >= 'A' && *from <= 'Z' && strchr(kept, '$') == NULL ? (char)(*from + 'a' - 'A') : *from;
    }
    if (to > kept && to[-1] == '.')
        to--;
    *to = '\0';
    return kept;
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);

    return length >= tail && strcasecmp(name + length - tail, end) == 0;
}

/* Any mandatory connector's recipient that ends so; "": any at all. */
static bool takes_below(const struct sendmail_doctor *d, const char *end)
{
    size_t i, k;

    if (*end == '.' && sendmail_is_strict(d, end))
        return true;
    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        for (k = 0; !c->test_mode && connector_is_mandatory(c) && k < c->recipient_count; k++) {
            if (*end == '\0' || (c->recipients[k].domain != NULL && ends_with(c->recipients[k].domain, end)))
                return true;
        }
    }
    return false;
}

/* `$=w`, `$={partners}`; those that can't be read take any. */
static bool takes_class(const struct sendmail_doctor *d, const char *class)
{
    const char *const *names;
    size_t count, i;

    if (strcmp(class, "w") == 0 || strcmp(class, "{VirtHost}") == 0)
        return false;
    if (!sendmail_cf_class(&d->cf, class, &names, &count, NULL))
        return takes_below(d, "");
    for (i = 0; i < count; i++) {
        if (sendmail_is_strict(d, names[i]))
            return true;
    }
    return false;
}

bool sendmail_rule_takes(const struct sendmail_doctor *d, const struct sendmail_rule *rule)
{
    const char *host;

    if (!is_final(rule->right))
        return false;
    host = host_of(d, rule->left);
    if (*host != '\0' && strchr(host, '$') == NULL)
        return sendmail_is_strict(d, host);
    if (strncmp(host, "$=", 2) == 0 && strchr(host + 2, '$') == NULL)
        return takes_class(d, host + 2);
    if (*host == '$' && strchr("*+-", host[1]) != NULL && strchr(host + 2, '$') == NULL)
        return takes_below(d, host + 2);
    return takes_below(d, "");
}
