#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"

#include <string.h>

/* The milter: that Sendmail asks it, on its socket, with patience, and refuses nobody for good while it is away. */

enum { READ_PRESET = 10 };                  /* seconds, milter_setup() */

#define FILTER "INPUT_MAIL_FILTER("

static const struct sendmail_line *find_filter(const struct sendmail_doctor *d, bool ours)
{
    size_t i;

    for (i = 0; i < d->cf.count; i++) {
        const struct sendmail_line *line = &d->cf.lines[i];
        const char *socket = line->command == 'X' ? sendmail_equate(d, line, 'S') : NULL;

        if (socket != NULL && (ours ? sendmail_is_socket(d, socket, d->set->milter.socket)
                                    : strcmp(sendmail_name(d, line), "danelaw") == 0))
            return line;
    }
    return NULL;
}

static void check_flags(struct sendmail_doctor *d, const struct sendmail_line *line)
{
    const char *flags = sendmail_equate(d, line, 'F');
    const char *fix = sendmail_wanted(d, FILTER);

    flags = flags == NULL ? "" : flags;
    if (strchr(flags, 'R') != NULL)
        sendmail_find(d, DOCTOR_HOLD, line, "F=R: while danelawd is down all mail is refused for good", fix);
    else if (strpbrk(flags, "T4") == NULL)
        sendmail_find(d, DOCTOR_HOLD, line, "without F=T Sendmail goes on alone while danelawd is down, so that no "
                                            "recipient is refused at once; mail that is held waits in the queue", fix);
}

/* `S:10s;R:20s`, or with commas where the field is quoted. */
static const char *limit_of(const struct sendmail_doctor *d, const char *limits, char which)
{
    const char *word;

    while (limits != NULL && (word = sendmail_word(d, &limits)) != NULL) {
        if (word[0] == which && word[1] == ':')
            return word + 2;
    }
    return NULL;
}

static void check_limits(struct sendmail_doctor *d, const struct sendmail_line *line)
{
    const char *limit = limit_of(d, sendmail_equate(d, line, 'T'), 'R');
    uint64_t seconds = READ_PRESET;

    if (limit != NULL && !sendmail_seconds(limit, 's', &seconds))
        return;                     /* Sendmail complains itself */
    if (seconds <= d->set->milter.budget)
        sendmail_find(d, DOCTOR_HOLD, line,
                      sendmail_say(d, "Sendmail waits %us for an answer (T=R:), no longer than danelawd may take for it "
                                      "(milter.budget is %us)", (unsigned)seconds, d->set->milter.budget),
                      sendmail_wanted(d, FILTER));
}

static bool has_word(const struct sendmail_doctor *d, const char *list, const char *name)
{
    const char *word;

    while ((word = sendmail_word(d, &list)) != NULL) {
        if (strcmp(word, name) == 0)
            return true;
    }
    return false;
}

static void check_asked(struct sendmail_doctor *d, const struct sendmail_line *filter)
{
    const struct sendmail_line *list = sendmail_line_of(d, 'O', "InputMailFilters");
    const char *value = list == NULL ? "" : strchr(list->text, '='), *name = sendmail_name(d, filter);

    if (value == NULL || !has_word(d, value + (*value == '='), name))
        sendmail_find(d, DOCTOR_HOLD, list == NULL ? filter : list,
                      sendmail_say(d, "%s is not among InputMailFilters, so that danelawd is not asked and no recipient "
                                      "is refused at once", name), sendmail_wanted(d, FILTER));
}

/* A daemon's own list replaces the common one. */
static void check_doors(struct sendmail_doctor *d, const struct sendmail_line *filter)
{
    const char *name = sendmail_name(d, filter), *list;
    size_t i;

    for (i = 0; i < d->cf.count; i++) {
        const struct sendmail_line *line = &d->cf.lines[i];
        const char *value = line->command == 'O' ? strchr(line->text, '=') : NULL;

        if (value == NULL || strncmp(line->text + strspn(line->text, " "), "DaemonPortOptions", 17) != 0)
            continue;
        list = sendmail_equate(d, &(struct sendmail_line){ 'O', sendmail_say(d, ",%s", value + 1), line->number }, 'I');
        if (list != NULL && !has_word(d, list, name))
            sendmail_find(d, DOCTOR_HOLD, line,
                          sendmail_say(d, "this door has filters of its own without %s, so that danelawd is not asked "
                                          "and no recipient is refused at once", name),
                          sendmail_say(d, "InputMailFilters=%s;%s in this DAEMON_OPTIONS", list, name));
    }
}

static void check_macros(struct sendmail_doctor *d)
{
    static const char *const macros[] = { "{rcpt_addr}", "{rcpt_mailer}" };
    const struct sendmail_line *line = sendmail_line_of(d, 'O', "Milter.macros.envrcpt");
    size_t i;

    for (i = 0; line != NULL && i < COUNT_OF(macros); i++) {
        if (strstr(line->text, macros[i]) == NULL)
            sendmail_find(d, DOCTOR_HINT, line,
                          sendmail_say(d, "without %s danelawd can't tell where a recipient's mail goes, and may refuse "
                                          "your own users'", macros[i]),
                          "define(`confMILTER_MACROS_ENVRCPT', `{rcpt_mailer}, {rcpt_host}, {rcpt_addr}')dnl");
    }
}

void sendmail_check_milter(struct sendmail_doctor *d)
{
    const struct sendmail_line *line = find_filter(d, true), *other = find_filter(d, false);

    if (line == NULL && other != NULL)
        sendmail_find(d, DOCTOR_HOLD, other,
                      sendmail_say(d, "this is not danelawd's milter socket (milter.socket is %s), so that danelawd is "
                                      "not asked",
                                   d->set->milter.socket), sendmail_wanted(d, FILTER));
    else if (line == NULL)
        sendmail_find(d, DOCTOR_HOLD, NULL,
                      "danelawd is no filter, so that no recipient is refused at once; mail that is held waits in the queue",
                      sendmail_wanted(d, FILTER));
    if (line == NULL)
        return;
    check_flags(d, line);
    check_limits(d, line);
    check_asked(d, line);
    check_doors(d, line);
    check_macros(d);
}
