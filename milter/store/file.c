/*
 * Invariants:
 *  1. A file that isn't ours, is broken, or is newer than we are, is renamed, never written to, not even by a checkpoint
 *     when it is closed. Its -wal and -shm go with it, so that it can still be opened under its new name.
 *  2. A file is ours if its user_version is a schema of ours, or if it is empty. The schema changes in one transaction.
 *  3. Only what says that the file is broken moves it. A full, read-only or failing disk leaves it where it is.
 *  4. Beside our file stands a mark, so that a file that was taken away is missed. What is lost with it, or with a broken one,
 *     the mark says until the new file says it (a row without a name in overrides), whatever comes in between.
 *
 *         (nothing) --leave_mark()--> has-danelaw.db --miss()--> lost-danelaw.db --note_loss()--> has-danelaw.db
 */
#include "store/file.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PATH_SIZE = 4096,
    PATIENCE_MS = 1000,                     /* with another process that writes; at start somebody waits for us */
    ASIDE_MOST = 20,                        /* broken files, each up to four parts; a bad disk makes ever more of them */
    WHOLE_CHECK_MOST = 64 * 1024 * 1024,    /* octets; of a larger file only what start-up needs is checked */
};

/* From each schema to the next one. */
static const char *const steps[] = {
    "CREATE TABLE policies ("
    "  domain TEXT PRIMARY KEY NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,"
    "  fetched_at INTEGER NOT NULL, checked_at INTEGER NOT NULL, expires_at INTEGER NOT NULL);",
    "CREATE TABLE holds ("
    "  connector TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, since INTEGER NOT NULL, last INTEGER NOT NULL,"
    "  attempts INTEGER NOT NULL, reason TEXT NOT NULL, patience INTEGER NOT NULL,"
    "  PRIMARY KEY (connector, sender, recipient)) WITHOUT ROWID;",
    "CREATE TABLE audit ("
    "  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,"
    "  connector TEXT, was TEXT, became TEXT);",
    /* The name "" says that others may have been lost with a broken file. */
    "CREATE TABLE overrides ("
    "  connector TEXT PRIMARY KEY NOT NULL, smtp_dane TEXT, mta_sts TEXT, until INTEGER NOT NULL, set_at INTEGER NOT NULL,"
    "  who TEXT NOT NULL);",
    /* at: microseconds since 1970. The common is found by time, only the rare has an index. */
    "CREATE TABLE trace ("
    "  at INTEGER PRIMARY KEY, place TEXT, queue_id TEXT, sender TEXT, recipient TEXT, domain TEXT, connector TEXT,"
    "  shadow INTEGER, dane TEXT, sts TEXT, verdict TEXT, reason TEXT, route TEXT, policy TEXT, took_ms INTEGER);"
    "CREATE INDEX trace_queue_id ON trace (queue_id) WHERE queue_id IS NOT NULL;"
    "CREATE INDEX trace_recipient ON trace (recipient COLLATE NOCASE);"
    "CREATE INDEX trace_domain ON trace (domain);"
    "CREATE INDEX trace_connector ON trace (connector) WHERE connector <> '(default)';"
    "CREATE INDEX trace_verdict ON trace (verdict) WHERE verdict <> 'deliver';"
    "CREATE TABLE trace_size (rows INTEGER NOT NULL);"
    "INSERT INTO trace_size VALUES (0);"
    "CREATE TRIGGER trace_more AFTER INSERT ON trace BEGIN UPDATE trace_size SET rows = rows + 1; END;"
    "CREATE TRIGGER trace_less AFTER DELETE ON trace BEGIN UPDATE trace_size SET rows = rows - 1; END;",
    /* What a row costs must not grow with the file: see trace_blocks.c. */
    "DROP INDEX trace_queue_id;", "DROP INDEX trace_recipient;", "DROP INDEX trace_domain;", "DROP INDEX trace_connector;",
    "DROP INDEX trace_verdict;",
    "DROP TRIGGER trace_more;"
    "DROP TRIGGER trace_less;"
    "CREATE TABLE trace_blocks (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, rows INTEGER NOT NULL, marks BLOB NOT NULL);"
    "CREATE TABLE trace_gaps (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);"
    "ALTER TABLE trace_size ADD COLUMN upto INTEGER NOT NULL DEFAULT 0;"
    "UPDATE trace_size SET upto = max(0, coalesce((SELECT max(at) FROM trace), 0));"
    "INSERT INTO trace_gaps SELECT -9223372036854775808, upto FROM trace_size WHERE rows > 0;",
};
enum { SCHEMA = COUNT_OF(steps) };

static const char *const parts[] = { "", "-wal", "-shm", "-journal" };

/* Not called danelaw.db-something, lest they go with the file. */
static const char has_mark[] = "has-danelaw.db", lost_mark[] = "lost-danelaw.db";
static const char mark_words[] = "danelaw.db is kept here. Where it is gone and this is not, danelawd says that something was lost.\n";

enum look { LOOK_AWAY = 0, LOOK_BROKEN, LOOK_GOOD };

bool file_broken(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static bool name_path(const char *directory, const char *behind, char ret[static PATH_SIZE], struct fault *why)
{
    int length = snprintf(ret, PATH_SIZE, "%s/danelaw.db%s", directory, behind);

    return (length > 0 && length < PATH_SIZE) || fault_set(why, "%.100s...: the name is too long", directory);
}

/* The mark */

static bool mark_path(const char *directory, const char *mark, char ret[static PATH_SIZE])
{
    int length = snprintf(ret, PATH_SIZE, "%s/%s", directory, mark);

    return length > 0 && length < PATH_SIZE;
}

static bool is_marked(const char *directory, const char *mark)
{
    char path[PATH_SIZE];
    struct stat st;

    return mark_path(directory, mark, path) && lstat(path, &st) == 0;
}

/* A rename, since a full disk still takes that. */
static void change_mark(const char *directory, const char *from, const char *to)
{
    char old[PATH_SIZE], new[PATH_SIZE];

    if (mark_path(directory, from, old) && mark_path(directory, to, new) && rename(old, new) != 0 && errno != ENOENT)
        log_error("store: %s: cannot be renamed: %s", old, strerror(errno));
}

/* What was there is lost. */
static void miss(const char *directory)
{
    change_mark(directory, has_mark, lost_mark);
}

/* Without one no more is lost than the warning. */
static void leave_mark(const char *directory)
{
    char path[PATH_SIZE];
    int fd;

    change_mark(directory, lost_mark, has_mark);
    fd = mark_path(directory, has_mark, path) ? open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (fd < 0)
        return;
    if (write(fd, mark_words, sizeof(mark_words) - 1) < 0)
        log_debug("store: %s: %s", path, strerror(errno));
    close(fd);
}

bool file_missed(const char *directory)
{
    char path[PATH_SIZE];
    struct stat st;

    return is_marked(directory, lost_mark) || (is_marked(directory, has_mark) && name_path(directory, "", path, NULL) &&
                                               lstat(path, &st) != 0 && errno == ENOENT);
}

/* Setting aside */

static bool any_part_there(const char *directory, const char *behind)
{
    char name[64], path[PATH_SIZE];
    struct stat st;
    size_t i;

    for (i = 0; i < COUNT_OF(parts); i++) {
        snprintf(name, sizeof(name), "%s%s", behind, parts[i]);
        if (name_path(directory, name, path, NULL) && lstat(path, &st) == 0)
            return true;
    }
    return false;
}

static size_t count_asides(const char *directory)
{
    static const char start[] = "danelaw.db.corrupt-";
    DIR *folder = opendir(directory);
    struct dirent *found;
    size_t count = 0;

    if (folder == NULL)
        return 0;                               /* then nothing can be renamed in it either */
    while ((found = readdir(folder)) != NULL)
        count += strncmp(found->d_name, start, sizeof(start) - 1) == 0 && strchr(found->d_name + sizeof(start), '-') == NULL;
    closedir(folder);
    return count;
}

/* A name that is still free; two may break in one second. */
static void name_aside(const char *directory, char *ret, size_t size)
{
    time_t now = clock_wall();
    struct tm utc;
    char stamp[32];
    unsigned n;

    gmtime_r(&now, &utc);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &utc);
    snprintf(ret, size, ".corrupt-%s", stamp);
    for (n = 2; n < 100 && any_part_there(directory, ret); n++)
        snprintf(ret, size, ".corrupt-%s.%u", stamp, n);
}

bool file_set_aside(const char *directory, const char *reason, struct fault *why)
{
    char aside[48], behind[64], from[PATH_SIZE], to[PATH_SIZE];
    size_t i;

    if (count_asides(directory) >= ASIDE_MOST)
        return fault_set(why, "%.200s/danelaw.db: %.100s; there are %d such files already, move them away", directory, reason,
                         ASIDE_MOST);
    name_aside(directory, aside, sizeof(aside));
    for (i = 0; i < COUNT_OF(parts); i++) {
        snprintf(behind, sizeof(behind), "%s%s", aside, parts[i]);
        if (!name_path(directory, parts[i], from, why) || !name_path(directory, behind, to, why))
            return false;
        if (rename(from, to) != 0 && errno != ENOENT)
            return fault_set(why, "%.200s: %.100s; it can't be moved aside: %s", from, reason, strerror(errno));
    }
    log_error("store: %s/danelaw.db: %s; it is kept as danelaw.db%s, and a new one is made", directory, reason, aside);
    return true;
}

/* Looking at a file */

static bool can_be_read(const char *path, struct fault *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char some[64 * 1024];
    ssize_t got = fd < 0 ? (errno == ENOENT ? 0 : -1) : 1;

    while (got > 0 || (got < 0 && errno == EINTR && fd >= 0))
        got = read(fd, some, sizeof(some));
    if (got < 0)
        fault_set(why, "%.200s: cannot be read: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return got == 0;
}

bool file_can_be_read(const char *directory, struct fault *why)
{
    char path[PATH_SIZE];
    size_t i;

    for (i = 0; i < COUNT_OF(parts); i++) {
        if (!name_path(directory, parts[i], path, why) || !can_be_read(path, why))
            return false;
    }
    return true;
}

static enum look fail(sqlite3 *db, int code, const char *path, struct fault *why)
{
    fault_set(why, "%.200s: %s", path, db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    return file_broken(code) ? LOOK_BROKEN : LOOK_AWAY;
}

/* The first column of the first row; SQLITE_ROW if there is one. */
static int ask_number(sqlite3 *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code;
}

static enum look look_at_schema(sqlite3 *db, const char *path, int64_t *ret_version, struct fault *why)
{
    int64_t tables = 0;
    int code = ask_number(db, "PRAGMA user_version", ret_version);

    if (code == SQLITE_ROW)
        code = ask_number(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (code != SQLITE_ROW)
        return fail(db, code, path, why);
    if (*ret_version < 0 || *ret_version > SCHEMA) {
        fault_set(why, "its schema has version %lld, ours is %d", (long long)*ret_version, SCHEMA);
        return LOOK_BROKEN;
    }
    if (*ret_version == 0 && tables > 0) {
        fault_set(why, "it has tables, but none of ours");
        return LOOK_BROKEN;
    }
    return LOOK_GOOD;
}

static enum look look_for_damage(sqlite3 *db, const char *path, struct fault *why)
{
    struct stat st;
    bool small = stat(path, &st) == 0 && st.st_size <= WHOLE_CHECK_MOST;
    sqlite3_stmt *statement = NULL;
    const unsigned char *word;
    enum look seen = LOOK_GOOD;
    int code = sqlite3_prepare_v2(db, small ? "PRAGMA quick_check(1)" : "PRAGMA quick_check(policies)", -1, &statement, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code != SQLITE_ROW) {
        seen = fail(db, code, path, why);
    } else {
        word = sqlite3_column_text(statement, 0);
        if (word == NULL || strcmp((const char *)word, "ok") != 0) {
            fault_set(why, "it is damaged: %.200s", word == NULL ? "no word from quick_check" : (const char *)word);
            seen = LOOK_BROKEN;
        }
    }
    sqlite3_finalize(statement);
    return seen;
}

/* Another process may be doing the same: the version counts that stands once we may write. */
static int raise_step(sqlite3 *db, int64_t *ret_version)
{
    char say[64];
    int64_t version = 0;
    int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    if (code != SQLITE_OK)
        return code;
    code = ask_number(db, "PRAGMA user_version", &version);
    if (code == SQLITE_ROW)
        code = version >= 0 && version <= SCHEMA ? SQLITE_OK : SQLITE_SCHEMA;
    if (code == SQLITE_OK && version < SCHEMA)
        code = sqlite3_exec(db, steps[version++], NULL, NULL, NULL);
    snprintf(say, sizeof(say), "PRAGMA user_version = %d; COMMIT", (int)version);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, say, NULL, NULL, NULL);
    *ret_version = version;
    return code;
}

/* A step at a time, so that no more than one has to lie on the disk twice. */
static int raise_schema(sqlite3 *db)
{
    int64_t version = 0;
    int code = SQLITE_OK;

    while (code == SQLITE_OK && version < SCHEMA)
        code = raise_step(db, &version);
    return code;
}

static enum look prepare_to_write(sqlite3 *db, const char *path, int64_t version, struct fault *why)
{
    int code = sqlite3_exec(db,
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
                            "PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024",
                            NULL, NULL, NULL);

    if (code == SQLITE_OK && version < SCHEMA)
        code = raise_schema(db);
    return code == SQLITE_OK ? LOOK_GOOD : fail(db, code, path, why);
}

/* The file of a new store is nobody else's business; SQLite gives -wal and -shm the same permissions. */
static bool make_file(const char *path, struct fault *why)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;

    if (fd >= 0) {
        close(fd);
        return true;
    }
    if (errno != EEXIST)
        return fault_set(why, "%.200s: cannot be made: %s", path, strerror(errno));
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        chmod(path, 0600);                      /* not ours to change: then its owner knows why */
    return true;
}

static enum look look(const char *path, sqlite3 **ret, struct fault *why)
{
    sqlite3 *db = NULL;
    int64_t version = 0;
    enum look seen;
    int code;

    if (!make_file(path, why))
        return LOOK_AWAY;
    code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (code != SQLITE_OK) {
        seen = fail(db, code, path, why);
    } else {
        sqlite3_extended_result_codes(db, 1);
        sqlite3_busy_timeout(db, PATIENCE_MS);
        seen = look_at_schema(db, path, &version, why);
    }
    if (seen == LOOK_GOOD && sqlite3_db_readonly(db, "main") == 1) {
        fault_set(why, "%.200s: it may be read, but not written", path);
        seen = LOOK_AWAY;
    }
    if (seen == LOOK_GOOD)
        seen = look_for_damage(db, path, why);
    if (seen == LOOK_GOOD)
        seen = prepare_to_write(db, path, version, why);
    if (seen == LOOK_GOOD)
        *ret = db;
    else
        file_close_broken(db);
    return seen;
}

/* What was in the file that is set aside, nobody may take for forgotten by its owner. */
static bool note_loss(sqlite3 *db, const char *path, struct fault *why)
{
    int code = sqlite3_exec(db, "INSERT OR IGNORE INTO overrides (connector, until, set_at, who) VALUES ('', 0, 0, '')", NULL, NULL,
                            NULL);

    if (code == SQLITE_OK)
        return true;
    fail(db, code, path, why);
    file_close_broken(db);
    return false;
}

/* There is no file: was there one? *ret_lost: yes. false: nothing can be opened. */
static bool face_absence(const char *directory, bool *ret_lost, struct fault *why)
{
    if (any_part_there(directory, "")) {        /* a log without its file: SQLite would delete it */
        *ret_lost = true;
        return file_set_aside(directory, "it is gone, but has left its log", why);
    }
    *ret_lost = is_marked(directory, has_mark);
    if (*ret_lost)
        log_error("store: %s/danelaw.db is gone; what it alone has kept (policies, hold clocks, overridden modes, trace, audit) "
                  "begins anew", directory);
    return true;
}

/* As look(), where what is broken has been moved aside. false: that can't be done. */
static bool look_twice(const char *directory, const char *path, sqlite3 **ret, enum look *ret_seen, bool *ret_lost,
                       struct fault *why)
{
    struct fault reason;

    *ret_seen = look(path, ret, why);
    if (*ret_seen == LOOK_BROKEN)               /* so says SQLite of a disk, too, that could not read for once */
        *ret_seen = look(path, ret, why);
    reason = *why;
    if (*ret_seen == LOOK_BROKEN && !file_can_be_read(directory, why))
        *ret_seen = LOOK_AWAY;
    if (*ret_seen != LOOK_BROKEN)
        return true;
    if (!file_set_aside(directory, reason.text, why))
        return false;
    *ret_lost = true;
    miss(directory);
    *ret_seen = look(path, ret, why);
    return true;
}

bool file_open(const char *directory, sqlite3 **ret, struct fault *why)
{
    char path[PATH_SIZE];
    bool lost = false;
    struct stat st;
    enum look seen;

    if (!name_path(directory, "", path, why))
        return false;
    if (lstat(path, &st) != 0 && errno == ENOENT && !face_absence(directory, &lost, why))
        return false;
    if (lost)
        miss(directory);
    if (!look_twice(directory, path, ret, &seen, &lost, why) || seen != LOOK_GOOD)
        return false;
    if ((lost || is_marked(directory, lost_mark)) && !note_loss(*ret, path, why))
        return false;
    leave_mark(directory);
    return true;
}

/* Reading */

/* `file:` with whatever SQLite would take for its own marks written as %XX. */
static void name_uri(const char *path, char *ret, size_t size)
{
    size_t at = (size_t)snprintf(ret, size, "file:");

    for (; *path != '\0' && at + 4 < size - sizeof("?immutable=1"); path++) {
        if (strchr("?#%", *path) != NULL)
            at += (size_t)snprintf(ret + at, size - at, "%%%02X", (unsigned)(unsigned char)*path);
        else
            ret[at++] = *path;
    }
    strcpy(ret + at, "?immutable=1");
}

static int begin_to_read(const char *name, int more, sqlite3 **ret)
{
    int64_t ignored;
    int code = sqlite3_open_v2(name, ret, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | more, NULL);

    if (code != SQLITE_OK)
        return code;
    sqlite3_extended_result_codes(*ret, 1);
    sqlite3_busy_timeout(*ret, PATIENCE_MS);
    code = ask_number(*ret, "SELECT count(*) FROM sqlite_master", &ignored);
    return code == SQLITE_ROW ? SQLITE_OK : code;
}

/* Nothing waits in the log, so that the file alone is all there is. */
static bool log_empty(const char *directory)
{
    char path[PATH_SIZE];
    struct stat st;

    return name_path(directory, "-wal", path, NULL) && (stat(path, &st) != 0 ? errno == ENOENT : st.st_size == 0);
}

int file_open_to_read(const char *directory, sqlite3 **ret, bool *ret_frozen, struct fault *why)
{
    char path[PATH_SIZE], uri[PATH_SIZE * 3 + 32];
    sqlite3 *db = NULL;
    bool frozen = false;
    int code;

    if (!name_path(directory, "", path, why))
        return SQLITE_CANTOPEN;
    code = begin_to_read(path, 0, &db);
    if (code != SQLITE_OK && !file_broken(code) && access(path, R_OK) == 0 && log_empty(directory)) {
        /* a log needs a directory that can be written, even for reading */
        file_close_broken(db);
        db = NULL;
        name_uri(path, uri, sizeof(uri));
        code = begin_to_read(uri, SQLITE_OPEN_URI, &db);
        frozen = true;
    }
    if (code != SQLITE_OK) {
        fail(db, code, path, why);
        file_close_broken(db);
        return code;
    }
    *ret = db;
    *ret_frozen = frozen;
    return SQLITE_OK;
}

void file_close_broken(sqlite3 *db)
{
    if (db == NULL)
        return;
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close_v2(db);
}

bool file_moved(sqlite3 *db)
{
    int moved = 0;

    return sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved != 0;
}
