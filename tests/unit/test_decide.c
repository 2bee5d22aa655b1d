/*
 * The policy against its page: every combination of what a connector can ask and what can be known is built, decided, and
 * compared with the one row of tests/data/decisions.tsv that covers it. Behind that, what must hold whatever the page says.
 */
#include "policy/decide.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MODES = 3, REQUIRES = 2, DANES = 10, STSES = 7, FLOORS = 5, ROWS_MAX = 128, HOSTS_MAX = 3 };
enum { COLUMNS = 12 };
enum mx { MX_HAD, MX_FAILED, MXS };
enum match { LISTS_NONE, LISTS_GOOD, LISTS_BARE, LISTS_BOTH, LISTS_OTHER, MATCHES };

static const enum tls_level floors[FLOORS] = { TLS_SITE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };
static const char *const gate_names[] = { "gate.example", "mx.gate.example" };

static const char *const mode_names[] = { "mandatory", "opportunistic", "none", NULL };
static const char *const require_names[] = { "all", "any", NULL };
static const char *const dane_names[] = { "unknown", "bogus", "mismatch", "no-mail", "absent", "unusable", "degraded",
                                          "insecure-mx", "partial", "usable", NULL };
static const char *const mx_names[] = { "had", "failed", NULL };
static const char *const sts_names[] = { "unknown", "fetch-error", "enforce-mismatch", "absent", "none", "testing", "enforce",
                                         NULL };
static const char *const match_names[] = { "-", "good", "bare", "both", "other", NULL };
static const char *const floor_names[] = { "site", "may", "encrypt", "verify", "secure", NULL };

/* The columns that a combination meets, in the page's order. */
static const struct column {
    const char *title;
    const char *const *words;
} columns[] = {
    { "smtp_dane", mode_names }, { "mta_sts", mode_names }, { "require", require_names }, { "dane", dane_names },
    { "mx", mx_names },          { "sts", sts_names },      { "match", match_names },     { "floor", floor_names },
};

struct row {
    unsigned line;
    unsigned allowed[COUNT_OF(columns)];    /* a bit for each word of the column */
    char verdict[16], reason[32], tls[32], names[16];
    size_t met;
};

static struct row rows[ROWS_MAX];
static size_t row_count;

/* One of everything. */
struct combination {
    enum mode smtp_dane, mta_sts;
    enum require require;
    enum dane_state dane;
    enum mx mx;
    enum sts_state sts;
    enum match match;
    size_t floor;
    enum host_state other;          /* what the host that is neither good nor bare is */
    struct connector connector;
    struct evidence_host hosts[HOSTS_MAX];
    struct evidence found;
};

static unsigned bit_of(const struct column *column, const char *word, unsigned line)
{
    unsigned i;

    for (i = 0; column->words[i] != NULL; i++) {
        if (strcmp(column->words[i], word) == 0)
            return 1U << i;
    }
    fail_msg("decisions.tsv:%u: \"%s\" is no word for %s", line, word, column->title);
    return 0;
}

/* `a,b`, `*` or `!a` */
static unsigned read_cell(const struct column *column, char *cell, unsigned line)
{
    unsigned bits = 0;
    char *word, *rest = cell;

    if (strcmp(cell, "*") == 0)
        return ~0U;
    if (*cell == '!')
        return ~bit_of(column, cell + 1, line);
    while ((word = strsep(&rest, ",")) != NULL)
        bits |= bit_of(column, word, line);
    return bits;
}

static void read_row(char *text, unsigned line)
{
    struct row *row = &rows[row_count++];
    char *cells[COLUMNS], *rest = text;
    size_t i;

    assert_true(row_count <= ROWS_MAX);
    for (i = 0; i < COLUMNS; i++) {
        cells[i] = strsep(&rest, "\t");
        if (cells[i] == NULL || *cells[i] == '\0')
            fail_msg("decisions.tsv:%u: %d cells are wanted", line, COLUMNS);
    }
    if (rest != NULL)
        fail_msg("decisions.tsv:%u: %d cells are wanted", line, COLUMNS);
    row->line = line;
    for (i = 0; i < COUNT_OF(columns); i++)
        row->allowed[i] = read_cell(&columns[i], cells[i], line);
    snprintf(row->verdict, sizeof(row->verdict), "%s", cells[8]);
    snprintf(row->reason, sizeof(row->reason), "%s", cells[9]);
    snprintf(row->tls, sizeof(row->tls), "%s", cells[10]);
    snprintf(row->names, sizeof(row->names), "%s", cells[11]);
}

static int read_page(void **state)
{
    const char *srcdir = getenv("srcdir");
    char path[4096], text[1024];
    bool titled = false;
    unsigned line = 0;
    FILE *file;

    (void)state;
    snprintf(path, sizeof(path), "%s/tests/data/decisions.tsv", srcdir == NULL ? "." : srcdir);
    file = fopen(path, "re");
    if (file == NULL) {
        print_error("%s can't be opened\n", path);
        return -1;
    }
    while (fgets(text, sizeof(text), file) != NULL) {
        line++;
        text[strcspn(text, "\n")] = '\0';
        if (text[0] == '\0' || text[0] == '#')
            continue;
        if (titled)
            read_row(text, line);
        titled = true;
    }
    fclose(file);
    return row_count > 0 ? 0 : -1;
}

static bool has_good(enum dane_state s)
{
    return s == DANE_USABLE || s == DANE_PARTIAL || s == DANE_INSECURE_MX || s == DANE_MISMATCH;
}

static bool has_bare(enum dane_state s)
{
    return s == DANE_PARTIAL || s == DANE_INSECURE_MX || s == DANE_MISMATCH || s == DANE_UNUSABLE || s == DANE_DEGRADED ||
           s == DANE_ABSENT;
}

/* Which kinds of a third host let the state be what it is. */
static bool may_have(enum dane_state s, enum host_state other)
{
    switch (s) {
    case DANE_USABLE:
    case DANE_ABSENT:
        return other == HOST_GONE;
    case DANE_UNUSABLE:
        return other == HOST_UNUSABLE;
    case DANE_DEGRADED:
        return other == HOST_BOGUS || other == HOST_FAILING;
    case DANE_BOGUS:
        return other == HOST_BOGUS;
    case DANE_UNKNOWN:
        return other == HOST_FAILING;
    case DANE_PARTIAL:
    case DANE_INSECURE_MX:
    case DANE_MISMATCH:
        return other != HOST_GOOD && other != HOST_BARE;
    case DANE_NO_MAIL:
        break;
    }
    return false;
}

/* Whether what is known can be known together. */
static bool possible(const struct combination *c)
{
    bool hosts = c->mx == MX_HAD && c->dane != DANE_NO_MAIL;

    if (c->mx == MX_FAILED && c->dane != DANE_UNKNOWN && c->dane != DANE_BOGUS)
        return false;
    if (hosts ? !may_have(c->dane, c->other) : c->other != HOST_FAILING)
        return false;
    if (c->sts != STS_ENFORCE || !hosts)
        return c->match == LISTS_NONE;
    switch (c->match) {
    case LISTS_NONE:
        return false;                   /* that is enforce-mismatch */
    case LISTS_GOOD:
        return has_good(c->dane);
    case LISTS_BARE:
        return has_bare(c->dane);
    case LISTS_BOTH:
        return has_good(c->dane) && has_bare(c->dane);
    case LISTS_OTHER:
    case MATCHES:
        break;
    }
    return true;
}

static void add_host(struct combination *c, const char *name, enum host_state state, bool listed)
{
    c->hosts[c->found.host_count++] = (struct evidence_host){ .name = name, .preference = 10, .state = state,
                                                              .addresses_secure = state == HOST_GOOD, .sts_match = listed };
}

static void build(struct combination *c)
{
    enum tls_level tls = floors[c->floor];

    c->connector = (struct connector){ .name = "Bank", .smtp_dane = c->smtp_dane, .mta_sts = c->mta_sts,
                                       .require = c->require, .tls = tls };
    if (tls == TLS_VERIFY || tls == TLS_SECURE) {
        c->connector.tls_match = gate_names;
        c->connector.tls_match_count = COUNT_OF(gate_names);
    }
    memset(&c->found, 0, sizeof(c->found));
    c->found.dane = c->dane;
    c->found.sts = c->sts;
    c->found.mx_failed = c->mx == MX_FAILED;
    c->found.mx_secure = c->mx == MX_HAD && c->dane != DANE_INSECURE_MX;
    c->found.why = "";
    c->found.hosts = c->hosts;
    if (c->mx == MX_FAILED || c->dane == DANE_NO_MAIL)
        return;
    add_host(c, "other.example", c->other, c->match == LISTS_OTHER);
    if (has_bare(c->dane))
        add_host(c, "bare.example", HOST_BARE, c->match == LISTS_BARE || c->match == LISTS_BOTH);
    if (has_good(c->dane))
        add_host(c, "good.example", HOST_GOOD, c->match == LISTS_GOOD || c->match == LISTS_BOTH);
}

/* Numbers the whole cross product; false: there is no such number. */
static bool combination_at(size_t number, struct combination *ret)
{
    static const size_t sizes[] = { MODES, MODES, REQUIRES, DANES, MXS, STSES, MATCHES, FLOORS, HOST_GOOD + 1 };
    size_t digits[COUNT_OF(sizes)], i;

    for (i = 0; i < COUNT_OF(sizes); i++) {
        digits[i] = number % sizes[i];
        number /= sizes[i];
    }
    if (number > 0)
        return false;
    *ret = (struct combination){
        .smtp_dane = (enum mode)digits[0], .mta_sts = (enum mode)digits[1], .require = (enum require)digits[2],
        .dane = (enum dane_state)digits[3], .mx = (enum mx)digits[4], .sts = (enum sts_state)digits[5],
        .match = (enum match)digits[6], .floor = digits[7], .other = (enum host_state)digits[8],
    };
    return true;
}

/* The next combination that can be, from *number on; it is built, and *number stands behind it. */
static bool next_combination(size_t *number, struct combination *ret)
{
    while (combination_at((*number)++, ret)) {
        if (possible(ret)) {
            build(ret);
            return true;
        }
    }
    return false;
}

static const char *describe(const struct combination *c)
{
    static char text[512];

    snprintf(text, sizeof(text), "smtp_dane=%s mta_sts=%s require=%s dane=%s mx=%s sts=%s match=%s floor=%s other=%s",
             mode_names[c->smtp_dane], mode_names[c->mta_sts], require_names[c->require], dane_names[c->dane],
             mx_names[c->mx], sts_names[c->sts], match_names[c->match], floor_names[c->floor], host_word(c->other));
    return text;
}

static bool covers(const struct row *row, const struct combination *c)
{
    const size_t here[] = { c->smtp_dane, c->mta_sts, c->require, c->dane, c->mx, c->sts, c->match, c->floor };
    size_t i;

    for (i = 0; i < COUNT_OF(here); i++) {
        if ((row->allowed[i] & (1U << here[i])) == 0)
            return false;
    }
    return true;
}

static struct row *row_for(const struct combination *c)
{
    struct row *found = NULL;
    size_t i;

    for (i = 0; i < row_count; i++) {
        if (!covers(&rows[i], c))
            continue;
        if (found != NULL)
            fail_msg("decisions.tsv:%u and %u both cover %s", found->line, rows[i].line, describe(c));
        found = &rows[i];
    }
    if (found == NULL)
        fail_msg("no row of decisions.tsv covers %s", describe(c));
    return found;
}

/* `site` < `may` < `dane` < `encrypt` < `verify` < `secure` < `dane-only`, in the contract's order. */
static int rank_of(const char *tls)
{
    static const char *const order[] = { "site", "may", "dane", "encrypt", "verify", "secure", "dane-only" };
    int i;

    for (i = 0; i < (int)COUNT_OF(order); i++) {
        if (strcmp(order[i], tls) == 0)
            return i;
    }
    fail_msg("\"%s\" is no level of TLS", tls);
    return -1;
}

/* What a row's `dane/floor` means for this connector. */
static const char *level_for(const struct row *row, const char *floor)
{
    static char level[32];
    char *slash;

    snprintf(level, sizeof(level), "%s", row->tls);
    slash = strchr(level, '/');
    if (strcmp(level, "floor") == 0)
        return floor;
    if (slash == NULL)
        return level;
    *slash = '\0';
    return rank_of(level) > rank_of(floor) ? level : floor;
}

static enum match_by names_for(const struct row *row, const char *level)
{
    bool named = strcmp(level, "verify") == 0 || strcmp(level, "secure") == 0;

    if (strcmp(row->names, "sts") == 0)
        return MATCH_STS;
    if (strcmp(row->names, "sts-bare") == 0)
        return MATCH_STS_BARE;
    assert_true(strcmp(row->names, "floor") == 0 || strcmp(row->names, "-") == 0);
    return strcmp(row->names, "floor") == 0 && named ? MATCH_CONNECTOR : MATCH_NOTHING;
}

static void policy_of(const struct decision *d, const struct combination *c, char *ret, size_t size)
{
    struct text text;

    text_init(&text, 4096);
    decision_policy(d, &c->connector, &c->found, &text);
    assert_false(text.full);
    snprintf(ret, size, "%s", text_words(&text));
    text_done(&text);
}

/* The words of section 6's map answers, made anew from the hosts that were listed. */
static void expected_policy(const struct combination *c, const char *level, enum match_by match, char *ret, size_t size)
{
    int at = snprintf(ret, size, "%s", level);
    const char *glue = " match=";
    size_t i;

    if (match == MATCH_CONNECTOR)
        at += snprintf(ret + at, size - (size_t)at, " match=gate.example:mx.gate.example");
    for (i = 0; match >= MATCH_STS && i < c->found.host_count; i++) {
        if (!c->hosts[i].sts_match || (match == MATCH_STS_BARE && c->hosts[i].state != HOST_BARE))
            continue;
        at += snprintf(ret + at, size - (size_t)at, "%s%s", glue, c->hosts[i].name);
        glue = ":";
    }
    if (match >= MATCH_STS)
        snprintf(ret + at, size - (size_t)at, " servername=hostname");
}

static void compare(const struct combination *c, struct row *row)
{
    struct decision d = decide(&c->connector, &c->found);
    const char *level = level_for(row, floor_names[c->floor]);
    enum match_by match = names_for(row, level);
    char policy[512], expected[512] = "-";

    row->met++;
    if (strcmp(verdict_word(d.verdict), row->verdict) != 0 || strcmp(reason_word(d.reason), row->reason) != 0)
        fail_msg("decisions.tsv:%u says %s %s, decide() says %s %s: %s", row->line, row->verdict, row->reason,
                 verdict_word(d.verdict), reason_word(d.reason), describe(c));
    policy_of(&d, c, policy, sizeof(policy));
    if (d.verdict != VERDICT_HOLD) {
        if (strcmp(tls_word(d.tls), level) != 0 || d.match != match)
            fail_msg("decisions.tsv:%u says %s, decide() says %s (names %d, not %d): %s", row->line, level, tls_word(d.tls),
                     (int)d.match, (int)match, describe(c));
        expected_policy(c, level, match, expected, sizeof(expected));
    }
    if (strcmp(policy, expected) != 0)
        fail_msg("the policy reads \"%s\", not \"%s\": %s", policy, expected, describe(c));
}

static void every_combination_meets_one_row(void **state)
{
    struct combination c;
    size_t number = 0, tried = 0, i;

    (void)state;
    for (; next_combination(&number, &c); tried++)
        compare(&c, row_for(&c));
    assert_true(tried > 10000);
    for (i = 0; i < row_count; i++) {
        if (rows[i].met == 0)
            fail_msg("decisions.tsv:%u covers nothing that can be", rows[i].line);
    }
}

static bool names_listed_hosts_only(const struct decision *d, const struct combination *c)
{
    char policy[512], *name, *rest;
    size_t i, named = 0;

    policy_of(d, c, policy, sizeof(policy));
    rest = strstr(policy, " match=");
    if (rest == NULL)
        return false;
    rest += strlen(" match=");
    rest[strcspn(rest, " ")] = '\0';
    for (; (name = strsep(&rest, ":")) != NULL; named++) {
        bool listed = false;

        for (i = 0; i < c->found.host_count; i++)
            listed = listed || (c->hosts[i].sts_match && strcmp(c->hosts[i].name, name) == 0);
        if (!listed)
            return false;
    }
    return named > 0;
}

/* Delivered only by DANE, or to hosts that an enforce policy lists: what a mandatory road may carry. */
static bool is_safe(const struct decision *d, const struct combination *c)
{
    if (d->verdict == VERDICT_HOLD)
        return true;
    if (d->tls == TLS_DANE_ONLY)
        return true;
    return d->verdict == VERDICT_DELIVER && d->tls == TLS_SECURE && (d->match == MATCH_STS || d->match == MATCH_STS_BARE) &&
           names_listed_hosts_only(d, c);
}

static void mandatory_never_leaks(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct decision d;

        if (!connector_is_mandatory(&c.connector))
            continue;
        d = decide(&c.connector, &c.found);
        if (!is_safe(&d, &c))
            fail_msg("%s %s leaks: %s", verdict_word(d.verdict), tls_word(d.tls), describe(&c));
        if (d.verdict == VERDICT_PASS)
            assert_int_equal(d.tls, TLS_DANE_ONLY);
        if (d.verdict == VERDICT_DELIVER && c.dane != DANE_USABLE && c.dane != DANE_PARTIAL && c.sts != STS_ENFORCE)
            fail_msg("delivers on no evidence: %s", describe(&c));
    }
}

/* Evidence that contradicts itself, as a bug elsewhere might make it: any states beside any hosts. */
static void mandatory_never_leaks_on_evidence_that_can_not_be(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (combination_at(number++, &c)) {
        struct decision d;
        bool any_of_both = c.require == REQUIRE_ANY && c.smtp_dane == MODE_MANDATORY && c.mta_sts == MODE_MANDATORY;

        build(&c);
        if (!connector_is_mandatory(&c.connector))
            continue;
        d = decide(&c.connector, &c.found);
        if (!is_safe(&d, &c))
            fail_msg("%s %s leaks: %s", verdict_word(d.verdict), tls_word(d.tls), describe(&c));
        if (d.verdict != VERDICT_DELIVER || any_of_both)
            continue;
        if (c.smtp_dane == MODE_MANDATORY && (d.tls != TLS_DANE_ONLY || (c.dane != DANE_USABLE && c.dane != DANE_PARTIAL)))
            fail_msg("delivers without DANE: %s", describe(&c));
        if (c.mta_sts == MODE_MANDATORY && c.sts != STS_ENFORCE)
            fail_msg("delivers without a policy: %s", describe(&c));
    }
}

static void floors_are_never_undercut(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct decision d = decide(&c.connector, &c.found);

        if (d.verdict != VERDICT_HOLD && rank_of(tls_word(d.tls)) < rank_of(floor_names[c.floor]))
            fail_msg("%s is below the floor: %s", tls_word(d.tls), describe(&c));
        if (d.verdict == VERDICT_HOLD && d.reason == REASON_NONE)
            fail_msg("holds without a reason: %s", describe(&c));
    }
}

static void a_failing_dane_is_not_rescued(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        bool failing = c.dane == DANE_BOGUS || c.dane == DANE_UNKNOWN || c.dane == DANE_MISMATCH;

        if (failing && c.smtp_dane != MODE_NONE)
            assert_int_equal(decide(&c.connector, &c.found).verdict, VERDICT_HOLD);
    }
}

static void what_nobody_asked_for_changes_nothing(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct decision d = decide(&c.connector, &c.found), other;

        if (c.mta_sts == MODE_NONE) {
            struct evidence without = c.found;

            without.sts = STS_ABSENT;
            other = decide(&c.connector, &without);
            assert_true(other.verdict == d.verdict && other.reason == d.reason && other.tls == d.tls && other.match == d.match);
        }
        if (c.smtp_dane != MODE_MANDATORY || c.mta_sts != MODE_MANDATORY) {
            struct connector turned = c.connector;

            turned.require = c.require == REQUIRE_ALL ? REQUIRE_ANY : REQUIRE_ALL;
            other = decide(&turned, &c.found);
            assert_true(other.verdict == d.verdict && other.reason == d.reason && other.tls == d.tls && other.match == d.match);
        }
    }
}

static void any_is_never_laxer_than_one_of_both(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct connector dane = c.connector, sts = c.connector;

        if (c.smtp_dane != MODE_MANDATORY || c.mta_sts != MODE_MANDATORY || c.require != REQUIRE_ANY)
            continue;
        dane.mta_sts = MODE_NONE;
        sts.smtp_dane = MODE_NONE;
        if (decide(&c.connector, &c.found).verdict == VERDICT_DELIVER)
            assert_true(decide(&dane, &c.found).verdict == VERDICT_DELIVER || decide(&sts, &c.found).verdict == VERDICT_DELIVER);
    }
}

static void forgotten_memory_holds(void **state)
{
    struct decision forgotten = { 0 };
    struct connector nobody = { 0 };
    struct evidence nothing = { 0 };
    struct combination c;
    size_t number = 0;

    (void)state;
    assert_int_equal(forgotten.verdict, VERDICT_HOLD);
    assert_int_equal(forgotten.reason, REASON_INTERNAL);
    assert_int_equal(decide(&nobody, &nothing).verdict, VERDICT_HOLD);
    while (next_combination(&number, &c)) {
        struct decision d = decide(&nobody, &c.found);

        assert_true(d.verdict == VERDICT_HOLD || d.tls == TLS_DANE_ONLY);
        if (d.verdict == VERDICT_DELIVER)
            assert_true((c.dane == DANE_USABLE || c.dane == DANE_PARTIAL) && c.sts == STS_ENFORCE);
        d = decide(&c.connector, &nothing);
        if (c.smtp_dane != MODE_NONE || c.mta_sts == MODE_MANDATORY)
            assert_int_equal(d.verdict, VERDICT_HOLD);
    }
}

/* What MTA-STS may say of these hosts, whatever it says: no decision that didn't wait for it may come to differ. */
static void what_does_not_need_mta_sts_never_changes_with_it(void **state)
{
    struct combination c;
    size_t number = 0, spared = 0;

    (void)state;
    while (combination_at(number++, &c)) {
        struct evidence_host hosts[HOSTS_MAX];
        struct evidence half, whole;
        struct decision before, after;
        unsigned listed, sts;
        size_t i;

        if (c.sts != STS_UNKNOWN || c.match != LISTS_NONE)
            continue;                               /* all of these come below */
        build(&c);
        half = c.found;
        half.sts = STS_ABSENT;                      /* as dane_judge() leaves it */
        if (decide_needs_sts(&c.connector, &half))
            continue;
        spared++;
        before = decide(&c.connector, &half);
        memcpy(hosts, c.hosts, sizeof(hosts));
        whole = half;
        whole.hosts = hosts;
        for (sts = 0; sts < STSES; sts++) {
            for (listed = 0; listed < 1U << c.found.host_count; listed++) {
                whole.sts = (enum sts_state)sts;
                for (i = 0; i < c.found.host_count; i++)
                    hosts[i].sts_match = (listed & (1U << i)) != 0;
                after = decide(&c.connector, &whole);
                if (after.verdict != before.verdict || after.reason != before.reason || after.tls != before.tls ||
                    after.match != before.match || after.match == MATCH_STS || after.match == MATCH_STS_BARE)
                    fail_msg("does not wait for sts=%s, which makes %s %s of %s %s: %s", sts_word(whole.sts),
                             verdict_word(after.verdict), reason_word(after.reason), verdict_word(before.verdict),
                             reason_word(before.reason), describe(&c));
            }
        }
    }
    assert_true(spared > 1000);
}

/* Nobody waits for a policy host in vain: what is said to need MTA-STS does change with it. */
static void what_needs_mta_sts_changes_with_it(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (combination_at(number++, &c)) {
        struct evidence half;
        struct decision first = { 0 };
        bool differs = false;
        unsigned sts;

        if (c.sts != STS_UNKNOWN || c.match != LISTS_NONE)
            continue;
        build(&c);
        half = c.found;
        if (!decide_needs_sts(&c.connector, &half))
            continue;
        for (sts = 0; sts < STSES; sts++) {
            struct decision d;

            half.sts = (enum sts_state)sts;
            d = decide(&c.connector, &half);
            differs = differs || (sts > 0 && (d.verdict != first.verdict || d.reason != first.reason || d.tls != first.tls));
            first = sts == 0 ? d : first;
        }
        if (!differs)
            fail_msg("waits for nothing: %s", describe(&c));
    }
}

static void a_usable_dane_only_waits_where_mta_sts_is_mandatory(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        bool any = c.require == REQUIRE_ANY && c.smtp_dane == MODE_MANDATORY;
        bool needs = decide_needs_sts(&c.connector, &c.found);

        if (c.dane == DANE_USABLE && c.smtp_dane != MODE_NONE)
            assert_int_equal(needs, c.mta_sts == MODE_MANDATORY && !any);
        if (c.mta_sts == MODE_NONE)
            assert_false(needs);
        if (c.dane == DANE_BOGUS && c.smtp_dane != MODE_NONE)
            assert_false(needs);
    }
}

/* Fallback roads */

static void only_a_lasting_hold_falls_back(void **state)
{
    struct combination c;
    size_t number = 0, fell = 0;
    atomic_bool on;

    (void)state;
    while (next_combination(&number, &c)) {
        struct decision d = decide(&c.connector, &c.found), then;
        bool passing = d.reason == REASON_DNS_TEMP || d.reason == REASON_INTERNAL;

        then = decision_fall_back(d, &c.connector);     /* without a fallback */
        assert_memory_equal(&then, &d, sizeof(d));
        c.connector.on_fallback = &on;
        atomic_init(&on, false);
        then = decision_fall_back(d, &c.connector);
        assert_memory_equal(&then, &d, sizeof(d));
        atomic_store(&on, true);
        then = decision_fall_back(d, &c.connector);
        assert_int_equal(decision_is_lasting_hold(&d), d.verdict == VERDICT_HOLD && !passing);
        if (d.verdict == VERDICT_HOLD && !passing) {
            assert_int_equal(then.verdict, VERDICT_FALLBACK);
            assert_int_equal(then.reason, d.reason);        /* the log still says why */
            fell++;
        } else {
            assert_memory_equal(&then, &d, sizeof(d));
        }
        assert_false(decision_is_lasting_hold(&then));
    }
    assert_true(fell > 1000);
}

static void a_fallback_has_no_policy_of_its_own(void **state)
{
    const struct connector c = { .name = "Bank", .smtp_dane = MODE_MANDATORY, .mta_sts = MODE_NONE, .tls = TLS_SITE };
    const struct decision d = { .verdict = VERDICT_FALLBACK, .reason = REASON_DANE_REQUIRED };
    const struct evidence nothing = { 0 };
    struct text text;

    (void)state;
    text_init(&text, 256);
    decision_policy(&d, &c, &nothing, &text);
    assert_string_equal(text_words(&text), "-");
    text_done(&text);
}

static void words_that_do_not_exist_hold(void **state)
{
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct evidence strange = c.found;

        strange.dane = (enum dane_state)99;
        if (c.smtp_dane != MODE_NONE)
            assert_int_equal(decide(&c.connector, &strange).verdict, VERDICT_HOLD);
        strange = c.found;
        strange.sts = (enum sts_state)99;
        if (c.mta_sts == MODE_MANDATORY && c.dane != DANE_NO_MAIL &&
            !(c.require == REQUIRE_ANY && c.smtp_dane == MODE_MANDATORY))
            assert_int_equal(decide(&c.connector, &strange).verdict, VERDICT_HOLD);
    }
}

/* The resolver can't validate, and `when_broken` is hold-mandatory (3.1). */
static void a_blind_resolver_holds_mandatory_mail_only(void **state)
{
    struct evidence *blind = evidence_new(DANE_UNKNOWN, "the trust anchor is stale", 1);
    struct combination c;
    size_t number = 0;

    (void)state;
    blind->blind = true;
    while (next_combination(&number, &c)) {
        struct decision d;

        blind->sts = c.sts;
        d = decide(&c.connector, blind);
        if (connector_is_mandatory(&c.connector)) {
            if (d.verdict != VERDICT_HOLD)
                fail_msg("a blind resolver lets mandatory mail go: %s", describe(&c));
            continue;
        }
        assert_int_equal(d.verdict, VERDICT_DELIVER);
        assert_int_equal(d.tls, floors[c.floor]);
        assert_int_equal(d.match, c.connector.tls_match_count > 0 ? MATCH_CONNECTOR : MATCH_NOTHING);
    }
    evidence_unref(blind);
}

/* The same with `when_broken` = hold-all. */
static void an_unknown_state_holds_all_that_asks_for_dane(void **state)
{
    struct evidence *unknown = evidence_new(DANE_UNKNOWN, "the trust anchor is stale", 1);
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        unknown->sts = c.sts;
        if (c.smtp_dane != MODE_NONE || c.mta_sts == MODE_MANDATORY)
            assert_int_equal(decide(&c.connector, unknown).verdict, VERDICT_HOLD);
    }
    evidence_unref(unknown);
}

/* What a literal's mail gets (5): both states are absent, and no host is known. */
static void a_literal_has_its_floor_or_is_held(void **state)
{
    struct evidence *literal = evidence_new(DANE_ABSENT, "an address literal", 1);
    struct combination c;
    size_t number = 0;

    (void)state;
    while (next_combination(&number, &c)) {
        struct decision d = decide(&c.connector, literal);

        if (c.smtp_dane == MODE_MANDATORY)
            assert_true(d.verdict == VERDICT_HOLD && d.reason == REASON_DANE_REQUIRED);
        else if (c.mta_sts == MODE_MANDATORY)
            assert_true(d.verdict == VERDICT_HOLD && d.reason == REASON_STS_REQUIRED);
        else
            assert_true(d.verdict == VERDICT_DELIVER && d.tls == floors[c.floor]);
    }
    evidence_unref(literal);
}

static void decisions_are_ordered_from_hold_to_site(void **state)
{
    static const enum tls_level order[] = { TLS_DANE_ONLY, TLS_SECURE, TLS_VERIFY, TLS_ENCRYPT, TLS_DANE, TLS_MAY, TLS_SITE };
    struct decision hold = { .verdict = VERDICT_HOLD, .reason = REASON_DNS_TEMP };
    size_t i, j;

    (void)state;
    assert_int_equal(decision_compare(&hold, &(struct decision){ 0 }), 0);
    for (i = 0; i < COUNT_OF(order); i++) {
        struct decision a = { .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = order[i] };

        assert_true(decision_compare(&hold, &a) < 0);
        assert_true(decision_compare(&a, &hold) > 0);
        for (j = 0; j < COUNT_OF(order); j++) {
            struct decision b = { .verdict = j % 2 == 0 ? VERDICT_DELIVER : VERDICT_PASS, .reason = REASON_NONE,
                                  .tls = order[j] };
            int sign = decision_compare(&a, &b);

            assert_true(i < j ? sign < 0 : i > j ? sign > 0 : sign == 0);
        }
    }
}

/* A road may be shared by a connector that trusts its own names: those must not stand in for the policy's. */
static void the_policys_names_are_stricter_than_a_connectors(void **state)
{
    struct decision own = { .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = TLS_SECURE, .match = MATCH_CONNECTOR };
    struct decision sts = { .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = TLS_SECURE, .match = MATCH_STS };
    struct decision bare = { .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = TLS_SECURE, .match = MATCH_STS_BARE };

    (void)state;
    assert_true(decision_compare(&sts, &own) < 0);
    assert_true(decision_compare(&bare, &own) < 0);
    assert_true(decision_compare(&own, &sts) > 0);
    assert_int_equal(decision_compare(&own, &own), 0);
}

static void levels_have_the_contracts_order(void **state)
{
    static const char *const order[] = { "site", "may", "dane", "encrypt", "verify", "secure", "dane-only" };
    enum tls_level t;
    int i;

    (void)state;
    for (i = 0; i < (int)COUNT_OF(order); i++) {
        assert_true(tls_parse(order[i], &t));
        assert_int_equal(tls_strength(t), i);
        assert_string_equal(tls_word(t), order[i]);
    }
    assert_false(tls_parse("none", &t));
    assert_false(tls_parse("", &t));
}

static void the_policy_reads_as_the_mta_wants_it(void **state)
{
    static const struct evidence_host hosts[] = {
        { .name = "mx1.bank.example", .state = HOST_GOOD, .sts_match = true },
        { .name = "mx2.bank.example", .state = HOST_BARE, .sts_match = true },
        { .name = "mx3.bank.example", .state = HOST_BARE, .sts_match = false },
        { .name = "mx4.bank.example", .state = HOST_BOGUS, .sts_match = true },
    };
    static const struct {
        struct decision d;
        const char *words;
    } tries[] = {
        { { VERDICT_HOLD, REASON_DNS_TEMP, TLS_DANE_ONLY, MATCH_NOTHING }, "-" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_DANE_ONLY, MATCH_NOTHING }, "dane-only" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_DANE, MATCH_NOTHING }, "dane" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_ENCRYPT, MATCH_NOTHING }, "encrypt" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_MAY, MATCH_NOTHING }, "may" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_SITE, MATCH_NOTHING }, "site" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_VERIFY, MATCH_CONNECTOR }, "verify match=gate.example:mx.gate.example" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_SECURE, MATCH_CONNECTOR }, "secure match=gate.example:mx.gate.example" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_SECURE, MATCH_STS },
          "secure match=mx1.bank.example:mx2.bank.example:mx4.bank.example servername=hostname" },
        { { VERDICT_DELIVER, REASON_NONE, TLS_SECURE, MATCH_STS_BARE }, "secure match=mx2.bank.example servername=hostname" },
    };
    struct combination c = { .connector = { .tls_match = gate_names, .tls_match_count = COUNT_OF(gate_names) } };
    char policy[512];
    size_t i;

    (void)state;
    c.found.hosts = hosts;
    c.found.host_count = COUNT_OF(hosts);
    for (i = 0; i < COUNT_OF(tries); i++) {
        policy_of(&tries[i].d, &c, policy, sizeof(policy));
        assert_string_equal(policy, tries[i].words);
    }
}

static void every_word_is_read_back(void **state)
{
    enum mode mode;
    enum require require;
    enum dane_state dane;
    enum sts_state sts;
    unsigned i;

    (void)state;
    for (i = 0; mode_names[i] != NULL; i++) {
        assert_true(mode_parse(mode_names[i], &mode));
        assert_string_equal(mode_word(mode), mode_names[i]);
    }
    for (i = 0; require_names[i] != NULL; i++) {
        assert_true(require_parse(require_names[i], &require));
        assert_string_equal(require_word(require), require_names[i]);
    }
    for (i = 0; dane_names[i] != NULL; i++) {
        assert_true(dane_parse(dane_names[i], &dane));
        assert_int_equal(dane, i);
        assert_string_equal(dane_word(dane), dane_names[i]);
    }
    for (i = 0; sts_names[i] != NULL; i++) {
        assert_true(sts_parse(sts_names[i], &sts));
        assert_int_equal(sts, i);
        assert_string_equal(sts_word(sts), sts_names[i]);
    }
    assert_false(mode_parse("Mandatory", &mode));
    assert_false(mode_parse("", &mode));
    assert_string_equal(mode_word((enum mode)7), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_meets_one_row),
        cmocka_unit_test(mandatory_never_leaks),
        cmocka_unit_test(mandatory_never_leaks_on_evidence_that_can_not_be),
        cmocka_unit_test(floors_are_never_undercut),
        cmocka_unit_test(a_failing_dane_is_not_rescued),
        cmocka_unit_test(what_nobody_asked_for_changes_nothing),
        cmocka_unit_test(any_is_never_laxer_than_one_of_both),
        cmocka_unit_test(forgotten_memory_holds),
        cmocka_unit_test(what_does_not_need_mta_sts_never_changes_with_it),
        cmocka_unit_test(what_needs_mta_sts_changes_with_it),
        cmocka_unit_test(a_usable_dane_only_waits_where_mta_sts_is_mandatory),
        cmocka_unit_test(only_a_lasting_hold_falls_back),
        cmocka_unit_test(a_fallback_has_no_policy_of_its_own),
        cmocka_unit_test(words_that_do_not_exist_hold),
        cmocka_unit_test(a_blind_resolver_holds_mandatory_mail_only),
        cmocka_unit_test(an_unknown_state_holds_all_that_asks_for_dane),
        cmocka_unit_test(a_literal_has_its_floor_or_is_held),
        cmocka_unit_test(decisions_are_ordered_from_hold_to_site),
        cmocka_unit_test(the_policys_names_are_stricter_than_a_connectors),
        cmocka_unit_test(levels_have_the_contracts_order),
        cmocka_unit_test(the_policy_reads_as_the_mta_wants_it),
        cmocka_unit_test(every_word_is_read_back),
    };

    return cmocka_run_group_tests(tests, read_page, NULL);
}
