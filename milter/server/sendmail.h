#ifndef DANELAW_SERVER_SENDMAIL_H
#define DANELAW_SERVER_SENDMAIL_H

#include "base/fault.h"
#include "engine/engine.h"

/*
 * Reads the key of Sendmail's table `danelaw`: `route<recipient><sender><queue id>`, or `gate` and five parts more. Takes key
 * apart where it stands; ret points into it. Blanks between the parts, or within an address where it has none of its own, don't
 * count. A recipient without a domain that can be read is a fault, a sender is not. Pure.
 */
bool sendmail_parse(char *key, struct sendmail_question *ret, struct fault *why);

/* Whether an answer is one that Sendmail's rules can take: no token of theirs, and not empty. NULL (TEMP) is. Pure. */
bool sendmail_is_sound(const char *value);

#endif
