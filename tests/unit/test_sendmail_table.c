#include "mta/sendmail_table.h"

#include "rules.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const struct route roads[] = {
    { .name = "sendmail", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_DANE },
    { .name = "elsewhere", .transport = "esmtp", .next_hop = "[relay.example]", .tls = TLS_SITE },
};

/* A connector on Sendmail's mailer. */
static struct connector *add(struct ruleset *rules, const char *name, enum mode dane, const char *recipients)
{
    struct connector *c = rules_add(rules, name, recipients, "", dane, MODE_NONE);

    c->route = &roads[0];
    return c;
}

/* Takes the rules; gives the map's lines without its banner. */
static char *rendered(struct ruleset *rules, const char *own)
{
    struct arena *memory = arena_new();
    const char *domains[16];
    struct tables_own ours = { .domains = domains };
    char *copy = arena_text(memory, own), *word;
    struct text t, bare;
    const char *line;

    ruleset_freeze(rules);
    while ((word = strsep(&copy, " ")) != NULL) {
        if (*word != '\0')
            domains[ours.count++] = word;
    }
    text_init(&t, 65536);
    text_init(&bare, 65536);
    sendmail_table_render(rules, &ours, &t);
    for (line = text_words(&t); *line != '\0'; line += strcspn(line, "\n") + 1) {
        if (*line != '#')
            text_add(&bare, line, strcspn(line, "\n") + 1);
    }
    text_done(&t);
    ruleset_unref(rules);
    arena_free(memory);
    return text_give(&bare);
}

static void expect(struct ruleset *rules, const char *own, const char *wanted)
{
    AUTO(free) char *said = rendered(rules, own);

    assert_string_equal(said, wanted);
}

static void every_key_says_what_may_become_of_its_mail(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "Bank", MODE_MANDATORY, "bank.example *.bank.example bo@post.example");
    add(rules, "Open", MODE_OPPORTUNISTIC, "open.example");
    rules_smart_host(rules, add(rules, "Hosted", MODE_OPPORTUNISTIC, "hosted.example"), "[mx.host.example]");
    add(rules, "Routed", MODE_OPPORTUNISTIC, "routed.example")->route = &roads[1];
    add(rules, "Backed", MODE_OPPORTUNISTIC, "backed.example")->fallback = &roads[1];
    add(rules, "Idle", MODE_NONE, "idle.example");
    add(rules, "Sealed", MODE_NONE, "sealed.example")->tls = TLS_ENCRYPT;
    add(rules, "Shown", MODE_NONE, "shown.example")->tls = TLS_MAY;
    expect(rules, "", ".bank.example\tmandatory\nbacked.example\troad\nbank.example\tmandatory\nbo@post.example\tmandatory\n"
                      "hosted.example\tmandatory\nopen.example\tnamed\nrouted.example\tmandatory\nsealed.example\tmandatory\n"
                      "shown.example\tnamed\n");
}

static void everyone_is_a_dot(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "All", MODE_MANDATORY, "*");
    add(rules, "Open", MODE_OPPORTUNISTIC, "open.example");
    expect(rules, ".relayed.example home.example",
           ".\tmandatory\n.relayed.example\town\nhome.example\town\nopen.example\tnamed\n");
}

static void the_strictest_of_all_who_may_rule_counts(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector *strict = add(rules, "Strict for some", MODE_MANDATORY, "a.example");

    (void)state;
    strict->senders = rules_patterns(ruleset_memory(rules), "boss@home.example", &strict->sender_count);
    add(rules, "Lax", MODE_NONE, "a.example");
    add(rules, "Shadow", MODE_MANDATORY, "b.example")->test_mode = true;
    expect(rules, "", "a.example\tmandatory\n");
}

static void a_laxer_key_stands_below_a_stricter_one(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "Strict", MODE_MANDATORY, "*.a.example b.example");
    add(rules, "Open", MODE_OPPORTUNISTIC, "open.a.example bo@b.example");
    add(rules, "Idle", MODE_NONE, "idle.a.example al@b.example *.below.a.example c.example");
    expect(rules, "", ".a.example\tmandatory\n.below.a.example\tnamed\nal@b.example\tnamed\nb.example\tmandatory\n"
                      "bo@b.example\tnamed\nidle.a.example\tnamed\nopen.a.example\tnamed\n");
}

static void an_overridden_connector_waits_for_a_dead_daemon(void **state)
{
    static const struct override weaker = { .sets_dane = true, .smtp_dane = MODE_NONE };
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "Bank", MODE_NONE, "bank.example")->override = &weaker;
    expect(rules, "", "bank.example\tmandatory\n");
}

static void unicode_is_spelled_both_ways_and_never_folded(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "Sharp", MODE_MANDATORY, "xn--strae-oqa.example");
    add(rules, "Double", MODE_OPPORTUNISTIC, "strasse.example");
    expect(rules, "", "strasse.example\tnamed\nstra\u00dfe.example\tmandatory\nxn--strae-oqa.example\tmandatory\n");
}

static void own_domains_stay_out_of_wildcards_alone(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "Below", MODE_MANDATORY, "*.a.example own.a.example");
    expect(rules, ".rel.a.example mine.a.example other.example own.a.example rel.a.example",
           ".a.example\tmandatory\n.rel.a.example\town\nmine.a.example\town\nown.a.example\tmandatory\n"
           "rel.a.example\town\n");
}

/* On disk, with a makemap that keeps lines as they are, and gives them back in some other order */

#define FAKE "shift 6\nif [ \"$1\" = -u ]; then exec sort -r \"$3.db\"; fi\n"
#define STORES "exec cat > \"$2.db\"\n"

struct site {
    char root[64], makemap[96], folder[96];
    struct settings settings;
};

static char *path_in(const struct site *s, const char *name, char ret[static PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/%s", s->root, name);
    return ret;
}

static void put(const struct site *s, const char *name, const char *lines, mode_t mode)
{
    char path[PATH_MAX];
    int file = open(path_in(s, name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(file >= 0);
    assert_int_equal(write(file, lines, strlen(lines)), (ssize_t)strlen(lines));
    close(file);
}

/* "": there is none. */
static const char *get(const struct site *s, const char *name)
{
    static char some[4][4096];
    static unsigned turn;
    char *ret = some[turn++ % 4], path[PATH_MAX];
    int file = open(path_in(s, name, path), O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? 0 : read(file, ret, sizeof(some[0]) - 1);

    assert_true(got >= 0);
    ret[got] = '\0';
    if (file >= 0)
        close(file);
    return ret;
}

static void use_makemap(const struct site *s, const char *script)
{
    struct text all;

    text_init(&all, 65536);
    text_print(&all, "#!/bin/sh\n%s", script);
    put(s, "makemap", text_words(&all), 0755);
    text_done(&all);
}

static int open_site(void **state)
{
    struct site *s = calloc(1, sizeof(*s));

    strcpy(s->root, "/tmp/danelaw-map-XXXXXX");
    assert_non_null(mkdtemp(s->root));
    snprintf(s->makemap, sizeof(s->makemap), "%s/makemap", s->root);
    s->settings.store.directory = s->settings.tables.config_dir = s->root;
    s->settings.tables.mta = "sendmail";
    s->settings.tables.type = "";
    s->settings.tables.postmap = s->makemap;
    use_makemap(s, FAKE STORES);
    put(s, "sendmail.cf", "V10\nCw localhost mail.a.example\nC{VirtHost}virtual.a.example\n"
                          "CRrelayed.a.example 192.168.1 .below.a.example\n", 0644);
    *state = s;
    return 0;
}

static int close_site(void **state)
{
    struct site *s = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", s->root);
    assert_int_equal(system(command), 0);
    free(s);
    return 0;
}

static struct ruleset *some_rules(const char *strict)
{
    struct ruleset *rules = rules_new();

    add(rules, "Strict", MODE_MANDATORY, strict);
    add(rules, "Open", MODE_OPPORTUNISTIC, "#tag@open.example \"a\tb\"@open.example");
    ruleset_freeze(rules);
    return rules;
}

static struct ruleset *rules_for(const char *strict)
{
    struct ruleset *rules = rules_new();

    add(rules, "Strict", MODE_MANDATORY, strict);
    add(rules, "Open", MODE_OPPORTUNISTIC, "#tag@open.example");
    ruleset_freeze(rules);
    return rules;
}

static void expect_written(const struct site *s, const char *strict, bool changes)
{
    struct ruleset *rules = rules_for(strict);
    struct fault why = { "" };
    bool changed = !changes;

    if (!tables_write(&s->settings, rules, &changed, &why))
        fail_msg("%s", why.text);
    assert_int_equal(changed, changes);
    assert_true(tables_current(&s->settings, rules, &why));
    ruleset_unref(rules);
}

static void expect_failure(const struct site *s, struct ruleset *rules, const char *words)
{
    struct fault why = { "" };
    const char *text = get(s, "sendmail/mandatory"), *index = get(s, "sendmail/mandatory.db");
    bool changed = false;
    char path[PATH_MAX];

    if (tables_write(&s->settings, rules, &changed, &why))
        fail_msg("it is written, where \"%s\" was to be said", words);
    if (strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
    assert_string_equal(get(s, "sendmail/mandatory"), text);
    assert_string_equal(get(s, "sendmail/mandatory.db"), index);
    assert_int_not_equal(access(path_in(s, "sendmail/mandatory.new", path), F_OK), 0);
    assert_int_not_equal(access(path_in(s, "sendmail/mandatory.new.db", path), F_OK), 0);
    ruleset_unref(rules);
}

static void the_map_is_written_and_read_back(void **state)
{
    struct site *s = *state;
    struct text name;
    char path[PATH_MAX];
    struct stat seen;

    assert_false(tables_there(&s->settings));
    umask(077);
    expect_written(s, "old.example", true);
    umask(022);
    assert_true(tables_there(&s->settings));
    expect_written(s, "old.example", false);
    assert_string_equal(get(s, "sendmail/mandatory.db"), "#tag@open.example\tnamed\nold.example\tmandatory\n");
    assert_int_equal(stat(path_in(s, "sendmail/mandatory.db", path), &seen), 0);
    assert_int_equal(seen.st_mode & 0777, 0644);
    assert_int_equal(stat(path_in(s, "sendmail", path), &seen), 0);
    assert_int_equal(seen.st_mode & 0777, 0755);
    expect_written(s, "new.example", true);
    assert_non_null(strstr(get(s, "sendmail/mandatory"), "\nnew.example\tmandatory\n"));
    text_init(&name, PATH_MAX);
    tables_shown(&s->settings, &name);
    assert_memory_equal(text_words(&name), "hash:/", 6);
    text_done(&name);
}

static void a_change_of_type_writes_anew(void **state)
{
    struct site *s = *state;

    expect_written(s, "old.example", true);
    s->settings.tables.type = "btree";
    expect_written(s, "old.example", true);
    s->settings.tables.type = "cdb";
    expect_failure(s, rules_for("old.example"), "write hash or btree");
}

static void a_failing_makemap_leaves_the_old_pair(void **state)
{
    static const struct {
        const char *script, *words;
    } ways[] = {
        { "echo 'makemap: the moon is full' >&2; exit 1\n", "the moon is full" },
        { "exit 0\n", "does not give" },
        { FAKE "exit 0\n", "mandatory.new" },
        { "kill -9 $$\n", "signal 9" },
        { FAKE "head -n 1 > \"$2.db\"\n", "does not give" },
        { FAKE "sed 's/named/mandatory/' > \"$2.db\"\n", "does not give" },
        { FAKE "cat > \"$2.db\"; echo 'nothing.danelaw.invalid\tnamed' >> \"$2.db\"\n", "more than was written" },
    };
    struct site *s = *state;
    size_t i;

    expect_written(s, "old.example", true);
    for (i = 0; i < COUNT_OF(ways); i++) {
        use_makemap(s, ways[i].script);
        expect_failure(s, rules_for("new.example"), ways[i].words);
    }
    s->settings.tables.postmap = "/nonexistent/makemap";
    expect_failure(s, rules_for("new.example"), "cannot be run");
}

static void a_key_with_control_characters_is_refused(void **state)
{
    expect_failure(*state, some_rules("old.example"), "control characters");
}

/* Sendmail looks at the time of the file that it has open, in seconds. */
static void who_holds_the_old_index_sees_that_it_is_old(void **state)
{
    struct site *s = *state;
    struct stat before, after;
    char path[PATH_MAX];
    int held;

    expect_written(s, "old.example", true);
    held = open(path_in(s, "sendmail/mandatory.db", path), O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(held, &before), 0);
    expect_written(s, "new.example", true);
    assert_int_equal(fstat(held, &after), 0);
    assert_true(after.st_mtime > before.st_mtime);
    assert_int_equal(after.st_nlink, 0);
    close(held);
}

static void wildcards_leave_own_domains_alone(void **state)
{
    struct site *s = *state;

    expect_written(s, "*.a.example", true);
    assert_string_equal(get(s, "sendmail/mandatory.db"),
                        "#tag@open.example\tnamed\n.a.example\tmandatory\n.below.a.example\town\n.relayed.a.example\town\n"
                        "mail.a.example\town\nrelayed.a.example\town\nvirtual.a.example\town\n");
}

static void wildcards_are_refused_where_own_domains_cannot_be_told(void **state)
{
    struct site *s = *state;
    char path[PATH_MAX];

    expect_written(s, "old.example", true);
    put(s, "sendmail.cf", "V10\nF{VirtHost}@hash:/etc/mail/virtual\n", 0644);
    expect_failure(s, rules_for("*.a.example"), "connectors for *.domain are refused");
    assert_int_equal(unlink(path_in(s, "sendmail.cf", path)), 0);
    expect_failure(s, rules_for("*"), "sendmail.cf: cannot be opened");
    expect_written(s, "new.example", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_says_what_may_become_of_its_mail),
        cmocka_unit_test(everyone_is_a_dot),
        cmocka_unit_test(the_strictest_of_all_who_may_rule_counts),
        cmocka_unit_test(a_laxer_key_stands_below_a_stricter_one),
        cmocka_unit_test(an_overridden_connector_waits_for_a_dead_daemon),
        cmocka_unit_test(unicode_is_spelled_both_ways_and_never_folded),
        cmocka_unit_test(own_domains_stay_out_of_wildcards_alone),
        cmocka_unit_test_setup_teardown(the_map_is_written_and_read_back, open_site, close_site),
        cmocka_unit_test_setup_teardown(a_change_of_type_writes_anew, open_site, close_site),
        cmocka_unit_test_setup_teardown(a_failing_makemap_leaves_the_old_pair, open_site, close_site),
        cmocka_unit_test_setup_teardown(a_key_with_control_characters_is_refused, open_site, close_site),
        cmocka_unit_test_setup_teardown(who_holds_the_old_index_sees_that_it_is_old, open_site, close_site),
        cmocka_unit_test_setup_teardown(wildcards_leave_own_domains_alone, open_site, close_site),
        cmocka_unit_test_setup_teardown(wildcards_are_refused_where_own_domains_cannot_be_told, open_site, close_site),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
