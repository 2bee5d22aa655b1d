#include "policy/hold.h"

bool hold_refuses(const struct connector *c, enum audience who)
{
    if (c->is_default || who == AUDIENCE_NOBODY)
        return false;
    switch (c->on_hold) {
    case ON_HOLD_TEMPFAIL:
        return true;
    case ON_HOLD_QUEUE:
        return false;
    case ON_HOLD_AUTO:
        break;
    }
    return who == AUDIENCE_CLIENT;
}

enum { GAP_LEAST = 1, GAP_MOST = 6 * 60 * 60 };

int64_t hold_gap(uint32_t patience)
{
    int64_t gap = patience / 4;

    if (gap < GAP_LEAST)
        return GAP_LEAST;
    return gap < GAP_MOST ? gap : GAP_MOST;
}

bool hold_is_over(const struct hold *h, uint32_t patience, int64_t now)
{
    return h->attempts == 0 || now < h->since || now - h->last > hold_gap(patience);
}

void hold_note(struct hold *h, enum reason reason, uint32_t patience, int64_t now)
{
    if (hold_is_over(h, patience, now))
        *h = (struct hold){ .since = now };
    h->last = now;
    if (h->attempts < UINT32_MAX)
        h->attempts++;
    h->reason = reason;
}

enum hold_state hold_judge(const struct hold *h, uint32_t patience, int64_t now)
{
    if (h->attempts == 0 || h->reason == REASON_INTERNAL || h->reason == REASON_NONE)
        return HOLD_RUNNING;
    return now - h->since >= (int64_t)patience ? HOLD_EXPIRED : HOLD_RUNNING;
}

void hold_clock_note(struct hold_clock *c, bool held, int64_t now)
{
    if (!held) {
        c->holding = false;
        return;
    }
    if (!c->holding)
        c->since = now;
    c->holding = true;
    c->last = now;
}

bool hold_clock_falls_back(struct hold_clock *c, int64_t patience, int64_t now)
{
    if (c->fallen_back && now - c->last >= patience) {
        c->fallen_back = c->holding = false;    /* silence is no hold: the next one begins anew */
    } else if (!c->fallen_back && c->holding && now - c->since >= patience) {
        c->fallen_back = true;
        c->last = now;                          /* it has lasted until here, whenever it was seen last */
    }
    return c->fallen_back;
}
