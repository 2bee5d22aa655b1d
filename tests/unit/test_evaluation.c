/*
 * An evaluation against a scripted libunbound: any DNSSEC state, any order of answers. The functions below stand in for
 * the library's own.
 */
#include "lookup/evaluation.h"

#include "base/clock.h"
#include "base/memory.h"
#include "policy/evidence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>

#include <cmocka.h>

enum { A = 1, CNAME = 5, MX = 15, AAAA = 28, TLSA = 52, QUESTIONS_MAX = 512 };
enum { UNSENT = -1 };                   /* as an rcode: libunbound can't even send it */

/* One line of a script. What has no line is a secure NXDOMAIN. */
struct line {
    const char *name;
    int type;
    enum dns_trust trust;
    const char *data;                   /* NULL: no data; MX: "10 host"; TLSA, A, AAAA, CNAME: anything, TLSA as 3 octets and data */
    const char *canonname;
    int rcode;
    const char *more;                   /* a second record */
};

struct question {
    char name[300];
    int type, id;
    bool open;
    void *argument;
    ub_callback_type answer;
};

static struct question questions[QUESTIONS_MAX];
static size_t question_count;
static const struct line *script;

static const struct line *line_of(const char *name, int type)
{
    static const struct line denial = { .trust = DNS_SECURE, .rcode = 3 };
    const struct line *l;

    for (l = script; l->name != NULL; l++) {
        if (l->type == type && strcmp(l->name, name) == 0)
            return l;
    }
    return &denial;
}

int ub_resolve_async(struct ub_ctx *ctx, const char *name, int type, int class, void *argument, ub_callback_type answer, int *id)
{
    struct question *q = &questions[question_count];

    (void)ctx;
    assert_int_equal(class, 1);
    assert_true(question_count < QUESTIONS_MAX);
    if (line_of(name, type)->rcode == UNSENT)
        return UB_SYNTAX;
    *q = (struct question){ .type = type, .id = (int)question_count, .open = true, .argument = argument, .answer = answer };
    snprintf(q->name, sizeof(q->name), "%s", name);
    *id = q->id;
    question_count++;
    return 0;
}

int ub_cancel(struct ub_ctx *ctx, int id)
{
    (void)ctx;
    assert_true(questions[id].open);
    questions[id].open = false;
    return 0;
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
    free(result);
}

const char *ub_strerror(int code)
{
    return code == 0 ? "no error" : "the pipe broke";
}

static char *encode(int type, const char *words, int *length)
{
    char *bytes = mem_zero(300);
    const char *label;
    int at = 2;

    if (type != MX) {
        *length = (int)strlen(words);
        return strcpy(bytes, words);
    }
    bytes[1] = (char)atoi(words);
    for (label = strchr(words, ' ') + 1; *label != '\0'; label += *label == '.') {
        size_t size = strcspn(label, ".");

        bytes[at++] = (char)size;
        memcpy(bytes + at, label, size);
        at += (int)size;
        label += size;
    }
    *length = at + (at == 2 || bytes[at] == 0);
    return bytes;
}

static struct ub_result *result_of(const struct line *l, int type)
{
    struct ub_result *r = mem_zero(sizeof(*r));

    r->data = mem_array(3, sizeof(*r->data));
    r->len = mem_array(3, sizeof(*r->len));
    r->rcode = l->rcode;
    r->nxdomain = l->rcode == 3;
    r->secure = l->trust == DNS_SECURE;
    r->bogus = l->trust == DNS_BOGUS;
    r->why_bogus = l->trust == DNS_BOGUS ? (char *)(uintptr_t)"signature\nexpired" : NULL;
    r->canonname = (char *)(uintptr_t)l->canonname;
    r->ttl = 300;
    if (l->data != NULL)
        r->data[0] = encode(type, l->data, &r->len[0]);
    if (l->more != NULL)
        r->data[1] = encode(type, l->more, &r->len[1]);
    r->havedata = r->data[0] != NULL;
    if (l->trust == DNS_FAILED)
        r->rcode = 2;
    return r;
}

/* The one that waits for the evaluation. */
struct waiter {
    struct evaluation_watch watch;
    struct dns_answers *answers;
    int heard;
};

static void on_heard(struct evaluation_watch *watch)
{
    struct waiter *w = (struct waiter *)watch;

    assert_null(w->answers);
    w->heard++;
}

static void on_done(struct evaluation_watch *watch, struct dns_answers *answers)
{
    struct waiter *w = (struct waiter *)watch;

    assert_null(w->answers);
    w->answers = answers;
}

static size_t count_open(void)
{
    size_t open = 0, i;

    for (i = 0; i < question_count; i++)
        open += questions[i].open;
    return open;
}

static struct question *open_question(size_t number)
{
    size_t i;

    for (i = 0; i < question_count; i++) {
        if (questions[i].open && number-- == 0)
            return &questions[i];
    }
    fail();
    return NULL;
}

static void answer(struct question *q)
{
    q->open = false;
    q->answer(q->argument, 0, result_of(line_of(q->name, q->type), q->type));
}

/* Answers the open question of this name and type. */
static void answer_named(const char *name, int type)
{
    size_t i;

    for (i = 0; i < question_count; i++) {
        if (questions[i].open && questions[i].type == type && strcmp(questions[i].name, name) == 0) {
            answer(&questions[i]);
            return;
        }
    }
    fail_msg("nobody asks for %s, type %d", name, type);
}

static bool asked(const char *name, int type)
{
    size_t i;

    for (i = 0; i < question_count; i++) {
        if (questions[i].type == type && strcmp(questions[i].name, name) == 0)
            return true;
    }
    return false;
}

static struct evaluation *begin(struct waiter *w, const struct line *lines, const char *spoken)
{
    struct evaluation *e;
    struct next_hop hop;

    script = lines;
    question_count = 0;
    *w = (struct waiter){ .watch = { .heard = on_heard, .done = on_done } };
    assert_true(next_hop_parse(spoken, &hop, NULL));
    e = evaluation_new(NULL, &hop, &w->watch);
    evaluation_start(e);
    return e;
}

/* Answers everything in an order that seed makes; seed 0: as asked. */
static struct dns_answers *run(const struct line *lines, const char *spoken, unsigned seed)
{
    struct waiter w;
    size_t open;

    begin(&w, lines, spoken);
    while (w.answers == NULL && (open = count_open()) > 0) {
        seed = seed == 0 ? 0 : seed * 1103515245 + 12345;
        answer(open_question(seed >> 8 & 0xffff ? (seed >> 8 & 0xffff) % open : 0));
    }
    assert_non_null(w.answers);
    assert_int_equal(count_open(), 0);
    return w.answers;
}

static enum dane_state state_of(const struct dns_answers *answers)
{
    struct evidence *e = dane_judge(answers, DNS_TLSA_MAX, clock_ms());
    enum dane_state state = e->dane;

    evidence_unref(e);
    return state;
}

#define KEY "\3\1\1" "0123456789abcdef0123456789abcdef"

/* Whatever comes first: the same state, and TLSA looks only where they count. */
static void same_in_any_order(const struct line *lines, const char *spoken, enum dane_state expected)
{
    struct dns_answers *answers;
    unsigned seed;

    for (seed = 0; seed < 400; seed++) {
        answers = run(lines, spoken, seed);
        assert_string_equal(dane_word(state_of(answers)), dane_word(expected));
        dns_answers_free(answers);
    }
}

static void a_signed_partner_is_usable_in_any_order(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE, "20 b.example", .more = "10 a.example" },
        { "a.example", A, DNS_SECURE, "1234" },
        { "a.example", AAAA, DNS_SECURE },
        { "_25._tcp.a.example", TLSA, DNS_SECURE, KEY },
        { "b.example", A, DNS_SECURE },
        { "b.example", AAAA, DNS_SECURE, "1234567812345678" },
        { "_25._tcp.b.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct dns_answers *answers = run(lines, "d.example", 0);

    (void)state;
    assert_int_equal(answers->mx.trust, DNS_SECURE);
    assert_int_equal(answers->host_count, 2);
    assert_string_equal(answers->hosts[0].name.name, "a.example");
    assert_int_equal(answers->hosts[1].preference, 20);
    assert_int_equal(answers->hosts[0].at_name.count, 1);
    assert_int_equal(answers->hosts[0].at_name.records[0].length, 32);
    assert_memory_equal(answers->hosts[0].at_name.records[0].data, "0123456789abcdef0123456789abcdef", 32);
    assert_string_equal(answers->hosts[0].at_name.base.name, "a.example");
    assert_int_equal(answers->hosts[0].at_name.look.ttl, 300);
    assert_false(answers->hosts[0].at_expanded.look.asked);
    assert_false(answers->hosts[0].cname.asked);
    dns_answers_free(answers);
    same_in_any_order(lines, "d.example", DANE_USABLE);
}

static void one_secure_family_is_enough_and_the_other_is_not_waited_for(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_SECURE, "1234" },
        { "h.example", AAAA, DNS_FAILED },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct waiter w;

    (void)state;
    begin(&w, lines, "[h.example]");
    answer_named("_25._tcp.h.example", TLSA);
    assert_null(w.answers);
    answer_named("h.example", A);
    assert_non_null(w.answers);
    assert_int_equal(count_open(), 0);
    assert_false(w.answers->hosts[0].aaaa.asked);
    dns_answers_free(w.answers);
    same_in_any_order(lines, "[h.example]", DANE_USABLE);
}

static void an_alias_that_only_one_family_shows_is_an_alias(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_INSECURE, "1234", .canonname = "x.other.example" },
        { "h.example", AAAA, DNS_INSECURE, "1234567812345678", .canonname = "h.example" },
        { "h.example", CNAME, DNS_SECURE, "x" },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };

    (void)state;
    same_in_any_order(lines, "[h.example]", DANE_USABLE);       /* and no question is left behind */
}

static void tlsa_is_not_waited_for_where_no_address_is_secure(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_INSECURE, "1234" },
        { "h.example", AAAA, DNS_INSECURE },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct waiter w;

    (void)state;
    begin(&w, lines, "[h.example]");
    answer_named("h.example", A);
    assert_null(w.answers);
    answer_named("h.example", AAAA);
    assert_non_null(w.answers);
    assert_true(asked("_25._tcp.h.example", TLSA));
    assert_false(w.answers->hosts[0].at_name.look.asked);
    dns_answers_free(w.answers);
    same_in_any_order(lines, "[h.example]", DANE_ABSENT);
}

static void an_early_tlsa_answer_of_an_insecure_host_does_not_count(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_INSECURE, "1234" },
        { "h.example", AAAA, DNS_INSECURE },
        { "_25._tcp.h.example", TLSA, DNS_BOGUS, KEY },
        { NULL },
    };
    struct waiter w;

    (void)state;
    begin(&w, lines, "[h.example]");
    answer_named("_25._tcp.h.example", TLSA);
    answer_named("h.example", A);
    answer_named("h.example", AAAA);
    assert_false(w.answers->hosts[0].at_name.look.asked);
    assert_int_equal(w.answers->hosts[0].at_name.count, 0);
    dns_answers_free(w.answers);
}

static void a_secure_alias_is_asked_at_its_end_first(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_SECURE, "1234", "End.Example." },
        { "h.example", AAAA, DNS_SECURE, NULL, "end.example." },
        { "_25._tcp.end.example", TLSA, DNS_SECURE, KEY },
        { "_25._tcp.h.example", TLSA, DNS_BOGUS, KEY },
        { NULL },
    };
    struct dns_answers *answers = run(lines, "[h.example]", 0);

    (void)state;
    assert_string_equal(answers->hosts[0].expanded.name, "end.example");
    assert_string_equal(answers->hosts[0].at_expanded.base.name, "end.example");
    assert_int_equal(answers->hosts[0].at_expanded.count, 1);
    assert_false(answers->hosts[0].at_name.look.asked);
    assert_false(answers->hosts[0].cname.asked);
    dns_answers_free(answers);
    same_in_any_order(lines, "[h.example]", DANE_USABLE);
}

static void without_tlsa_at_its_end_the_alias_itself_counts(void **state)
{
    static const struct line secure_denial[] = {
        { "h.example", A, DNS_SECURE, "1234", "end.example." },
        { "h.example", AAAA, DNS_SECURE, NULL, "end.example." },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    static const struct line insecure_denial[] = {
        { "h.example", A, DNS_SECURE, "1234", "end.example." },
        { "h.example", AAAA, DNS_SECURE, NULL, "end.example." },
        { "_25._tcp.end.example", TLSA, DNS_INSECURE, KEY },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };

    (void)state;
    same_in_any_order(secure_denial, "[h.example]", DANE_USABLE);
    same_in_any_order(insecure_denial, "[h.example]", DANE_USABLE);
}

static void a_failure_at_the_end_of_an_alias_is_not_talked_away(void **state)
{
    static const struct line failed[] = {
        { "h.example", A, DNS_SECURE, "1234", "end.example." },
        { "_25._tcp.end.example", TLSA, DNS_FAILED },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    static const struct line bogus[] = {
        { "h.example", A, DNS_SECURE, "1234", "end.example." },
        { "_25._tcp.end.example", TLSA, DNS_BOGUS },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };

    (void)state;
    same_in_any_order(failed, "[h.example]", DANE_UNKNOWN);
    same_in_any_order(bogus, "[h.example]", DANE_BOGUS);
}

static void an_insecure_alias_needs_a_secure_cname_record(void **state)
{
    static const struct line vouched[] = {
        { "h.example", A, DNS_INSECURE, "1234", "end.test." },
        { "h.example", AAAA, DNS_INSECURE, NULL, "end.test." },
        { "h.example", CNAME, DNS_SECURE, "end.test" },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { "_25._tcp.end.test", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    static const struct line unvouched[] = {
        { "h.example", A, DNS_INSECURE, "1234", "end.test." },
        { "h.example", AAAA, DNS_INSECURE, NULL, "end.test." },
        { "h.example", CNAME, DNS_INSECURE, "end.test" },
        { "_25._tcp.h.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct dns_answers *answers = run(vouched, "[h.example]", 0);

    (void)state;
    assert_false(asked("_25._tcp.end.test", TLSA));
    assert_true(answers->hosts[0].cname.asked);
    assert_int_equal(answers->hosts[0].at_name.count, 1);
    dns_answers_free(answers);
    same_in_any_order(vouched, "[h.example]", DANE_USABLE);
    same_in_any_order(unvouched, "[h.example]", DANE_ABSENT);
}

static void a_host_without_an_alias_is_never_asked_for_cname(void **state)
{
    static const struct line lines[] = { { "h.example", A, DNS_INSECURE, "1234" }, { NULL } };

    (void)state;
    dns_answers_free(run(lines, "[h.example]", 0));
    assert_false(asked("h.example", CNAME));
}

static void hosts_fail_and_lie_each_for_itself(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE, "10 a.example", .more = "20 b.example" },
        { "a.example", A, DNS_FAILED },
        { "a.example", AAAA, DNS_BOGUS, "1234567812345678" },
        { "_25._tcp.a.example", TLSA, DNS_SECURE, KEY },
        { "b.example", A, DNS_SECURE, "1234" },
        { "_25._tcp.b.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct dns_answers *answers = run(lines, "d.example", 0);

    (void)state;
    assert_int_equal(answers->hosts[0].a.trust, DNS_FAILED);
    assert_int_equal(answers->hosts[0].aaaa.trust, DNS_BOGUS);
    assert_false(answers->hosts[0].aaaa.found);
    assert_string_equal(answers->hosts[0].aaaa.why, "signature?expired");
    assert_false(answers->hosts[0].at_name.look.asked);
    dns_answers_free(answers);
    same_in_any_order(lines, "d.example", DANE_PARTIAL);
}

static void no_mx_means_the_domain_itself(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE },
        { "d.example", A, DNS_SECURE, "1234" },
        { "_25._tcp.d.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct dns_answers *answers = run(lines, "d.example", 0);

    (void)state;
    assert_true(answers->implicit_mx);
    assert_int_equal(answers->host_count, 1);
    assert_string_equal(answers->hosts[0].name.name, "d.example");
    assert_int_equal(answers->hosts[0].preference, 0);
    dns_answers_free(answers);
    same_in_any_order(lines, "d.example", DANE_USABLE);
}

static void a_missing_domain_has_no_hosts(void **state)
{
    static const struct line lines[] = { { NULL } };
    struct dns_answers *answers = run(lines, "d.example", 0);

    (void)state;
    assert_true(answers->mx.no_name);
    assert_int_equal(answers->host_count, 0);
    assert_int_equal(question_count, 1);
    dns_answers_free(answers);
}

static void a_null_mx_stands_alone(void **state)
{
    static const struct line alone[] = { { "d.example", MX, DNS_SECURE, "10 " }, { NULL } };
    static const struct line beside[] = {
        { "d.example", MX, DNS_SECURE, "0 ", .more = "10 a.example" }, { "a.example", A, DNS_SECURE, "1234" }, { NULL },
    };
    struct dns_answers *answers = run(alone, "d.example", 0);

    (void)state;
    assert_true(answers->null_mx);
    assert_int_equal(answers->host_count, 0);
    dns_answers_free(answers);
    answers = run(beside, "d.example", 0);
    assert_false(answers->null_mx);
    assert_int_equal(answers->host_count, 1);
    dns_answers_free(answers);
}

static void an_exchange_that_is_no_host_name_drops_out(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE, "10 a b.example", .more = "10 a.example" }, { "a.example", A, DNS_SECURE, "1234" }, { NULL },
    };
    struct dns_answers *answers = run(lines, "d.example", 0);

    (void)state;
    assert_int_equal(answers->host_count, 1);
    assert_string_equal(answers->hosts[0].name.name, "a.example");
    dns_answers_free(answers);
}

static void a_failing_or_bogus_mx_ends_it(void **state)
{
    static const struct line failed[] = { { "d.example", MX, DNS_FAILED }, { NULL } };
    static const struct line refused[] = { { "d.example", MX, DNS_INSECURE, .rcode = 5 }, { NULL } };
    static const struct line bogus[] = { { "d.example", MX, DNS_BOGUS, "10 a.example" }, { NULL } };
    static const struct line unsent[] = { { "d.example", MX, .rcode = UNSENT }, { NULL } };
    struct dns_answers *answers;

    (void)state;
    same_in_any_order(failed, "d.example", DANE_UNKNOWN);
    same_in_any_order(refused, "d.example", DANE_UNKNOWN);
    same_in_any_order(bogus, "d.example", DANE_BOGUS);
    answers = run(bogus, "d.example", 0);
    assert_false(answers->mx.found);
    assert_int_equal(answers->host_count, 0);
    dns_answers_free(answers);
    answers = run(unsent, "d.example", 0);
    assert_string_equal(answers->mx.why, "the pipe broke");
    assert_int_equal(state_of(answers), DANE_UNKNOWN);
    dns_answers_free(answers);
}

static void what_can_not_be_sent_has_failed(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, .rcode = UNSENT }, { "h.example", AAAA, .rcode = UNSENT },
        { "_25._tcp.h.example", TLSA, .rcode = UNSENT }, { NULL },
    };
    struct dns_answers *answers = run(lines, "[h.example]", 0);

    (void)state;
    assert_int_equal(state_of(answers), DANE_UNKNOWN);
    dns_answers_free(answers);
}

static void a_literal_asks_nothing(void **state)
{
    static const struct line lines[] = { { NULL } };
    struct dns_answers *answers = run(lines, "[192.0.2.1]:587", 0);

    (void)state;
    assert_true(answers->literal);
    assert_false(answers->mx.asked);
    assert_int_equal(question_count, 0);
    dns_answers_free(answers);
}

static void a_bracketed_host_is_asked_at_its_port(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_SECURE, "1234" }, { "_587._tcp.h.example", TLSA, DNS_SECURE, KEY }, { NULL },
    };
    struct dns_answers *answers = run(lines, "[h.example]:587", 0);

    (void)state;
    assert_false(answers->mx.asked);
    assert_false(asked("h.example", MX));
    assert_int_equal(state_of(answers), DANE_USABLE);
    dns_answers_free(answers);
}

static void unreadable_tlsa_records_are_there_but_unusable(void **state)
{
    static const struct line lines[] = {
        { "h.example", A, DNS_SECURE, "1234" }, { "_25._tcp.h.example", TLSA, DNS_SECURE, "\3\1" }, { NULL },
    };
    struct dns_answers *answers = run(lines, "[h.example]", 0);

    (void)state;
    assert_int_equal(answers->hosts[0].at_name.count, 1);
    assert_int_equal(state_of(answers), DANE_UNUSABLE);
    dns_answers_free(answers);
}

static void a_name_too_long_for_tlsa_is_bare(void **state)
{
    char host[260] = "[", name[256];
    struct line lines[] = { { name, A, DNS_SECURE, "1234" }, { NULL } };
    struct dns_answers *answers;
    int i;

    (void)state;
    for (i = 0; i < 62; i++)
        strcat(host, "abc.");
    strcpy(name, strcat(host, "de") + 1);
    strcat(host, "]");
    answers = run(lines, host, 0);
    assert_int_equal(answers->hosts[0].name.length, 250);
    assert_int_equal(state_of(answers), DANE_ABSENT);
    assert_int_equal(question_count, 2);
    dns_answers_free(answers);
}

static void what_is_missing_at_the_time_out_has_failed(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE, "10 a.example", .more = "20 b.example" },
        { "a.example", A, DNS_SECURE, "1234" },
        { "b.example", A, DNS_SECURE, "1234" },
        { "_25._tcp.b.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct evaluation *e;
    struct waiter w;

    (void)state;
    e = begin(&w, lines, "d.example");
    assert_int_equal(w.heard, 0);
    answer_named("d.example", MX);
    answer_named("a.example", A);
    answer_named("b.example", A);
    answer_named("_25._tcp.b.example", TLSA);
    assert_int_equal(w.heard, 1);
    evaluation_expire(e, "no answer within 5 s");
    assert_non_null(w.answers);
    assert_int_equal(count_open(), 0);
    assert_true(w.answers->hosts[0].at_name.look.asked);
    assert_int_equal(w.answers->hosts[0].at_name.look.trust, DNS_FAILED);
    assert_string_equal(w.answers->hosts[0].at_name.look.why, "no answer within 5 s");
    assert_int_equal(state_of(w.answers), DANE_PARTIAL);
    dns_answers_free(w.answers);
    e = begin(&w, lines, "d.example");
    evaluation_expire(e, "no answer within 5 s");
    assert_int_equal(w.heard, 0);
    assert_int_equal(state_of(w.answers), DANE_UNKNOWN);
    dns_answers_free(w.answers);
    e = begin(&w, lines, "[a.example]");
    evaluation_expire(e, "no answer within 5 s");
    assert_int_equal(state_of(w.answers), DANE_UNKNOWN);
    dns_answers_free(w.answers);
}

/* Cut off after any number of answers in any order: only what is known to be good may be called good. */
static void a_time_out_never_turns_bad_into_good(void **state)
{
    static const struct line lines[] = {
        { "d.example", MX, DNS_SECURE, "10 a.example", .more = "20 b.example" },
        { "a.example", A, DNS_SECURE, "1234", "end.example." },
        { "_25._tcp.end.example", TLSA, DNS_BOGUS },
        { "_25._tcp.a.example", TLSA, DNS_SECURE, KEY },
        { "b.example", A, DNS_INSECURE, "1234", "end.test." },
        { "b.example", AAAA, DNS_INSECURE, NULL, "end.test." },
        { "b.example", CNAME, DNS_BOGUS },
        { "_25._tcp.b.example", TLSA, DNS_SECURE, KEY },
        { NULL },
    };
    struct waiter w;
    unsigned seed, count, i;

    (void)state;
    for (seed = 1; seed < 300; seed++) {
        for (count = 0; count < 10; count++) {
            struct evaluation *e = begin(&w, lines, "d.example");
            unsigned dice = seed;
            enum dane_state got;

            for (i = 0; i < count && w.answers == NULL; i++) {
                dice = dice * 1103515245 + 12345;
                answer(open_question((dice >> 8) % count_open()));
            }
            if (w.answers == NULL)
                evaluation_expire(e, "late");
            got = state_of(w.answers);
            assert_true(got == DANE_UNKNOWN || got == DANE_BOGUS);
            dns_answers_free(w.answers);
        }
    }
}

static void a_refusal_is_a_failed_mx(void **state)
{
    struct dns_answers *answers = evaluation_refuse("the resolver is closing");

    (void)state;
    assert_int_equal(state_of(answers), DANE_UNKNOWN);
    assert_string_equal(answers->mx.why, "the resolver is closing");
    dns_answers_free(answers);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_partner_is_usable_in_any_order),
        cmocka_unit_test(one_secure_family_is_enough_and_the_other_is_not_waited_for),
        cmocka_unit_test(tlsa_is_not_waited_for_where_no_address_is_secure),
        cmocka_unit_test(an_early_tlsa_answer_of_an_insecure_host_does_not_count),
        cmocka_unit_test(a_secure_alias_is_asked_at_its_end_first),
        cmocka_unit_test(without_tlsa_at_its_end_the_alias_itself_counts),
        cmocka_unit_test(a_failure_at_the_end_of_an_alias_is_not_talked_away),
        cmocka_unit_test(an_insecure_alias_needs_a_secure_cname_record),
        cmocka_unit_test(a_host_without_an_alias_is_never_asked_for_cname),
        cmocka_unit_test(hosts_fail_and_lie_each_for_itself),
        cmocka_unit_test(no_mx_means_the_domain_itself),
        cmocka_unit_test(an_alias_that_only_one_family_shows_is_an_alias),
        cmocka_unit_test(a_missing_domain_has_no_hosts),
        cmocka_unit_test(a_null_mx_stands_alone),
        cmocka_unit_test(an_exchange_that_is_no_host_name_drops_out),
        cmocka_unit_test(a_failing_or_bogus_mx_ends_it),
        cmocka_unit_test(what_can_not_be_sent_has_failed),
        cmocka_unit_test(a_literal_asks_nothing),
        cmocka_unit_test(a_bracketed_host_is_asked_at_its_port),
        cmocka_unit_test(unreadable_tlsa_records_are_there_but_unusable),
        cmocka_unit_test(a_name_too_long_for_tlsa_is_bare),
        cmocka_unit_test(what_is_missing_at_the_time_out_has_failed),
        cmocka_unit_test(a_time_out_never_turns_bad_into_good),
        cmocka_unit_test(a_refusal_is_a_failed_mx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
