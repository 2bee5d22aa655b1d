#ifndef DANELAW_ENGINE_SENDMAIL_H
#define DANELAW_ENGINE_SENDMAIL_H

/* What the files about Sendmail's questions share, and nobody else sees. */

#include "engine/inside.h"
#include "policy/gate.h"
#include "policy/reply.h"

enum { SENDMAIL_ID_SIZE = 64, SENDMAIL_VALUE_MAX = 400, SENDMAIL_ROAD_SIZE = 2048 };

/* A question about mail of a named connector, on its way. */
struct mail_ask {
    struct walk walk;                       /* first; to one next hop after the other */
    struct ruleset *rules;                  /* between enter and leave */
    const struct connector *connector;
    struct address to, from;
    char queue_id[SENDMAIL_ID_SIZE];        /* "": none */
    struct next_hop own;
    const struct next_hop *hops;            /* the connector's smart hosts, or own */
    size_t count, next;
    int64_t age;                            /* of the mail, seconds; negative: not known */
    int64_t start;
    struct evidence *found;                 /* of the answer: a reference, or NULL */
    struct decision decision;
    struct pending *answer;
};

/* Fills it in, between enter and leave; takes rules, which c is of. */
void mail_ask_init(struct mail_ask *ask, struct engine *e, struct ruleset *rules, const struct connector *c,
                   const struct sendmail_question *q, struct pending *answer);
/* Logs, traces, counts; and what a connector in test mode would have said. */
void mail_ask_record(const struct mail_ask *ask);
/* Gives the answer, ends the question and frees it. value: NULL: TEMP. */
void mail_ask_end(struct mail_ask *ask, const char *value);
/* Whether held mail is given up: it is old enough, and the trouble not our own resolver's. */
bool mail_ask_is_over(const struct mail_ask *ask);

/* Why the decision holds; hop: what was judged. */
void mail_ask_reply(const struct mail_ask *ask, const struct next_hop *hop, struct reply *ret);

/* The next hops of a route; none: the mail's own. Gives an array, or NULL. */
struct next_hop *road_hops(const struct route *road, size_t *ret_count);

/* The two questions, about mail of c's; both take rules. */
void sendmail_route(struct engine *e, struct ruleset *rules, const struct connector *c, const struct sendmail_question *q,
                    struct pending *answer);
void sendmail_gate(struct engine *e, struct ruleset *rules, const struct connector *c, const struct sendmail_question *q,
                   struct pending *answer);

#endif
