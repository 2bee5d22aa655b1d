#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"

#include <string.h>
#include <unistd.h>

/*
 * submit.cf, by which programs on this host hand mail over: it leads to this host's own MTA. One that delivers by itself, or
 * hands mail to another host, goes past danelawd.
 */

static bool is_here(const char *host)
{
    static const char *const names[] = { "[127.0.0.1]", "[localhost]", "localhost", "[IPv6:::1]", "[IPv6:0:0:0:0:0:0:0:1]",
                                         "$j", "[$j]", "$w", "[$w]" };
    char own[256] = "";
    size_t i, length;

    for (i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(host, names[i]) == 0)
            return true;
    }
    if (gethostname(own, sizeof(own) - 1) != 0)
        return false;
    host += *host == '[';
    length = strlen(own);
    return length > 0 && strncmp(host, own, length) == 0 && strchr("].", host[length]) != NULL;
}

static void check_host(struct sendmail_doctor *d, const struct sendmail_cf *submit)
{
    size_t i;

    for (i = submit->count; i > 0; i--) {
        const struct sendmail_line *line = &submit->lines[i - 1];

        if (line->command != 'D' || strncmp(line->text, "{MTAHost}", 9) != 0)
            continue;
        if (!is_here(line->text + 9))
            sendmail_find_at(d, DOCTOR_LEAK, sendmail_say(d, "submit.cf:%u", line->number),
                             sendmail_say(d, "programs on this host hand their mail to %.200s, past this host's Sendmail "
                                             "and danelawd",
                                          line->text + 9), "FEATURE(`msp', `[127.0.0.1]')dnl in submit.mc");
        return;
    }
    sendmail_find_at(d, DOCTOR_LEAK, "submit.cf", "it names no MTA to hand mail to, and delivers by itself, past danelawd",
                     "FEATURE(`msp', `[127.0.0.1]')dnl in submit.mc");
}

/* All mail but what the relay mailer carries comes by ruleset 5, which sends it to the MTA. */
static void check_mailers(struct sendmail_doctor *d, const struct sendmail_cf *submit)
{
    struct doctor_keys past;
    size_t i;

    doctor_keys_init(&past);
    for (i = 0; i < submit->count; i++) {
        const struct sendmail_line *line = &submit->lines[i];
        const char *program = line->command == 'M' ? sendmail_equate(d, line, 'P') : NULL;
        const char *flags = program == NULL ? NULL : sendmail_equate(d, line, 'F');

        if (program != NULL && strcmp(sendmail_name(d, line), "relay") != 0 && (flags == NULL || strchr(flags, '5') == NULL))
            doctor_keys_add(&past, sendmail_name(d, line));
    }
    if (past.count > 0)
        sendmail_find_at(d, DOCTOR_LEAK, "submit.cf",
                         sendmail_say(d, "mail by these mailers doesn't go to this host's MTA (no F=5), and so past "
                                         "danelawd: %s",
                                      doctor_keys_give(d->report, &past)), "FEATURE(`msp', `[127.0.0.1]')dnl in submit.mc");
    text_done(&past.text);
}

/* As in sendmail.cf: what it makes of a name is what this host's Sendmail gets to see. */
static void check_aliases(struct sendmail_doctor *d, const struct sendmail_cf *submit)
{
    const char *value = sendmail_cf_option(submit, "DontExpandCnames");

    if (value == NULL || (*value != '\0' && strchr("tTyY", *value) == NULL))
        sendmail_find_at(d, DOCTOR_LEAK, "submit.cf", "Sendmail takes what a CNAME leads to for the recipient's domain, and no "
                                                      "connector knows that name",
                         "define(`confDONT_EXPAND_CNAMES', `True')dnl in submit.mc, above FEATURE(`msp', ...)");
}

/* Without a submit.cf programs use sendmail.cf itself. */
void sendmail_check_submit(struct sendmail_doctor *d)
{
    struct sendmail_cf submit;
    struct fault why;

    if (access(sendmail_say(d, "%s/submit.cf", d->folder), F_OK) != 0)
        return;
    if (!sendmail_cf_read_file(sendmail_say(d, "%s/submit.cf", d->folder), d->memory, &submit, &why)) {
        sendmail_unread(d, sendmail_say(d, "%s", why.text));
        return;
    }
    check_host(d, &submit);
    check_mailers(d, &submit);
    check_aliases(d, &submit);
    sendmail_cf_done(&submit);
}
