#include "store/rows.h"

#include "base/log.h"
#include "base/memory.h"
#include "store/writer.h"

#include <string.h>

struct row row_new(const struct domain *domain, const char *id, struct sts_policy *policy, const char *body, size_t length)
{
    struct row r = { .domain = *domain, .kept.policy = sts_policy_ref(policy), .length = length };

    strncpy(r.kept.id, id, sizeof(r.kept.id) - 1);
    r.body = mem_array(length + 1, 1);
    memcpy(r.body, body, length);
    return r;
}

struct row row_copy(const struct row *r)
{
    struct row copy = row_new(&r->domain, r->kept.id, r->kept.policy, r->body, r->length);

    copy.kept = r->kept;
    return copy;
}

void row_done(struct row *r)
{
    sts_policy_unref(r->kept.policy);
    free(r->body);
}

/* Writing */

bool rows_write(struct writer *w, const struct row *r)
{
    sqlite3_stmt *statement = writer_prepare(w,
                                             "INSERT OR REPLACE INTO policies "
                                             "(domain, id, body, fetched_at, checked_at, expires_at) "
                                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6)");

    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, r->domain.name, r->domain.length, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, r->kept.id, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 3, r->body, r->length, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, r->kept.fetched_at);
    sqlite3_bind_int64(statement, 5, r->kept.checked_at);
    sqlite3_bind_int64(statement, 6, r->kept.expires_at);
    return writer_step(w, statement);
}

bool rows_delete(struct writer *w, const struct domain *domain)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM policies WHERE domain = ?1");

    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, domain->name, domain->length, SQLITE_STATIC);
    return writer_step(w, statement);
}

bool rows_delete_expired(struct writer *w, int64_t now)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM policies WHERE expires_at <= ?1");

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, now);
    return writer_step(w, statement);
}

bool rows_delete_all(struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM policies");

    return statement != NULL && writer_step(w, statement);
}

/* Reading */

struct reading {
    struct store_query query;
    int64_t now;
    void (*good)(void *self, struct row row);
    void (*bad)(void *self, const struct domain *domain, const struct fault *why);
    void *self;
};

static void bind_now(struct store_query *self, sqlite3_stmt *statement)
{
    sqlite3_bind_int64(statement, 1, ((struct reading *)self)->now);
}

static bool read_name(sqlite3_stmt *found, struct domain *ret)
{
    const char *name = (const char *)sqlite3_column_text(found, 0);

    return name != NULL && domain_parse(name, ret, NULL) && strcmp(ret->name, name) == 0;
}

static bool read_rest(sqlite3_stmt *found, const struct domain *domain, struct row *ret, struct fault *why)
{
    const char *id = (const char *)sqlite3_column_text(found, 1);
    const char *body = sqlite3_column_blob(found, 2);
    size_t length = (size_t)sqlite3_column_bytes(found, 2);
    struct sts_policy *policy;

    if (id == NULL || strlen(id) >= STS_ID_SIZE || body == NULL)
        return fault_set(why, "the record is incomplete");
    if (!sts_policy_parse(body, length, &policy, why))
        return false;
    *ret = row_new(domain, id, policy, body, length);
    sts_policy_unref(policy);
    ret->kept.fetched_at = sqlite3_column_int64(found, 3);
    ret->kept.checked_at = sqlite3_column_int64(found, 4);
    ret->kept.expires_at = sqlite3_column_int64(found, 5);
    return true;
}

static bool read_row(struct store_query *self, sqlite3_stmt *found)
{
    struct reading *r = (struct reading *)self;
    struct domain domain;
    struct fault why;
    struct row row;

    if (!read_name(found, &domain))
        log_warning("store: a policy is kept under what is no domain name; passed over");
    else if (read_rest(found, &domain, &row, &why))
        r->good(r->self, row);
    else
        r->bad(r->self, &domain, &why);
    return true;
}

bool rows_read(struct store *s, int64_t now, void (*good)(void *self, struct row row),
               void (*bad)(void *self, const struct domain *domain, const struct fault *why), void *self, struct fault *why)
{
    struct reading r = { .query = { .sql = "SELECT domain, id, body, fetched_at, checked_at, expires_at FROM policies "
                                           "WHERE expires_at > ?1 ORDER BY expires_at DESC",
                                    .bind = bind_now,
                                    .row = read_row },
                         .now = now,
                         .good = good,
                         .bad = bad,
                         .self = self };

    return store_read(s, &r.query, why);
}
