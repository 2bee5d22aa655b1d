/*
 * The trace has no index but its key, the time: one over a text costs each row a page somewhere in the file, the more so the
 * larger the file is. Instead the marks of each block of about TRACE_BLOCK rows are kept, and a search leaves out the blocks
 * that lack what it wants.
 *
 * Invariants, in the file after each transaction:
 *  1. A block (trace_blocks) is a range of keys, and no two meet. Its marks are those of all rows in its range, or more.
 *     What no block covers is always looked at.
 *  2. Blocks and gaps (trace_gaps) follow each other without a hole from the oldest of them up to trace_size.upto. A gap may
 *     have rows; it is covered when there is time for it.
 *  3. trace_size.rows is the count of the rows up to `upto`. Behind it there are fewer than TRACE_BLOCK rows (more only where
 *     another program wrote them): who comes anew counts them.
 *  4. What is kept in memory holds for one value of the writer's `change`. Then it is read again: after a transaction that was
 *     undone, in another file, and where another process writes to the same one, as while a new daemon takes over.
 *
 *     rows behind upto --close_block()--> block --late(): too many rows that came too late--> gap --trace_blocks_cover()--> block
 */
#include "store/trace_blocks.h"

#include <stdbool.h>
#include <string.h>

#define MARK_COLUMNS "SELECT at, " TRACE_KEY_COLUMNS " FROM trace "
#define NEW_BLOCK "INSERT OR REPLACE INTO trace_blocks (first, last, rows, marks) VALUES (?1, ?2, ?3, ?4)"
#define NEW_GAP "INSERT OR REPLACE INTO trace_gaps (first, last) VALUES (?1, ?2)"

/* The keys of what stands behind the first column, borrowed until the next step. */
static struct trace_keys keys_of(sqlite3_stmt *found)
{
    struct trace_keys keys;
    int i;

    for (i = 0; i < TRACE_KEYS; i++)
        keys.of[i] = (const char *)sqlite3_column_text(found, i + 1);
    return keys;
}

/* A statement with one or two numbers, that gives nothing. */
static bool say(struct writer *w, const char *sql, int64_t first, int64_t second)
{
    sqlite3_stmt *statement = writer_prepare(w, sql);

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, first);
    if (sqlite3_bind_parameter_count(statement) > 1)
        sqlite3_bind_int64(statement, 2, second);
    return writer_step(w, statement);
}

static bool write_size(struct trace_blocks *b, struct writer *w)
{
    return say(w, "UPDATE trace_size SET rows = ?1, upto = ?2", b->counted, b->upto);
}

static bool write_block(struct writer *w, int64_t first, int64_t last, size_t rows, const uint8_t marks[TRACE_MARKS_SIZE])
{
    sqlite3_stmt *statement = writer_prepare(w, NEW_BLOCK);

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, first);
    sqlite3_bind_int64(statement, 2, last);
    sqlite3_bind_int64(statement, 3, (int64_t)rows);
    sqlite3_bind_blob(statement, 4, marks, TRACE_MARKS_SIZE, SQLITE_STATIC);
    return writer_step(w, statement);
}

/* What is behind upto */

static void begin_block(struct trace_blocks *b)
{
    b->open = 0;
    memset(b->marks, 0, sizeof(b->marks));
}

static bool close_block(struct trace_blocks *b, struct writer *w)
{
    if (!write_block(w, b->upto + 1, b->last, b->open, b->marks))
        return false;
    b->counted += (int64_t)b->open;
    b->upto = b->last;
    begin_block(b);
    return write_size(b, w);
}

static bool mark(struct trace_blocks *b, struct writer *w, int64_t at, const struct trace_keys *keys)
{
    trace_marks_add(b->marks, keys);
    b->first = b->open == 0 || at < b->first ? at : b->first;
    b->last = b->open == 0 || at > b->last ? at : b->last;
    return ++b->open < TRACE_BLOCK || close_block(b, w);
}

static bool look_at_size(struct trace_blocks *b, struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, "SELECT rows, upto FROM trace_size");
    bool row;

    if (statement == NULL || !writer_next(w, statement, &row))
        return false;
    b->counted = row ? sqlite3_column_int64(statement, 0) : 0;
    b->upto = row ? sqlite3_column_int64(statement, 1) : 0;
    sqlite3_reset(statement);
    return true;
}

static bool look_behind(struct trace_blocks *b, struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, MARK_COLUMNS "WHERE at > ?1 ORDER BY at");
    struct trace_keys keys;
    bool good, row = false;

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, b->upto);
    while ((good = writer_next(w, statement, &row)) && row) {
        keys = keys_of(statement);
        if (!mark(b, w, sqlite3_column_int64(statement, 0), &keys)) {
            sqlite3_reset(statement);
            return false;
        }
    }
    return good;
}

bool trace_blocks_look(struct trace_blocks *b, struct writer *w)
{
    if (b->change == w->change)
        return true;
    begin_block(b);
    if (!look_at_size(b, w) || !look_behind(b, w))
        return false;
    b->change = w->change;
    return true;
}

int64_t trace_blocks_rows(const struct trace_blocks *b)
{
    return b->counted + (int64_t)b->open;
}

/* Rows that come late */

struct block {
    int64_t first, last;
    size_t rows;
    uint8_t marks[TRACE_MARKS_SIZE];
    bool whole;                             /* the marks are ours */
};

/* The last that begins no later than a time. */
static bool find_block(struct writer *w, int64_t at, struct block *ret, bool *ret_found)
{
    sqlite3_stmt *statement = writer_prepare(w, "SELECT first, last, rows, marks FROM trace_blocks WHERE first <= ?1 "
                                                "ORDER BY first DESC LIMIT 1");

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, at);
    if (!writer_next(w, statement, ret_found))
        return false;
    if (*ret_found) {
        ret->first = sqlite3_column_int64(statement, 0);
        ret->last = sqlite3_column_int64(statement, 1);
        ret->rows = (size_t)sqlite3_column_int64(statement, 2);
        ret->whole = sqlite3_column_bytes(statement, 3) == TRACE_MARKS_SIZE;
        if (ret->whole)
            memcpy(ret->marks, sqlite3_column_blob(statement, 3), TRACE_MARKS_SIZE);
    }
    sqlite3_reset(statement);
    return true;
}

/* Before all blocks and gaps, where nothing was kept. */
static bool begin_before(struct writer *w, int64_t at, int64_t upto)
{
    sqlite3_stmt *statement = writer_prepare(w, "SELECT 1 FROM trace_gaps WHERE first <= ?1 AND last >= ?1 LIMIT 1");
    bool there;

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, at);
    if (!writer_next(w, statement, &there))
        return false;
    sqlite3_reset(statement);
    return there || say(w, "INSERT OR REPLACE INTO trace_gaps SELECT ?1, min(low) - 1 FROM (SELECT min(first) AS low FROM trace_blocks "
                           "UNION ALL SELECT min(first) FROM trace_gaps UNION ALL SELECT ?2 + 1)", INT64_MIN, upto);
}

/* The clock was set back, or something took long. */
static bool late(struct trace_blocks *b, struct writer *w, int64_t at, const struct trace_keys *keys)
{
    struct block block;
    bool found;

    b->counted++;
    if (!write_size(b, w) || !find_block(w, at, &block, &found))
        return false;
    if (!found || block.last < at)
        return begin_before(w, at, b->upto);
    if (block.rows >= 2 * TRACE_BLOCK || !block.whole) {
        return say(w, "DELETE FROM trace_blocks WHERE first = ?1", block.first, 0) &&
               say(w, NEW_GAP, block.first, block.last);
    }
    trace_marks_add(block.marks, keys);
    return write_block(w, block.first, block.last, block.rows + 1, block.marks);
}

bool trace_blocks_add(struct trace_blocks *b, struct writer *w, int64_t at, const struct trace_keys *keys)
{
    return at > b->upto ? mark(b, w, at, keys) : late(b, w, at, keys);
}

/* Letting rows go */

/* The key of the last of so many rows; before - 1 where there are fewer. */
static bool find_end(struct writer *w, int64_t before, int64_t most, int64_t *ret, bool *ret_more)
{
    sqlite3_stmt *statement = writer_prepare(w, "SELECT at FROM trace WHERE at < ?1 ORDER BY at LIMIT 1 OFFSET ?2");

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, before);
    sqlite3_bind_int64(statement, 2, most - 1);
    if (!writer_next(w, statement, ret_more))
        return false;
    *ret = *ret_more ? sqlite3_column_int64(statement, 0) : before - 1;
    sqlite3_reset(statement);
    return true;
}

bool trace_blocks_trim(struct trace_blocks *b, struct writer *w, int64_t before, int64_t most, bool *ret_more)
{
    int64_t end;

    if (!find_end(w, before, most, &end, ret_more))
        return false;
    if (b->open > 0 && end >= b->first && !close_block(b, w))
        return false;                       /* only what is counted goes */
    end = end > b->upto ? b->upto : end;
    if (!say(w, "DELETE FROM trace WHERE at <= ?1", end, 0))
        return false;
    if (sqlite3_changes(w->db) == 0)
        return true;
    b->counted -= sqlite3_changes(w->db);
    return write_size(b, w) && say(w, "DELETE FROM trace_blocks WHERE first <= ?1 AND last <= ?1", end, 0) &&
           say(w, "DELETE FROM trace_gaps WHERE first <= ?1 AND last <= ?1", end, 0);
}

/* Covering */

/* Marks the newest rows of a gap, a block's worth at most; *ret_left: the key of the next row, which is left. */
static bool mark_gap(struct writer *w, const struct block *gap, struct block *ret, int64_t *ret_left, bool *ret_any_left)
{
    sqlite3_stmt *statement = writer_prepare(w, MARK_COLUMNS "WHERE at >= ?1 AND at <= ?2 ORDER BY at DESC");
    struct trace_keys keys;
    bool good, row = false;

    if (statement == NULL)
        return false;
    *ret = (struct block){ .first = gap->first, .last = gap->last };
    sqlite3_bind_int64(statement, 1, gap->first);
    sqlite3_bind_int64(statement, 2, gap->last);
    while ((good = writer_next(w, statement, &row)) && row && ret->rows < TRACE_BLOCK) {
        keys = keys_of(statement);
        trace_marks_add(ret->marks, &keys);
        ret->rows++;
    }
    *ret_any_left = row;
    if (row)
        *ret_left = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return good;
}

static bool find_gap(struct writer *w, struct block *ret, bool *ret_found)
{
    sqlite3_stmt *statement = writer_prepare(w, "SELECT first, last FROM trace_gaps ORDER BY first DESC LIMIT 1");

    if (statement == NULL || !writer_next(w, statement, ret_found))
        return false;
    ret->first = *ret_found ? sqlite3_column_int64(statement, 0) : 0;
    ret->last = *ret_found ? sqlite3_column_int64(statement, 1) : 0;
    sqlite3_reset(statement);
    return true;
}

bool trace_blocks_cover(struct writer *w, bool *ret_more)
{
    struct block gap, block;
    bool any_left;
    int64_t left;

    if (!find_gap(w, &gap, ret_more))
        return false;
    if (!*ret_more)
        return true;
    if (!mark_gap(w, &gap, &block, &left, &any_left))
        return false;
    block.first = any_left ? left + 1 : gap.first;
    return say(w, "DELETE FROM trace_gaps WHERE first = ?1", gap.first, 0) &&
           (!any_left || say(w, NEW_GAP, gap.first, left)) &&
           write_block(w, block.first, block.last, block.rows, block.marks);
}
