/*
 * A batch walks one index (or the table) from where the last one stopped, and looks at no more than LOOK rows: what else the
 * filter asks for is compared here, and not in SQL, so that a search for something rare comes back now and then, too.
 */
#include "store/trace_search.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

#include <sqlite3.h>

enum { GIVE = 256, LOOK = 4096 };           /* rows of a batch */

struct trace_search {
    struct store *store;                    /* or NULL */
    char *directory, *to, *domain, *connector, *queue_id, *verdict;     /* each may be NULL */
    const char *sql, *key;                  /* key: what the index is asked for */
    int64_t since, below;                   /* microseconds */
    uint64_t left;
};

/* What bind_walk() and look_at_row() go by. */
struct walk {
    struct store_query query;
    struct trace_search *search;
    const atomic_bool *unwanted;
    void (*row)(void *self, const struct trace_row *row);
    void *self;
    size_t looked, given;
    bool stopped;
};

#define COLUMNS "SELECT at, place, queue_id, sender, recipient, domain, connector, shadow, dane, sts, verdict, reason, route, " \
                "policy, took_ms FROM trace "
#define RANGE "at < ?1 AND at >= ?2 ORDER BY at DESC"

/* The index that leaves the fewest rows to look at: each filter that has one stands alone often enough. */
static void choose_index(struct trace_search *s)
{
    bool rare = s->verdict != NULL && strcmp(s->verdict, "deliver") != 0;
    bool named = s->connector != NULL && strcmp(s->connector, "(default)") != 0;

    s->key = NULL;
    s->sql = COLUMNS "WHERE " RANGE;
    if (s->queue_id != NULL) {
        s->key = s->queue_id;
        s->sql = COLUMNS "INDEXED BY trace_queue_id WHERE queue_id = ?3 AND " RANGE;
    } else if (s->to != NULL) {
        s->key = s->to;
        s->sql = COLUMNS "INDEXED BY trace_recipient WHERE recipient = ?3 COLLATE NOCASE AND " RANGE;
    } else if (rare) {
        s->key = s->verdict;
        s->sql = COLUMNS "INDEXED BY trace_verdict WHERE verdict = ?3 AND verdict <> 'deliver' AND " RANGE;
    } else if (s->domain != NULL) {
        s->key = s->domain;
        s->sql = COLUMNS "INDEXED BY trace_domain WHERE domain = ?3 AND " RANGE;
    } else if (named) {
        s->key = s->connector;
        s->sql = COLUMNS "INDEXED BY trace_connector WHERE connector = ?3 AND connector <> '(default)' AND " RANGE;
    }
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : mem_text(text);
}

struct trace_search *trace_search_new(struct store *store, const char *directory, const struct trace_filter *filter)
{
    struct trace_search *s = mem_zero(sizeof(*s));

    s->store = store;
    s->directory = copy(directory);
    s->to = copy(filter->to);
    s->domain = copy(filter->domain);
    s->connector = copy(filter->connector);
    s->queue_id = copy(filter->queue_id);
    s->verdict = copy(filter->verdict);
    s->since = filter->since_ms > INT64_MAX / 1000 ? INT64_MAX : filter->since_ms * 1000;
    s->below = INT64_MAX;
    s->left = filter->limit;
    choose_index(s);
    return s;
}

static void bind_walk(struct store_query *self, sqlite3_stmt *statement)
{
    const struct trace_search *s = ((struct walk *)self)->search;

    sqlite3_bind_int64(statement, 1, s->below);
    sqlite3_bind_int64(statement, 2, s->since);
    if (s->key != NULL)
        sqlite3_bind_text(statement, 3, s->key, -1, SQLITE_STATIC);
}

static const char *text_of(sqlite3_stmt *found, int column)
{
    return (const char *)sqlite3_column_text(found, column);
}

static bool same(const char *wanted, const char *found)
{
    return wanted == NULL || (found != NULL && strcmp(wanted, found) == 0);
}

static bool matches(const struct trace_search *s, const struct trace_row *row, const char *domain)
{
    return (s->to == NULL || (row->to != NULL && strcasecmp(s->to, row->to) == 0)) && same(s->domain, domain) &&
           same(s->connector, row->connector) && same(s->queue_id, row->queue_id) && same(s->verdict, row->verdict);
}

/* Borrowed until the next step. */
static struct trace_row row_of(sqlite3_stmt *found)
{
    return (struct trace_row){
        .at = sqlite3_column_int64(found, 0) / 1000, .where = text_of(found, 1), .queue_id = text_of(found, 2),
        .from = text_of(found, 3), .to = text_of(found, 4), .connector = text_of(found, 6),
        .shadow = sqlite3_column_int(found, 7) != 0, .dane = text_of(found, 8), .sts = text_of(found, 9),
        .verdict = text_of(found, 10), .reason = text_of(found, 11), .route = text_of(found, 12),
        .policy = text_of(found, 13), .took_ms = sqlite3_column_int64(found, 14),
    };
}

static bool look_at_row(struct store_query *self, sqlite3_stmt *found)
{
    struct walk *w = (struct walk *)self;
    struct trace_search *s = w->search;
    struct trace_row row = row_of(found);

    s->below = sqlite3_column_int64(found, 0);
    if (matches(s, &row, text_of(found, 5))) {
        w->row(w->self, &row);
        w->given++;
        s->left--;
    }
    w->stopped = s->left == 0 || w->given == GIVE || ++w->looked == LOOK || (w->unwanted != NULL && atomic_load(w->unwanted));
    return !w->stopped;
}

bool trace_search_next(struct trace_search *s, const atomic_bool *unwanted,
                       void (*row)(void *self, const struct trace_row *row), void *self, bool *ret_end, struct fault *why)
{
    struct walk w = { .query = { .sql = s->sql, .bind = bind_walk, .row = look_at_row },
                      .search = s, .unwanted = unwanted, .row = row, .self = self };
    bool good = true;

    if (s->left > 0)
        good = s->store != NULL ? store_read(s->store, &w.query, why) : store_peek(s->directory, &w.query, why);
    if (good)
        *ret_end = s->left == 0 || !w.stopped;
    return good;
}

void trace_search_free(struct trace_search *s)
{
    if (s == NULL)
        return;
    free(s->directory);
    free(s->to);
    free(s->domain);
    free(s->connector);
    free(s->queue_id);
    free(s->verdict);
    free(s);
}
