#ifndef DANELAW_STORE_ROWS_H
#define DANELAW_STORE_ROWS_H

#include "store/policies.h"

/* A policy as a row of the store's table. Inside the room. */
struct writer;

struct row {
    struct domain domain;
    struct kept_policy kept;
    char *body;                             /* as it was fetched; ours */
    size_t length;
};

/* Shares policy, copies the rest; all times are 0. */
struct row row_new(const struct domain *domain, const char *id, struct sts_policy *policy, const char *body, size_t length);
struct row row_copy(const struct row *r);
void row_done(struct row *r);

/* For jobs, on the writer's thread. */
bool rows_write(struct writer *w, const struct row *r);
bool rows_delete(struct writer *w, const struct domain *domain);
bool rows_delete_expired(struct writer *w, int64_t now);
bool rows_delete_all(struct writer *w);

/* Gives the unexpired, those that expire last first; bad gets the names of those whose policy is none any more. false: not
   all could be read. Any thread. */
bool rows_read(struct store *s, int64_t now, void (*good)(void *self, struct row row),
               void (*bad)(void *self, const struct domain *domain, const struct fault *why), void *self, struct fault *why);

#endif
