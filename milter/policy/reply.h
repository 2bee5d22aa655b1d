#ifndef DANELAW_POLICY_REPLY_H
#define DANELAW_POLICY_REPLY_H

#include "policy/connector.h"
#include "policy/terms.h"

enum { REPLY_TEXT_MAX = 400 };

/* An SMTP reply in the parts that libmilter wants. */
struct reply {
    const char *code, *enhanced;
    char text[REPLY_TEXT_MAX + 1];      /* one line of ASCII, a `%` is one `%` */
};

/* Why a recipient is held, for a help desk: `REASON: sentence`. domain is the one that was judged. Pure. */
void reply_hold(enum reason reason, const struct connector *connector, const char *domain, struct reply *ret);

/* The same for dns-temp where it is our own resolver that can prove nothing: no partner is to blame. Pure. */
void reply_resolver(const struct connector *connector, const char *domain, struct reply *ret);

/* The same with a sentence of its own. Pure. */
void reply_words(enum reason reason, const char *words, struct reply *ret);

/* Makes the permanent reply of what one of the above has written, once the connector's hold is over: `REASON: given up after
 * 24 h: sentence`. `internal` stays temporary. Pure. */
void reply_give_up(enum reason reason, const struct connector *connector, struct reply *reply);

/* Makes the text fit for Sendmail, whose rules take it apart and put it together again: letters, digits, blanks and .:=/_- alone.
 * Pure. */
void reply_plain(struct reply *reply);

#endif
