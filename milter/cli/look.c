#include "cli/look.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/thread.h"

struct look {
    struct landing landing;
    struct query_landing query_landing;
    struct records_landing records_landing;
    struct policy_landing policy_landing;
    struct probe_landing probe_landing;
    struct mutex lock;
    struct signal landed;
    bool done GUARDED_BY(lock);
    struct dns_answers *answers;        /* once done; or NULL */
    struct dns_look result;             /* once done */
    struct dns_records records;         /* once done */
    struct policy_file file;            /* once done */
    struct arena *memory;               /* of the last two; or NULL */
    struct probe_sight sight;           /* once done; a reference to its chain */
};

/* The last thing a landing does: nothing of the look may be touched behind it. */
static void settle(struct look *l)
{
    mutex_lock(&l->lock);
    l->done = true;
    signal_all(&l->landed);
    mutex_unlock(&l->lock);
}

static void arrive(struct landing *self, struct dns_answers *answers)
{
    struct look *l = (struct look *)((char *)self - offsetof(struct look, landing));

    l->answers = answers;
    settle(l);
}

static void query_arrive(struct query_landing *self, const struct dns_look *result)
{
    struct look *l = (struct look *)((char *)self - offsetof(struct look, query_landing));

    l->result = *result;
    settle(l);
}

static void records_arrive(struct records_landing *self, const struct dns_records *found)
{
    struct look *l = (struct look *)((char *)self - offsetof(struct look, records_landing));
    size_t i;

    l->memory = arena_new();
    l->records = *found;
    for (i = 0; i < found->count; i++)
        l->records.data[i] = (const uint8_t *)arena_bytes(l->memory, (const char *)found->data[i], found->lengths[i]);
    settle(l);
}

static void policy_arrive(struct policy_landing *self, const struct policy_file *file)
{
    struct look *l = (struct look *)((char *)self - offsetof(struct look, policy_landing));

    l->memory = arena_new();
    l->file = *file;
    l->file.body = file->state == FETCH_GOOD ? arena_bytes(l->memory, file->body, file->length) : "";
    settle(l);
}

static void probe_arrive(struct probe_landing *self, const struct probe_sight *sight)
{
    struct look *l = (struct look *)((char *)self - offsetof(struct look, probe_landing));

    l->sight = *sight;
    if (sight->chain != NULL)
        l->sight.chain = cert_chain_ref(sight->chain);
    settle(l);
}

static struct look *look_new(void)
{
    struct look *l = mem_zero(sizeof(*l));

    l->landing.arrive = arrive;
    l->query_landing.arrive = query_arrive;
    l->records_landing.arrive = records_arrive;
    l->policy_landing.arrive = policy_arrive;
    l->probe_landing.arrive = probe_arrive;
    mutex_init(&l->lock);
    signal_init(&l->landed);
    return l;
}

struct look *look_at_hop(struct lookup *lookup, const struct next_hop *hop)
{
    struct look *l = look_new();

    lookup->resolve(lookup, hop, &l->landing);
    return l;
}

struct look *look_at_name(struct lookup *lookup, const char *name, int type)
{
    struct look *l = look_new();

    lookup->query(lookup, name, type, &l->query_landing);
    return l;
}

struct look *look_at_records(struct lookup *lookup, const char *name, int type)
{
    struct look *l = look_new();

    lookup->records(lookup, name, type, &l->records_landing);
    return l;
}

struct look *look_at_policy(struct lookup *lookup, const struct domain *policy_domain)
{
    struct look *l = look_new();

    lookup->fetch_policy(lookup, policy_domain, &l->policy_landing);
    return l;
}

struct look *look_at_host(struct lookup *lookup, const struct probe_target *target)
{
    struct look *l = look_new();

    lookup->probe(lookup, target, &l->probe_landing);
    return l;
}

static void wait_for(struct look *l)
{
    mutex_lock(&l->lock);
    while (!l->done)
        signal_wait(&l->landed, &l->lock);
    mutex_unlock(&l->lock);
}

const struct dns_answers *look_answers(struct look *l)
{
    wait_for(l);
    return l->answers;
}

const struct dns_look *look_result(struct look *l)
{
    wait_for(l);
    return &l->result;
}

const struct dns_records *look_records(struct look *l)
{
    wait_for(l);
    return &l->records;
}

const struct policy_file *look_policy(struct look *l)
{
    wait_for(l);
    return &l->file;
}

const struct probe_sight *look_sight(struct look *l)
{
    wait_for(l);
    return &l->sight;
}

void look_free(struct look *l)
{
    if (l == NULL)
        return;
    wait_for(l);
    dns_answers_free(l->answers);
    arena_free(l->memory);
    cert_chain_unref(l->sight.chain);
    signal_done(&l->landed);
    mutex_done(&l->lock);
    free(l);
}
