/*
 * Plays the scenarios of tests/play by the engine itself, with a scripted resolver and a clock of its own: first as they are
 * written, then with every n-th answer of the resolver failing, then with every n-th write to the store. Where answers fail, and
 * behind a restart where writes do, their expectations don't count, but these do: nothing that must be authenticated leaves
 * otherwise, or by evidence that has run out; nobody is refused for good before his time, nor for a fault of ours; no clock is
 * ahead of time; and a connector in test mode does nothing.
 *
 *   connector NAME RECIPIENTS dane|sts|both [hold=24h] [on_hold=queue] [fallback=15m] [probe=require] [require=any] [test_mode=yes]
 *   mx DOMAIN usable|partial|insecure-mx|unusable|absent|no-mail|bogus|fails
 *   sts DOMAIN enforce|mismatch|none|silent                     silent: neither DNS nor the policy host answers
 *   later mx|sts ...                                            the same, but what is remembered stays until it runs out
 *   host NAME fits|strange|plain|gone                           what visitors see there: a certificate, no STARTTLS, nobody
 *   visit NAME                                                  lets time pass until somebody was there once more
 *   ask RECIPIENT [from SENDER] [as client|queued|nobody]
 *   expect hold|bounce|deliver|fallback|pass|queue [REASON]     queue: held, but accepted
 *   pester RECIPIENT every TIME for TIME                        asks, and expects hold, up to the end of that time
 *   pass TIME          clock +TIME|-TIME          stop          forget RECIPIENT          clocks NUMBER
 *   restart [damaged]                                           damaged: the store's file is no file of ours any more
 *   reload, connector ..., adopt                                another configuration, in place of the one before
 *   mode NAME clear | [dane=MODE] [sts=MODE] [for=TIME]         an administrator's override; without a time it is permanent
 *   store fails|works                                           each write, from now on
 *   until fallback|own NAME                                     lets time pass until the watch has turned the connector's road
 */
#include "player.h"

#include "base/log.h"
#include "base/memory.h"

#include <glob.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 12, RUINS = 5, STORE_RUINS = 3, TRIES = 2000 };

static const struct route spare = { .name = "spare", .transport = "leased-line", .next_hop = "[spare.example]", .tls = TLS_SECURE };

static int64_t seconds_of(const struct play *p, const char *word)
{
    char unit = 's';
    long number = 0;

    insist(p, sscanf(word, "%ld%c", &number, &unit) >= 1);
    return number * (unit == 'd' ? 86400 : unit == 'h' ? 3600 : unit == 'm' ? 60 : 1);
}

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

static void say_connector(struct play *p, char **words)
{
    enum mode dane = strcmp(words[3], "sts") == 0 ? MODE_NONE : MODE_MANDATORY;
    enum mode sts = strcmp(words[3], "dane") == 0 ? MODE_NONE : MODE_MANDATORY;
    struct ruleset *rules = p->fresh != NULL ? p->fresh : p->rules;
    struct connector *c = rules_add(rules, words[1], dane, sts, words[2]);
    const char *fallback = option(words, "fallback", NULL);

    insist(p, require_parse(option(words, "require", "all"), &c->require));
    c->test_mode = option(words, "test_mode", NULL) != NULL;
    c->hold = (uint32_t)seconds_of(p, option(words, "hold", "24h"));
    insist(p, on_hold_parse(option(words, "on_hold", "auto"), &c->on_hold));
    insist(p, probing_parse(option(words, "probe", "off"), &c->probe));
    if (fallback == NULL)
        return;
    c->fallback = &spare;
    c->fallback_after = (uint32_t)seconds_of(p, fallback);
    c->on_fallback = arena_take(ruleset_memory(rules), sizeof(*c->on_fallback));
    atomic_init(c->on_fallback, false);
}

static void say_place(struct play *p, char **words, bool later)
{
    static const char *const worlds[] = {
        [FAKE_FAILS] = "fails", [FAKE_BOGUS] = "bogus", [FAKE_NO_MAIL] = "no-mail", [FAKE_ABSENT] = "absent",
        [FAKE_UNUSABLE] = "unusable", [FAKE_INSECURE_MX] = "insecure-mx", [FAKE_PARTIAL] = "partial", [FAKE_USABLE] = "usable",
    };
    static const char *const policies[] = { [SILENT] = "silent", [NONE] = "none", [MISMATCH] = "mismatch", [ENFORCE] = "enforce" };
    struct place *at = play_place(p, words[1]);
    enum fake_world world = at->world;
    enum place_sts sts = at->sts;
    size_t i;

    for (i = 0; strcmp(words[0], "mx") == 0 && i < COUNT_OF(worlds); i++)
        world = strcmp(words[2], worlds[i]) == 0 ? (enum fake_world)i : world;
    for (i = 0; strcmp(words[0], "sts") == 0 && i < COUNT_OF(policies); i++)
        sts = strcmp(words[2], policies[i]) == 0 ? (enum place_sts)i : sts;
    play_turn(p, at, world, sts);
    if (p->engine != NULL && !later)
        play_tell(p, at, false);
}

static void say_host(struct play *p, char **words)
{
    bool fits = strcmp(words[2], "fits") == 0, seen = fits || strcmp(words[2], "strange") == 0;

    play_show(p, words[1], seen ? PROBE_SEEN : strcmp(words[2], "plain") == 0 ? PROBE_NO_STARTTLS : PROBE_UNREACHABLE, fits);
}

static void say_ask(struct play *p, char **words)
{
    const char *as = behind(words, "as", "client");
    enum audience who = strcmp(as, "client") == 0 ? AUDIENCE_CLIENT : strcmp(as, "queued") == 0 ? AUDIENCE_QUEUED : AUDIENCE_NOBODY;

    play_ask(p, words[1], behind(words, "from", "al@home.example"), who);
}

static void expect(struct play *p, const char *verdict, const char *reason)
{
    const char *is = p->verdict == VERDICT_HOLD && !p->refused ? "queue" : verdict_word(p->verdict);

    if (p->ruin > 0 || p->forgetful)
        return;
    if (strcmp(is, verdict) != 0 || (reason != NULL && strcmp(reason_word(p->reason), reason) != 0))
        fail_msg("%s:%u: %s %s, expected %s %s", p->path, p->line, is, reason_word(p->reason), verdict, reason == NULL ? "" : reason);
}

/* Asks until just before the end of the time. */
static void say_pester(struct play *p, char **words)
{
    int64_t end = play_now() + seconds_of(p, behind(words, "for", "1d")), each = seconds_of(p, behind(words, "every", "1h"));

    for (; play_now() < end; play_pass(p, each)) {
        say_ask(p, words);
        expect(p, "hold", NULL);
    }
}

static void say_until(struct play *p, char **words)
{
    const struct connector *c = ruleset_named(p->rules, words[2]);
    bool wanted = strcmp(words[1], "fallback") == 0;
    int tries;

    for (tries = 0; p->ruin == 0 && tries < TRIES && connector_on_fallback(c) != wanted; tries++) {
        play_pass(p, 60);
        play_adopt(p);                                          /* wakes the watch */
        usleep(5000);
    }
    insist(p, p->ruin > 0 || connector_on_fallback(c) == wanted);
}

static void say_restart(struct play *p, bool damaged)
{
    play_close(p);
    if (damaged)
        play_damage(p);
    p->stopped = false;
    p->forgetful |= p->store_ruin > 0;
}

static void say_mode(struct play *p, char **words)
{
    const char *dane = option(words, "dane", NULL), *sts = option(words, "sts", NULL), *span = option(words, "for", NULL);
    struct mode_order order = { .clear = words[2] != NULL && strcmp(words[2], "clear") == 0 };

    insist(p, strlen(words[1]) < sizeof(order.connector));
    strcpy(order.connector, words[1]);
    order.sets_dane = dane != NULL && mode_parse(dane, &order.smtp_dane);
    order.sets_sts = sts != NULL && mode_parse(sts, &order.mta_sts);
    order.span = span == NULL ? 0 : seconds_of(p, span);
    order.permanent = !order.clear && span == NULL;
    play_mode(p, &order);
}

/* What changes the house itself; false: it is something else. */
static bool say_house(struct play *p, char **words)
{
    const char *what = words[0];

    if (strcmp(what, "restart") == 0)
        say_restart(p, words[1] != NULL);
    else if (strcmp(what, "reload") == 0)
        p->fresh = rules_new();
    else if (strcmp(what, "adopt") == 0)
        play_reload(p);
    else if (strcmp(what, "mode") == 0)
        say_mode(p, words);
    else if (strcmp(what, "store") == 0)
        play_store_fails(strcmp(words[1], "fails") == 0 ? 1 : p->store_ruin);
    else
        return false;
    return true;
}

static void say_words(struct play *p, char **words)
{
    const char *what = words[0];

    if (say_house(p, words))
        return;
    if (strcmp(what, "connector") == 0)
        say_connector(p, words);
    else if (strcmp(what, "mx") == 0 || strcmp(what, "sts") == 0)
        say_place(p, words, false);
    else if (strcmp(what, "later") == 0)
        say_place(p, words + 1, true);
    else if (strcmp(what, "host") == 0)
        say_host(p, words);
    else if (strcmp(what, "visit") == 0)
        play_visit(p, words[1]);
    else if (strcmp(what, "ask") == 0)
        say_ask(p, words);
    else if (strcmp(what, "expect") == 0)
        expect(p, words[1], words[2]);
    else if (strcmp(what, "pester") == 0)
        say_pester(p, words);
    else if (strcmp(what, "pass") == 0)
        play_pass(p, seconds_of(p, words[1]));
    else if (strcmp(what, "clock") == 0)
        play_set_clock(play_now() + seconds_of(p, words[1]));
    else if (strcmp(what, "until") == 0)
        say_until(p, words);
    else if (strcmp(what, "forget") == 0)
        play_forget(p, words[1]);
    else if (strcmp(what, "clocks") == 0)
        insist(p, p->ruin > 0 || p->forgetful || holds_count(p->holds, play_now()) == (size_t)atol(words[1]));
    else if (strcmp(what, "stop") == 0)
        engine_stop(p->engine);
    else
        fail_msg("%s:%u: %s?", p->path, p->line, what);
    p->stopped |= strcmp(what, "stop") == 0;
}

static void say_line(struct play *p, char *line)
{
    char *words[WORDS] = { NULL }, *rest = line, *word;
    int count = 0;

    line[strcspn(line, "#\n")] = '\0';
    while (count < WORDS - 1 && (word = strtok_r(rest, " ", &rest)) != NULL)
        words[count++] = word;
    if (count > 0)
        say_words(p, words);
}

static void play(const char *path, int ruin, int store_ruin)
{
    struct play p = { .path = path, .ruin = ruin, .store_ruin = store_ruin,
                      .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                             .tlsa_records = 16 },
                               .probe = { .interval = 900, .concurrency = 8 } } };
    char folder[] = "/tmp/danelaw-play-XXXXXX", line[256], command[64];
    FILE *file = fopen(path, "re");

    assert_non_null(file);
    p.set.store.directory = mkdtemp(folder);
    p.rules = rules_new();
    play_set_clock(1700000000);
    play_store_fails(store_ruin);
    while (fgets(line, sizeof(line), file) != NULL) {
        p.line++;
        say_line(&p, line);
    }
    fclose(file);
    play_close(&p);
    ruleset_unref(p.rules);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void a_scenario(void **state)
{
    int ruin;

    for (ruin = 0; ruin <= RUINS; ruin++)
        play(*state, ruin, 0);
    for (ruin = 1; ruin <= STORE_RUINS; ruin += 2)
        play(*state, 0, ruin);
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
