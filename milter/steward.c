#include "steward.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "mta/tables.h"
#include "overriding.h"
#include "restart.h"
#include "server/report.h"
#include "store/audit.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

enum {
    TABLES_GOOD_MS = 10 * 60 * 1000,    /* the MTA's own domains may have changed meanwhile */
    TABLES_BAD_MS = 5 * 1000,       /* somebody may have made room, or have written them by hand */
    TABLES_LOOK_MS = 1000,              /* somebody may have put old ones in their place: mail would miss its road */
    CLOCK_LOOK_MS = 30 * 1000,          /* the wall clock may be set while an override runs */
    KEEP_MS = 2 * 1000,                 /* how long an answer waits for the store */
    EXIT_GOOD = 0, EXIT_TEMPORARY = 75, EXIT_CONFIG = 78,
    JOBS_MAX = 64,
    RULES_LARGE = 1000,
    TIDY_MS = 10 * 60 * 1000,
    FADE_MS = 2 * 1000,                 /* by then nobody has rules any more that others have replaced, but for some sessions */
};

/* What an administrator waits for; done one after the other. */
struct chore {
    struct chore *next;
    void (*run)(struct steward *s, struct chore *c);
    struct control_job *job;
    struct mode_order order;
    enum tables_order tables;
};

struct steward {
    const char *config_path;
    const struct configuration *config;     /* that of the start */
    struct store *store;
    struct engine *engine;
    struct overriding *overriding;          /* steward thread only, once that runs */
    pthread_t thread;
    struct mutex lock;
    struct signal changed;
    bool stop GUARDED_BY(lock), reload GUARDED_BY(lock), turned GUARDED_BY(lock);
    struct control_job *jobs[JOBS_MAX] GUARDED_BY(lock);
    size_t job_count GUARDED_BY(lock);
    struct chore *chores GUARDED_BY(lock), **last_chore GUARDED_BY(lock);
    size_t chore_count GUARDED_BY(lock);
    struct fault tables_why GUARDED_BY(lock);
    bool tables_good GUARDED_BY(lock);
    int64_t tables_at;                      /* steward thread only, as is all below */
    uint64_t tables_seen;                   /* what they looked like when we had seen to them */
    int64_t tidy_at;                        /* when to give memory back */
};

/* One log line for each line of text. */
static void log_lines(const char *lines, void (*say)(const char *format, ...))
{
    const char *end;

    for (; *lines != '\0'; lines = *end == '\0' ? end : end + 1) {
        end = strchrnul(lines, '\n');
        say("%.*s", (int)(end - lines), lines);
    }
}

/* Those who wait for one reload. Who comes while it is under way has changed the file since, and waits for the next. */
struct batch {
    struct control_job *jobs[JOBS_MAX];
    size_t count;
};

static void take_jobs_locked(struct steward *s, struct batch *ret) HOLDING(s->lock)
{
    ret->count = s->job_count;
    memcpy(ret->jobs, s->jobs, sizeof(ret->jobs));
    s->job_count = 0;
}

static void finish_jobs(const struct batch *b, int exit_code, const char *lines)
{
    size_t i;

    for (i = 0; i < b->count; i++)
        control_job_done(b->jobs[i], exit_code, lines);
}

/* Where overrides may be missing that asked for more, what is there already may be stricter than what would be written. */
static bool may_write(struct steward *s, const struct ruleset *rules, struct fault *why)
{
    struct fault doubt, stale;

    if (overriding_sure(s->overriding, &doubt) || !tables_there(&s->config->settings))
        return true;
    if (!tables_current(&s->config->settings, rules, &stale))
        return fault_set(why, "%.120s; the old table is left alone until \"danelaw tables\" or a reload asks for another",
                         doubt.text);
    log_warning("tables: %s, but the table has none: taken for all there were", doubt.text);
    overriding_trust(s->overriding);
    return true;
}

static void say_tables(struct steward *s, bool good, bool changed, const struct fault *why)
{
    bool was_good, said;

    mutex_lock(&s->lock);
    was_good = s->tables_good;
    said = strcmp(s->tables_why.text, why->text) == 0;
    s->tables_good = good;
    s->tables_why = *why;
    mutex_unlock(&s->lock);
    if (!good && !said)
        log_error("tables: %s; the old table stays in force", why->text);
    else if (good && changed)
        log_info("tables: written anew");
    else if (good && !was_good && strcmp(s->config->settings.tables.mta, "none") != 0)
        log_info("tables: current");
}

/* Sendmail sends what it relays by the same mailers as all else: unlike Postfix's, its transports don't tell. */
static void tell_own(struct steward *s)
{
    const struct settings *set = &s->config->settings;
    struct tables_own own = { NULL };
    struct arena *memory;

    if (strcmp(set->tables.mta, "sendmail") != 0)
        return;
    memory = arena_new();
    if (tables_own(set, memory, &own, NULL))        /* else the last ones known stand: without them no wildcard is written */
        engine_own(s->engine, own.domains, own.count);
    arena_free(memory);
}

/* Logs what there is to say; why (or NULL) also hears of a failure. */
static bool write_tables(struct steward *s, bool *ret_changed, struct fault *ret_why)
{
    struct ruleset *rules = engine_rules(s->engine);
    const struct settings *set = &s->config->settings;
    struct fault why = { "" };
    bool changed = false, good;
    uint64_t before;

    if (!tables_look(set, &before))
        before = s->tables_seen;
    good = may_write(s, rules, &why) && tables_write(set, rules, &changed, &why);
    if ((good && !changed) || !tables_look(set, &s->tables_seen))
        s->tables_seen = before;                /* who came meanwhile is noticed */
    engine_tables(s->engine, good);
    tell_own(s);
    ruleset_unref(rules);
    say_tables(s, good, changed, &why);
    if (ret_changed != NULL)
        *ret_changed = changed;
    if (ret_why != NULL)
        *ret_why = why;
    s->tables_at = clock_ms() + (good ? TABLES_GOOD_MS : TABLES_BAD_MS);
    return good;
}

/* The rules as they are to be now; their table follows. */
static void put_in_force(struct steward *s)
{
    engine_tables(s->engine, false);                /* until they are written */
    engine_adopt(s->engine, overriding_rules(s->overriding));
}

static void adopt(struct steward *s, struct configuration *fresh, struct text *ret_words)
{
    enum log_level level;
    size_t count = ruleset_count(fresh->rules);
    struct fault doubt;

    restart_wanted(&s->config->settings, &fresh->settings, ret_words);
    if (log_level_parse(fresh->settings.log.level, &level))
        log_set_level(level);
    overriding_configure(s->overriding, fresh->rules, ret_words);
    if (!overriding_sure(s->overriding, &doubt))
        text_print(ret_words, "%s; the configuration counts, the table follows it\n", doubt.text);
    overriding_trust(s->overriding);
    put_in_force(s);
    config_free(fresh);
    if (count >= RULES_LARGE)
        s->tidy_at = clock_ms() + FADE_MS;
    log_info("reload: %zu connectors in force", count);
    log_lines(text_words(ret_words), log_warning);
}

static void audit_reload(struct steward *s, const struct batch *askers, const char *action, const char *after)
{
    const char *by = askers->count == 0 ? "signal" : control_job_by(askers->jobs[0]);

    audit_note(s->store, &(struct audit_entry){ .by = by, .action = action, .after = after });
}

static void adopt_and_tell(struct steward *s, struct configuration *fresh, const struct batch *askers)
{
    struct fault why;
    struct text words;
    char after[64];
    bool good;

    text_init(&words, 1024 * 1024);
    snprintf(after, sizeof(after), "%zu connectors", ruleset_count(fresh->rules));
    audit_reload(s, askers, "reload", after);
    adopt(s, fresh, &words);
    good = write_tables(s, NULL, &why);             /* rules without their table send no mail on its road */
    if (!good)
        text_print(&words, "tables: %s; the old table stays in force\n", why.text);
    finish_jobs(askers, good ? EXIT_GOOD : EXIT_FAILURE, text_words(&words));
    text_done(&words);
}

static void do_reload(struct steward *s, const struct batch *askers)
{
    struct configuration *fresh = NULL;
    struct config_report report;
    AUTO(free) char *first = NULL;

    config_report_init(&report);
    if (config_load(s->config_path, &fresh, &report)) {
        log_lines(text_words(&report.hints), log_info);
        adopt_and_tell(s, fresh, askers);
    } else {
        log_error("reload: the configuration is faulty; the old rules stay in force");
        log_lines(text_words(&report.faults), log_error);
        first = mem_text(text_words(&report.faults));
        *strchrnul(first, '\n') = '\0';
        audit_reload(s, askers, "reload failed", first);
        finish_jobs(askers, EXIT_CONFIG, text_words(&report.faults));
    }
    config_report_done(&report);
}

/* What people are told ends without a line's end. */
static void end_job(struct control_job *job, int exit, json_t *item, struct text *words)
{
    while (words->length > 0 && words->bytes[words->length - 1] == '\n')
        words->bytes[--words->length] = '\0';
    control_job_end(job, exit, item, text_words(words));
}

static json_t *item_named(struct steward *s, const char *name)
{
    struct ruleset *rules = engine_rules(s->engine);
    const struct connector *c = ruleset_named(rules, name);
    json_t *item = c == NULL ? NULL : report_connector(s->engine, c);

    ruleset_unref(rules);
    return item;
}

/*
 * The rules first, then their table: until that is written, the map asks for what the rules demand. Where overrides may be
 * missing it is not: whoever speaks of one connector says nothing about the others.
 */
static int put_order_in_force(struct steward *s, struct text *ret_words)
{
    struct fault why;
    bool good;

    put_in_force(s);
    good = write_tables(s, NULL, &why);
    if (!good)
        text_print(ret_words, "in force in the daemon, but not in the MTA's table: %s; the old table stays\n", why.text);
    if (overriding_kept(s->overriding, clock_ms() + KEEP_MS))
        return good ? EXIT_GOOD : EXIT_FAILURE;
    text_print(ret_words, "in force now, but not kept: until the store can be written, a restart of the daemon undoes it\n");
    return good ? EXIT_TEMPORARY : EXIT_FAILURE;
}

static void do_mode(struct steward *s, struct chore *c)
{
    struct mode_outcome outcome;
    json_t *item = NULL;

    overriding_tend(s->overriding);
    overriding_obey(s->overriding, &c->order, control_job_by(c->job), &outcome);
    if (outcome.changed)
        outcome.exit = put_order_in_force(s, &outcome.words);
    if (outcome.changed || outcome.exit == EXIT_GOOD)
        item = item_named(s, c->order.connector);
    end_job(c->job, outcome.exit, item, &outcome.words);
    text_done(&outcome.words);
}

static json_t *table_item(struct steward *s)
{
    struct text name;
    json_t *item = json_object();

    text_init(&name, 8192);
    tables_shown(&s->config->settings, &name);
    json_object_set_new(item, "table", report_text(text_words(&name)));
    text_done(&name);
    return item;
}

static bool has_tables(struct steward *s, struct control_job *job)
{
    if (strcmp(s->config->settings.tables.mta, "none") != 0)
        return true;
    control_job_end(job, EXIT_FAILURE, NULL, "danelawd was started with tables.mta = \"none\"; restart it");
    return false;
}

/* Of the rules in force, whatever the file says by now. */
static void check_table(struct steward *s, struct control_job *job)
{
    struct ruleset *rules = engine_rules(s->engine);
    json_t *item = table_item(s);
    struct fault why;
    bool current = tables_current(&s->config->settings, rules, &why);

    ruleset_unref(rules);
    json_object_set_new(item, "current", json_boolean(current));
    json_object_set_new(item, "why", current ? json_null() : report_text(why.text));
    control_job_end(job, current ? EXIT_GOOD : EXIT_FAILURE, item, NULL);
}

static void make_table(struct steward *s, struct control_job *job)
{
    struct fault why;
    bool changed;
    json_t *item;

    if (!write_tables(s, &changed, &why)) {
        control_job_end(job, EXIT_TEMPORARY, NULL, why.text);
        return;
    }
    item = table_item(s);
    json_object_set_new(item, "changed", json_boolean(changed));
    if (changed)
        audit_note(s->store, &(struct audit_entry){ .by = control_job_by(job), .action = "tables written" });
    control_job_end(job, EXIT_GOOD, item, NULL);
}

static void do_tables(struct steward *s, struct chore *c)
{
    if (!has_tables(s, c->job))
        return;
    switch (c->tables) {
    case TABLES_CHECK:
        check_table(s, c->job);
        return;
    case TABLES_REPLACE:
        overriding_trust(s->overriding);
        break;
    case TABLES_FOLLOW:
        break;
    }
    make_table(s, c->job);
}

static struct chore *take_chore(struct steward *s)
{
    struct chore *c;

    mutex_lock(&s->lock);
    c = s->stop ? NULL : s->chores;
    if (c != NULL) {
        s->chores = c->next;
        s->chore_count--;
        if (s->chores == NULL)
            s->last_chore = &s->chores;
    }
    mutex_unlock(&s->lock);
    return c;
}

static void do_chores(struct steward *s)
{
    struct chore *c;

    while ((c = take_chore(s)) != NULL) {
        c->run(s, c);
        free(c);
    }
}

/* Whether it is time to see to the tables, or somebody else has touched them. */
static bool tables_wanted(struct steward *s)
{
    uint64_t now;

    if (clock_ms() >= s->tables_at)
        return true;
    if (!tables_look(&s->config->settings, &now) || now == s->tables_seen)
        return false;
    log_warning("tables: somebody else has touched the table");
    tables_distrust(&s->config->settings);      /* he may have put its times back */
    return true;
}

/* What time brings: overrides end. Whether the rules are others now. */
static bool tend(struct steward *s)
{
    overriding_tend(s->overriding);
    if (!overriding_turned(s->overriding))
        return false;
    put_in_force(s);
    return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Old rules, and what a rush of mail took for a moment, lay between things that stay: malloc only gives that back when told to. */
static void tidy(struct steward *s)
{
    if (clock_ms() < s->tidy_at)
        return;
    malloc_trim(0);
    s->tidy_at = clock_ms() + TIDY_MS;
}

static int64_t wake_at(struct steward *s)
{
    bool is_written = strcmp(s->config->settings.tables.mta, "none") != 0;
    int64_t next = overriding_next(s->overriding), now = clock_ms(), at = earlier(s->tables_at, s->tidy_at), left;

    if (is_written)
        at = earlier(at, now + TABLES_LOOK_MS);
    if (next == 0)
        return at;
    left = next * 1000 - clock_wall_ms();
    return earlier(at, now + (left < 0 ? 0 : earlier(left, CLOCK_LOOK_MS)));
}

/* What there is to do besides chores. */
struct wake {
    bool reload, turned;
    struct batch askers;
};

/* Until there is something to do; false: stop. */
static bool wait_for_chore(struct steward *s, struct wake *ret)
{
    int64_t until = wake_at(s);
    bool in_time = true, go_on;

    mutex_lock(&s->lock);
    while (!s->stop && !s->reload && !s->turned && s->chores == NULL && in_time)
        in_time = signal_wait_until(&s->changed, &s->lock, until);
    ret->reload = s->reload;
    ret->turned = s->turned;
    s->reload = s->turned = false;
    take_jobs_locked(s, &ret->askers);
    go_on = !s->stop;
    mutex_unlock(&s->lock);
    return go_on;
}

static void *steward_body(void *argument)
{
    struct steward *s = argument;
    struct wake wake;

    write_tables(s, NULL, NULL);
    while (wait_for_chore(s, &wake)) {
        if (wake.reload)
            do_reload(s, &wake.askers);
        do_chores(s);
        if (tend(s) || wake.turned || tables_wanted(s))
            write_tables(s, NULL, NULL);
        tidy(s);
    }
    finish_jobs(&wake.askers, EXIT_FAILURE, "the daemon is stopping\n");
    return NULL;
}

struct steward *steward_new(const char *config_path, const struct configuration *config, struct store *store)
{
    struct steward *s = mem_zero(sizeof(*s));

    s->config_path = config_path;
    s->config = config;
    s->store = store;
    s->last_chore = &s->chores;
    mutex_init(&s->lock);
    signal_init(&s->changed);
    s->overriding = overriding_open(store, config->rules, strcmp(config->settings.tables.mta, "sendmail") == 0,
                                    (struct overrides_hook){ .call = steward_turn, .self = s });
    return s;
}

struct ruleset *steward_rules(struct steward *s)
{
    return overriding_rules(s->overriding);
}

void steward_start(struct steward *s, struct engine *engine)
{
    s->engine = engine;
    s->tidy_at = clock_ms() + TIDY_MS;
    thread_start(&s->thread, "steward", steward_body, s);
}

static void finish_chores(struct steward *s) UNCHECKED          /* nobody else is left */
{
    struct chore *c, *next;

    for (c = s->chores; c != NULL; c = next) {
        next = c->next;
        control_job_end(c->job, EXIT_FAILURE, NULL, "the daemon is stopping");
        free(c);
    }
}

void steward_stop(struct steward *s)
{
    if (s == NULL)
        return;
    mutex_lock(&s->lock);
    s->stop = true;
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    finish_chores(s);
}

void steward_free(struct steward *s)
{
    if (s == NULL)
        return;
    overriding_close(s->overriding);
    signal_done(&s->changed);
    mutex_done(&s->lock);
    free(s);
}

static void add_chore(struct steward *s, const struct chore *wanted)
{
    struct chore *c = mem_zero(sizeof(*c));
    bool crowded;

    *c = *wanted;
    mutex_lock(&s->lock);
    crowded = s->chore_count == JOBS_MAX;
    if (!crowded) {
        *s->last_chore = c;
        s->last_chore = &c->next;
        s->chore_count++;
    }
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
    if (!crowded)
        return;
    free(c);
    control_job_end(wanted->job, EXIT_TEMPORARY, NULL, "too much is under way; try again in a moment");
}

void steward_mode(struct steward *s, const struct mode_order *order, struct control_job *job)
{
    add_chore(s, &(struct chore){ .run = do_mode, .job = job, .order = *order });
}

void steward_write(struct steward *s, enum tables_order order, struct control_job *job)
{
    add_chore(s, &(struct chore){ .run = do_tables, .job = job, .tables = order });
}

void steward_reload(struct steward *s, struct control_job *job)
{
    bool crowded;

    mutex_lock(&s->lock);
    crowded = job != NULL && s->job_count == JOBS_MAX;
    if (job != NULL && !crowded)
        s->jobs[s->job_count++] = job;
    s->reload = true;
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
    if (crowded)
        control_job_done(job, EXIT_GOOD, "a reload is under way already\n");
}

void steward_turn(void *steward)
{
    struct steward *s = steward;

    mutex_lock(&s->lock);
    s->turned = true;
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
}

void steward_tables(struct steward *s, bool *ret_good, char *ret_why, size_t size)
{
    mutex_lock(&s->lock);
    *ret_good = s->tables_good;
    snprintf(ret_why, size, "%s", s->tables_why.text);
    mutex_unlock(&s->lock);
}
