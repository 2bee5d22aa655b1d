/*
 * Sendmail's questions.
 */
#include "engine/inside.h"

void engine_ask_sendmail(struct engine *e, const struct sendmail_question *q, struct pending *answer)
{
    const struct connector *c;
    struct ruleset *rules;

    if (!engine_enter(e, &rules)) {
        answer->done(answer, NULL);
        return;
    }
    c = ruleset_find(rules, &q->to, &q->from);
    answer->done(answer, c->is_default || connector_is_idle(c) ? "pass" : NULL);
    engine_leave(e, rules);
}
