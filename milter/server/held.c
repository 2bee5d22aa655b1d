#include "server/held.h"

#include "base/clock.h"
#include "base/memory.h"
#include "server/report.h"

struct held_list {
    struct holds *holds;
    struct hold_slice slice;
    unsigned next_slice;
    size_t next;                        /* of the slice */
};

struct held_list *held_list(struct holds *holds)
{
    struct held_list *l = mem_zero(sizeof(*l));

    l->holds = holds;
    return l;
}

static json_t *item_of(const struct held *h)
{
    json_t *item = json_object();

    json_object_set_new(item, "connector", report_text(h->connector));
    json_object_set_new(item, "sender", report_text(h->sender));
    json_object_set_new(item, "recipient", report_text(h->recipient));
    json_object_set_new(item, "since", report_time(h->hold.since));
    json_object_set_new(item, "until", report_time(h->hold.since + h->patience));
    json_object_set_new(item, "attempts", json_integer(h->hold.attempts));
    json_object_set_new(item, "reason", json_string(reason_word(h->hold.reason)));
    return item;
}

/* false: there are no more slices. */
static bool turn_over(struct held_list *l)
{
    if (l->next_slice == HOLDS_SLICES)
        return false;
    hold_slice_done(&l->slice);
    holds_read(l->holds, l->next_slice++, (int64_t)clock_wall(), &l->slice);
    l->next = 0;
    return true;
}

json_t *held_next(struct held_list *l)
{
    while (l->next == l->slice.count) {
        if (!turn_over(l))
            return NULL;
    }
    return item_of(&l->slice.items[l->next++]);
}

void held_free(struct held_list *l)
{
    if (l == NULL)
        return;
    hold_slice_done(&l->slice);
    free(l);
}

bool held_forget(struct holds *holds, const json_t *request, size_t *ret_count, struct fault *why)
{
    const char *connector = json_string_value(json_object_get(request, "connector"));
    const char *to = json_string_value(json_object_get(request, "to"));
    bool all = json_is_true(json_object_get(request, "all"));
    struct address recipient;

    if ((connector != NULL) + (to != NULL) + all != 1)
        return fault_set(why, "a connector, a recipient or everything can be forgotten, one of them at a time");
    if (to != NULL)
        address_parse(to, &recipient);
    if (to != NULL && recipient.kind != ADDRESS_DOMAIN && recipient.kind != ADDRESS_LITERAL)
        return fault_set(why, "that is no address");
    *ret_count = holds_forget(holds, connector, to == NULL ? NULL : &recipient, (int64_t)clock_wall());
    return true;
}
