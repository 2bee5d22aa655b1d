#include "store/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "store/writer.h"

#include <string.h>

struct note {
    struct store_job job;
    struct audit_entry entry;               /* its texts are ours */
};

/* Writing */

static void bind_or_null(sqlite3_stmt *statement, int at, const char *words)
{
    if (words != NULL)
        sqlite3_bind_text(statement, at, words, -1, SQLITE_STATIC);
}

static bool trim(struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?1");

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, AUDIT_MOST);
    return writer_step(w, statement);
}

static bool run_note(struct store_job *self, struct writer *w)
{
    const struct audit_entry *e = &((struct note *)self)->entry;
    sqlite3_stmt *statement = writer_prepare(w, "INSERT INTO audit (time, who, action, connector, was, became) "
                                                "VALUES (?1, ?2, ?3, ?4, ?5, ?6)");

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, e->time);
    bind_or_null(statement, 2, e->by);
    bind_or_null(statement, 3, e->action);
    bind_or_null(statement, 4, e->connector);
    bind_or_null(statement, 5, e->before);
    bind_or_null(statement, 6, e->after);
    return writer_step(w, statement) && trim(w);
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text);
}

static void free_note(struct store_job *self)
{
    const struct audit_entry *e = &((struct note *)self)->entry;

    free_text(e->by);
    free_text(e->action);
    free_text(e->connector);
    free_text(e->before);
    free_text(e->after);
    free(self);
}

static const char *copy_or_null(const char *text)
{
    return text == NULL ? NULL : mem_text(text);
}

/* Unlike a decision's line, so that who looks for those doesn't find it. */
static void say(const struct audit_entry *e)
{
    bool named = e->connector != NULL;

    log_info("audit: %s by %s%s%s%s%s%s%s%s", e->action, e->by, named ? ": \"" : "", named ? e->connector : "",
             named ? "\"" : "", e->before == NULL ? "" : ": was ", e->before == NULL ? "" : e->before, e->after == NULL ? "" : ": now ",
             e->after == NULL ? "" : e->after);
}

void audit_note(struct store *s, const struct audit_entry *e)
{
    struct note *note;

    say(e);
    if (s == NULL)
        return;
    note = mem_zero(sizeof(*note));
    note->job.run = run_note;
    note->job.free = free_note;
    note->entry = (struct audit_entry){ .time = e->time == 0 ? (int64_t)clock_wall() : e->time, .by = mem_text(e->by),
                                        .action = mem_text(e->action), .connector = copy_or_null(e->connector),
                                        .before = copy_or_null(e->before), .after = copy_or_null(e->after) };
    store_push(s, &note->job);
}

/* Reading */

struct reading {
    struct store_query query;
    struct audit_reader *reader;
    int64_t below;
    size_t most;
};

static void bind_slice(struct store_query *self, sqlite3_stmt *statement)
{
    const struct reading *r = (const struct reading *)self;

    sqlite3_bind_int64(statement, 1, r->below == 0 ? INT64_MAX : r->below);
    sqlite3_bind_int64(statement, 2, (int64_t)r->most);
}

static const char *column(sqlite3_stmt *found, int at)
{
    return (const char *)sqlite3_column_text(found, at);
}

static bool give_row(struct store_query *self, sqlite3_stmt *found)
{
    struct audit_reader *reader = ((struct reading *)self)->reader;
    struct audit_entry e = { .id = sqlite3_column_int64(found, 0), .time = sqlite3_column_int64(found, 1),
                             .by = column(found, 2), .action = column(found, 3), .connector = column(found, 4),
                             .before = column(found, 5), .after = column(found, 6) };

    if (e.by == NULL)
        e.by = "?";
    if (e.action == NULL)
        e.action = "?";
    return reader->each(reader, &e);
}

static struct reading slice_of(int64_t below, size_t most, struct audit_reader *reader)
{
    return (struct reading){ .query = { .sql = "SELECT id, time, who, action, connector, was, became FROM audit "
                                               "WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                                        .bind = bind_slice, .row = give_row },
                             .reader = reader, .below = below, .most = most };
}

bool audit_read(struct store *s, int64_t below, size_t most, struct audit_reader *reader, struct fault *why)
{
    struct reading r = slice_of(below, most, reader);

    return store_read(s, &r.query, why);
}

bool audit_peek(const char *directory, int64_t below, size_t most, struct audit_reader *reader, struct fault *why)
{
    struct reading r = slice_of(below, most, reader);

    return store_peek(directory, &r.query, why);
}
