#include "overriding.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "policy/vary.h"
#include "store/audit.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_GOOD = 0, EXIT_NO = 1, EXIT_USAGE = 2 };

static const char daemon_itself[] = "danelawd";

struct overriding {
    struct store *store;
    struct ruleset *configured;
    struct overrides *overrides;
    uint64_t given;                 /* the version that the rules given last were made of */
    bool reconfigured;              /* since then */
    bool everyone_has_line;
};

/* Telling */

/* was, is: NULL where nothing is overridden; c: as configured, or NULL where it is gone. */
static void note(struct overriding *o, const char *by, const char *action, const char *name, const struct connector *c,
                 const struct override *was, const struct override *is)
{
    char before[OVERRIDE_TEXT_SIZE], after[OVERRIDE_TEXT_SIZE];

    audit_note(o->store, &(struct audit_entry){ .by = by, .action = action, .connector = name,
                                                .before = override_print(was, c, before),
                                                .after = override_print(is, c, after) });
}

/* What goes on under configured rules that are not what the override was made for, or ask for more than it does. */
static void say_misfit(const struct ruleset *configured, const struct override *it, struct text *ret)
{
    const struct connector *c = ruleset_named(configured, it->connector);
    char modes[OVERRIDE_TEXT_SIZE];
    struct fault why;

    if (c == NULL)
        text_print(ret, "mode: an override is kept for \"%s\", but there is no such connector; danelaw mode \"%s\" --clear "
                   "ends it\n", it->connector, it->connector);
    else if (!override_is_idle(it, c) && !override_fits(configured, c, it, &why))
        text_print(ret, "mode: the override of \"%s\" holds its mail: %s\n", it->connector, why.text);
    else if (override_weakens(it, c))           /* maybe it didn't when it was made */
        text_print(ret, "mode: \"%s\" is overridden by %s and asks for less than its configuration: %s\n", it->connector,
                   it->by, override_print(it, c, modes));
}

static void say_misfits(struct overriding *o, struct text *ret)
{
    uint64_t version;
    size_t count, i;
    struct override *list = overrides_list(o->overrides, &count, &version);

    for (i = 0; i < count; i++)
        say_misfit(o->configured, &list[i], ret);
    free(list);
}

/* The rules */

struct ruleset *overriding_rules(struct overriding *o)
{
    size_t count;
    struct override *list = overrides_list(o->overrides, &count, &o->given);
    struct ruleset *rules = ruleset_vary(o->configured, list, count);

    o->reconfigured = false;
    free(list);
    return rules;
}

bool overriding_turned(struct overriding *o)
{
    uint64_t version;
    size_t count;

    free(overrides_list(o->overrides, &count, &version));
    return o->reconfigured || version != o->given;
}

static void note_orphans(struct overriding *o, const struct ruleset *fresh)
{
    uint64_t version;
    size_t count, i;
    struct override *list = overrides_list(o->overrides, &count, &version);

    for (i = 0; i < count; i++) {
        const struct connector *c = ruleset_named(o->configured, list[i].connector);

        if (c != NULL && ruleset_named(fresh, list[i].connector) == NULL)
            note(o, daemon_itself, "mode without connector", list[i].connector, NULL, &list[i], &list[i]);
    }
    free(list);
}

void overriding_configure(struct overriding *o, struct ruleset *configured, struct text *ret_words)
{
    note_orphans(o, configured);
    ruleset_unref(o->configured);
    o->configured = ruleset_ref(configured);
    o->reconfigured = true;
    say_misfits(o, ret_words);
}

static void expire(struct overriding *o)
{
    int64_t now = (int64_t)clock_wall();
    uint64_t version;
    size_t count, i;
    struct override *list = overrides_list(o->overrides, &count, &version);

    for (i = 0; i < count; i++) {
        /* A clock that was set back makes it no longer than anybody may ask for. */
        if (list[i].until == 0 || (list[i].until > now && list[i].until - now <= MODES_SPAN_MOST))
            continue;
        note(o, daemon_itself, "mode expired", list[i].connector, ruleset_named(o->configured, list[i].connector), &list[i],
             NULL);
        overrides_drop(o->overrides, list[i].connector);
    }
    free(list);
}

void overriding_tend(struct overriding *o)
{
    overrides_load(o->overrides);
    expire(o);
}

int64_t overriding_next(struct overriding *o)
{
    uint64_t version;
    size_t count, i;
    struct override *list = overrides_list(o->overrides, &count, &version);
    int64_t next = 0;

    for (i = 0; i < count; i++) {
        if (list[i].until != 0 && (next == 0 || list[i].until < next))
            next = list[i].until;
    }
    free(list);
    return next;
}

struct overriding *overriding_open(struct store *store, struct ruleset *configured, bool everyone_has_line,
                                   struct overrides_hook hook)
{
    struct overriding *o = mem_zero(sizeof(*o));
    struct text words;
    const char *line;

    o->store = store;
    o->configured = ruleset_ref(configured);
    o->everyone_has_line = everyone_has_line;
    o->overrides = overrides_open(store, hook);
    expire(o);
    text_init(&words, 64 * 1024);
    say_misfits(o, &words);
    for (line = text_words(&words); *line != '\0'; line += strcspn(line, "\n") + 1)
        log_warning("%.*s", (int)strcspn(line, "\n"), line);
    text_done(&words);
    return o;
}

void overriding_close(struct overriding *o)
{
    if (o == NULL)
        return;
    overrides_close(o->overrides);
    ruleset_unref(o->configured);
    free(o);
}

/* Orders */

static void refuse(struct mode_outcome *ret, int exit, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(struct mode_outcome *ret, int exit, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    text_put(&ret->words, line);
    ret->exit = exit;
}

static void refuse_stranger(const struct ruleset *configured, const char *name, struct mode_outcome *ret)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 1, i;

    if (strcmp(name, ruleset_default(configured)->name) == 0) {
        refuse(ret, EXIT_NO, "%s can't be overridden: it rules the mail that no connector names; write a connector", name);
        return;
    }
    for (i = 0; i < ruleset_count(configured); i++) {
        size_t distance = text_distance(ruleset_at(configured, i)->name, name);

        if (distance < best || (nearest == NULL && distance == best)) {
            best = distance;
            nearest = ruleset_at(configured, i)->name;
        }
    }
    if (nearest != NULL)
        refuse(ret, EXIT_NO, "no connector is called \"%s\"; did you mean \"%s\"?", name, nearest);
    else
        refuse(ret, EXIT_NO, "no connector is called \"%s\"", name);
}

static void clear(struct overriding *o, const char *name, const char *by, struct mode_outcome *ret)
{
    const struct connector *c = ruleset_named(o->configured, name);
    struct override was;

    if (overrides_get(o->overrides, name, &was)) {
        overrides_drop(o->overrides, name);
        note(o, by, "mode cleared", name, c, &was, NULL);
        ret->changed = true;
    } else if (c == NULL) {
        refuse_stranger(o->configured, name, ret);
    }
}

static struct override override_of(const struct mode_order *order, const char *by, int64_t now)
{
    struct override it = { .sets_dane = order->sets_dane, .sets_sts = order->sets_sts, .smtp_dane = order->smtp_dane,
                           .mta_sts = order->mta_sts, .until = order->span == 0 ? 0 : now + order->span, .set_at = now };

    snprintf(it.connector, sizeof(it.connector), "%s", order->connector);
    snprintf(it.by, sizeof(it.by), "%s", by);
    return it;
}

/* Postfix's table has no line for `*`: its road is in the MTA's own configuration. */
static bool leaves_everyone(const struct connector *c, const struct override *it)
{
    size_t i;

    if (!connector_is_mandatory(c) || !override_weakens(it, c))
        return false;
    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_EVERYONE)
            return true;
    }
    return false;
}

static void set(struct overriding *o, const struct connector *c, const struct override *it, struct mode_outcome *ret)
{
    struct override was;
    bool replaces = overrides_get(o->overrides, c->name, &was);
    struct fault why;

    if (!override_fits(o->configured, c, it, &why) || !overrides_put(o->overrides, it, &why)) {
        refuse(ret, EXIT_NO, "connector \"%s\": %s", c->name, why.text);
        return;
    }
    note(o, it->by, "mode set", c->name, c, replaces ? &was : NULL, it);
    ret->changed = true;
    if (override_drops_fallback(c, it))
        text_print(&ret->words, "the fallback \"%s\" is too weak for a mandatory connector and is not taken meanwhile\n",
                   c->fallback->name);
    if (!o->everyone_has_line && leaves_everyone(c, it))
        text_put(&ret->words, "mail that only \"*\" covers goes by Postfix's default_transport, not by the table: it stays on the "
                              "mandatory road until main.cf says default_transport = danelaw\n");
}

void overriding_obey(struct overriding *o, const struct mode_order *order, const char *by, struct mode_outcome *ret)
{
    const struct connector *c = ruleset_named(o->configured, order->connector);
    struct override it = override_of(order, by, (int64_t)clock_wall());

    *ret = (struct mode_outcome){ .exit = EXIT_GOOD };
    text_init(&ret->words, 16 * 1024);
    if (order->clear) {
        clear(o, order->connector, by, ret);
    } else if (c == NULL) {
        refuse_stranger(o->configured, order->connector, ret);
    } else if (override_is_idle(&it, c)) {
        clear(o, c->name, by, ret);
        text_print(&ret->words, "that is what the configuration says: nothing is overridden now\n");
    } else if (override_weakens(&it, c) && order->span == 0 && !order->permanent) {
        refuse(ret, EXIT_USAGE, "connector \"%s\" is configured smtp_dane=%s mta_sts=%s, and that would be weaker: say for "
               "how long (--for 2h, at most 7d), or --permanent", c->name, mode_word(c->smtp_dane), mode_word(c->mta_sts));
    } else {
        set(o, c, &it, ret);
    }
}

/* Doubts */

bool overriding_sure(struct overriding *o, struct fault *why)
{
    return overrides_sure(o->overrides, why);
}

void overriding_trust(struct overriding *o)
{
    overrides_trust(o->overrides);
}

bool overriding_kept(struct overriding *o, int64_t until_ms)
{
    return overrides_await(o->overrides, until_ms);
}
