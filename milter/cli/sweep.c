#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* How much is gathered before it is returned, so that a sweep of a great queue needs no great memory. */
enum { BATCH_MESSAGES = 500, BATCH_RECIPIENTS = 20000 };

/* A message to be returned; its texts live in the batch's arena. */
struct doomed {
    const char *id, *sender;
    int64_t age;
    const char **recipients;
    enum reason *reasons;
    size_t count;
};

/* One sweep. */
struct broom {
    struct queue_reader reader;
    struct sweep sweep;
    const struct cli *c;
    struct queue queue;
    struct words *words;
    struct arena *batch;
    struct doomed items[BATCH_MESSAGES];
    size_t count, recipients;
    size_t shown;
    bool failed;                /* nothing more is touched */
    bool late;                  /* it has been said that Postfix can't be woken */
};

static void show_json(const struct doomed *d, const char *action)
{
    json_t *item, *recipients = json_array();
    size_t i;

    for (i = 0; i < d->count; i++)
        json_array_append_new(recipients, output_text(d->recipients[i]));
    item = json_pack("{s:s, s:I, s:o, s:s}", "queue_id", d->id, "age", (json_int_t)d->age, "recipients", recipients, "action",
                     action);
    output_json(item);
    json_decref(item);
}

static void show(struct broom *b, const struct doomed *d, const char *action, const char *words)
{
    char age[OUTPUT_SPAN_SIZE];
    size_t i;

    b->shown++;
    if (b->c->json) {
        show_json(d, action);
        return;
    }
    printf("%s: %s, after %s", d->id, words, output_span(d->age, age));
    for (i = 0; i < d->count; i++) {
        fputs(i == 0 ? ": " : ", ", stdout);
        output_put(d->recipients[i]);
    }
    putchar('\n');
}

/* What can't be taken up now is when Postfix comes to it by itself. */
static void wake(struct broom *b, const char *id)
{
    struct fault why;

    if (!queue_attempt(&b->queue, id, &why) && !b->late) {
        cli_remark("%s; Postfix will come to it by itself", why.text);
        b->late = true;
    }
}

static void finish(struct broom *b, const struct doomed *d)
{
    size_t i;

    wake(b, d->id);
    for (i = 0; i < d->count; i++)
        words_tell(b->words, d->id, d->recipients[i], d->sender, d->reasons[i]);
    show(b, d, "bounced", "bounced");
}

static void return_batch(struct broom *b)
{
    const char *ids[BATCH_MESSAGES];
    bool done[BATCH_MESSAGES] = { false };
    struct fault why;
    size_t i;

    for (i = 0; i < b->count; i++)
        ids[i] = b->items[i].id;
    if (b->count > 0 && !b->failed && !queue_expire(&b->queue, ids, b->count, done, &why)) {
        cli_remark("%s", why.text);
        b->failed = true;
    }
    for (i = 0; i < b->count; i++) {
        if (done[i])                    /* the others have left the queue meanwhile */
            finish(b, &b->items[i]);
    }
    arena_free(b->batch);
    b->batch = arena_new();
    b->count = b->recipients = 0;
}

static struct doomed copy_of(const struct broom *b, const struct queued *m, const enum reason *reasons)
{
    struct doomed d = { .id = arena_text(b->batch, m->id), .sender = arena_text(b->batch, m->sender),
                        .age = b->sweep.now - m->arrival, .count = m->count };
    size_t i;

    d.recipients = arena_take(b->batch, m->count * sizeof(*d.recipients));
    d.reasons = arena_take(b->batch, m->count * sizeof(*d.reasons));
    memcpy(d.reasons, reasons, m->count * sizeof(*d.reasons));
    for (i = 0; i < m->count; i++)
        d.recipients[i] = arena_text(b->batch, m->recipients[i].address);
    return d;
}

static void add(struct broom *b, const struct queued *m, const enum reason *reasons, enum sweep_action action)
{
    struct doomed d = copy_of(b, m, reasons);

    b->recipients += m->count;
    if (action == SWEEP_MIXED)
        show(b, &d, "mixed", "left, because it has other recipients, too");
    else if (b->c->dry_run)
        show(b, &d, "would bounce", "would bounce");
    else
        b->items[b->count++] = d;
    if (b->count == BATCH_MESSAGES || b->recipients >= BATCH_RECIPIENTS)
        return_batch(b);
}

static void take_message(struct queue_reader *self, const struct queued *m)
{
    struct broom *b = (struct broom *)self;
    enum reason *reasons = mem_array(m->count + 1, sizeof(*reasons));
    enum sweep_action action = SWEEP_LEAVE;

    if (!b->failed)
        action = sweep_judge(&b->sweep, m, reasons);
    if (action == SWEEP_TRY && !b->c->dry_run)
        wake(b, m->id);
    if (action == SWEEP_MIXED || action == SWEEP_BOUNCE)
        add(b, m, reasons, action);
    free(reasons);
}

static const struct sweep_word *ask(struct sweep *self, const struct connector *c, const struct domain *domain,
                                    const char *to, const char *from)
{
    struct broom *b = (struct broom *)((char *)self - offsetof(struct broom, sweep));

    return words_ask(b->words, c, domain, to, from);
}

static int go_through(struct broom *b)
{
    size_t strange = 0;
    struct fault why;
    bool read = queue_read(&b->queue, &b->reader, &strange, &why);

    if (!read)
        cli_remark("%s", why.text);
    return_batch(b);
    if (strange > 0)
        cli_remark("%zu messages are left alone, because what Postfix says of them can't be understood", strange);
    if (!read || b->failed)
        return CLI_TEMPORARY;
    if (b->shown == 0 && !b->c->json)
        puts("nothing has waited too long");
    return CLI_GOOD;
}

static int sweep(const struct cli *c, const struct configuration *conf)
{
    struct broom *b = mem_zero(sizeof(*b));
    struct arena *places = arena_new();
    struct tables_own own;
    struct fault why;
    int exit;

    *b = (struct broom){ .reader.message = take_message, .c = c, .batch = arena_new(), .words = words_open(c, conf),
                         .sweep = { .rules = conf->rules, .own = &own, .now = clock_wall(), .mixed = c->mixed, .ask = ask } };
    if (!tables_own(&conf->settings, places, &own, &why)) {
        cli_remark("%s; so only mail to domains that connectors name in full is looked at", why.text);
        b->sweep.own = NULL;
    }
    if (queue_find(&conf->settings, places, &b->queue, &why))
        exit = go_through(b);
    else
        exit = cli_fail(CLI_CONFIG, "%s", why.text);
    words_close(b->words);
    arena_free(b->batch);
    arena_free(places);
    free(b);
    return exit;
}

/* The descriptor that keeps others out while it is open, or -1 with ret_exit. */
static int lock(const struct settings *set, int *ret_exit)
{
    char path[4096];
    int file;

    snprintf(path, sizeof(path), "%s/sweep.lock", set->store.directory);
    file = open(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0)
        return file;
    if (file >= 0 && errno == EWOULDBLOCK)
        *ret_exit = cli_fail(CLI_TEMPORARY, "another sweep is under way");
    else
        *ret_exit = cli_fail(CLI_TEMPORARY, "%s: cannot be locked: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    return -1;
}

static int sweep_alone(const struct cli *c, const struct configuration *conf)
{
    int exit, file;

    if (geteuid() != 0)
        return cli_fail(CLI_NO, "only root may return mail: run this as root, or with -n to see what would be done");
    file = lock(&conf->settings, &exit);
    if (file < 0)
        return exit;
    exit = sweep(c, conf);
    close(file);
    return exit;
}

int cli_sweep(const struct cli *c)
{
    struct configuration *conf;
    int exit = CLI_GOOD;

    if (!cli_load(c, false, &conf, &exit))
        return exit;
    if (strcmp(conf->settings.tables.mta, "sendmail") == 0)
        cli_remark("tables.mta is \"sendmail\": there is nothing to sweep, since Sendmail asks danelawd at each queue run, which "
                   "gives up what has waited too long");
    else if (strcmp(conf->settings.tables.mta, "postfix") != 0)
        cli_remark("tables.mta is \"%s\": no mail is on Danelaw's roads in a Postfix queue", conf->settings.tables.mta);
    else if (c->dry_run)
        exit = sweep(c, conf);
    else
        exit = sweep_alone(c, conf);
    config_free(conf);
    return exit;
}
