#include "engine/traffic.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"

#include <string.h>

enum { LATE_MS = 3600 * 1000, STEPS = 8 };      /* so many places may have it */

struct seen {
    struct next_hop hop;
    char *connector;                            /* NULL: empty */
    int64_t at;
};

struct traffic {
    struct mutex lock;
    struct seen places[TRAFFIC_MAX] GUARDED_BY(lock);
};

struct traffic *traffic_new(void)
{
    struct traffic *t = mem_zero(sizeof(*t));

    mutex_init(&t->lock);
    return t;
}

void traffic_free(struct traffic *t)
{
    size_t i;

    for (i = 0; i < TRAFFIC_MAX; i++)
        free(t->places[i].connector);
    mutex_done(&t->lock);
    free(t);
}

bool traffic_names(const struct connector *c)
{
    size_t i;

    for (i = 0; c->smart_host_count == 0 && i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_BELOW || c->recipients[i].kind == PATTERN_EVERYONE)
            return true;
    }
    return false;
}

static bool is_for(const struct seen *s, const struct connector *c, const struct next_hop *hop)
{
    return s->connector != NULL && strcmp(s->connector, c->name) == 0 && s->hop.port == hop->port &&
           s->hop.bracketed == hop->bracketed && domain_equal(&s->hop.host, &hop->host);
}

/* Its place, or the first of those it may have that is empty or has grown old; NULL: there is none. */
static struct seen *find_locked(struct traffic *t, const struct connector *c, const struct next_hop *hop, int64_t now)
    HOLDING(t->lock)
{
    uint64_t parts[] = { hash_text(c->name), hash_bytes(hop->host.name, hop->host.length), hop->port };
    size_t start = hash_bytes(parts, sizeof(parts)) % TRAFFIC_MAX, i;
    struct seen *s, *room = NULL;

    for (i = 0; i < STEPS; i++) {
        s = &t->places[(start + i) % TRAFFIC_MAX];
        if (is_for(s, c, hop))
            return s;
        if (room == NULL && (s->connector == NULL || now - s->at > LATE_MS))
            room = s;
    }
    return room;
}

void traffic_note(struct traffic *t, const struct connector *c, const struct next_hop *hop, int64_t now)
{
    char *old = NULL;
    struct seen *s;

    mutex_lock(&t->lock);
    s = find_locked(t, c, hop, now);
    if (s != NULL && is_for(s, c, hop)) {
        s->at = now;
    } else if (s != NULL) {
        old = s->connector;
        *s = (struct seen){ .hop = *hop, .connector = mem_text(c->name), .at = now };
    }
    mutex_unlock(&t->lock);
    free(old);
}

bool traffic_at(struct traffic *t, size_t index, int64_t now, struct next_hop *ret, char **ret_connector)
{
    const struct seen *s;
    bool found;

    mutex_lock(&t->lock);
    s = &t->places[index];
    found = s->connector != NULL && now - s->at <= LATE_MS;
    if (found) {
        *ret = s->hop;
        *ret_connector = mem_text(s->connector);
    }
    mutex_unlock(&t->lock);
    return found;
}
