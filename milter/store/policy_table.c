#include "store/policy_table.h"

#include "base/hash.h"
#include "base/memory.h"

enum { OCTETS_EACH = 4096 };                /* for each of `most`, on the average; most policies have 300 */

static uint64_t hash_of(const struct domain *d)
{
    return hash_bytes(d->name, d->length);
}

struct policy_entry **policy_table_find(const struct policy_table *t, const struct domain *domain)
{
    uint64_t hash = hash_of(domain);
    struct policy_entry **at = &t->buckets[hash & (t->room - 1)];

    while (*at != NULL && ((*at)->hash != hash || !domain_equal(&(*at)->row.domain, domain)))
        at = &(*at)->next;
    return at;
}

static void grow(struct policy_table *t)
{
    size_t room = t->room == 0 ? 64 : t->room * 2, i;
    struct policy_entry **buckets = mem_array(room, sizeof(struct policy_entry *));
    struct policy_entry *e, *next;

    for (i = 0; i < t->room; i++) {
        for (e = t->buckets[i]; e != NULL; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (room - 1)];
            buckets[e->hash & (room - 1)] = e;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->room = room;
}

/* About what the entry takes: itself, the body, and the list of names that was made of it. */
static uint64_t octets_of(const struct policy_entry *e)
{
    return sizeof(*e) + sizeof(struct sts_policy) + 2 * e->row.length + e->row.kept.policy->mx_count * sizeof(char *);
}

struct policy_entry *policy_table_cut(struct policy_table *t, struct policy_entry **at)
{
    struct policy_entry *e = *at;

    *at = e->next;
    t->used--;
    t->octets -= octets_of(e);
    return e;
}

struct policy_entry *policy_table_place(struct policy_table *t, struct policy_entry *e)
{
    struct policy_entry **at, *old = NULL;

    if (t->used >= t->room)
        grow(t);
    at = policy_table_find(t, &e->row.domain);
    if (*at != NULL) {
        old = policy_table_cut(t, at);
        e->queued = old->queued;
    }
    e->next = *at;
    *at = e;
    t->used++;
    t->octets += octets_of(e);
    return old;
}

/* The one to give way: the fattest where octets are short (so that nobody crowds out others by size), else the one that
   expires first, but never the newcomer. */
static struct policy_entry **find_victim(const struct policy_table *t, const struct policy_entry *newcomer, bool fattest)
{
    struct policy_entry **at, **found = NULL;
    size_t i;

    for (i = 0; i < t->room; i++) {
        for (at = &t->buckets[i]; *at != NULL; at = &(*at)->next) {
            if (*at == newcomer)
                continue;
            if (found == NULL || (fattest ? (*at)->row.length > (*found)->row.length
                                          : (*at)->row.kept.expires_at < (*found)->row.kept.expires_at))
                found = at;
        }
    }
    return found;
}

struct policy_entry *policy_table_crowd_out(struct policy_table *t, const struct policy_entry *newcomer)
{
    bool fat = t->octets > (uint64_t)t->most * OCTETS_EACH;
    struct policy_entry **at;

    if (t->used <= t->most && !fat)
        return NULL;
    at = find_victim(t, newcomer, t->used <= t->most);
    return at == NULL ? NULL : policy_table_cut(t, at);
}

struct policy_entry *policy_entry_new(struct row row)
{
    struct policy_entry *e = mem_zero(sizeof(*e));

    e->hash = hash_of(&row.domain);
    e->row = row;
    return e;
}

void policy_entry_free(struct policy_entry *e)
{
    row_done(&e->row);
    free(e);
}

void policy_table_init(struct policy_table *t, size_t most)
{
    *t = (struct policy_table){ .most = most };
    grow(t);
}

void policy_table_done(struct policy_table *t)
{
    struct policy_entry *e, *next;
    size_t i;

    for (i = 0; i < t->room; i++) {
        for (e = t->buckets[i]; e != NULL; e = next) {
            next = e->next;
            policy_entry_free(e);
        }
    }
    free(t->buckets);
}
