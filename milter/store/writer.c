#include "store/writer.h"

#include "store/file.h"

enum { PATIENCE_MS = 3000 };                /* with another process that writes */

bool writer_open(struct writer *w, const char *directory)
{
    if (!file_open(directory, &w->db, &w->why))
        return false;
    sqlite3_busy_timeout(w->db, PATIENCE_MS);
    w->change++;
    return true;
}

void writer_close(struct writer *w, bool broken)
{
    size_t i;

    for (i = 0; i < w->ready_count; i++)
        sqlite3_finalize(w->ready[i].statement);
    w->ready_count = 0;
    if (broken)
        file_close_broken(w->db);
    else
        sqlite3_close_v2(w->db);
    w->db = NULL;
}

static bool note(struct writer *w, int code, const char *doing)
{
    w->code = code;
    return fault_set(&w->why, "%s: %s", doing, w->db != NULL ? sqlite3_errmsg(w->db) : sqlite3_errstr(code));
}

sqlite3_stmt *writer_prepare(struct writer *w, const char *sql)
{
    sqlite3_stmt *statement;
    size_t i;
    int code;

    for (i = 0; i < w->ready_count; i++) {
        if (w->ready[i].sql == sql)
            return w->ready[i].statement;
    }
    if (w->ready_count == WRITER_STATEMENTS) {
        w->code = SQLITE_MISUSE;
        fault_set(&w->why, "more than %d statements", WRITER_STATEMENTS);
        return NULL;
    }
    code = sqlite3_prepare_v3(w->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (code != SQLITE_OK) {
        note(w, code, "preparing a statement");
        return NULL;
    }
    w->ready[w->ready_count].sql = sql;
    w->ready[w->ready_count++].statement = statement;
    return statement;
}

bool writer_step(struct writer *w, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    bool good = code == SQLITE_DONE || note(w, code, "writing");

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return good;
}

bool writer_next(struct writer *w, sqlite3_stmt *statement, bool *ret_row)
{
    int code = sqlite3_step(statement);

    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        note(w, code, "reading");
        sqlite3_reset(statement);
        return false;
    }
    *ret_row = code == SQLITE_ROW;
    if (!*ret_row)
        sqlite3_reset(statement);
    return true;
}

bool writer_say(struct writer *w, const char *sql)
{
    int code = sqlite3_exec(w->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK || note(w, code, "writing");
}

/* SQLite counts what other connections have written. */
bool writer_begin(struct writer *w)
{
    sqlite3_stmt *statement;
    bool row;

    if (!writer_say(w, "BEGIN IMMEDIATE"))
        return false;
    statement = writer_prepare(w, "PRAGMA data_version");
    if (statement == NULL || !writer_next(w, statement, &row))
        return false;
    if (row && sqlite3_column_int64(statement, 0) != w->version) {
        w->version = sqlite3_column_int64(statement, 0);
        w->change++;
    }
    sqlite3_reset(statement);
    return true;
}

void writer_undo(struct writer *w)
{
    w->change++;
    if (!sqlite3_get_autocommit(w->db))
        sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
}
