#include "mta/sendmail_doctor_checks.h"
#include "mta/sendmail_doctor_rules.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

/* That danelaw.m4's rules are all there, unaltered, called, and before those of the site that could go past them. */

#define INCLUDE "include("

struct both {
    struct sendmail_rules ours, theirs;     /* what danelaw.m4 makes; what sendmail.cf has */
    bool has_virtual_hosts;
};

static bool same(const struct sendmail_rule *a, const struct sendmail_rule *b)
{
    return strcmp(a->left, b->left) == 0 && strcmp(a->right, b->right) == 0;
}

/* The next that must be there: rules for virtual hosts are only made where there are any. */
static const struct sendmail_rule *next_ours(const struct both *b, const char *ruleset, size_t *cursor)
{
    const struct sendmail_rule *rule;

    while ((rule = sendmail_rules_next(&b->ours, ruleset, cursor)) != NULL) {
        if (b->has_virtual_hosts || strstr(rule->left, "{VirtHost}") == NULL)
            return rule;
    }
    return NULL;
}

/* The rulesets that are all ours. */
static void compare(struct sendmail_doctor *d, const struct both *b, const char *ruleset)
{
    const struct sendmail_rule *ours, *theirs, *last = NULL;
    size_t i = 0, k = 0;

    do {
        ours = next_ours(b, ruleset, &i);
        theirs = sendmail_rules_next(&b->theirs, ruleset, &k);
        if (ours == NULL && theirs == NULL)
            return;
        last = theirs != NULL ? theirs : last;
    } while (ours != NULL && theirs != NULL && same(ours, theirs));
    if (last == NULL)
        sendmail_find(d, DOCTOR_LEAK, NULL, sendmail_say(d, "the ruleset %s of danelaw.m4 is missing", ruleset),
                      sendmail_wanted(d, INCLUDE));
    else if (theirs == NULL)
        sendmail_find(d, DOCTOR_LEAK, last->line,
                      sendmail_say(d, "after this rule of %s danelaw.m4's \"%s\" is missing", ruleset, ours->left),
                      sendmail_wanted(d, INCLUDE));
    else
        sendmail_find(d, DOCTOR_LEAK, theirs->line,
                      sendmail_say(d, "this rule of %s is not danelaw.m4's%s%s%s", ruleset, ours == NULL ? "" : " \"",
                                   ours == NULL ? "" : ours->left, ours == NULL ? "" : "\""), sendmail_wanted(d, INCLUDE));
}

/* A ruleset of Sendmail's, in which one rule is ours; what: is not done without it. */
static void check_call(struct sendmail_doctor *d, const struct both *b, const char *ruleset, const char *what)
{
    size_t i = 0, k = 0;
    const struct sendmail_rule *ours = sendmail_rules_next(&b->ours, ruleset, &i), *theirs;

    if (ours == NULL)
        return;
    while ((theirs = sendmail_rules_next(&b->theirs, ruleset, &k)) != NULL) {
        if (same(ours, theirs))
            return;
        if (sendmail_rule_takes(d, theirs))
            sendmail_find(d, DOCTOR_LEAK, theirs->line,
                          sendmail_say(d, "this rule comes before Danelaw's, and ends %s for mandatory connectors' mail: "
                                          "%s %s",
                                       ruleset, theirs->left, theirs->right),
                          "write it behind the line that includes danelaw.m4");
    }
    sendmail_find(d, DOCTOR_LEAK, NULL, sendmail_say(d, "%s (no \"%s\" in the ruleset %s)", what, ours->right, ruleset),
                  sendmail_wanted(d, INCLUDE));
}

/* Sendmail's own rulesets call those. A rule that ends them before is its own: of a configuration not made by its macros. */
static void check_caller(struct sendmail_doctor *d, const struct both *b, const char *ruleset, const char *called)
{
    const struct sendmail_rule *rule;
    size_t k = 0;

    while ((rule = sendmail_rules_next(&b->theirs, ruleset, &k)) != NULL) {
        const char *call = strstr(rule->right, "$>");

        call = call == NULL ? NULL : call + 2 + (call[2] == '"');
        if (call != NULL && (strncasecmp(call, called, strlen(called)) == 0 ||
                             (strcmp(called, "ParseLocal") == 0 && strncmp(call, "98", 2) == 0)))
            return;
    }
    sendmail_find(d, DOCTOR_LEAK, NULL,
                  sendmail_say(d, "Sendmail's ruleset %s doesn't call %s, so that danelawd is not asked", ruleset, called),
                  "make sendmail.cf from Sendmail's own macros (cf/m4)");
}

/* A site with FEATURE(sts) or FEATURE(tls_session_features) has its own. */
static void check_names(struct sendmail_doctor *d, const struct both *b)
{
    size_t k = 0;
    const struct sendmail_rule *rule;
    bool any = false;

    while ((rule = sendmail_rules_next(&b->theirs, "tls_clt_features", &k)) != NULL) {
        if (strstr(rule->right, "servername") != NULL)
            return;
        any |= strstr(rule->right, "$>") != NULL || strstr(rule->right, "$(") != NULL;
    }
    if (!any)
        sendmail_find(d, DOCTOR_HOLD, NULL,
                      "Sendmail doesn't say whose certificate it wants to see (SNI), so that a partner with several may "
                      "show a wrong one, and mail waits", "R$*\t$@ \"servername=hostname\" in Stls_clt_features");
}

static bool is_own(const char *ruleset)
{
    return strncmp(ruleset, "Danelaw", 7) == 0;
}

static void compare_all(struct sendmail_doctor *d, const struct both *b)
{
    const char *last = "";
    size_t i;

    for (i = 0; i < b->ours.count; i++) {
        const char *ruleset = b->ours.items[i].ruleset;

        if (is_own(ruleset) && strcmp(ruleset, last) != 0)
            compare(d, b, ruleset);
        last = ruleset;
    }
}

static bool has_virtual_hosts(const struct sendmail_doctor *d)
{
    size_t i;

    for (i = 0; i < d->cf.count; i++) {
        if (strchr("CF", d->cf.lines[i].command) != NULL && strncmp(d->cf.lines[i].text, "{VirtHost}", 10) == 0)
            return true;
    }
    return false;
}

void sendmail_check_rules(struct sendmail_doctor *d)
{
    struct both b = { .has_virtual_hosts = has_virtual_hosts(d) };

    sendmail_rules_expected(d, &b.ours);
    sendmail_rules_read(d, &b.theirs);
    check_call(d, &b, "ParseLocal", "Sendmail doesn't ask where mail goes");
    check_call(d, &b, "Local_tls_rcpt", "Sendmail doesn't ask at the gate whether a connection may have a recipient");
    check_call(d, &b, "Local_tls_server", "Sendmail doesn't ask at the gate before it says who sends mail");
    check_caller(d, &b, "parse", "ParseLocal");
    check_caller(d, &b, "tls_rcpt", "Local_tls_rcpt");
    check_caller(d, &b, "tls_server", "Local_tls_server");
    compare_all(d, &b);
    check_names(d, &b);
    sendmail_rules_done(&b.ours);
    sendmail_rules_done(&b.theirs);
}
