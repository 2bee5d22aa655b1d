#ifndef DANELAW_MTA_SWEEP_H
#define DANELAW_MTA_SWEEP_H

#include "mta/queue.h"
#include "mta/tables.h"
#include "policy/ruleset.h"

/*
 * Which of the queue's mail has waited longer on Danelaw's roads than its connectors' `hold`. Pure: it takes the rules, the
 * daemon's word and a message, and gives a word.
 */

/* What the daemon says of a recipient's mail at the moment. */
struct sweep_word {
    bool another;               /* it has other rules, and finds another connector: nothing else here counts then */
    bool overridden;            /* it goes by an administrator's modes, not by those configured */
    bool known;                 /* it has evidence */
    bool proven;                /* its resolver can validate */
    enum verdict verdict;
    enum reason reason;
    enum dane_state dane;
    int64_t since;              /* wall seconds of the evidence's last change; 0: not known */
    const struct route *route;  /* the road that such mail takes; NULL: none that these rules know */
};

struct sweep {
    const struct ruleset *rules;
    const struct tables_own *own;       /* NULL: they can't be told, so only domains named in full are ours */
    int64_t now;                        /* wall seconds */
    bool mixed;
    /* The daemon's word on a recipient who falls to this connector, borrowed; NULL: it can't be had. */
    const struct sweep_word *(*ask)(struct sweep *self, const struct connector *c, const struct domain *domain,
                                    const char *to, const char *from);
};

/* TRY: left, but it looks as if it could be delivered now. */
enum sweep_action { SWEEP_LEAVE = 0, SWEEP_TRY, SWEEP_MIXED, SWEEP_BOUNCE };

/*
 * What is to become of a message. ret_reasons has room for all its recipients: why each has to go; REASON_NONE for those
 * who don't have to.
 */
enum sweep_action sweep_judge(struct sweep *s, const struct queued *m, enum reason ret_reasons[]);

#endif
