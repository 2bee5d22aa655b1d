#include "store/trace_item.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Bytes that are no UTF-8 become `?`. */
static json_t *text_or_null(const char *text)
{
    json_t *value = text == NULL ? json_null() : json_string(text);
    AUTO(free) char *plain = NULL;
    size_t size;

    if (value != NULL)
        return value;
    size = strlen(text) + 1;
    plain = mem_zero(size);
    return json_string(text_printable(text, false, plain, size));
}

/* RFC 3339 in UTC, with milliseconds. */
static json_t *time_of(int64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    char second[32], text[48];
    struct tm utc;

    if (ms <= 0 || gmtime_r(&s, &utc) == NULL || strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        return json_null();
    snprintf(text, sizeof(text), "%s.%03dZ", second, (int)(ms % 1000));
    return json_string(text);
}

json_t *trace_item(const struct trace_row *row)
{
    json_t *item = json_object();

    json_object_set_new(item, "time", time_of(row->at));
    json_object_set_new(item, "where", text_or_null(row->where));
    json_object_set_new(item, "queue_id", text_or_null(row->queue_id));
    json_object_set_new(item, "from", text_or_null(row->from));
    json_object_set_new(item, "to", text_or_null(row->to));
    json_object_set_new(item, "connector", text_or_null(row->connector));
    json_object_set_new(item, "shadow", json_boolean(row->shadow));
    json_object_set_new(item, "dane", text_or_null(row->dane));
    json_object_set_new(item, "sts", text_or_null(row->sts));
    json_object_set_new(item, "verdict", text_or_null(row->verdict));
    json_object_set_new(item, "reason", text_or_null(row->reason));
    json_object_set_new(item, "route", text_or_null(row->route));
    json_object_set_new(item, "policy", text_or_null(row->policy));
    json_object_set_new(item, "took_ms", json_integer(row->took_ms));
    return item;
}
