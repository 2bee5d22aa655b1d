#include "server/trace_list.h"

#include "base/clock.h"
#include "base/memory.h"
#include "policy/terms.h"
#include "store/trace_item.h"
#include "store/trace_search.h"

struct list {
    struct clerk_source face;
    struct trace_search *search;
};

static void put_row(void *into, const struct trace_row *row)
{
    json_array_append_new(into, trace_item(row));
}

static bool read_rows(struct clerk_source *self, json_t *into, bool *ret_end, struct fault *why)
{
    return trace_search_next(((struct list *)self)->search, &self->unwanted, put_row, into, ret_end, why);
}

static void list_free(struct clerk_source *self)
{
    trace_search_free(((struct list *)self)->search);
    free(self);
}

static const char *text_or_null(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

struct clerk_source *trace_list(struct store *store, const json_t *request, struct fault *why)
{
    json_int_t span = json_integer_value(json_object_get(request, "since"));    /* seconds */
    json_int_t limit = json_integer_value(json_object_get(request, "limit"));
    struct trace_filter filter = { .to = text_or_null(request, "to"), .domain = text_or_null(request, "domain"),
                                   .connector = text_or_null(request, "connector"),
                                   .queue_id = text_or_null(request, "queue_id"),
                                   .verdict = text_or_null(request, "verdict"), .limit = (uint64_t)limit };
    int64_t now = clock_wall_ms();
    enum verdict verdict;
    struct list *list;

    if (span < 1 || limit < 1 || (filter.verdict != NULL && !verdict_parse(filter.verdict, &verdict))) {
        fault_set(why, "that is no span, limit or verdict");
        return NULL;
    }
    filter.since_ms = span < now / 1000 ? now - span * 1000 : 0;
    list = mem_zero(sizeof(*list));
    list->face.read = read_rows;
    list->face.free = list_free;
    list->search = trace_search_new(store, NULL, &filter);
    return &list->face;
}
