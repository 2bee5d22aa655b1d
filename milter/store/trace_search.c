/*
 * A search goes from block to block (trace_blocks.c), newest first, and looks at the rows of a block only where its marks say
 * that it may have what is wanted; and at all rows that no block has. A batch ends after RANGES runs of about TRACE_BLOCK
 * rows, or after BLOCKS blocks of which none was looked into: a search for something rare comes back now and then, too.
 */
#include "store/trace_search.h"

#include "base/memory.h"
#include "store/trace_blocks.h"

#include <string.h>

#include <sqlite3.h>

enum { GIVE = 256, RANGES = 8, BLOCKS = 1024 };

struct trace_search {
    struct store *store;                    /* or NULL */
    char *directory;                        /* or NULL */
    char *texts[TRACE_KEYS];                /* each may be NULL */
    uint64_t tokens[TRACE_TOKENS];
    size_t token_count;
    int64_t since, below;                   /* microseconds */
    uint64_t left;
};

/* One batch. */
struct walk {
    struct store_query query;
    struct trace_search *search;
    const atomic_bool *unwanted;
    void (*row)(void *self, const struct trace_row *row);
    void *self;
    sqlite3_stmt *rows, *far, *blocks;      /* blocks: NULL where there are none, or all would do */
    size_t ranges, passed, given;
    bool stopped;
};

static const char rows_sql[] =
    "SELECT at, place, queue_id, sender, recipient, connector, shadow, dane, sts, verdict, reason, route, policy, took_ms "
    "FROM trace WHERE at < ?1 AND at >= ?2 AND (?3 IS NULL OR queue_id = ?3) AND (?4 IS NULL OR recipient = ?4 COLLATE NOCASE) "
    "AND (?5 IS NULL OR domain = ?5) AND (?6 IS NULL OR connector = ?6) AND (?7 IS NULL OR verdict = ?7) ORDER BY at DESC";
static const char far_sql[] = "SELECT at FROM trace WHERE at < ?1 AND at >= ?2 ORDER BY at DESC LIMIT 1 OFFSET ?3";
static const char blocks_sql[] = "SELECT first, last, marks FROM trace_blocks WHERE first < ?1 ORDER BY first DESC";

/* Borrowed from s. */
static struct trace_keys keys_of(const struct trace_search *s)
{
    struct trace_keys keys;
    size_t i;

    for (i = 0; i < TRACE_KEYS; i++)
        keys.of[i] = s->texts[i];
    return keys;
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : mem_text(text);
}

/* A recipient's rows have his domain, which is asked for together with more than he is. */
static char *domain_of(const char *to)
{
    char *domain = mem_zero(strlen(to) + 1);

    if (trace_marks_domain(to, domain) > 0)
        return domain;
    free(domain);
    return NULL;
}

struct trace_search *trace_search_new(struct store *store, const char *directory, const struct trace_filter *filter)
{
    struct trace_search *s = mem_zero(sizeof(*s));
    struct trace_keys keys;

    s->store = store;
    s->directory = copy(directory);
    s->texts[TRACE_QUEUE_ID] = copy(filter->queue_id);
    s->texts[TRACE_RECIPIENT] = copy(filter->to);
    s->texts[TRACE_DOMAIN] = filter->domain == NULL && filter->to != NULL ? domain_of(filter->to) : copy(filter->domain);
    s->texts[TRACE_CONNECTOR] = copy(filter->connector);
    s->texts[TRACE_VERDICT] = copy(filter->verdict);
    keys = keys_of(s);
    s->token_count = trace_marks_tokens(&keys, s->tokens);
    s->since = filter->since_ms > INT64_MAX / 1000 ? INT64_MAX : filter->since_ms * 1000;
    s->below = INT64_MAX;
    s->left = filter->limit;
    return s;
}

/* Rows */

static const char *text_of(sqlite3_stmt *found, int column)
{
    return (const char *)sqlite3_column_text(found, column);
}

/* Borrowed until the next step. */
static struct trace_row row_of(sqlite3_stmt *found)
{
    return (struct trace_row){
        .at = sqlite3_column_int64(found, 0) / 1000, .where = text_of(found, 1), .queue_id = text_of(found, 2),
        .from = text_of(found, 3), .to = text_of(found, 4), .connector = text_of(found, 5),
        .shadow = sqlite3_column_int(found, 6) != 0, .dane = text_of(found, 7), .sts = text_of(found, 8),
        .verdict = text_of(found, 9), .reason = text_of(found, 10), .route = text_of(found, 11),
        .policy = text_of(found, 12), .took_ms = sqlite3_column_int64(found, 13),
    };
}

/* That was enough for once. */
static bool enough(struct walk *w)
{
    w->stopped = w->search->left == 0 || w->given == GIVE || w->ranges >= RANGES || w->passed >= BLOCKS ||
                 (w->unwanted != NULL && atomic_load(w->unwanted));
    return w->stopped;
}

static void bind_range(sqlite3_stmt *statement, int64_t below, int64_t from)
{
    sqlite3_bind_int64(statement, 1, below);
    sqlite3_bind_int64(statement, 2, from);
}

/* Rows from there up to where the search stands, which then stands there, or at the last row that was given. */
static int look_at_range(struct walk *w, int64_t from)
{
    struct trace_search *s = w->search;
    struct trace_row row;
    int code = SQLITE_DONE;

    bind_range(w->rows, s->below, from);
    w->ranges++;
    while (s->left > 0 && w->given < GIVE && (code = sqlite3_step(w->rows)) == SQLITE_ROW) {
        row = row_of(w->rows);
        s->below = sqlite3_column_int64(w->rows, 0);
        w->row(w->self, &row);
        w->given++;
        s->left--;
    }
    if (code == SQLITE_DONE && s->left > 0 && w->given < GIVE)
        s->below = from;
    sqlite3_reset(w->rows);
    return code == SQLITE_ROW ? SQLITE_DONE : code;
}

/* The same of however many rows, some at a time. */
static int look_at_all(struct walk *w, int64_t from)
{
    int code = SQLITE_DONE;
    int64_t near;

    while (code == SQLITE_DONE && w->search->below > from && !enough(w)) {
        bind_range(w->far, w->search->below, from);
        sqlite3_bind_int(w->far, 3, TRACE_BLOCK - 1);
        code = sqlite3_step(w->far);
        near = code == SQLITE_ROW ? sqlite3_column_int64(w->far, 0) : from;
        sqlite3_reset(w->far);
        if (code == SQLITE_ROW || code == SQLITE_DONE)
            code = look_at_range(w, near);
    }
    return code;
}

/* Blocks */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool may_have(const struct trace_search *s, sqlite3_stmt *block)
{
    const void *marks = sqlite3_column_blob(block, 2);

    return sqlite3_column_bytes(block, 2) != TRACE_MARKS_SIZE || trace_marks_may_have(marks, s->tokens, s->token_count);
}

/* The rows behind a block, which has none of them, and the block's own. */
static int look_at_block(struct walk *w, sqlite3_stmt *block)
{
    struct trace_search *s = w->search;
    int64_t first = sqlite3_column_int64(block, 0), last = sqlite3_column_int64(block, 1);
    int code = SQLITE_DONE;

    if (last < s->below - 1)
        code = look_at_all(w, later(last + 1, s->since));
    if (code != SQLITE_DONE || enough(w) || s->below <= s->since)
        return code;
    if (may_have(s, block))
        return look_at_range(w, later(first, s->since));
    w->passed++;
    s->below = first;
    return SQLITE_DONE;
}

static int walk_blocks(struct walk *w)
{
    struct trace_search *s = w->search;
    int code = SQLITE_DONE;

    if (w->blocks != NULL)
        sqlite3_bind_int64(w->blocks, 1, s->below);
    while (code == SQLITE_DONE && s->below > s->since && !enough(w)) {
        if (w->blocks == NULL || (code = sqlite3_step(w->blocks)) == SQLITE_DONE)
            code = look_at_all(w, s->since);
        else if (code == SQLITE_ROW)
            code = look_at_block(w, w->blocks);
    }
    return code;
}

/* A file that no daemon has written since there are blocks has none. */
static bool has_blocks(sqlite3 *db)
{
    return sqlite3_table_column_metadata(db, NULL, "trace_blocks", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

static int prepare(struct walk *w, sqlite3 *db)
{
    const struct trace_search *s = w->search;
    int code = sqlite3_prepare_v2(db, rows_sql, -1, &w->rows, NULL), i;

    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, far_sql, -1, &w->far, NULL);
    if (code == SQLITE_OK && s->token_count > 0 && has_blocks(db))
        code = sqlite3_prepare_v2(db, blocks_sql, -1, &w->blocks, NULL);
    for (i = 0; code == SQLITE_OK && i < TRACE_KEYS; i++)
        code = sqlite3_bind_text(w->rows, 3 + i, s->texts[i], -1, SQLITE_STATIC);       /* NULL for NULL */
    return code;
}

static int walk(struct store_query *self, sqlite3 *db)
{
    struct walk *w = (struct walk *)self;
    int code = prepare(w, db);

    if (code == SQLITE_OK)
        code = walk_blocks(w);
    sqlite3_finalize(w->rows);
    sqlite3_finalize(w->far);
    sqlite3_finalize(w->blocks);
    return code;
}

bool trace_search_next(struct trace_search *s, const atomic_bool *unwanted,
                       void (*row)(void *self, const struct trace_row *row), void *self, bool *ret_end, struct fault *why)
{
    struct walk w = { .query = { .walk = walk }, .search = s, .unwanted = unwanted, .row = row, .self = self };
    bool good = true;

    if (s->left > 0)
        good = s->store != NULL ? store_read(s->store, &w.query, why) : store_peek(s->directory, &w.query, why);
    if (good)
        *ret_end = s->left == 0 || !w.stopped;
    return good;
}

void trace_search_free(struct trace_search *s)
{
    size_t i;

    if (s == NULL)
        return;
    for (i = 0; i < TRACE_KEYS; i++)
        free(s->texts[i]);
    free(s->directory);
    free(s);
}
