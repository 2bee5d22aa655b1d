#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

/* Single options. */

#define RETURN "Timeout.queuereturn"
#define FINGERPRINT "define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')dnl"

/* The gate compares what Sendmail saw by its SHA-256. */
static void check_fingerprint(struct sendmail_doctor *d)
{
    const struct sendmail_line *line;
    const char *value = sendmail_option(d, "CertFingerprintAlgorithm", &line);

    if (strcmp(value, "sha256") != 0)
        sendmail_find(d, DOCTOR_HOLD, line,
                      line == NULL ? "CertFingerprintAlgorithm is not set, so that danelawd recognises no certificate, "
                                     "and mail that must be authenticated waits"
                                   : sendmail_say(d, "certificates are told by %.50s, so that danelawd recognises none, "
                                                     "and mail that must be authenticated waits", value), FINGERPRINT);
}

/* A CNAME, which anybody may forge, would lead to a name that no connector has. */
static void check_aliases(struct sendmail_doctor *d)
{
    const struct sendmail_line *line;

    if (!sendmail_is_on(d, "DontExpandCnames", &line))
        sendmail_find(d, DOCTOR_LEAK, line, "Sendmail takes what a CNAME leads to for the recipient's domain, and no connector "
                                            "knows that name", "define(`confDONT_EXPAND_CNAMES', `True')dnl");
}

/* A host that danelawd has turned down for one partner counts as failing for all who have it. */
static void check_host_status(struct sendmail_doctor *d)
{
    const struct sendmail_line *line;
    const char *value = sendmail_option(d, "HostStatusDirectory", &line);

    if (*value != '\0')
        sendmail_find(d, DOCTOR_HOLD, line, "Sendmail remembers on disk which hosts refused it: one that danelawd turns down for one "
                                            "partner gets nobody's mail for a while", "undefine(`confHOST_STATUS_DIRECTORY')dnl");
}

static void check_clear(struct sendmail_doctor *d)
{
    const struct sendmail_line *line;

    if (sendmail_is_on(d, "TLSFallbacktoClear", &line))
        sendmail_find(d, DOCTOR_HINT, line, "where TLS fails Sendmail tries again in the clear; danelawd still stops "
                                            "what must be encrypted, but the sender's address is seen on the way",
                      "define(`confTLS_FALLBACK_TO_CLEAR', `false')dnl");
}

/* All connections, whoever they are for. */
static void check_only_to(struct sendmail_doctor *d)
{
    const struct sendmail_line *line;
    const char *value = sendmail_option(d, "ConnectOnlyTo", &line);

    if (*value != '\0')
        sendmail_find(d, DOCTOR_HOLD, line,
                      sendmail_say(d, "all connections go to %.200s, which is no partner's host, so that mail that must be "
                                   "authenticated waits", value), "take confCONNECT_ONLY_TO out of sendmail.mc");
}

/* Hosts that are asked where a partner's own can't be reached: none of the partner's. */
static void check_spare_hosts(struct sendmail_doctor *d)
{
    static const struct {
        const char *option, *mc;
    } hosts[] = { { "FallbackMXhost", "confFALLBACK_MX" }, { "FallbackSmartHost", "confFALLBACK_SMARTHOST" } };
    size_t i;

    for (i = 0; i < COUNT_OF(hosts); i++) {
        const struct sendmail_line *line;
        const char *value = sendmail_option(d, hosts[i].option, &line);

        if (*value != '\0')
            sendmail_find(d, DOCTOR_HINT, line,
                          sendmail_say(d, "when a partner's hosts can't be reached Sendmail connects to %.200s, which "
                                          "danelawd refuses for connectors without it, and says another reason than the "
                                          "true one", value),
                          sendmail_say(d, "take %s out of sendmail.mc; a connector's fallback names a spare road",
                                       hosts[i].mc));
    }
}

static uint64_t longest_hold(const struct ruleset *rules)
{
    uint64_t longest = 0;
    size_t i;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        if (!c->test_mode && connector_is_mandatory(c) && c->hold > longest)
            longest = c->hold;
    }
    return longest;
}

/* Whether what follows Timeout.queuereturn means this kind: nothing, and `.*`, mean all. */
static bool is_kind(const char *spoken, const char *kind)
{
    size_t length = strlen(kind);

    return *spoken != '.' || spoken[1] == '*' ||
           (strncasecmp(spoken, kind, length) == 0 && strchr("= \t", spoken[length]) != NULL);
}

/* How long each kind of mail may wait; the last word on it counts. */
struct patience {
    const struct sendmail_line *line;       /* NULL: Sendmail's preset, 5 days */
    uint64_t seconds;
};

static const char *const kinds[] = { ".normal", ".urgent", ".non-urgent" };

static void take_return(const struct sendmail_line *line, struct patience left[static COUNT_OF(kinds)])
{
    const char *text = line->text + strspn(line->text, " \t"), *kind, *value;
    uint64_t seconds;
    size_t k;

    if (line->command != 'O' || strncasecmp(text, RETURN, strlen(RETURN)) != 0)
        return;
    kind = text + strlen(RETURN);
    value = strchr(kind, '=');
    if (value == NULL || !sendmail_seconds(value + 1 + strspn(value + 1, " \t"), 'd', &seconds))
        return;
    for (k = 0; k < COUNT_OF(kinds); k++) {
        if (is_kind(kind, kinds[k]))
            left[k] = (struct patience){ line, seconds };
    }
}

static void check_return(struct sendmail_doctor *d)
{
    struct patience left[COUNT_OF(kinds)] = { { NULL, 0 } };
    uint64_t longest = longest_hold(d->rules);
    size_t i, k;

    for (i = 0; i < d->cf.count; i++)
        take_return(&d->cf.lines[i], left);
    for (k = 0; k < COUNT_OF(kinds); k++) {
        if (left[k].line != NULL && left[k].seconds < longest && (k == 0 || left[k].line != left[k - 1].line))
            sendmail_find(d, DOCTOR_HOLD, left[k].line,
                          sendmail_say(d, "Sendmail returns what waits after %lluh, sooner than the longest hold of a "
                                       "connector (%lluh)", (unsigned long long)left[k].seconds / 3600,
                                       (unsigned long long)longest / 3600), "define(`confTO_QUEUERETURN', `5d')dnl");
    }
}

/* `M=S` of the client's side: no STARTTLS at all. */
static void check_client(struct sendmail_doctor *d)
{
    size_t i;

    for (i = 0; i < d->cf.count; i++) {
        const struct sendmail_line *line = &d->cf.lines[i];
        const char *text = line->text + strspn(line->text, " \t"), *value = strchr(text, '='), *flags;

        if (line->command != 'O' || value == NULL || strncasecmp(text, "ClientPortOptions", 17) != 0)
            continue;
        flags = sendmail_equate(d, &(struct sendmail_line){ 'O', sendmail_say(d, ",%s", value + 1), line->number }, 'M');
        if (flags != NULL && strchr(flags, 'S') != NULL)
            sendmail_find(d, DOCTOR_HOLD, line,
                          "with S among its modifiers Sendmail never encrypts as a client, and mail that must be "
                          "authenticated waits", "take S out of M= in CLIENT_OPTIONS");
    }
}

void sendmail_check_options(struct sendmail_doctor *d)
{
    check_fingerprint(d);
    check_aliases(d);
    check_host_status(d);
    check_clear(d);
    check_only_to(d);
    check_spare_hosts(d);
    check_return(d);
    check_client(d);
}
