#include "steward.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "mta/tables.h"
#include "server/control.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

enum {
    TABLES_GOOD_MS = 10 * 60 * 1000,    /* the MTA's own domains may have changed meanwhile */
    TABLES_BAD_MS = 5 * 1000,       /* somebody may have made room, or have written them by hand */
    EXIT_GOOD = 0, EXIT_CONFIG = 78,
    JOBS_MAX = 64,
    RULES_LARGE = 1000,
};

struct steward {
    const char *config_path;
    const struct configuration *config;     /* that of the start */
    struct engine *engine;
    pthread_t thread;
    struct mutex lock;
    struct signal changed;
    bool stop GUARDED_BY(lock), reload GUARDED_BY(lock), turned GUARDED_BY(lock);
    struct control_job *jobs[JOBS_MAX] GUARDED_BY(lock);
    size_t job_count GUARDED_BY(lock);
    struct fault tables_why GUARDED_BY(lock);
    bool tables_good GUARDED_BY(lock);
    int64_t tables_at;                      /* steward thread only */
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

static bool same_list(const struct setting_list *a, const struct setting_list *b)
{
    size_t i;

    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

static bool same_setting(const struct setting *which, const struct settings *a, const struct settings *b)
{
    const void *x = (const char *)a + which->offset, *y = (const char *)b + which->offset;

    switch (which->kind) {
    case SETTING_TEXT:
    case SETTING_WORD:
        return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
    case SETTING_FLAG:
        return *(const bool *)x == *(const bool *)y;
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_MODE:
        return *(const uint32_t *)x == *(const uint32_t *)y;
    case SETTING_SIZE:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    case SETTING_LIST:
        return same_list(x, y);
    }
    return false;
}

/* Of all settings outside connectors and routes only these take effect at a reload. */
static bool takes_effect(const struct setting_group *group, const struct setting *which)
{
    return strcmp(which->name, "connectors_dir") == 0 ||
           (strcmp(group->name, "log") == 0 && strcmp(which->name, "level") == 0);
}

/* What a reload can't change while we run. */
static void compare_settings(const struct settings *old, const struct settings *new, struct text *ret)
{
    const struct setting_group *group;
    const struct setting *which;

    for (group = settings_groups; group->name != NULL; group++) {
        for (which = group->settings; which->name != NULL; which++) {
            if (!takes_effect(group, which) && !same_setting(which, old, new))
                text_print(ret, "%s%s%s has changed; restart danelawd for that\n", group->name,
                           *group->name == '\0' ? "" : ".", which->name);
        }
    }
}

/* Logs what there is to say; ret_words (or NULL) also hears of a failure. */
static bool write_tables(struct steward *s, struct text *ret_words)
{
    struct ruleset *rules = engine_rules(s->engine);
    struct fault why = { "" };
    bool changed = false, good, was_good, said;

    good = tables_write(&s->config->settings, rules, &changed, &why);
    engine_tables(s->engine, good);
    ruleset_unref(rules);
    mutex_lock(&s->lock);
    was_good = s->tables_good;
    said = strcmp(s->tables_why.text, why.text) == 0;
    s->tables_good = good;
    s->tables_why = why;
    mutex_unlock(&s->lock);
    if (!good && !said)
        log_error("tables: %s; the old table stays in force", why.text);
    else if (good && changed)
        log_info("tables: written anew");
    else if (good && !was_good && strcmp(s->config->settings.tables.mta, "none") != 0)
        log_info("tables: current");
    if (!good && ret_words != NULL)
        text_print(ret_words, "tables: %s; the old table stays in force\n", why.text);
    s->tables_at = clock_ms() + (good ? TABLES_GOOD_MS : TABLES_BAD_MS);
    return good;
}

static void adopt(struct steward *s, struct configuration *fresh, struct text *ret_words)
{
    enum log_level level;
    size_t count = ruleset_count(fresh->rules);

    compare_settings(&s->config->settings, &fresh->settings, ret_words);
    if (log_level_parse(fresh->settings.log.level, &level))
        log_set_level(level);
    engine_tables(s->engine, false);                /* until they are written */
    engine_adopt(s->engine, ruleset_ref(fresh->rules));
    config_free(fresh);
    if (count >= RULES_LARGE)
        malloc_trim(0);
    log_info("reload: %zu connectors in force", count);
    log_lines(text_words(ret_words), log_warning);
}

static void do_reload(struct steward *s, const struct batch *askers)
{
    struct configuration *fresh = NULL;
    struct config_report report;
    struct text words;
    bool good;

    config_report_init(&report);
    text_init(&words, 1024 * 1024);
    if (config_load(s->config_path, &fresh, &report)) {
        log_lines(text_words(&report.hints), log_info);
        adopt(s, fresh, &words);
        good = write_tables(s, &words);     /* rules without their table send no mail on its road */
        finish_jobs(askers, good ? EXIT_GOOD : EXIT_FAILURE, text_words(&words));
    } else {
        log_error("reload: the configuration is faulty; the old rules stay in force");
        log_lines(text_words(&report.faults), log_error);
        finish_jobs(askers, EXIT_CONFIG, text_words(&report.faults));
    }
    text_done(&words);
    config_report_done(&report);
}

/* Until there is a chore; false: stop. ret_askers: who wait for it. */
static bool wait_for_chore(struct steward *s, bool *ret_reload, struct batch *ret_askers)
{
    bool in_time = true, go_on;

    mutex_lock(&s->lock);
    while (!s->stop && !s->reload && !s->turned && in_time)
        in_time = signal_wait_until(&s->changed, &s->lock, s->tables_at);
    *ret_reload = s->reload;
    s->reload = s->turned = false;
    take_jobs_locked(s, ret_askers);
    go_on = !s->stop;
    mutex_unlock(&s->lock);
    return go_on;
}

static void *steward_body(void *argument)
{
    struct steward *s = argument;
    struct batch askers;
    bool reload;

    write_tables(s, NULL);
    while (wait_for_chore(s, &reload, &askers)) {
        if (reload)
            do_reload(s, &askers);
        else
            write_tables(s, NULL);
    }
    finish_jobs(&askers, EXIT_FAILURE, "the daemon is stopping\n");
    return NULL;
}

struct steward *steward_start(const char *config_path, const struct configuration *config, struct engine *engine)
{
    struct steward *s = mem_zero(sizeof(*s));

    s->config_path = config_path;
    s->config = config;
    s->engine = engine;
    mutex_init(&s->lock);
    signal_init(&s->changed);
    thread_start(&s->thread, "steward", steward_body, s);
    return s;
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
    signal_done(&s->changed);
    mutex_done(&s->lock);
    free(s);
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
