#include "store/hold_rows.h"

#include "store/writer.h"

#include <string.h>

/* Writing */

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static void bind_key(sqlite3_stmt *statement, const char *connector, const char *sender, const char *recipient)
{
    bind_text(statement, 1, connector);
    bind_text(statement, 2, sender);
    bind_text(statement, 3, recipient);
}

bool hold_rows_write(struct writer *w, const struct held *h)
{
    sqlite3_stmt *statement = writer_prepare(w,
                                             "INSERT OR REPLACE INTO holds "
                                             "(connector, sender, recipient, since, last, attempts, reason, patience) "
                                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");

    if (statement == NULL)
        return false;
    bind_key(statement, h->connector, h->sender, h->recipient);
    sqlite3_bind_int64(statement, 4, h->hold.since);
    sqlite3_bind_int64(statement, 5, h->hold.last);
    sqlite3_bind_int64(statement, 6, h->hold.attempts);
    bind_text(statement, 7, reason_word(h->hold.reason));
    sqlite3_bind_int64(statement, 8, h->patience);
    return writer_step(w, statement);
}

bool hold_rows_delete(struct writer *w, const char *connector, const char *sender, const char *recipient)
{
    sqlite3_stmt *statement = writer_prepare(w,
                                             "DELETE FROM holds WHERE connector = ?1 AND sender = ?2 AND recipient = ?3");

    if (statement == NULL)
        return false;
    bind_key(statement, connector, sender, recipient);
    return writer_step(w, statement);
}

bool hold_rows_delete_all(struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM holds");

    return statement != NULL && writer_step(w, statement);
}

/* Reading */

static const char *text_at(sqlite3_stmt *found, int column)
{
    return (const char *)sqlite3_column_text(found, column);
}

/* Whoever may write the file may write anything; what comes of it is no clock that ran out before it began. */
static bool read_hold(sqlite3_stmt *found, struct held *ret)
{
    const char *reason = text_at(found, 5);
    int64_t attempts = sqlite3_column_int64(found, 6), patience = sqlite3_column_int64(found, 7);

    ret->hold.since = sqlite3_column_int64(found, 3);
    ret->hold.last = sqlite3_column_int64(found, 4);
    ret->hold.attempts = (uint32_t)attempts;
    ret->patience = (uint32_t)patience;
    return ret->hold.since > 0 && ret->hold.last >= ret->hold.since && attempts > 0 && attempts <= UINT32_MAX &&
           patience > 0 && patience <= UINT32_MAX && reason != NULL && reason_parse(reason, &ret->hold.reason);
}

static bool read_row(struct store_query *self, sqlite3_stmt *found)
{
    struct hold_reading *r = (struct hold_reading *)self;
    struct held h = { .connector = text_at(found, 0), .sender = text_at(found, 1), .recipient = text_at(found, 2) };

    if (h.connector != NULL && h.sender != NULL && h.recipient != NULL && strlen(h.sender) < ADDRESS_TEXT_SIZE &&
        strlen(h.recipient) < ADDRESS_TEXT_SIZE && read_hold(found, &h))
        r->good(r->self, &h);
    else
        r->passed_over++;
    return true;
}

struct hold_reading hold_rows_reading(void (*good)(void *self, const struct held *h), void *self)
{
    return (struct hold_reading){ .query = { .sql = "SELECT connector, sender, recipient, since, last, reason, attempts, patience "
                                                    "FROM holds ORDER BY last DESC",
                                             .row = read_row },
                                  .good = good,
                                  .self = self };
}
