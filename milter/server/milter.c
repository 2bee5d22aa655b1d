/*
 * One SMTP session is one struct session, hung on libmilter's context: callbacks of a session may come on different
 * threads, but one at a time. No policy here: a recipient becomes a question, and the decision becomes a reply.
 */
#include "server/milter.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "policy/reply.h"
#include "policy/roads.h"
#include "server/clients.h"
#include "server/gate.h"
#include "server/libmilter.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TAG_HEADER "X-Danelaw-Route"

enum { TAGS_MAX = 100 * 1000, SAY_AGAIN_MS = 60 * 1000, STAGGERS = 16 };

/* Frozen before smfi_main. */
static const struct settings *settings;
static struct engine *judge;
static struct clients *queue_clients;

/* The road that all recipients of a message share so far. */
enum tag_state { TAG_OPEN = 0, TAG_SHARED, TAG_SPLIT };

/* A recipient that was accepted before the message had a queue id, and is not told of yet. */
struct owed {
    struct address to;
    struct answer answer;
};

struct session {
    struct ruleset *rules;          /* those of the session's beginning, for all of it */
    bool maybe_local;               /* looks like Postfix's non-SMTP mail, if no {rcpt_mailer} comes */
    bool queues;                    /* the client is one that sees its mail queued */
    struct address from;
    struct owed *owed;              /* or NULL */
    int64_t waited_ms;              /* of the budget, by this message */
    uint32_t recipients;            /* of this message, that were judged and accepted */
    enum tag_state tag;
    char route[64];                 /* TAG_SHARED: its name */
    int tags_seen;                  /* X-Danelaw-Route headers that the client sent */
};

static atomic_size_t session_count;
static atomic_llong say_at;         /* clock_ms() before which nothing more is said of too many sessions */

static struct session *session_of(SMFICTX *ctx)
{
    return smfi_getpriv(ctx);
}

static void say_crowded(void)
{
    long long now = clock_ms(), at = atomic_load(&say_at);

    if (now >= at && atomic_compare_exchange_strong(&say_at, &at, now + SAY_AGAIN_MS))
        log_warning("milter: %u sessions are open, as many as milter.clients allows; others are told to come again",
                    settings->milter.clients);
}

static bool take_place(void)
{
    if (atomic_fetch_add(&session_count, 1) < settings->milter.clients)
        return true;
    atomic_fetch_sub(&session_count, 1);
    say_crowded();
    return false;
}

/* The session, which is made where there is none; NULL: there are too many. */
static struct session *session_reach(SMFICTX *ctx)
{
    struct session *s = smfi_getpriv(ctx);

    if (s != NULL || !take_place())
        return s;
    s = mem_zero(sizeof(*s));
    s->rules = engine_rules(judge);
    smfi_setpriv(ctx, s);
    return s;
}

static sfsistat put_off(SMFICTX *ctx, const char *code, const char *enhanced, const char *text)
{
    if (smfi_setreply(ctx, (char *)(uintptr_t)code, (char *)(uintptr_t)enhanced, (char *)(uintptr_t)text) != MI_SUCCESS)
        log_warning("libmilter refused a reply text: %s", text);
    return SMFIS_TEMPFAIL;
}

static sfsistat put_session_off(SMFICTX *ctx)
{
    return put_off(ctx, "421", "4.3.2", "too many sessions at once; come again later");
}

/*
 * Sendmail sends what its administrator has listed, for all filters; this filter's own list stands for itself. Postfix sends
 * all of it anyway.
 */
static unsigned long list_macros(SMFICTX *ctx, unsigned long actions)
{
    static const struct {
        int stage;
        const char *macros;
    } lists[] = { { SMFIM_ENVFROM, "i {auth_type} {auth_authen} {mail_addr}" }, { SMFIM_ENVRCPT, "i {rcpt_mailer} {rcpt_addr}" },
                  { SMFIM_EOM, "i" } };
    size_t i;

    if (strcmp(settings->tables.mta, "sendmail") != 0 || (actions & SMFIF_SETSYMLIST) == 0)
        return 0;
    for (i = 0; i < COUNT_OF(lists); i++) {
        if (smfi_setsymlist(ctx, lists[i].stage, (char *)(uintptr_t)lists[i].macros) != MI_SUCCESS)
            log_warning("libmilter refused a list of macros: %s", lists[i].macros);
    }
    return SMFIF_SETSYMLIST;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long unused0,
                             unsigned long unused1, unsigned long *ret_actions, unsigned long *ret_steps,
                             unsigned long *ret_unused0, unsigned long *ret_unused1)
{
    unsigned long unwanted = SMFIP_NOHELO | SMFIP_NOEOH | SMFIP_NOBODY | SMFIP_NODATA | SMFIP_NOUNKNOWN;

    (void)unused0, (void)unused1;
    gate_enter();
    if (!settings->milter.tag)
        unwanted |= SMFIP_NOHDRS;
    *ret_actions = settings->milter.tag ? actions & (SMFIF_ADDHDRS | SMFIF_CHGHDRS) : 0;
    *ret_actions |= list_macros(ctx, actions);
    gate_leave();
    *ret_steps = steps & unwanted;
    *ret_unused0 = *ret_unused1 = 0;
    return SMFIS_CONTINUE;
}

static bool port_is_zero(const _SOCK_ADDR *address)
{
    if (address->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)address)->sin_port == 0;
    if (address->sa_family == AF_INET6)
        return ((const struct sockaddr_in6 *)(const void *)address)->sin6_port == 0;
    return false;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    struct session *s;

    gate_enter();
    s = session_reach(ctx);
    if (s != NULL) {
        s->maybe_local = address != NULL && strcmp(host, "localhost") == 0 && port_is_zero(address);
        s->queues = address == NULL || clients_match(queue_clients, (const struct sockaddr *)(const void *)address);
    }
    gate_leave();
    return s == NULL ? put_session_off(ctx) : SMFIS_CONTINUE;
}

/* A macro's value, or NULL where the MTA did not send it, or sent nothing. */
static const char *macro(SMFICTX *ctx, const char *name)
{
    const char *value = smfi_getsymval(ctx, (char *)(uintptr_t)name);

    return value != NULL && *value != '\0' ? value : NULL;
}

/* An address by its macro, where the MTA has cleaned it up, else as the client said it. */
static void read_address(SMFICTX *ctx, const char *name, char **arguments, struct address *ret)
{
    const char *cleaned = macro(ctx, name);

    address_parse(cleaned != NULL ? cleaned : arguments[0], ret);
}

/* To Sendmail a sender of this host is a bare name; the client said the rest. */
static void read_sender(SMFICTX *ctx, char **arguments, struct address *ret)
{
    struct address said;

    read_address(ctx, "{mail_addr}", arguments, ret);
    if (ret->kind != ADDRESS_BARE)
        return;
    address_parse(arguments[0], &said);
    if (said.kind == ADDRESS_DOMAIN)
        *ret = said;
}

/* Postfix has a queue id only behind the first recipient that is accepted: what was said of that one is told later. */
static void settle(struct session *s, const char *queue_id)
{
    struct owed *owed = take(s->owed);

    if (owed == NULL)
        return;
    engine_tell(judge, &owed->to, &s->from, queue_id, &owed->answer);
    answer_done(&owed->answer);
    free(owed);
}

/* Takes answer. */
static void tell(SMFICTX *ctx, struct session *s, const struct address *to, struct answer *a)
{
    const char *queue_id = macro(ctx, "i");

    settle(s, queue_id);
    if (queue_id == NULL && !a->refuse) {
        s->owed = mem_zero(sizeof(*s->owed));
        *s->owed = (struct owed){ .to = *to, .answer = *a };
        return;
    }
    engine_tell(judge, to, &s->from, queue_id, a);
    answer_done(a);
}

static sfsistat on_envfrom(SMFICTX *ctx, char **arguments)
{
    struct session *s;

    gate_enter();
    s = session_reach(ctx);
    if (s != NULL)
        settle(s, NULL);
    gate_leave();
    if (s == NULL)
        return put_session_off(ctx);
    read_sender(ctx, arguments, &s->from);
    s->waited_ms = 0;
    s->recipients = 0;
    s->tag = TAG_OPEN;
    s->tags_seen = 0;
    return SMFIS_CONTINUE;
}

/* The MTA's transport leads out of the house. */
static bool leads_out(const struct session *s, const char *mailer)
{
    size_t i;

    for (i = 0; i < settings->milter.mailers.count; i++) {
        if (strcmp(settings->milter.mailers.items[i], mailer) == 0)
            return true;
    }
    for (i = 0; i < ruleset_route_count(s->rules); i++) {
        if (strcmp(ruleset_route_at(s->rules, i)->transport, mailer) == 0)
            return true;
    }
    return false;
}

/* Adds one recipient's road to the message's; an empty name: none of ours. */
static void note_route(struct session *s, const char *route)
{
    if (s->tag == TAG_OPEN && strlen(route) < sizeof(s->route)) {
        strcpy(s->route, route);
        s->tag = TAG_SHARED;
    } else if (s->tag == TAG_OPEN || strcmp(s->route, route) != 0) {
        s->tag = TAG_SPLIT;
    }
}

/*
 * The road that a tag should lead a recipient to. Mail under (default) has none of ours, unless the table, which can't see
 * senders, puts it on a connector's road all the same: then the tag leads it back to the least of ours. A tag knows no
 * smart hosts and would lead past them, so that theirs is left to the table.
 */
static const char *wanted_route(const struct answer *a, const struct address *to)
{
    struct road table;

    if (!a->connector->is_default)
        return a->connector->smart_host_count > 0 ? "" : connector_road(a->connector)->name;
    table = road_of_address(a->rules, to);
    return table.route == NULL ? "" : "opportunistic";
}

/* Postfix looks at the envelope as it was said: by a tag it would take mail to u%partner@here to its own domain. */
static bool as_said(char **arguments, const struct address *to)
{
    struct address said;

    address_parse(arguments[0], &said);
    return said.kind == to->kind && domain_equal(&said.domain, &to->domain);
}

static bool is_authenticated(SMFICTX *ctx)
{
    return macro(ctx, "{auth_authen}") != NULL || macro(ctx, "{auth_type}") != NULL;
}

static enum audience audience_of(SMFICTX *ctx, const struct session *s, const char *mailer)
{
    if (s->maybe_local && mailer == NULL)
        return AUDIENCE_NOBODY;
    return s->queues || is_authenticated(ctx) ? AUDIENCE_QUEUED : AUDIENCE_CLIENT;
}

/* libmilter reads the text as a format. */
static void double_percents(const char *text, char *ret, size_t size)
{
    size_t at = 0;

    for (; *text != '\0' && at + 2 < size; text++) {
        if (*text == '%')
            ret[at++] = '%';
        ret[at++] = *text;
    }
    ret[at] = '\0';
}

/* For now, or for good where the hold has run out. */
static sfsistat refuse(SMFICTX *ctx, const struct answer *a)
{
    char text[2 * REPLY_TEXT_MAX + 3];
    struct reply reply;

    if (a->found != NULL && a->found->ours && a->decision.reason == REASON_DNS_TEMP)
        reply_resolver(a->connector, a->hop.host.name, &reply);
    else
        reply_hold(a->decision.reason, a->connector, a->hop.host.name, &reply);
    if (a->decision.verdict == VERDICT_BOUNCE)
        reply_give_up(a->decision.reason, a->connector, &reply);
    double_percents(reply.text, text, sizeof(text));
    if (smfi_setreply(ctx, (char *)(uintptr_t)reply.code, (char *)(uintptr_t)reply.enhanced, text) != MI_SUCCESS)
        log_warning("libmilter refused a reply text: %s", reply.text);
    return *reply.code == '5' ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

/* A crowd that came at once and waits in vain is not sent away at once, too, to the harm of all others: up to 6 % earlier. */
static int64_t stagger(int64_t patience_ms)
{
    static atomic_uint turn;

    return patience_ms - patience_ms * (int64_t)(atomic_fetch_add(&turn, 1) % STAGGERS) / (16 * STAGGERS);
}

/* The budget is the message's: many recipients with dead DNS together wait no longer than one. */
static void ask(struct session *s, const struct address *to, enum audience who, struct answer *ret)
{
    int64_t start = clock_ms(), left = (int64_t)settings->milter.budget * 1000 - s->waited_ms;
    struct question q = { .rules = s->rules, .to = *to, .from = s->from, .audience = who };

    engine_ask_by(judge, &q, start + (left > 0 ? stagger(left) : 0), ret);
    s->waited_ms += clock_ms() - start;
}

/*
 * A mandatory recipient is only as safe as the road that the MTA chose. Where the table does the steering and the MTA
 * names another transport, its table is not in force, or an entry of the site's own goes past it. Gives the transport
 * that it should be, or NULL where all is well.
 */
static const char *missed_road(const struct answer *a, const struct address *to, const char *mailer)
{
    struct road table;

    if (strcmp(settings->tables.mta, "postfix") != 0 || mailer == NULL || a->connector->is_default ||
        !connector_is_mandatory(a->connector))
        return NULL;
    table = road_of_address(a->rules, to);
    return table.route == NULL || strcmp(table.route->transport, mailer) == 0 ? NULL : table.route->transport;
}

static void say_missed(const struct answer *a, const struct address *to, const char *mailer, const char *road,
                       const char *queue_id)
{
    char shown[ADDRESS_TEXT_SIZE];

    log_warning("%s: to=<%s> connector=\"%s\": the MTA sends this by \"%s\", not by \"%s\"; see `danelaw tables --check`",
                queue_id == NULL ? "NOQUEUE" : queue_id, address_print(to, shown, sizeof(shown)), a->connector->name, mailer, road);
}

/*
 * A domain in Unicode has more spellings than its A-label and its U-label: wide letters, accents as characters of their own,
 * an ideographic full stop. Postfix finds none of them in its table, and yet resolves them to the partner's hosts. The road that
 * asks the map is right for them, and `danelaw setup postfix` leads them there.
 */
static bool in_unicode(const char *address)
{
    const char *domain = strrchr(address, '@');

    return domain != NULL && !domain_is_ascii(domain);
}

/* Whoever it comes from: no road would hold it. */
static sfsistat refuse_spelling(SMFICTX *ctx, const struct address *to, struct answer *a)
{
    char text[REPLY_TEXT_MAX + 1];

    a->decision.verdict = VERDICT_HOLD;
    a->decision.reason = REASON_INTERNAL;
    snprintf(text, sizeof(text), "internal: mail to this spelling would take the wrong way; write the domain as %s", to->domain.name);
    return put_off(ctx, "451", "4.3.0", text);
}

static sfsistat check_road(SMFICTX *ctx, const struct address *to, char **arguments, struct answer *a)
{
    const char *mailer = macro(ctx, "{rcpt_mailer}"), *spelled = macro(ctx, "{rcpt_addr}");
    bool odd = in_unicode(spelled != NULL ? spelled : arguments[0]);
    bool asks = mailer != NULL && strcmp(mailer, ROAD_OPPORTUNISTIC) == 0 && a->connector->smart_host_count == 0;
    const char *road = odd && asks ? NULL : missed_road(a, to, mailer);
    bool past = road != NULL && odd;

    if (road != NULL && (past || !settings->milter.tag))
        say_missed(a, to, mailer, road, macro(ctx, "i"));
    return past ? refuse_spelling(ctx, to, a) : SMFIS_CONTINUE;
}

/* Mail that nobody submits by SMTP has no client that could send the rest in another message. */
static bool is_crowded(const struct session *s, enum audience who)
{
    return who != AUDIENCE_NOBODY && s->recipients >= settings->milter.recipients;
}

static sfsistat judge_recipient(SMFICTX *ctx, struct session *s, char **arguments)
{
    const char *mailer = macro(ctx, "{rcpt_mailer}");
    enum audience who = audience_of(ctx, s, mailer);
    struct address to;
    struct answer answer;
    sfsistat reply;

    read_address(ctx, "{rcpt_addr}", arguments, &to);
    if ((mailer != NULL && !leads_out(s, mailer)) || to.kind == ADDRESS_BARE || to.kind == ADDRESS_NULL ||
        engine_is_own(judge, s->rules, &to, &s->from)) {
        note_route(s, "");
        return SMFIS_CONTINUE;
    }
    if (is_crowded(s, who))
        return put_off(ctx, "452", "4.5.3", "too many recipients; send the others in another message");
    ask(s, &to, who, &answer);
    reply = answer.refuse ? refuse(ctx, &answer) : check_road(ctx, &to, arguments, &answer);
    if (reply == SMFIS_CONTINUE) {
        if (settings->milter.tag)
            note_route(s, as_said(arguments, &to) ? wanted_route(&answer, &to) : "");
        s->recipients++;
    }
    tell(ctx, s, &to, &answer);
    return reply;
}

static sfsistat on_envrcpt(SMFICTX *ctx, char **arguments)
{
    struct session *s = session_of(ctx);
    sfsistat reply;

    if (s == NULL)
        return put_session_off(ctx);
    gate_enter();
    reply = judge_recipient(ctx, s, arguments);
    gate_leave();
    return reply;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    struct session *s = session_of(ctx);

    (void)value;
    if (s != NULL && strcasecmp(name, TAG_HEADER) == 0 && s->tags_seen < TAGS_MAX)
        s->tags_seen++;
    return SMFIS_CONTINUE;
}

static void mend_tags(SMFICTX *ctx, struct session *s)
{
    for (; s->tags_seen > 0; s->tags_seen--)            /* from the last, so that the others keep their numbers */
        smfi_chgheader(ctx, (char[]){ TAG_HEADER }, s->tags_seen, NULL);
    if (s->tag == TAG_SHARED && s->route[0] != '\0')
        smfi_addheader(ctx, (char[]){ TAG_HEADER }, s->route);
}

/* Where none of its recipients has a road of ours there is nothing to tell. */
static void tell_tag(SMFICTX *ctx, const struct session *s)
{
    if (s->tag == TAG_SPLIT || (s->tag == TAG_SHARED && s->route[0] != '\0'))
        engine_tell_message(judge, &s->from, macro(ctx, "i"), s->tag == TAG_SHARED ? s->route : NULL);
}

static sfsistat on_eom(SMFICTX *ctx)
{
    struct session *s = session_of(ctx);

    if (s == NULL)
        return SMFIS_CONTINUE;
    gate_enter();
    settle(s, macro(ctx, "i"));
    if (settings->milter.tag) {
        mend_tags(ctx, s);
        tell_tag(ctx, s);
    }
    gate_leave();
    return SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
    struct session *s = session_of(ctx);

    if (s == NULL)
        return SMFIS_CONTINUE;
    gate_enter();
    settle(s, macro(ctx, "i"));
    gate_leave();
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    struct session *s = session_of(ctx);

    if (s == NULL)
        return SMFIS_CONTINUE;
    gate_enter();
    settle(s, NULL);
    gate_leave();
    ruleset_unref(s->rules);
    free(s);
    smfi_setpriv(ctx, NULL);
    atomic_fetch_sub(&session_count, 1);
    return SMFIS_CONTINUE;
}

bool milter_open(const struct settings *set, const struct listen_access *access, struct fault *why)
{
    struct smfiDesc filter = {
        .xxfi_name = (char[]){ "danelaw" }, .xxfi_version = SMFI_VERSION,
        .xxfi_flags = set->milter.tag ? SMFIF_ADDHDRS | SMFIF_CHGHDRS : 0,
        .xxfi_connect = on_connect, .xxfi_envfrom = on_envfrom, .xxfi_envrcpt = on_envrcpt,
        .xxfi_header = set->milter.tag ? on_header : NULL, .xxfi_eom = on_eom, .xxfi_abort = on_abort,
        .xxfi_close = on_close, .xxfi_negotiate = on_negotiate,
    };

    settings = set;
    gate_open();
    if (!clients_parse(&set->milter.queue_clients, &queue_clients, why))
        return false;
    return libmilter_open(&filter, set->milter.socket, access, why);
}

bool milter_serve(struct engine *engine)
{
    bool served;

    judge = engine;
    served = libmilter_serve();
    gate_shut();
    return served;
}

void milter_close(void)
{
    gate_await();
}

size_t milter_sessions(void)
{
    return atomic_load(&session_count);
}
