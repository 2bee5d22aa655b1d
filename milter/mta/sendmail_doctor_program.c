#include "mta/sendmail_doctor_checks.h"
#include "mta/sendmail_doctor_program.h"

#include "base/memory.h"
#include "mta/run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The program itself: what it was built with, and what it says of sendmail.cf when it reads it. */

static const char *const usual_places[] = {
    "/usr/lib/sm.bin/sendmail", "/usr/libexec/sendmail/sendmail", "/usr/sbin/sendmail", "/usr/lib/sendmail",
    "/usr/sbin/sendmail.sendmail", "/usr/local/sbin/sendmail", NULL,
};

const char *const *sendmail_program_places = usual_places;

/* Others that go by its name neither know -d nor say this. */
static bool is_sendmail(const char *path)
{
    const char *const argv[] = { path, "-d0.1", "-bt", NULL };
    struct run run;
    bool good;

    if (!run_program(argv, "", 0, &run, NULL))
        return false;
    good = strstr(text_words(&run.out), "Compiled with:") != NULL;
    run_done(&run);
    return good;
}

const char *sendmail_program_find(const struct sendmail_doctor *d)
{
    size_t i;

    (void)d;
    for (i = 0; sendmail_program_places[i] != NULL; i++) {
        if (access(sendmail_program_places[i], X_OK) == 0 && is_sendmail(sendmail_program_places[i]))
            return sendmail_program_places[i];
    }
    return NULL;
}

/* What the set-up needs, and what becomes of mail without it. */
static const struct {
    const char *feature, *what;
} needs[] = {
    { "MILTER", "danelawd is not asked, so that no recipient is refused at once" },
    { "SOCKETMAP", "danelawd can't be asked where mail goes, and all mail of mandatory connectors waits" },
    { "STARTTLS", "no connection is encrypted, and all mail of mandatory connectors waits" },
    { "NEWDB", "the map of mandatory recipients can't be read, and all mail waits" },
};

/* A word of a list, or the part before its `=`. */
static bool has_feature(const char *said, const char *feature)
{
    size_t length = strlen(feature);
    const char *at = said;

    while ((at = strstr(at, feature)) != NULL) {
        if (at > said && strchr(" \t\n", at[-1]) != NULL && strchr(" \t\n=", at[length]) != NULL)
            return true;
        at += length;
    }
    return false;
}

static void check_features(struct sendmail_doctor *d, const char *said)
{
    size_t i;

    for (i = 0; i < COUNT_OF(needs); i++) {
        if (!has_feature(said, needs[i].feature))
            sendmail_find_at(d, DOCTOR_HOLD, d->program,
                             sendmail_say(d, "it is built without %s: %s", needs[i].feature, needs[i].what),
                             sendmail_say(d, "a Sendmail built with -D%s", needs[i].feature));
    }
}

/* `/etc/mail/sendmail.cf: line 12: what is wrong` */
static void take_complaint(struct sendmail_doctor *d, const char *line)
{
    size_t length = strlen(d->cf.path);
    const char *what;
    char *end;
    unsigned long number;

    if (strncmp(line, d->cf.path, length) != 0 || strncmp(line + length, ": line ", 7) != 0)
        return;
    number = strtoul(line + length + 7, &end, 10);
    what = *end == ':' ? end + 1 + strspn(end + 1, " ") : end;
    sendmail_find_at(d, DOCTOR_HOLD, sendmail_say(d, "sendmail.cf:%lu", number),
                     sendmail_say(d, "Sendmail does not take this line: %.300s", what),
                     "mend sendmail.mc, and make sendmail.cf anew");
}

static void check_complaints(struct sendmail_doctor *d, const char *said)
{
    for (; *said != '\0'; said += *said == '\n') {
        size_t length = strcspn(said, "\n");

        take_complaint(d, arena_bytes(d->memory, said, length));
        said += length;
    }
}

#define MAP "danelaw_mandatory"
#define NOBODY "nothing.danelaw.invalid"

/* What Sendmail says of a look-up in test mode: `map_lookup: MAP (KEY) no match (0)`, the number being what failed. */
static void check_lookup(struct sendmail_doctor *d, const char *said)
{
    const char *answer = strstr(said, "map_lookup: " MAP " (" NOBODY ") "), *why;
    size_t length;

    if (!d->has_map || answer == NULL || strncmp(answer + strcspn(answer, "\n") - 3, "(0)", 3) == 0)
        return;
    why = strstr(said, "map \"" MAP "\": ");
    why = why == NULL ? answer : why;
    length = strcspn(why, "\n");
    sendmail_find(d, DOCTOR_HOLD, sendmail_line_of(d, 'K', MAP),
                  sendmail_say(d, "Sendmail can't read the map, and all mail for other domains waits: %.*s",
                               length > 300 ? 300 : (int)length, why),
                  "the reason for it in the file, its folders or the options of its line");
}

void sendmail_check_program(struct sendmail_doctor *d)
{
    static const char question[] = "/map " MAP " " NOBODY "\n";
    const char *const argv[] = { d->program, "-C", d->cf.path, "-d0.1", "-bt", NULL };
    struct fault why;
    struct run run;

    if (d->program == NULL) {
        sendmail_unread(d, "no Sendmail is found to be asked what it was built with");
        return;
    }
    if (!run_program(argv, question, strlen(question), &run, &why)) {
        sendmail_unread(d, sendmail_say(d, "%s: %s", d->program, why.text));
        return;
    }
    check_features(d, text_words(&run.out));
    check_complaints(d, text_words(&run.out));
    check_complaints(d, text_words(&run.err));
    check_lookup(d, text_words(&run.out));
    run_done(&run);
}
