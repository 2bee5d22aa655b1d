#include "mta/queue.h"

#include "base/memory.h"
#include "mta/postconf.h"
#include "mta/run.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { ID_MAX = 63, IDS_BYTES_MAX = 16 * 1024 * 1024 };

bool queue_find(const struct settings *set, struct arena *memory, struct queue *ret, struct fault *why)
{
    *ret = (struct queue){ .config_dir = set->tables.config_dir };
    return postconf_program(set, "postqueue", memory, &ret->postqueue, why) &&
           postconf_program(set, "postsuper", memory, &ret->postsuper, why);
}

/* It becomes an argument of postsuper(1), to which ALL is a word of its own. */
static bool is_id(const char *id)
{
    size_t length = strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    return length > 0 && length <= ID_MAX && id[length] == '\0' && strcmp(id, "ALL") != 0;
}

static bool read_recipients(const json_t *list, struct queued *ret)
{
    size_t count = json_array_size(list), i;
    struct queued_recipient *made = mem_array(count + 1, sizeof(*made));
    const json_t *entry;

    ret->recipients = made;
    ret->count = count;
    json_array_foreach(list, i, entry) {
        const char *why = json_string_value(json_object_get(entry, "delay_reason"));

        made[i].address = json_string_value(json_object_get(entry, "address"));
        made[i].why = why == NULL ? "" : why;
        if (made[i].address == NULL)
            return false;
    }
    return json_is_array(list);
}

/* Postfix completes every address but that of nobody, which it shows as `MAILER-DAEMON` (empty_address_recipient). */
static const char *sender_of(const json_t *message)
{
    const char *sender = json_string_value(json_object_get(message, "sender"));

    return sender != NULL && strchr(sender, '@') == NULL ? "" : sender;
}

bool queued_parse(const char *line, size_t length, struct queued *ret)
{
    json_t *message = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    const json_t *arrival = json_object_get(message, "arrival_time");
    const char *queue = json_string_value(json_object_get(message, "queue_name"));
    struct queued m = { .memory = message, .sender = sender_of(message) };

    m.id = json_string_value(json_object_get(message, "queue_id"));
    m.arrival = json_integer_value(arrival);
    m.deferred = queue != NULL && strcmp(queue, "deferred") == 0;
    /* The manual of Postfix has the one name, some of its versions the other. */
    m.expired = json_is_true(json_object_get(message, "forced_expire")) ||
                json_is_true(json_object_get(message, "force_expired"));
    if (!read_recipients(json_object_get(message, "recipients"), &m) || queue == NULL || m.sender == NULL || m.id == NULL ||
        !is_id(m.id) || !json_is_integer(arrival)) {
        queued_done(&m);
        return false;
    }
    *ret = m;
    return true;
}

void queued_done(struct queued *m)
{
    free((void *)(uintptr_t)m->recipients);
    json_decref(m->memory);
    *m = (struct queued){ NULL };
}

/* From lines to messages. */
struct lister {
    struct run_reader lines;
    struct queue_reader *reader;
    size_t strange;
};

static void take_line(struct run_reader *self, const char *line, size_t length)
{
    struct lister *l = (struct lister *)self;
    struct queued m;

    if (!queued_parse(line, length, &m)) {
        l->strange++;
        return;
    }
    l->reader->message(l->reader, &m);
    queued_done(&m);
}

/* PROGRAM [-c DIR] OPTION ARGUMENT QUEUE, of which the last two may be NULL. */
static void words_of(const struct queue *q, const char *program, const char *option, const char *argument, const char *queue,
                     const char *ret[static 7])
{
    size_t count = 0;

    ret[count++] = program;
    if (*q->config_dir != '\0') {
        ret[count++] = "-c";
        ret[count++] = q->config_dir;
    }
    ret[count++] = option;
    if (argument != NULL)
        ret[count++] = argument;
    if (queue != NULL)
        ret[count++] = queue;
    ret[count] = NULL;
}

/* Whether a program has done its work; ends r where it hasn't. */
static bool succeeded(const char *program, struct run *r, struct fault *why)
{
    char said[256];

    if (r->code == 0)
        return true;
    fault_set(why, "%s: %s", program, run_complaint(r, said, sizeof(said)));
    run_done(r);
    return false;
}

bool queue_read(const struct queue *q, struct queue_reader *reader, size_t *ret_strange, struct fault *why)
{
    struct lister l = { .lines.line = take_line, .reader = reader };
    const char *argv[7];
    struct run r;

    words_of(q, q->postqueue, "-j", NULL, NULL, argv);
    if (!run_lines(argv, &l.lines, &r, why) || !succeeded(q->postqueue, &r, why))
        return false;
    run_done(&r);
    *ret_strange = l.strange;
    return true;
}

/* `postsuper: ID: expired`, a line for each. */
static bool says_expired(const char *words, const char *id)
{
    char wanted[ID_MAX + 16];
    const char *at;

    snprintf(wanted, sizeof(wanted), ": %s: expired", id);
    at = strstr(words, wanted);
    return at != NULL && (at[strlen(wanted)] == '\n' || at[strlen(wanted)] == '\0');
}

bool queue_expire(const struct queue *q, const char *const ids[], size_t count, bool ret_done[], struct fault *why)
{
    const char *argv[7];
    struct text input;
    struct run r;
    bool good;
    size_t i;

    text_init(&input, IDS_BYTES_MAX);
    for (i = 0; i < count; i++)
        text_print(&input, "%s\n", ids[i]);
    words_of(q, q->postsuper, "-e", "-", "deferred", argv);
    good = run_program(argv, input.bytes, input.length, &r, why) && succeeded(q->postsuper, &r, why);
    text_done(&input);
    if (!good)
        return false;
    for (i = 0; i < count; i++)
        ret_done[i] = says_expired(text_words(&r.err), ids[i]);
    run_done(&r);
    return true;
}

bool queue_attempt(const struct queue *q, const char *id, struct fault *why)
{
    const char *argv[7];
    struct run r;

    words_of(q, q->postqueue, "-i", id, NULL, argv);
    if (!run_program(argv, NULL, 0, &r, why) || !succeeded(q->postqueue, &r, why))
        return false;
    run_done(&r);
    return true;
}
