#include "server/modes.h"

#include "base/memory.h"
#include "server/clerk.h"
#include "server/report.h"
#include "store/audit.h"

#include <string.h>

enum { AUDIT_SLICE = 256 };

/* Orders */

static bool read_mode(const json_t *request, const char *key, bool *ret_set, enum mode *ret, struct fault *why)
{
    const json_t *word = json_object_get(request, key);

    *ret_set = word != NULL;
    return word == NULL || (json_is_string(word) && mode_parse(json_string_value(word), ret)) ||
           fault_set(why, "a mode is opportunistic, mandatory or none");
}

static bool read_span(const json_t *request, int64_t *ret, struct fault *why)
{
    const json_t *span = json_object_get(request, "for");

    if (span == NULL)
        return true;
    *ret = (int64_t)json_integer_value(span);
    return (json_is_integer(span) && *ret > 0 && *ret <= MODES_SPAN_MOST) || fault_set(why, "--for takes 1s to 7d");
}

bool modes_read(const json_t *request, struct mode_order *ret, struct fault *why)
{
    const char *name = json_string_value(json_object_get(request, "name"));

    *ret = (struct mode_order){ .clear = json_is_true(json_object_get(request, "clear")),
                                .permanent = json_is_true(json_object_get(request, "permanent")) };
    if (name == NULL || strlen(name) >= sizeof(ret->connector))
        return fault_set(why, "that is no connector's name");
    strcpy(ret->connector, name);
    if (!read_mode(request, "dane", &ret->sets_dane, &ret->smtp_dane, why) ||
        !read_mode(request, "sts", &ret->sets_sts, &ret->mta_sts, why) || !read_span(request, &ret->span, why))
        return false;
    if (ret->clear)
        return (!ret->sets_dane && !ret->sets_sts && ret->span == 0 && !ret->permanent) ||
               fault_set(why, "--clear goes with no other option");
    if (ret->span != 0 && ret->permanent)
        return fault_set(why, "--for and --permanent exclude each other");
    return ret->sets_dane || ret->sets_sts || fault_set(why, "--dane or --sts is missing");
}

/* The audit */

struct audit_list {
    struct clerk_source face;
    struct audit_reader reader;
    struct store *store;
    int64_t below;                      /* 0: from the newest */
    json_t *into;
    size_t count;                       /* of this slice */
};

static struct audit_list *list_of(struct audit_reader *reader)
{
    return (struct audit_list *)((char *)reader - offsetof(struct audit_list, reader));
}

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : report_text(text);
}

static bool take_entry(struct audit_reader *reader, const struct audit_entry *e)
{
    struct audit_list *list = list_of(reader);
    json_t *item = json_object();

    json_object_set_new(item, "time", report_time(e->time));
    json_object_set_new(item, "by", report_text(e->by));
    json_object_set_new(item, "action", report_text(e->action));
    json_object_set_new(item, "connector", text_or_null(e->connector));
    json_object_set_new(item, "before", text_or_null(e->before));
    json_object_set_new(item, "after", text_or_null(e->after));
    json_array_append_new(list->into, item);
    list->below = e->id;
    list->count++;
    return !atomic_load(&list->face.unwanted);
}

static bool read_audit(struct clerk_source *self, json_t *into, bool *ret_end, struct fault *why)
{
    struct audit_list *list = (struct audit_list *)self;

    list->into = into;
    list->count = 0;
    if (!audit_read(list->store, list->below, AUDIT_SLICE, &list->reader, why))
        return false;
    *ret_end = list->count < AUDIT_SLICE;
    return true;
}

static void free_audit(struct clerk_source *self)
{
    free(self);
}

struct clerk_source *modes_audit(struct store *store)
{
    struct audit_list *list = mem_zero(sizeof(*list));

    list->face.read = read_audit;
    list->face.free = free_audit;
    list->reader.each = take_entry;
    list->store = store;
    return &list->face;
}
