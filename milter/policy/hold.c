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
