/*
 * The answers of strangers' name servers, in any order and state, as libunbound hands them on, through an evaluation to the
 * judge; libunbound is played. A next hop is good only where a signed MX RRset, or its own name, leads to signed TLSA
 * records that were really there; whatever happens, it ends once, and leaves no question behind.
 */
#include "fuzz.h"

#include "base/memory.h"
#include "lookup/evaluation.h"
#include "policy/decide.h"

#include <string.h>
#include <unbound.h>

enum { QUESTIONS = 256, MX = 15, TLSA = 52, RECORDS = 40, UNSENT = 0xf0, FAILED = 0xe0 };

struct question {
    int type;
    bool open;
    void *argument;
    ub_callback_type answer;
};

static struct {
    struct feed feed;
    struct question questions[QUESTIONS];
    size_t count;
    struct dns_answers *answers;        /* once it is done */
    bool heard, mx_secure, mx_bogus, tlsa_good;    /* what the world has said */
} now;

/* libunbound */

int ub_resolve_async(struct ub_ctx *ctx, const char *name, int type, int class, void *argument, ub_callback_type answer, int *id)
{
    struct domain d;

    (void)ctx;
    must(class == 1 && now.answers == NULL && strlen(name) < sizeof(d.name) && domain_parse(name, &d, NULL));
    if (now.count == QUESTIONS || (feed_octet(&now.feed) & 0xfe) == UNSENT)
        return UB_NOMEM;                    /* a broken pipe would be the end */
    now.questions[now.count] = (struct question){ .type = type, .open = true, .argument = argument, .answer = answer };
    *id = (int)now.count++;
    return 0;
}

int ub_cancel(struct ub_ctx *ctx, int id)
{
    (void)ctx;
    must(now.questions[id].open);
    now.questions[id].open = false;
    return 0;
}

const char *ub_strerror(int code)
{
    return code == 0 ? "no error" : "the pipe\nbroke";
}

void ub_resolve_free(struct ub_result *result)
{
    size_t i;

    if (result == NULL)
        return;
    for (i = 0; result->data[i] != NULL; i++)
        free(result->data[i]);
    free(result->data);
    free(result->len);
    free(result->canonname);
    free(result->why_bogus);
    free(result);
}

/* The world */

static char *take_text(void)
{
    char text[300];

    return mem_text(feed_line(&now.feed, text, sizeof(text)));
}

static bool is_good(const uint8_t *bytes, size_t length)
{
    return length > 3 && (bytes[0] == 2 || bytes[0] == 3) && bytes[1] < 2 && bytes[2] < 3 &&
           (bytes[2] == 0 || length == 3 + 32u * bytes[2]);
}

static void take_records(struct ub_result *r, int type)
{
    size_t count = feed_octet(&now.feed) % RECORDS, i;

    for (i = 0; i < count; i++) {
        size_t length = feed_octet(&now.feed), left = (size_t)(now.feed.end - now.feed.at);

        length = length > left ? left : length;
        r->data[i] = malloc(length + 1);        /* libunbound's own end with a NUL, too, which nobody may count on */
        must(r->data[i] != NULL);
        memcpy(r->data[i], now.feed.at, length);
        r->len[i] = (int)length;
        now.tlsa_good |= type == TLSA && r->secure && is_good(now.feed.at, length);
        now.feed.at += length;
    }
    r->havedata = count > 0;
}

static struct ub_result *take_result(int type)
{
    struct ub_result *r = mem_zero(sizeof(*r));
    uint8_t flags = feed_octet(&now.feed);

    r->data = mem_array(RECORDS + 1, sizeof(*r->data));
    r->len = mem_array(RECORDS + 1, sizeof(*r->len));
    r->bogus = (flags & 3) == 3;
    r->secure = (flags & 3) == 0;
    r->rcode = (flags & 4) != 0 ? 3 : (flags & 8) != 0 ? 2 : 0;
    r->nxdomain = r->rcode == 3;
    r->ttl = (flags & 16) != 0 ? -1 : 300;
    if ((flags & 32) != 0)
        r->canonname = take_text();
    if (r->bogus)
        r->why_bogus = take_text();
    if (r->rcode == 0)
        take_records(r, type);
    now.mx_secure |= type == MX && r->secure && r->rcode == 0;
    now.mx_bogus |= type == MX && r->bogus;
    return r;
}

/* Answers one that is open; false: none is. */
static bool answer_one(void)
{
    size_t open[QUESTIONS], count = 0, i;
    struct question *q;

    for (i = 0; i < now.count; i++) {
        if (now.questions[i].open)
            open[count++] = i;
    }
    if (count == 0)
        return false;
    q = &now.questions[open[feed_octet(&now.feed) % count]];
    q->open = false;
    if (now.feed.at < now.feed.end && *now.feed.at >= FAILED)
        q->answer(q->argument, UB_SERVFAIL, NULL);
    else
        q->answer(q->argument, 0, take_result(q->type));
    return true;
}

static void on_heard(struct evaluation_watch *watch)
{
    (void)watch;
    must(!now.heard && now.answers == NULL);
    now.heard = true;
}

static void on_done(struct evaluation_watch *watch, struct dns_answers *answers)
{
    (void)watch;
    must(now.answers == NULL && answers != NULL);
    now.answers = answers;
}

/* What it came to */

static void check_look(const struct dns_look *l)
{
    must(is_printable(l->why) && (l->trust == DNS_FAILED) <= (!l->asked || l->why[0] != '\0'));
    must(!l->found || (l->asked && l->trust != DNS_FAILED && l->trust != DNS_BOGUS));
}

static void check_host(const struct dns_host *h)
{
    must(h->name.length > 0 && h->expanded.length > 0);
    check_look(&h->a);
    check_look(&h->aaaa);
    check_look(&h->cname);
    check_look(&h->at_expanded.look);
    check_look(&h->at_name.look);
    must(h->at_expanded.count <= DNS_TLSA_MAX && h->at_name.count <= DNS_TLSA_MAX);
}

static void check(const struct dns_answers *a, bool bracketed)
{
    static const struct connector c = { .name = "Bank", .smtp_dane = MODE_MANDATORY, .mta_sts = MODE_NONE, .tls = TLS_SITE };
    struct evidence *e = dane_judge(a, DNS_TLSA_MAX, 0);
    size_t i, j;

    must(a->host_count <= DNS_HOSTS_MAX);
    check_look(&a->mx);
    for (i = 0; i < a->host_count; i++) {
        check_host(&a->hosts[i]);
        for (j = 0; j < i; j++)
            must(!domain_equal(&a->hosts[i].name, &a->hosts[j].name) && a->hosts[j].preference <= a->hosts[i].preference);
    }
    must(!now.mx_bogus || e->dane == DANE_BOGUS);
    if (e->dane == DANE_USABLE || e->dane == DANE_PARTIAL)
        must((bracketed || now.mx_secure) && now.tlsa_good);
    must(decide(&c, e).verdict != VERDICT_DELIVER || ((bracketed || now.mx_secure) && now.tlsa_good));
    evidence_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char *const hops[] = { "bank.example", "bank.example:587", "[mx.bank.example]:587", "[192.0.2.1]" };
    struct evaluation_watch watch = { .heard = on_heard, .done = on_done };
    struct evaluation *e;
    struct next_hop hop;
    size_t i;

    now.feed = (struct feed){ bytes, bytes + length };
    now.count = 0;
    now.answers = NULL;
    now.heard = now.mx_secure = now.mx_bogus = now.tlsa_good = false;
    must(next_hop_parse(hops[feed_octet(&now.feed) % COUNT_OF(hops)], &hop, NULL));
    e = evaluation_new(NULL, &hop, &watch);
    evaluation_start(e);
    while (now.answers == NULL && now.feed.at < now.feed.end && answer_one())
        ;
    if (now.answers == NULL)
        evaluation_expire(e, "no answer in time");
    must(now.answers != NULL);
    for (i = 0; i < now.count; i++)
        must(!now.questions[i].open);
    check(now.answers, hop.bracketed);
    dns_answers_free(now.answers);
    return 0;
}
