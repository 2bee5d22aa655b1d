/*
 * Mail as a client may submit it: MAIL and RCPT with whatever parameters, macros and headers, through the filter's own
 * callbacks; libmilter and the engine are played here. Each line of the input is a command: one letter, an octet for the
 * macros that come with it or for the engine's answer, then its words. Whoever the engine refuses is refused, in one line
 * of ASCII that libmilter's format leaves alone; whatever it answered is told of once; and a message leaves with no tag but
 * the one road that all its recipients share.
 */
#include "fuzz.h"

#include "../unit/rules.h"
#include "base/log.h"
#include "policy/reply.h"
#include "server/milter.h"

#include <libmilter/mfapi.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

enum { WORD = 2000, ROUTES = 3 };

static struct smfiDesc filter;
static struct ruleset *rules;
static const struct connector *connectors[ROUTES];

/* One run of it */
static struct {
    void *session;                      /* the filter's */
    char queue_id[WORD], mailer[WORD], recipient[WORD], sender[WORD], login[WORD];
    uint8_t answers;                    /* what the engine says next */
    unsigned asked, told, done;
    bool refused, replied, permanent;   /* by the latest callback */
    bool open;                          /* MAIL was said; as no MTA passes on what comes without */
    bool ours[ROUTES + 1];              /* roads of those accepted; the last: none */
    int tags, removed;
    char added[64];
} now;

/* libmilter */

int smfi_register(struct smfiDesc described)
{
    filter = described;
    return MI_SUCCESS;
}

int smfi_setconn(char *spec)
{
    return *spec == 'i' ? MI_SUCCESS : MI_FAILURE;
}

int smfi_setbacklog(int backlog)
{
    return backlog > 0 ? MI_SUCCESS : MI_FAILURE;
}

int smfi_opensocket(bool replaces)
{
    return replaces ? MI_SUCCESS : MI_FAILURE;
}

int smfi_main(void)
{
    return MI_FAILURE;
}

int smfi_setpriv(SMFICTX *ctx, void *session)
{
    (void)ctx;
    now.session = session;
    return MI_SUCCESS;
}

void *smfi_getpriv(SMFICTX *ctx)
{
    (void)ctx;
    return now.session;
}

int smfi_setsymlist(SMFICTX *ctx, int stage, char *macros)
{
    (void)ctx, (void)stage;
    return *macros != '\0' ? MI_SUCCESS : MI_FAILURE;
}

char *smfi_getsymval(SMFICTX *ctx, char *name)
{
    char *value = strcmp(name, "i") == 0               ? now.queue_id
                  : strcmp(name, "{rcpt_mailer}") == 0 ? now.mailer
                  : strcmp(name, "{rcpt_addr}") == 0   ? now.recipient
                  : strcmp(name, "{mail_addr}") == 0   ? now.sender
                                                       : now.login;

    (void)ctx;
    return *value == '\0' ? NULL : value;
}

int smfi_setreply(SMFICTX *ctx, char *code, char *enhanced, char *text)
{
    size_t length = 0;

    (void)ctx;
    must(!now.replied && strlen(code) == 3 && (*code == '4' || *code == '5') && *enhanced == *code && enhanced[1] == '.');
    must(is_printable(text) && *text != '\0');
    for (; *text != '\0'; text++, length++) {
        must(*text != '%' || text[1] == '%');
        text += *text == '%';
    }
    must(length <= REPLY_TEXT_MAX);
    now.replied = true;
    now.permanent = *code == '5';
    return MI_SUCCESS;
}

int smfi_chgheader(SMFICTX *ctx, char *name, int index, char *value)
{
    (void)ctx;
    must(strcmp(name, "X-Danelaw-Route") == 0 && value == NULL && now.added[0] == '\0');
    must(index == now.tags - now.removed);              /* from the last */
    now.removed++;
    return MI_SUCCESS;
}

int smfi_addheader(SMFICTX *ctx, char *name, char *value)
{
    (void)ctx;
    must(strcmp(name, "X-Danelaw-Route") == 0 && now.added[0] == '\0' && ruleset_route(rules, value) != NULL);
    strcpy(now.added, value);
    return MI_SUCCESS;
}

/* The engine */

struct ruleset *engine_rules(struct engine *e)
{
    (void)e;
    return ruleset_ref(rules);
}

bool engine_is_own(struct engine *e, const struct ruleset *in, const struct address *to, const struct address *from)
{
    (void)e, (void)from;
    return in == rules && strcmp(to->domain.name, "home.example") == 0;
}

/* Bits of the octet: three for the verdict, three for the reason, two for the connector. */
void engine_ask_by(struct engine *e, const struct question *q, int64_t deadline_ms, struct answer *ret)
{
    static const enum verdict verdicts[] = { VERDICT_DELIVER, VERDICT_HOLD, VERDICT_HOLD, VERDICT_BOUNCE,
                                             VERDICT_PASS, VERDICT_FALLBACK, VERDICT_DELIVER, VERDICT_HOLD };
    uint8_t said = now.answers;
    enum verdict verdict = verdicts[said & 7];

    (void)e, (void)deadline_ms;
    must(q->rules == rules && q->to.kind != ADDRESS_NULL && q->to.kind != ADDRESS_BARE);
    now.asked++;
    *ret = (struct answer){ .rules = ruleset_ref(rules), .connector = connectors[(said >> 6) % ROUTES],
                            .hop = next_hop_of(&q->to.domain), .decision = { .verdict = verdict } };
    ret->decision.reason = (enum reason)(REASON_DANE_REQUIRED + (said >> 3 & 7));
    if (verdict == VERDICT_DELIVER || verdict == VERDICT_PASS)
        ret->decision.reason = REASON_NONE;
    else if ((said >> 3 & 7) == 1)
        ret->decision.reason = REASON_INTERNAL;
    ret->refuse = verdict == VERDICT_BOUNCE || (said & 7) == 1 || (said & 7) == 2;
    now.refused = ret->refuse;
}

void engine_tell(struct engine *e, const struct address *to, const struct address *from, const char *queue_id,
                 const struct answer *a)
{
    (void)e;
    must(a->connector != NULL && to->kind != ADDRESS_NULL && (queue_id == NULL || *queue_id != '\0') && from != NULL);
    now.told++;
}

void engine_tell_message(struct engine *e, const struct address *from, const char *queue_id, const char *route)
{
    (void)e, (void)from, (void)queue_id;
    must(route == NULL ? now.added[0] == '\0' : strcmp(route, now.added) == 0);
}

void answer_done(struct answer *a)
{
    ruleset_unref(a->rules);
    now.done++;
}

/* The client */

static void set_macros(struct feed *f, uint8_t which)
{
    struct {
        char *value;
        const char *usual;
    } macros[] = { { now.queue_id, "4fQz1x0" }, { now.mailer, "smtp" }, { now.recipient, NULL }, { now.sender, NULL },
                   { now.login, "bo" } };
    size_t i;

    for (i = 0; i < COUNT_OF(macros); i++) {
        macros[i].value[0] = '\0';
        if ((which >> i & 1) != 0 && macros[i].usual != NULL)
            strcpy(macros[i].value, macros[i].usual);
        else if ((which >> i & 1) != 0)
            feed_line(f, macros[i].value, WORD);
    }
}

/* `<path> PARAMETER PARAMETER`, as libmilter hands it over. */
static void split(char *line, char *arguments[static 4])
{
    size_t count = 0;

    memset(arguments, 0, 4 * sizeof(*arguments));
    do {
        arguments[count++] = line;
        line = strchr(line, ' ');
        if (line != NULL)
            *line++ = '\0';
    } while (line != NULL && count < 3);
}

static void note_accepted(bool asked)
{
    const struct connector *c = connectors[(now.answers >> 6) % ROUTES];

    if (!asked || c->is_default)
        now.ours[ROUTES] = true;
    else
        now.ours[(now.answers >> 6) % ROUTES] = true;
}

static void say_recipient(SMFICTX *ctx, struct feed *f, char *line)
{
    unsigned before = now.asked;
    char *arguments[4];
    sfsistat reply;

    now.answers = feed_octet(f);
    now.refused = now.replied = now.permanent = false;
    split(feed_line(f, line, WORD), arguments);
    reply = filter.xxfi_envrcpt(ctx, arguments);
    must(now.asked <= before + 1);
    must(now.refused <= (reply != SMFIS_CONTINUE) && now.replied == (reply != SMFIS_CONTINUE));
    must((reply == SMFIS_REJECT) == now.permanent && (!now.permanent || now.refused));
    must(!now.permanent || (now.answers & 7) == 3);
    must(!now.permanent || (now.answers >> 3 & 7) != 1);            /* never for a fault of ours */
    if (reply == SMFIS_CONTINUE)
        note_accepted(now.asked > before);
}

static void end_message(SMFICTX *ctx, bool tags)
{
    size_t i, roads = 0;

    must(filter.xxfi_eom(ctx) == SMFIS_CONTINUE);
    for (i = 0; i <= ROUTES; i++)
        roads += now.ours[i];
    must(now.removed == (tags ? now.tags : 0) && (tags || now.added[0] == '\0'));
    must(roads < 2 || now.added[0] == '\0');
    for (i = 0; i < ROUTES && now.added[0] != '\0'; i++)
        must(!now.ours[i] || strcmp(connectors[i]->route->name, now.added) == 0 || connectors[i]->is_default);
}

static void begin_message(void)
{
    memset(now.ours, 0, sizeof(now.ours));
    now.tags = now.removed = 0;
    now.added[0] = '\0';
}

static void say_mail(SMFICTX *ctx, struct feed *f, char *line)
{
    char *arguments[4];

    begin_message();
    split(feed_line(f, line, WORD), arguments);
    must(filter.xxfi_envfrom(ctx, arguments) == SMFIS_CONTINUE);
}

static void say_header(SMFICTX *ctx, char *line)
{
    char *value = strchr(line, ':');

    if (value == NULL)
        return;
    *value++ = '\0';
    now.tags += strcasecmp(line, "X-Danelaw-Route") == 0;
    must(filter.xxfi_header(ctx, line, value) == SMFIS_CONTINUE);
}

static void obey(SMFICTX *ctx, struct feed *f, bool tags)
{
    static char line[WORD];
    uint8_t command = feed_octet(f);

    if (command != 'M' && !now.open)
        return;
    switch (command) {
    case 'M':
        set_macros(f, feed_octet(f) & 25);
        say_mail(ctx, f, line);
        now.open = true;
        break;
    case 'R':
        set_macros(f, feed_octet(f) & 23);
        say_recipient(ctx, f, line);
        break;
    case 'H':
        say_header(ctx, feed_line(f, line, sizeof(line)));
        break;
    case 'E':
        set_macros(f, 1);
        end_message(ctx, tags);
        now.open = false;
        break;
    case 'A':
        must(filter.xxfi_abort(ctx) == SMFIS_CONTINUE);
        now.open = false;
        break;
    }
}

/* Of a connector of that name. */
static void check_reply(const char *name, enum reason reason)
{
    struct connector c = { .name = name, .hold = 86400 };
    struct reply r;

    reply_hold(reason, &c, "bank.example", &r);
    must(strlen(r.text) <= REPLY_TEXT_MAX && is_printable(r.text) && strstr(r.text, ": ") != NULL);
    reply_give_up(reason, &c, &r);
    must(strlen(r.text) <= REPLY_TEXT_MAX && is_printable(r.text) && *r.enhanced == *r.code);
    must((reason != REASON_INTERNAL && reason != REASON_NONE) || *r.code == '4');
    reply_plain(&r);
    must(strpbrk(r.text, "\"'(),;<>[]@!%$\\") == NULL && strlen(r.text) <= REPLY_TEXT_MAX);
}

static struct settings settings = {
    .milter = { .socket = "inet:1@127.0.0.1", .budget = 3, .clients = 1, .recipients = 1000000, .tag = true },
    .tables = { .mta = "postfix" },
};

static void start(void)
{
    static const char *mailers[] = { "smtp", "esmtp" }, *clients[] = { "127.0.0.0/8", "::1" };

    settings.milter.mailers = (struct setting_list){ mailers, COUNT_OF(mailers) };
    settings.milter.queue_clients = (struct setting_list){ clients, COUNT_OF(clients) };
    log_set_level(LOG_LEVEL_ERROR);
    rules = rules_new();
    connectors[0] = rules_add(rules, "Bank %s \"\xc3\xa4\"", "bank.example *.bank.example", "", MODE_MANDATORY, MODE_NONE);
    connectors[1] = rules_add(rules, "Firm", "firm.example bo@bank.example", "", MODE_NONE, MODE_MANDATORY);
    ruleset_freeze(rules);
    connectors[2] = ruleset_default(rules);
    must(milter_open(&settings, &(struct listen_access){ 0 }, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons(25) };
    uint8_t flags = feed_octet(&f);
    SMFICTX *ctx = (SMFICTX *)&now;
    char host[] = "localhost";

    if (rules == NULL)
        start();
    memset(&now, 0, sizeof(now));
    settings.milter.tag = (flags & 1) != 0;
    settings.tables.mta = (flags & 2) != 0 ? "sendmail" : "postfix";
    from.sin_port = (flags & 4) != 0 ? 0 : from.sin_port;
    from.sin_addr.s_addr = htonl((flags & 8) != 0 ? INADDR_LOOPBACK : 0xc0000201);
    must(filter.xxfi_connect(ctx, host, (_SOCK_ADDR *)&from) == SMFIS_CONTINUE);
    while (f.at < f.end)
        obey(ctx, &f, settings.milter.tag);
    must(filter.xxfi_close(ctx) == SMFIS_CONTINUE);
    must(now.session == NULL && milter_sessions() == 0 && now.asked == now.told && now.asked == now.done);
    f = (struct feed){ bytes, bytes + length };
    feed_line(&f, now.mailer, WORD);
    check_reply(now.mailer, (enum reason)(length % (REASON_TLS_REQUIRED + 1)));
    return 0;
}
