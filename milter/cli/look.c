#include "cli/look.h"

#include "base/memory.h"
#include "base/thread.h"

struct look {
    struct landing landing;
    struct query_landing query_landing;
    struct mutex lock;
    struct signal landed;
    bool done GUARDED_BY(lock);
    struct dns_answers *answers;        /* once done; or NULL */
    struct dns_look result;             /* once done */
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

static struct look *look_new(void)
{
    struct look *l = mem_zero(sizeof(*l));

    l->landing.arrive = arrive;
    l->query_landing.arrive = query_arrive;
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

void look_free(struct look *l)
{
    if (l == NULL)
        return;
    wait_for(l);
    dns_answers_free(l->answers);
    signal_done(&l->landed);
    mutex_done(&l->lock);
    free(l);
}
