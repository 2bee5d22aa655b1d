/*
 * Plays the scenarios of tests/play by the engine itself, with a scripted resolver and a clock of its own: first as they are
 * written, then with every n-th answer of the resolver failing. That second time their expectations don't count, but these do:
 * nothing that must be authenticated leaves otherwise, and nobody is refused for good before his time.
 *
 *   connector NAME RECIPIENTS dane|sts [hold=24h] [on_hold=queue] [fallback=15m]
 *   mx DOMAIN usable|partial|insecure-mx|unusable|absent|no-mail|bogus|fails
 *   sts DOMAIN enforce|mismatch|none
 *   ask RECIPIENT [from SENDER] [as client|queued|nobody]
 *   expect hold|bounce|deliver|fallback|pass|queue [REASON]     queue: held, but accepted
 *   pester RECIPIENT every TIME for TIME                        asks, and expects hold, up to the end of that time
 *   pass TIME          clock +TIME|-TIME          restart          stop          forget RECIPIENT          clocks NUMBER
 *   until fallback|own NAME                                     lets time pass until the watch has turned the connector's road
 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "fake_lookup.h"
#include "site.h"
#include "store/holds.h"
#include "store/policies.h"

#include <glob.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { WORDS = 12, NAMES = 32, RUINS = 5, TRIES = 2000 };

static _Atomic int64_t ahead_ms, wall;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);
time_t __wrap_clock_wall(void);
int64_t __wrap_clock_wall_ms(void);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + ahead_ms;
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - ahead_ms);
}

time_t __wrap_clock_wall(void)
{
    return (time_t)wall;
}

int64_t __wrap_clock_wall_ms(void)
{
    return wall * 1000;
}

enum place_sts { NONE = 0, MISMATCH, ENFORCE };

/* What the world is like at a domain. */
struct place {
    char name[64];
    enum fake_world world;
    enum place_sts sts;
};

/* A plain account of somebody's refusals, to hold the clocks against. */
struct account {
    char from[64], to[64];
    int64_t since, last;
};

struct play {
    const char *path;
    unsigned line;
    int ruin;                           /* every so-manieth answer fails; 0: none */
    unsigned asked;
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;
    struct store *store;
    struct policies *policies;
    struct holds *holds;
    struct engine *engine;              /* NULL until the first question */
    struct place places[NAMES];
    struct account accounts[NAMES];
    unsigned ids;                       /* of policies, so far */
    bool frozen, stopped;
    enum verdict verdict;               /* the latest answer */
    enum reason reason;
    bool refused;
};

static const struct route spare = { .name = "spare", .transport = "leased-line", .next_hop = "[spare.example]", .tls = TLS_SECURE };

#define insist(p, fact)                                                                                     \
    do {                                                                                                    \
        if (!(fact))                                                                                        \
            fail_msg("%s:%u (ruin %d): %s", (p)->path, (p)->line, (p)->ruin, #fact);                        \
    } while (0)

static int64_t seconds_of(const struct play *p, const char *word)
{
    char unit = 's';
    long number = 0;

    insist(p, sscanf(word, "%ld%c", &number, &unit) >= 1);
    return number * (unit == 'd' ? 86400 : unit == 'h' ? 3600 : unit == 'm' ? 60 : 1);
}

static struct place *place_of(struct play *p, const char *name)
{
    size_t i;

    for (i = 0; i < NAMES - 1 && p->places[i].name[0] != '\0' && strcmp(p->places[i].name, name) != 0; i++)
        ;
    if (p->places[i].name[0] == '\0')
        p->places[i] = (struct place){ .world = FAKE_USABLE };
    snprintf(p->places[i].name, sizeof(p->places[i].name), "%s", name);
    return &p->places[i];
}

static struct account *account_of(struct play *p, const char *from, const char *to)
{
    size_t i;

    for (i = 0; i < NAMES - 1 && p->accounts[i].to[0] != '\0'; i++) {
        if (strcasecmp(p->accounts[i].from, from) == 0 && strcasecmp(p->accounts[i].to, to) == 0)
            break;
    }
    snprintf(p->accounts[i].from, sizeof(p->accounts[i].from), "%s", from);
    snprintf(p->accounts[i].to, sizeof(p->accounts[i].to), "%s", to);
    return &p->accounts[i];
}

/* The house */

static void close_engine(struct play *p)
{
    if (p->engine == NULL)
        return;
    engine_close(take(p->engine));
    holds_close(p->holds);
    policies_close(p->policies);
    store_close(p->store);
    fake_free(p->fake);
}

/* What lies in the cache may be from before. */
static void forget_evidence(struct play *p, const char *name)
{
    struct engine_status status;
    struct domain host;
    size_t ignored;
    int tries;

    for (tries = 0; tries < TRIES; tries++) {           /* nor may a search that was begun before land hereafter */
        engine_status(p->engine, &status);
        if (status.evidence_searching == 0)
            break;
        usleep(1000);
    }
    assert_true(domain_parse(name, &host, NULL));
    engine_cache_flush(p->engine, &host, true, &ignored, &ignored);
}

/* From now on the resolver says what the place is like, or fails. */
static void tell_world(struct play *p, const struct place *at, bool fails)
{
    char body[200], id[16];

    fake_says(p->fake, at->name, fails ? FAKE_FAILS : at->world);
    snprintf(id, sizeof(id), "%u", ++p->ids);
    snprintf(body, sizeof(body), "version: STSv1\nmode: enforce\nmx: *.%s\nmax_age: 86400\n",
             at->sts == ENFORCE ? at->name : "other.example");
    fake_sts(p->fake, at->name, at->sts == NONE ? "" : id, body);
    if (fails)
        fake_sts_text_fails(p->fake, at->name);
    forget_evidence(p, at->name);
    usleep(2000);
    forget_evidence(p, at->name);
}

static void need_engine(struct play *p)
{
    size_t i;

    if (p->engine != NULL)
        return;
    if (!p->frozen)
        ruleset_freeze(p->rules);
    p->frozen = true;
    p->fake = fake_new();
    fake_says(p->fake, "*", FAKE_ABSENT);
    p->store = store_open(&p->set);
    p->policies = policies_open(p->store, 1000, wall);
    p->holds = holds_open(p->store, 1000, wall);
    p->engine = engine_open(&p->set, fake_lookup(p->fake),
                            &(struct engine_memory){ .policies = p->policies, .holds = p->holds }, p->rules);
    for (i = 0; i < NAMES && p->places[i].name[0] != '\0'; i++)
        tell_world(p, &p->places[i], false);
}

/* What always holds, whatever fails */

static void check_safe(struct play *p, const struct answer *a, const struct place *at)
{
    const struct connector *c = a->connector;

    if (a->decision.verdict == VERDICT_FALLBACK)
        insist(p, c->fallback != NULL);
    if (a->decision.verdict != VERDICT_DELIVER || !connector_is_mandatory(c))
        return;
    insist(p, !a->refuse);
    if (c->smtp_dane == MODE_MANDATORY)
        insist(p, a->decision.tls == TLS_DANE_ONLY && (at->world == FAKE_USABLE || at->world == FAKE_PARTIAL));
    else
        insist(p, a->decision.tls == TLS_SECURE && a->decision.match == MATCH_STS && at->sts == ENFORCE);
}

/* The clock's rules once more, as plainly as can be. */
static void check_clock(struct play *p, const struct answer *a, const char *from, const char *to)
{
    int64_t hold = a->connector->hold, gap = hold / 4 > 6 * 3600 ? 6 * 3600 : hold / 4 < 1 ? 1 : hold / 4;
    struct account *mine = account_of(p, from, to);

    if (p->stopped || (a->decision.verdict == VERDICT_HOLD && !a->refuse))
        return;
    if (!a->refuse) {
        mine->since = 0;
        return;
    }
    if (mine->since == 0 || wall < mine->since || wall - mine->last > gap)
        mine->since = wall;
    mine->last = wall;
    insist(p, (a->decision.verdict == VERDICT_BOUNCE) == (wall - mine->since >= hold && a->decision.reason != REASON_INTERNAL));
    if (a->decision.verdict == VERDICT_BOUNCE)
        mine->since = 0;
}

static void ask(struct play *p, const char *to, const char *from, enum audience who)
{
    struct question q = { .audience = who };
    struct place *at;
    struct answer a;
    bool fails;

    need_engine(p);
    address_parse(to, &q.to);
    address_parse(strcmp(from, "<>") == 0 ? "" : from, &q.from);
    at = place_of(p, q.to.domain.name);
    fails = p->ruin > 0 && ++p->asked % (unsigned)p->ruin == 0;
    if (fails && !p->stopped)
        tell_world(p, at, true);
    engine_ask_by(p->engine, &q, clock_ms() + 20000, &a);
    engine_tell(p->engine, &q.to, &q.from, "4fQz1x0", &a);
    check_safe(p, &a, at);
    check_clock(p, &a, from, to);
    p->verdict = a.decision.verdict;
    p->reason = a.decision.reason;
    p->refused = a.refuse;
    answer_done(&a);
    if (fails && !p->stopped)
        tell_world(p, at, false);
}

static void pass(struct play *p, const char *span)
{
    wall += seconds_of(p, span);
    ahead_ms += seconds_of(p, span) * 1000;
}

/* The words of a scenario */

static const char *option(char **words, const char *name, const char *otherwise)
{
    size_t length = strlen(name);
    int i;

    for (i = 0; i < WORDS && words[i] != NULL; i++) {
        if (strncmp(words[i], name, length) == 0 && words[i][length] == '=')
            return words[i] + length + 1;
    }
    return otherwise;
}

static const char *behind(char **words, const char *name, const char *otherwise)
{
    int i;

    for (i = 0; i + 1 < WORDS && words[i] != NULL && words[i + 1] != NULL; i++) {
        if (strcmp(words[i], name) == 0)
            return words[i + 1];
    }
    return otherwise;
}

static void play_connector(struct play *p, char **words)
{
    bool dane = strcmp(words[3], "dane") == 0;
    struct connector *c = rules_add(p->rules, words[1], dane ? MODE_MANDATORY : MODE_NONE, dane ? MODE_NONE : MODE_MANDATORY,
                                    words[2]);
    const char *fallback = option(words, "fallback", NULL);

    c->hold = (uint32_t)seconds_of(p, option(words, "hold", "24h"));
    insist(p, on_hold_parse(option(words, "on_hold", "auto"), &c->on_hold));
    if (fallback == NULL)
        return;
    c->fallback = &spare;
    c->fallback_after = (uint32_t)seconds_of(p, fallback);
    c->on_fallback = arena_take(ruleset_memory(p->rules), sizeof(*c->on_fallback));
    atomic_init(c->on_fallback, false);
}

static void play_place(struct play *p, char **words)
{
    static const char *const worlds[] = {
        [FAKE_FAILS] = "fails", [FAKE_BOGUS] = "bogus", [FAKE_NO_MAIL] = "no-mail", [FAKE_ABSENT] = "absent",
        [FAKE_UNUSABLE] = "unusable", [FAKE_INSECURE_MX] = "insecure-mx", [FAKE_PARTIAL] = "partial", [FAKE_USABLE] = "usable",
    };
    static const char *const policies[] = { [NONE] = "none", [MISMATCH] = "mismatch", [ENFORCE] = "enforce" };
    struct place *at = place_of(p, words[1]);
    size_t i;

    for (i = 0; strcmp(words[0], "mx") == 0 && i < COUNT_OF(worlds); i++)
        at->world = strcmp(words[2], worlds[i]) == 0 ? (enum fake_world)i : at->world;
    for (i = 0; strcmp(words[0], "sts") == 0 && i < COUNT_OF(policies); i++)
        at->sts = strcmp(words[2], policies[i]) == 0 ? (enum place_sts)i : at->sts;
    if (p->engine != NULL)
        tell_world(p, at, false);
}

static void play_ask(struct play *p, char **words)
{
    const char *as = behind(words, "as", "client");
    enum audience who = strcmp(as, "client") == 0 ? AUDIENCE_CLIENT : strcmp(as, "queued") == 0 ? AUDIENCE_QUEUED : AUDIENCE_NOBODY;

    ask(p, words[1], behind(words, "from", "al@home.example"), who);
}

static void expect(struct play *p, const char *verdict, const char *reason)
{
    const char *is = p->verdict == VERDICT_HOLD && !p->refused ? "queue" : verdict_word(p->verdict);

    if (p->ruin > 0)
        return;
    if (strcmp(is, verdict) != 0 || (reason != NULL && strcmp(reason_word(p->reason), reason) != 0))
        fail_msg("%s:%u: %s %s, expected %s %s", p->path, p->line, is, reason_word(p->reason), verdict, reason == NULL ? "" : reason);
}

/* Asks until just before the end of the time. */
static void play_pester(struct play *p, char **words)
{
    int64_t end = wall + seconds_of(p, behind(words, "for", "1d")), each = seconds_of(p, behind(words, "every", "1h"));
    char span[32];

    snprintf(span, sizeof(span), "%lds", (long)each);
    for (; wall < end; pass(p, span)) {
        play_ask(p, words);
        expect(p, "hold", NULL);
    }
}

static void play_until(struct play *p, char **words)
{
    const struct connector *c = ruleset_named(p->rules, words[2]);
    bool wanted = strcmp(words[1], "fallback") == 0;
    int tries;

    for (tries = 0; p->ruin == 0 && tries < TRIES && connector_on_fallback(c) != wanted; tries++) {
        pass(p, "1m");
        engine_adopt(p->engine, ruleset_ref(p->rules));         /* wakes the watch */
        usleep(5000);
    }
    insist(p, p->ruin > 0 || connector_on_fallback(c) == wanted);
}

static void play_forget(struct play *p, const char *to)
{
    struct address recipient;
    size_t i;

    address_parse(to, &recipient);
    holds_forget(p->holds, NULL, &recipient, wall);
    for (i = 0; i < NAMES; i++) {
        if (strcmp(p->accounts[i].to, to) == 0)
            p->accounts[i].since = 0;
    }
}

static void play_words(struct play *p, char **words)
{
    const char *what = words[0];

    if (strcmp(what, "connector") == 0)
        play_connector(p, words);
    else if (strcmp(what, "mx") == 0 || strcmp(what, "sts") == 0)
        play_place(p, words);
    else if (strcmp(what, "ask") == 0)
        play_ask(p, words);
    else if (strcmp(what, "expect") == 0)
        expect(p, words[1], words[2]);
    else if (strcmp(what, "pester") == 0)
        play_pester(p, words);
    else if (strcmp(what, "pass") == 0)
        pass(p, words[1]);
    else if (strcmp(what, "clock") == 0)
        wall += seconds_of(p, words[1]);
    else if (strcmp(what, "restart") == 0)
        close_engine(p);
    else if (strcmp(what, "until") == 0)
        play_until(p, words);
    else if (strcmp(what, "forget") == 0)
        play_forget(p, words[1]);
    else if (strcmp(what, "clocks") == 0)
        insist(p, p->ruin > 0 || holds_count(p->holds, wall) == (size_t)atol(words[1]));
    else if (strcmp(what, "stop") == 0)
        engine_stop(p->engine);
    else
        fail_msg("%s:%u: %s?", p->path, p->line, what);
    p->stopped |= strcmp(what, "stop") == 0;
    if (strcmp(what, "restart") == 0)
        p->stopped = false;
}

static void play_line(struct play *p, char *line)
{
    char *words[WORDS] = { NULL }, *rest = line, *word;
    int count = 0;

    line[strcspn(line, "#\n")] = '\0';
    while (count < WORDS - 1 && (word = strtok_r(rest, " ", &rest)) != NULL)
        words[count++] = word;
    if (count > 0)
        play_words(p, words);
}

static void play(const char *path, int ruin)
{
    struct play p = { .path = path, .ruin = ruin, .set = { .resolver = { .when_broken = "hold-mandatory" } } };
    char folder[] = "/tmp/danelaw-play-XXXXXX", line[256], command[64];
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    p.set.store.directory = mkdtemp(folder);
    p.rules = rules_new();
    wall = 1700000000;
    while (fgets(line, sizeof(line), file) != NULL) {
        p.line++;
        play_line(&p, line);
    }
    fclose(file);
    close_engine(&p);
    ruleset_unref(p.rules);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void a_scenario(void **state)
{
    int ruin;

    for (ruin = 0; ruin <= RUINS; ruin++)
        play(*state, ruin);
}

int main(void)
{
    const char *from = getenv("srcdir");
    struct CMUnitTest *tests;
    char pattern[4096];
    glob_t found;
    size_t i;
    int failed;

    log_set_level(LOG_LEVEL_ERROR);
    snprintf(pattern, sizeof(pattern), "%s/tests/play/*.play", from == NULL ? "." : from);
    if (glob(pattern, 0, NULL, &found) != 0) {
        fprintf(stderr, "no scenarios: %s\n", pattern);
        return 1;
    }
    tests = mem_array(found.gl_pathc, sizeof(*tests));
    for (i = 0; i < found.gl_pathc; i++)
        tests[i] = (struct CMUnitTest){ .name = strrchr(found.gl_pathv[i], '/') + 1, .test_func = a_scenario,
                                        .initial_state = found.gl_pathv[i] };
    failed = _cmocka_run_group_tests("tests", tests, found.gl_pathc, NULL, NULL);
    free(tests);
    globfree(&found);
    return failed;
}
