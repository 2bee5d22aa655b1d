#include "store/reading.h"

#include "store/file.h"

static int read_rows(sqlite3 *db, struct store_query *q)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, q->sql, -1, &statement, NULL);

    if (code == SQLITE_OK && q->bind != NULL)
        q->bind(q, statement);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW && !q->row(q, statement))
            code = SQLITE_DONE;
    }
    sqlite3_finalize(statement);
    return code;
}

int reading_do(const char *directory, struct store_query *q, bool *ret_frozen, struct fault *why)
{
    sqlite3 *db = NULL;
    int code = file_open_to_read(directory, &db, ret_frozen, why);

    if (code != SQLITE_OK)
        return code;
    code = q->walk != NULL ? q->walk(q, db) : read_rows(db, q);
    if (code != SQLITE_DONE)
        fault_set(why, "%s/danelaw.db: %s", directory, sqlite3_errmsg(db));
    sqlite3_close_v2(db);
    return code;
}

bool store_peek(const char *directory, struct store_query *q, struct fault *why)
{
    bool frozen;

    return reading_do(directory, q, &frozen, why) == SQLITE_DONE;
}
