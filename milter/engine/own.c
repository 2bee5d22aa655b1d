#include "engine/own.h"

#include "base/memory.h"
#include "base/thread.h"

#include <stdatomic.h>

struct own {
    struct mutex lock;
    char **domains GUARDED_BY(lock);
    size_t count GUARDED_BY(lock);
    atomic_bool any;                    /* most sites have none */
};

static void free_domains(char **domains, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        free(domains[i]);
    free(domains);
}

struct own *own_new(void)
{
    struct own *o = mem_zero(sizeof(*o));

    mutex_init(&o->lock);
    return o;
}

void own_free(struct own *o)
{
    free_domains(o->domains, o->count);
    mutex_done(&o->lock);
    free(o);
}

void own_set(struct own *o, const char *const *domains, size_t count)
{
    char **fresh = mem_array(count + 1, sizeof(*fresh)), **old;
    size_t old_count, i;

    for (i = 0; i < count; i++)
        fresh[i] = mem_text(domains[i]);
    mutex_lock(&o->lock);
    old = o->domains;
    old_count = o->count;
    o->domains = fresh;
    o->count = count;
    mutex_unlock(&o->lock);
    atomic_store(&o->any, count > 0);
    free_domains(old, old_count);
}

bool own_has(struct own *o, const char *domain)
{
    bool has;

    if (!atomic_load(&o->any))
        return false;
    mutex_lock(&o->lock);
    has = domain_is_among((const char *const *)o->domains, o->count, domain);
    mutex_unlock(&o->lock);
    return has;
}
