#include "mta/doctor_checks.h"

#include "base/memory.h"

#include <string.h>

/* The milter: that every smtpd which strangers and users meet asks it, and that its absence stops nobody. */

/* An item of smtpd_milters: `SOCKET`, or `{ SOCKET, name=value, ... }`. */
struct item {
    const char *socket;
    const char *action, *command_timeout;   /* or NULL */
};

static const char *value_in(const char *word, const char *name)
{
    size_t length = strlen(name);

    if (strncmp(word, name, length) != 0)
        return NULL;
    word += length + strspn(word + length, " \t");
    return *word == '=' ? word + 1 + strspn(word + 1, " \t") : NULL;
}

static struct item item_of(const struct doctor *d, const char *word)
{
    struct item it = { .socket = word };
    const char *list, *next;

    if (*word != '{')
        return it;
    list = arena_bytes(d->memory, word + 1, strlen(word) - (strchr(word, '}') != NULL ? 2 : 1));
    it.socket = postconf_word(&list, d->memory);
    if (it.socket == NULL)
        it.socket = "";
    while ((next = postconf_word(&list, d->memory)) != NULL) {
        const char *action = value_in(next, "default_action"), *timeout = value_in(next, "command_timeout");

        it.action = action != NULL ? action : it.action;
        it.command_timeout = timeout != NULL ? timeout : it.command_timeout;
    }
    return it;
}

static const char *wanted_word(const struct doctor *d)
{
    struct setup_endpoint e;
    const char *kept = "";
    struct text word;

    text_init(&word, 8192);
    if (setup_endpoint_init(&e, &d->site, "milter.socket", d->set->milter.socket, NULL))
        setup_put_milter(&e, d->set, &word);
    text_done(&e.name);
    kept = doctor_say(d, "%s", text_words(&word));
    text_done(&word);
    return kept;
}

/* The whole line, with the site's other milters before ours. */
static const char *wanted_line(const struct doctor *d, const char *now, bool chroot)
{
    struct text line;
    const char *word, *kept;

    text_init(&line, 64 * 1024);
    text_put(&line, "smtpd_milters = ");
    while ((word = postconf_word(&now, d->memory)) != NULL) {
        const char *socket = item_of(d, word).socket;

        if (!doctor_is_socket(d, chroot, socket, d->set->milter.socket) &&
            !doctor_is_socket(d, false, socket, d->set->milter.socket))
            text_print(&line, "%s, ", word);
    }
    text_put(&line, wanted_word(d));
    kept = doctor_say(d, "%s", text_words(&line));
    text_done(&line);
    return kept;
}

/* Who speaks SMTP here, going by one value of smtpd_milters. */
struct door {
    const struct doctor_service *service;   /* whose chroot counts; never NULL */
    const char *where, *value;
};

static void judge_action(struct doctor *d, const struct door *door, const char *action)
{
    const char *fix = wanted_line(d, door->value, door->service->chroot);

    if (strcmp(action, "accept") != 0)
        doctor_find(d, DOCTOR_HOLD, door->where,
                    doctor_say(d, "default_action=%.50s: while danelawd is down nobody's mail is taken as it should be; the "
                               "roads hold what must be held", action), fix);
    else if (!d->routed)
        doctor_find(d, DOCTOR_LEAK, door->where,
                    "default_action=accept: without Danelaw's table nothing holds mail while danelawd is down",
                    "put Danelaw's table into transport_maps");
}

static void judge_limit(struct doctor *d, const struct door *door, const char *limit)
{
    uint64_t seconds;

    if (doctor_seconds(limit, 's', &seconds) && seconds <= d->set->milter.budget)
        doctor_find(d, DOCTOR_HOLD, door->where,
                    doctor_say(d, "Postfix waits %.50s for an answer, no longer than danelawd may take for it "
                               "(milter.budget is %us)", limit, d->set->milter.budget),
                    wanted_line(d, door->value, door->service->chroot));
}

static void judge_item(struct doctor *d, const struct door *door, const struct item *it, bool last)
{
    judge_action(d, door, it->action != NULL ? it->action : doctor_value(d, door->service, "milter_default_action"));
    judge_limit(d, door, it->command_timeout != NULL ? it->command_timeout
                                                     : doctor_value(d, door->service, "milter_command_timeout"));
    if (!last && d->set->milter.tag)
        doctor_find(d, DOCTOR_HINT, door->where, "a milter after Danelaw's may sign its tag, that never leaves this host",
                    wanted_line(d, door->value, door->service->chroot));
}

static void check_door(struct doctor *d, const struct door *door)
{
    const char *list = door->value, *word, *rest;
    bool unseen = false;

    while ((word = postconf_word(&list, d->memory)) != NULL) {
        struct item it = item_of(d, word);

        if (doctor_is_socket(d, door->service->chroot, it.socket, d->set->milter.socket)) {
            rest = list;
            judge_item(d, door, &it, postconf_word(&rest, d->memory) == NULL);
            return;
        }
        unseen |= doctor_is_socket(d, false, it.socket, d->set->milter.socket);
    }
    if (unseen)
        doctor_find(d, DOCTOR_HOLD, door->where,
                    doctor_say(d, "%s runs chrooted in %s and can't see danelawd's milter socket", door->service->id,
                               d->site.queue),
                    doctor_say(d, "milter.socket = \"unix:%s/danelaw/milter.sock\" in danelaw.conf, and then "
                               "smtpd_milters as \"danelaw setup postfix\" prints it", d->site.queue));
    else
        doctor_find(d, DOCTOR_HOLD, door->where,
                    "danelawd is not asked, so that no recipient is refused at once; mail that is held waits in the queue",
                    wanted_line(d, door->value, door->service->chroot));
}

/* Mail that comes back from a filter on this host has been asked for already. */
static bool is_inside(const struct doctor_service *s)
{
    return strncmp(s->name, "127.", 4) == 0 || strncmp(s->name, "localhost:", 10) == 0 || strncmp(s->name, "[::1]:", 6) == 0;
}

/* Where a service has its value from. */
static const char *place_of(const struct doctor *d, const struct doctor_service *s, const char *name)
{
    return doctor_override(d, s, name) == NULL ? doctor_say(d, "main.cf: %s", name)
                                               : doctor_say(d, "master.cf: %s: -o %s", s->id, name);
}

/* What has been said of main.cf's value need not be said for each service that goes by it. */
struct said {
    bool milters[2];                        /* by the services' chroot */
    bool options;
};

static void check_smtpd(struct doctor *d, const struct doctor_service *s, struct said *said)
{
    bool own = doctor_override(d, s, "smtpd_milters") != NULL;
    bool own_options = doctor_override(d, s, "receive_override_options") != NULL;
    const struct door door = { .service = s, .value = doctor_value(d, s, "smtpd_milters"),
                               .where = place_of(d, s, "smtpd_milters") };

    if (is_inside(s))
        return;
    if (postconf_has_word(doctor_value(d, s, "receive_override_options"), "no_milters")) {
        if (own_options || !said->options)
            doctor_find(d, DOCTOR_HOLD, place_of(d, s, "receive_override_options"),
                        "no_milters: danelawd is not asked here, so that no recipient is refused at once",
                        "take no_milters out of receive_override_options");
        said->options |= !own_options;
    } else if (own || !said->milters[s->chroot]) {
        check_door(d, &door);
        said->milters[s->chroot] |= !own;
    }
}

/* Names milters for mail that doesn't come by SMTP, where a refusal reaches nobody. */
static void check_others(struct doctor *d)
{
    struct doctor_place place;
    const char *list, *word;
    size_t cursor = 0;

    while (doctor_next_place(d, "non_smtpd_milters", &cursor, &place)) {
        for (list = place.value; (word = postconf_word(&list, d->memory)) != NULL;) {
            const char *socket = item_of(d, word).socket;

            if (doctor_is_socket(d, true, socket, d->set->milter.socket) ||
                doctor_is_socket(d, false, socket, d->set->milter.socket))
                doctor_find(d, DOCTOR_HOLD, place.where,
                            "danelawd refuses nothing here, but where it is down or slow a message may stay in the maildrop "
                            "without a word to anyone, and with internal_mail_filter_classes a bounce, too",
                            doctor_say(d, "take %s out of non_smtpd_milters", word));
        }
    }
}

static void check_protocol(struct doctor *d)
{
    static const char *const macros[] = { "{rcpt_addr}", "{rcpt_mailer}" };
    const char *protocol = doctor_value(d, NULL, "milter_protocol"), *names = doctor_value(d, NULL, "milter_rcpt_macros");
    size_t i;

    if (*protocol != '\0' && strcmp(protocol, "6") != 0)
        doctor_find(d, DOCTOR_HOLD, "main.cf: milter_protocol",
                    doctor_say(d, "danelawd speaks version 6, not %.50s", protocol), "milter_protocol = 6");
    for (i = 0; i < COUNT_OF(macros); i++) {
        if (*names != '\0' && strstr(names, macros[i]) == NULL)
            doctor_find(d, DOCTOR_HINT, "main.cf: milter_rcpt_macros",
                        doctor_say(d, "without %s danelawd can't tell where a recipient's mail goes, and may refuse your own "
                                   "users'", macros[i]), "milter_rcpt_macros = i {rcpt_addr} {rcpt_host} {rcpt_mailer}");
    }
}

void doctor_milter(struct doctor *d)
{
    struct said said = { .options = false };
    size_t i;

    for (i = 0; i < d->service_count; i++) {
        if (strcmp(d->services[i].command, "smtpd") == 0)
            check_smtpd(d, &d->services[i], &said);
    }
    check_others(d);
    check_protocol(d);
}
