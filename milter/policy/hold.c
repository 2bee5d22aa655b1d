#include "policy/hold.h"

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
    if (c->fallen_back)
        c->fallen_back = now - c->last < patience;
    else
        c->fallen_back = c->holding && now - c->since >= patience;
    return c->fallen_back;
}
