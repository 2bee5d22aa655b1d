#ifndef DANELAW_MTA_SETUP_H
#define DANELAW_MTA_SETUP_H

#include "base/settings.h"
#include "base/text.h"
#include "policy/ruleset.h"

/* The exact lines an administrator adds to Postfix, under `# main.cf` and `# master.cf`. all: judge every destination. */
bool setup_postfix(const struct settings *set, const struct ruleset *rules, bool all, struct text *ret, struct fault *why);

/* The same for Sendmail, under `# sendmail.mc`: all that conf/sendmail/danelaw.m4 must be told. */
bool setup_sendmail(const struct settings *set, const struct ruleset *rules, struct text *ret, struct fault *why);

#endif
