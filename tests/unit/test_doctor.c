#include "site.h"

#include "base/memory.h"
#include "mta/doctor.h"
#include "mta/setup.h"
#include "mta/tables.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A site that is set up as setup prints it, with more lines of main.cf behind. */
static void set_up(struct site *s, struct ruleset *rules, const char *more)
{
    AUTO(free) char *main_cf = site_read(s, "etc/main.cf", NULL), *master_cf = site_read(s, "etc/master.cf", NULL);
    const char *middle;
    struct text said, file;
    struct fault why = { "" };
    bool changed;

    ruleset_freeze(rules);
    text_init(&said, 1024 * 1024);
    text_init(&file, 1024 * 1024);
    if (!tables_write(&s->settings, rules, &changed, &why) || !setup_postfix(&s->settings, rules, false, &said, &why))
        fail_msg("%s", why.text);
    middle = strstr(text_words(&said), "\n# master.cf\n");
    assert_non_null(middle);
    text_print(&file, "%s%.*s\n%s\n", main_cf, (int)(middle - said.bytes), said.bytes, more);
    site_write(s, "etc/main.cf", text_words(&file));
    text_done(&file);
    text_print(&file, "%s%s", master_cf, middle + 1);
    site_write(s, "etc/master.cf", text_words(&file));
    text_done(&file);
    text_done(&said);
}

static void examine(const struct site *s, const struct ruleset *rules, const char *stale, struct doctor_report *ret)
{
    struct fault why = { "" };

    doctor_report_init(ret);
    if (!doctor_postfix(&s->settings, rules, stale, ret, &why))
        fail_msg("%s", why.text);
}

/* How many findings have this in their place and this in what they say; of main.cf, master.cf and the table alone. */
static size_t count_of(const struct doctor_report *r, const char *where, const char *what)
{
    size_t count = 0, i;

    for (i = 0; i < r->count; i++) {
        const struct doctor_finding *f = &r->items[i];

        if (strncmp(f->where, "danelaw.conf", 12) != 0 && strstr(f->where, "resolv.conf") == NULL &&
            strstr(f->where, where) != NULL && strstr(f->what, what) != NULL)
            count++;
    }
    return count;
}

static struct ruleset *bank(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example *.bank.example al@user.example")->hold = 86400;
    return rules;
}

/* The machine's own socket folders are nobody's chroot. */
static void open_site(struct site *s, const char *main_cf)
{
    site_open(s, main_cf);
    s->settings.milter.socket = "unix:/var/spool/postfix/danelaw/milter.sock";
    s->settings.maps.socket = "unix:/var/spool/postfix/danelaw/map.sock";
}

static void what_setup_prints_is_found_good(void **state)
{
    struct ruleset *rules = bank();
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "");
    examine(&s, rules, NULL, &r);
    assert_int_equal(count_of(&r, "", ""), 0);
    doctor_report_done(&r);
    ruleset_unref(rules);
    site_close(&s);
}

static void the_daemon_knows_its_table_best(void **state)
{
    struct ruleset *rules = bank(), *others = rules_new();
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "");
    rules_add(others, "Bank", MODE_NONE, MODE_MANDATORY, "bank.example *.bank.example al@user.example")->hold = 86400;
    ruleset_freeze(others);
    examine(&s, others, NULL, &r);
    assert_int_equal(count_of(&r, "hash:", "not current"), 1);
    doctor_report_done(&r);
    examine(&s, others, "", &r);
    assert_int_equal(count_of(&r, "hash:", ""), 0);
    doctor_report_done(&r);
    examine(&s, rules, "the disk is full", &r);
    assert_int_equal(count_of(&r, "hash:", "the disk is full"), 1);
    doctor_report_done(&r);
    ruleset_unref(rules);
    ruleset_unref(others);
    site_close(&s);
}

/* ... but a connector that it has not heard of has no line. */
static void a_connector_without_a_line_is_found(void **state)
{
    struct ruleset *rules = bank(), *more = rules_new();
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "");
    rules_add(more, "More", MODE_MANDATORY, MODE_NONE, "bank.example more.example");
    ruleset_freeze(more);
    examine(&s, more, "", &r);
    assert_int_equal(count_of(&r, "hash:", "no line in the table: more.example"), 1);
    doctor_report_done(&r);
    ruleset_unref(rules);
    ruleset_unref(more);
    site_close(&s);
}

/* main.cf without the regular expression for domains that are not in ASCII. */
static void take_spellings_away(const struct site *s)
{
    AUTO(free) char *main_cf = site_read(s, "etc/main.cf", NULL);
    char *at = strstr(main_cf, ", regexp:{{/[^!-~]"), *end;

    assert_non_null(at);
    end = strstr(at, "}}") + 2;
    memmove(at, end, strlen(end) + 1);
    site_write(s, "etc/main.cf", main_cf);
}

static void a_domain_in_other_letters_is_a_way_past_the_table(void **state)
{
    struct ruleset *rules = bank(), *lax = rules_new();
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "");
    take_spellings_away(&s);
    examine(&s, rules, NULL, &r);
    assert_int_equal(count_of(&r, "main.cf: transport_maps", "in other letters"), 1);
    assert_int_equal(r.items[0].severity, DOCTOR_LEAK);
    assert_non_null(strstr(r.items[0].fix, "regexp:{{/[^!-~][^@]*$$/ danelaw:}}"));
    doctor_report_done(&r);
    rules_add(lax, "Lax", MODE_OPPORTUNISTIC, MODE_NONE, "bank.example");
    ruleset_freeze(lax);
    examine(&s, lax, "", &r);
    assert_int_equal(count_of(&r, "transport_maps", "in other letters"), 0);
    doctor_report_done(&r);
    ruleset_unref(rules);
    ruleset_unref(lax);
    site_close(&s);
}

static void a_postfix_without_smtputf8_needs_no_such_road(void **state)
{
    struct ruleset *rules = bank();
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "smtputf8_enable = no\n");
    take_spellings_away(&s);
    examine(&s, rules, NULL, &r);
    assert_int_equal(count_of(&r, "transport_maps", ""), 0);
    doctor_report_done(&r);
    ruleset_unref(rules);
    site_close(&s);
}

/* Postfix 3.10 heeds a header of the sender's, unless it is told not to. */
static void a_newer_postfix_needs_one_line_more(void **state)
{
    struct ruleset *rules = bank();
    struct doctor_report r;
    char path[600];
    struct site s;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "");
    site_fake_postmap(&s, "exec \"$REAL\" \"$@\"");
    site_write(&s, "postconf", "#!/bin/sh\n/usr/sbin/postconf \"$@\" | sed 's/^mail_version = .*/mail_version = 3.10.1/'\n");
    snprintf(path, sizeof(path), "%s/postconf", s.root);
    assert_int_equal(chmod(path, 0755), 0);
    examine(&s, rules, NULL, &r);
    assert_int_equal(count_of(&r, "tls_required_enable", "TLS-Required"), 3);
    assert_int_equal(count_of(&r, "", ""), 3);
    assert_int_equal(r.items[0].severity, DOCTOR_LEAK);
    assert_string_equal(r.items[0].fix, "-o tls_required_enable=no");
    doctor_report_done(&r);
    ruleset_unref(rules);
    site_close(&s);
}

static void the_worst_stands_first(void **state)
{
    struct ruleset *rules = bank();
    struct doctor_report r;
    struct site s;
    size_t i;

    (void)state;
    open_site(&s, "");
    set_up(&s, rules, "smtpd_hard_error_limit = 3\nsoft_bounce = yes\ncontent_filter = smtp:[out.example]");
    examine(&s, rules, NULL, &r);
    assert_string_equal(r.items[0].where, "main.cf: content_filter");
    assert_int_equal(count_of(&r, "", ""), 3);
    for (i = 1; i < r.count; i++)
        assert_true(r.items[i - 1].severity <= r.items[i].severity);
    doctor_report_done(&r);
    ruleset_unref(rules);
    site_close(&s);
}

/* However long a site's tables are, somebody has to read what is said of them. */
static void what_is_said_has_an_end(void **state)
{
    struct ruleset *rules = bank();
    struct text routes, checks;
    struct doctor_report r;
    char line[8192];
    struct site s;
    size_t i;

    (void)state;
    open_site(&s, "");
    text_init(&routes, 1024 * 1024);
    text_init(&checks, 1024 * 1024);
    for (i = 0; i < 1000; i++) {
        text_print(&routes, "u%zu@bank.example smtp:\n", i);
        text_print(&checks, "/^X-%zu:/ FILTER smtp:[out.example]\n", i);
    }
    site_write(&s, "routes", text_words(&routes));
    site_write(&s, "checks", text_words(&checks));
    snprintf(line, sizeof(line), "transport_maps = hash:%s/postfix/transport, texthash:%s/routes\n"
             "header_checks = regexp:%s/checks", s.state, s.root, s.root);
    set_up(&s, rules, line);
    examine(&s, rules, NULL, &r);
    assert_int_equal(count_of(&r, "main.cf: transport_maps", " and 980 more"), 1);
    assert_int_equal(r.count, 500);
    assert_true(r.more >= 501);
    doctor_report_done(&r);
    text_done(&routes);
    text_done(&checks);
    ruleset_unref(rules);
    site_close(&s);
}

static void a_site_that_cannot_be_asked_is_a_fault(void **state)
{
    struct ruleset *rules = bank();
    struct fault why = { "" };
    struct doctor_report r;
    struct site s;

    (void)state;
    open_site(&s, "");
    s.settings.tables.config_dir = "/nonexistent";
    ruleset_freeze(rules);
    doctor_report_init(&r);
    assert_false(doctor_postfix(&s.settings, rules, NULL, &r, &why));
    assert_non_null(strstr(why.text, "/nonexistent"));
    doctor_report_done(&r);
    ruleset_unref(rules);
    site_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_setup_prints_is_found_good),
        cmocka_unit_test(the_daemon_knows_its_table_best),
        cmocka_unit_test(a_connector_without_a_line_is_found),
        cmocka_unit_test(a_domain_in_other_letters_is_a_way_past_the_table),
        cmocka_unit_test(a_postfix_without_smtputf8_needs_no_such_road),
        cmocka_unit_test(a_newer_postfix_needs_one_line_more),
        cmocka_unit_test(the_worst_stands_first),
        cmocka_unit_test(what_is_said_has_an_end),
        cmocka_unit_test(a_site_that_cannot_be_asked_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
