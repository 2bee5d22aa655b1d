#include "server/swept.h"

#include "base/clock.h"

#include <string.h>

static const char *member(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

/* What is known at the moment of where the mail was to go; gives a reference, or NULL. */
static struct evidence *evidence_about(struct engine *e, const struct connector *c, const struct address *to)
{
    struct next_hop hop = next_hop_of(&to->domain);
    int64_t since;

    if (c->smart_host_count > 0)
        hop = c->smart_hosts[0];
    else if (to->kind != ADDRESS_DOMAIN)
        return NULL;
    return engine_peek(e, &hop, &since);
}

static void record(struct engine *e, const char *queue_id, const char *to, const char *from, enum reason reason)
{
    char to_text[ADDRESS_TEXT_SIZE], from_text[ADDRESS_TEXT_SIZE];
    struct decision d = { .verdict = VERDICT_BOUNCE, .reason = reason };
    struct ruleset *rules = engine_rules(e);
    struct address recipient, sender;
    const struct connector *c;
    struct evidence *found;

    address_parse(to, &recipient);
    address_parse(from, &sender);
    c = ruleset_find(rules, &recipient, &sender);
    found = evidence_about(e, c, &recipient);
    engine_record(e, &(struct record){ .where = WHERE_SWEEP, .queue_id = queue_id, .connector = c, .found = found,
                                       .decision = &d, .at = clock_wall_ms(),
                                       .to = address_print(&recipient, to_text, sizeof(to_text)),
                                       .from = address_print(&sender, from_text, sizeof(from_text)) });
    evidence_unref(found);
    ruleset_unref(rules);
}

const char *swept_record(struct engine *e, const json_t *request)
{
    const char *queue_id = member(request, "queue_id"), *to = member(request, "to"), *from = member(request, "from");
    const char *word = member(request, "reason");
    enum reason reason = REASON_NONE;

    if (queue_id == NULL || to == NULL || from == NULL || word == NULL)
        return "a queue id, a recipient, a sender and a reason are needed";
    if (strcmp(word, reason_word(REASON_NONE)) != 0 && !reason_parse(word, &reason))
        return "there is no such reason";
    record(e, queue_id, to, from, reason);
    return NULL;
}
