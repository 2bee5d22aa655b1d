#include "site.h"

#include "base/memory.h"
#include "mta/run.h"
#include "mta/setup.h"
#include "mta/tables.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What setup prints; takes the rules. */
static char *printed(const struct site *s, struct ruleset *rules, bool all)
{
    struct fault why = { "" };
    struct text t;

    ruleset_freeze(rules);
    text_init(&t, 1024 * 1024);
    if (!setup_postfix(&s->settings, rules, all, &t, &why))
        fail_msg("%s", why.text);
    ruleset_unref(rules);
    return text_give(&t);
}

static void expect_in(const char *text, const char *words)
{
    if (strstr(text, words) == NULL)
        fail_msg("no \"%s\" in:\n%s", words, text);
}

static void expect_not_in(const char *text, const char *words)
{
    if (strstr(text, words) != NULL)
        fail_msg("\"%s\" in:\n%s", words, text);
}

/* Appends a file's lines to ret but for comments and blank ones; a CA file is the machine's own. */
static void add_settings(const char *lines, const char *end, struct text *ret)
{
    size_t length;

    for (; lines < end; lines += length) {
        length = strcspn(lines, "\n");
        length += lines[length] == '\n';
        if (*lines == '#' || *lines == '\n')
            continue;
        if (strncmp(lines, "smtp_tls_CAfile = ", 18) == 0)
            text_put(ret, "smtp_tls_CAfile\n");
        else
            text_add(ret, lines, length);
    }
}

static char *sample(const char *name)
{
    const char *top = getenv("srcdir");
    char path[4096];
    struct text bare;
    char *bytes = mem_zero(65536);
    FILE *file;

    snprintf(path, sizeof(path), "%s/conf/postfix/%s", top == NULL ? "." : top, name);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(bytes, 1, 65535, file) > 0);
    fclose(file);
    text_init(&bare, 65536);
    add_settings(bytes, bytes + strlen(bytes), &bare);
    free(bytes);
    return text_give(&bare);
}

static void the_samples_are_what_setup_prints(void **state)
{
    AUTO(free) char *main_sample = sample("main.cf"), *master_sample = sample("master.cf"), *said = NULL;
    struct text main_cf, master_cf;
    const char *middle;
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.store.directory = "/var/lib/danelaw";
    said = printed(&s, rules_new(), false);
    assert_memory_equal(said, "# main.cf\n", 10);
    middle = strstr(said, "\n# master.cf\n");
    assert_non_null(middle);
    text_init(&main_cf, 65536);
    text_init(&master_cf, 65536);
    add_settings(said, middle + 1, &main_cf);
    add_settings(middle + 1, said + strlen(said), &master_cf);
    assert_string_equal(text_words(&main_cf), main_sample);
    assert_string_equal(text_words(&master_cf), master_sample);
    text_done(&main_cf);
    text_done(&master_cf);
    site_close(&s);
}

/* Each line is there for a leak that was seen without it. */
static void the_roads_cannot_be_talked_out_of_it(void **state)
{
    static const char *const all_three[] = {
        "    -o smtp_fallback_relay=\n", "    -o smtp_dns_support_level=dnssec\n", "    -o smtp_host_lookup=dns\n",
        "    -o smtp_connection_cache_on_demand=no\n", "    -o smtp_tls_connection_reuse=no\n",
        "    -o smtp_tls_mandatory_protocols=>=TLSv1.2\n", "X-Danelaw-Route:/ IGNORE", "    -o syslog_name=postfix/danelaw",
    };
    AUTO(free) char *said = NULL;
    struct site s;
    size_t i, times;

    (void)state;
    site_open(&s, "");
    said = printed(&s, rules_new(), false);
    assert_non_null(strstr(said, "    -o smtp_tls_policy_maps=\n    -o smtp_tls_per_site=\n"));
    for (i = 0; i < COUNT_OF(all_three); i++) {
        const char *at = said;

        for (times = 0; (at = strstr(at, all_three[i])) != NULL; times++)
            at++;
        assert_int_equal(times, 3);
    }
    expect_not_in(said, "tls_required_enable");         /* not known before Postfix 3.10 */
    expect_not_in(said, "default_transport");
    expect_not_in(said, "milter_header_checks");
    site_close(&s);
}

/* Adds the sections to main.cf and master.cf, as an administrator would. */
static void apply(const struct site *s, const char *said)
{
    AUTO(free) char *main_cf = site_read(s, "etc/main.cf", NULL), *master_cf = site_read(s, "etc/master.cf", NULL);
    const char *middle = strstr(said, "\n# master.cf\n");
    struct text t;

    text_init(&t, 1024 * 1024);
    text_print(&t, "%s%.*s\n", main_cf, (int)(middle - said), said);
    site_write(s, "etc/main.cf", text_words(&t));
    text_done(&t);
    text_print(&t, "%s%s", master_cf, middle + 1);
    site_write(s, "etc/master.cf", text_words(&t));
    text_done(&t);
}

/* The only complaint may be that a later line replaces an earlier one: we add where an administrator edits. */
static void expect_no_complaint(const struct run *r)
{
    const char *line;

    for (line = text_words(&r->err); *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *harmless = strstr(line, "overriding earlier entry");

        if (harmless == NULL || harmless > strchr(line, '\n'))
            fail_msg("%s", line);
    }
    assert_int_equal(r->code, 0);
}

static char *postconf(const struct site *s, const char *option, const char *name)
{
    const char *argv[] = { "/usr/sbin/postconf", "-c", s->config, option, name, NULL };
    struct run r;
    char *said;

    assert_true(run_program(argv, NULL, 0, &r, NULL));
    expect_no_complaint(&r);
    said = text_give(&r.out);
    run_done(&r);
    said[strcspn(said, "\n")] = '\0';
    return said;
}

static void expect_setting(const struct site *s, const char *option, const char *name, const char *wanted)
{
    AUTO(free) char *said = postconf(s, option, name);

    assert_string_equal(said, wanted);
}

static void postfix_takes_the_lines_and_means_the_same(void **state)
{
    struct ruleset *rules = rules_new();
    AUTO(free) char *said = NULL, *again = NULL;
    struct site s;

    (void)state;
    site_open(&s, "transport_maps = hash:/etc/postfix/transport, $more_maps\nmore_maps = regexp:{{/x/ y:}}\n"
                  "smtpd_milters = inet:127.0.0.1:8891, { unix:/run/other, default_action=tempfail }\n"
                  "smtp_header_checks = regexp:{{/^Received: from inside/ IGNORE}}\n"
                  "milter_header_checks = regexp:{{/^X-Spam: yes$$/ HOLD}}\nsmtp_tls_CApath = /etc/ssl/certs");
    s.settings.milter.tag = true;
    s.settings.store.directory = "/var/lib/danelaw";
    rules_add(rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    said = printed(&s, rules, true);
    apply(&s, said);
    expect_setting(&s, "-h", "transport_maps",
                   "hash:/var/lib/danelaw/postfix/transport, regexp:{{/[^!-~][^@]*$$/ danelaw:}}, hash:/etc/postfix/transport, "
                   "$more_maps");
    expect_setting(&s, "-h", "smtpd_milters", "inet:127.0.0.1:8891, { unix:/run/other, default_action=tempfail }, "
                   "{ unix:/run/danelaw/milter.sock, default_action=accept, connect_timeout=5s, command_timeout=15s }");
    expect_setting(&s, "-xh", "default_transport", "danelaw");
    expect_setting(&s, "-xh", "milter_header_checks", "regexp:{ { /^X-Danelaw-Route: dane-mandatory$/ FILTER danelaw-dane: } "
                   "{ /^X-Danelaw-Route: sts-mandatory$/ FILTER danelaw-sts: } { /^X-Danelaw-Route: opportunistic$/ FILTER "
                   "danelaw: } }, regexp:{{/^X-Spam: yes$/ HOLD}}");
    expect_setting(&s, "-P", "danelaw-dane/unix/smtp_tls_security_level", "danelaw-dane/unix/smtp_tls_security_level = dane-only");
    expect_setting(&s, "-P", "danelaw-dane/unix/smtp_tls_policy_maps", "danelaw-dane/unix/smtp_tls_policy_maps =");
    expect_setting(&s, "-P", "danelaw-sts/unix/smtp_tls_policy_maps",
                   "danelaw-sts/unix/smtp_tls_policy_maps = socketmap:unix:/run/danelaw/map.sock:postfix-mandatory");
    expect_setting(&s, "-P", "danelaw/unix/smtp_tls_mandatory_protocols", "danelaw/unix/smtp_tls_mandatory_protocols = >=TLSv1.2");
    expect_setting(&s, "-P", "danelaw/unix/smtp_header_checks", "danelaw/unix/smtp_header_checks = "
                   "regexp:{{/^X-Danelaw-Route:/ IGNORE}}, regexp:{{/^Received: from inside/ IGNORE}}");
    expect_not_in(said, "smtp_tls_CAfile");
    again = printed(&s, rules_new(), false);            /* asked again, it does not pile up */
    expect_in(again, "transport_maps = hash:/var/lib/danelaw/postfix/transport, regexp:{{/[^!-~][^@]*$$/ danelaw:}}, "
                     "hash:/etc/postfix/transport, $more_maps\n");
    expect_in(again, "smtpd_milters = inet:127.0.0.1:8891, { unix:/run/other, default_action=tempfail }, { unix:/run/danelaw");
    site_close(&s);
}

static void sockets_below_the_queue_work_in_a_chroot(void **state)
{
    AUTO(free) char *said = NULL;
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.milter.socket = "unix:/var/spool/postfix/danelaw/milter.sock";
    s.settings.maps.socket = "local:/var/spool/postfix/danelaw/map.sock";
    s.settings.milter.socket_group = s.settings.maps.socket_group = "postfix";
    said = printed(&s, rules_new(), false);
    expect_in(said, "{ unix:danelaw/milter.sock, ");
    expect_in(said, "socketmap:unix:danelaw/map.sock:postfix-tls\n");
    expect_in(said, "danelaw-dane unix - - y - - smtp\n");
    expect_in(said, "danelaw-sts unix - - y - - smtp\n");
    expect_in(said, "danelaw unix - - y - - smtp\n");
    expect_not_in(said, "# note:");
    site_close(&s);
}

static void sockets_outside_the_chroot_are_said(void **state)
{
    AUTO(free) char *said = NULL, *free_said = NULL;
    struct site s;

    (void)state;
    site_open(&s, "");
    said = printed(&s, rules_new(), false);
    expect_in(said, "set milter.socket = \"unix:/var/spool/postfix/danelaw/milter.sock\" in danelaw.conf");
    expect_in(said, "set maps.socket = \"unix:/var/spool/postfix/danelaw/map.sock\" in danelaw.conf");
    expect_in(said, "set milter.socket_group = \"postfix\"");
    expect_in(said, "danelaw-sts unix - - n - - smtp\n");
    site_write(&s, "etc/master.cf", "smtp inet n - n - - smtpd\nsmtp unix - - - - - smtp\n");
    free_said = printed(&s, rules_new(), false);
    expect_not_in(free_said, "chroot");
    expect_in(free_said, "danelaw-dane unix - - n - - smtp\n");
    site_close(&s);
}

static void domains_in_other_letters_take_the_road_that_asks(void **state)
{
    AUTO(free) char *said = NULL, *own = NULL, *tables = NULL;
    struct site s;

    (void)state;
    site_open(&s, "transport_maps = regexp:{{/[^!-~][^@]*$$/ danelaw:}}, hash:/etc/postfix/transport\n");
    said = printed(&s, rules_new(), false);
    expect_in(said, "/postfix/transport, regexp:{{/[^!-~][^@]*$$/ danelaw:}}, hash:/etc/postfix/transport\n");
    site_close(&s);
    site_open(&s, "mydestination = home.example, b\xc3\xbc" "cher.example\nrelayhost = [relay.example]\n");
    own = printed(&s, rules_new(), false);
    expect_in(own, ", regexp:{{/@b\xc3\xbc" "cher\\.example$$/ :}, {/[^!-~][^@]*$$/ danelaw:}}\n");
    expect_in(own, "# note: mail to domains that are not written in ASCII goes to their own hosts");
    expect_not_in(own, "stands in a lookup table");
    site_close(&s);
    site_open(&s, "virtual_mailbox_domains = static:all\n");
    tables = printed(&s, rules_new(), false);
    expect_in(tables, "# note: a domain of your own that is not in ASCII and stands in a lookup table");
    site_close(&s);
}

static void inet_sockets_are_turned_around(void **state)
{
    AUTO(free) char *said = NULL;
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.milter.socket = "inet:8890@127.0.0.1";
    s.settings.maps.socket = "inet6:8891@::1";
    s.settings.milter.budget = 10;
    said = printed(&s, rules_new(), false);
    expect_in(said, "{ inet:127.0.0.1:8890, default_action=accept, connect_timeout=12s, command_timeout=22s }");
    expect_in(said, "socketmap:inet:[::1]:8891:postfix-mandatory\n");
    expect_not_in(said, "# note:");
    site_close(&s);
}

static void everyones_road_is_the_default_transport(void **state)
{
    struct ruleset *strict = rules_new(), *hub = rules_new(), *nothing = rules_new();
    AUTO(free) char *said = NULL, *hub_said = NULL, *nothing_said = NULL, *all_said = NULL;
    struct site s;

    (void)state;
    site_open(&s, "");
    rules_add(strict, "Everyone", MODE_MANDATORY, MODE_NONE, "*");
    said = printed(&s, strict, false);
    expect_in(said, "\ndefault_transport = danelaw-dane\n");
    rules_smart_hosts(hub, rules_add(hub, "Hub", MODE_OPPORTUNISTIC, MODE_NONE, "*"), "[hub.example]");
    hub_said = printed(&s, hub, true);
    expect_in(hub_said, "\ndefault_transport = danelaw:[hub.example]:25\n");
    rules_add(nothing, "Nothing", MODE_NONE, MODE_NONE, "*");
    nothing_said = printed(&s, nothing, false);
    expect_not_in(nothing_said, "default_transport");
    all_said = printed(&s, rules_new(), true);
    expect_in(all_said, "\n# note: with this line all outbound mail waits in the queue while danelawd is down\n"
                        "default_transport = danelaw\n");
    site_close(&s);
}

static void a_site_that_cannot_be_asked_gets_the_lines_and_a_warning(void **state)
{
    AUTO(free) char *said = NULL;
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.tables.config_dir = "/nonexistent";
    s.settings.tables.mta = "none";
    said = printed(&s, rules_new(), false);
    expect_in(said, "# note: Postfix can't be asked for its settings");
    expect_in(said, "# note: the table is only written when danelaw.conf says tables.mta = \"postfix\"");
    expect_in(said, "\ntransport_maps = hash:");
    expect_in(said, "\ndanelaw-dane unix - - y - - smtp\n");
    site_close(&s);
}

static void a_socket_that_is_none_is_a_fault(void **state)
{
    struct ruleset *rules = rules_new();
    struct fault why = { "" };
    struct text t;
    struct site s;

    (void)state;
    site_open(&s, "");
    s.settings.maps.socket = "/run/map.sock";
    ruleset_freeze(rules);
    text_init(&t, 65536);
    assert_false(setup_postfix(&s.settings, rules, false, &t, &why));
    expect_in(why.text, "maps.socket");
    text_done(&t);
    ruleset_unref(rules);
    site_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_samples_are_what_setup_prints),
        cmocka_unit_test(the_roads_cannot_be_talked_out_of_it),
        cmocka_unit_test(postfix_takes_the_lines_and_means_the_same),
        cmocka_unit_test(sockets_below_the_queue_work_in_a_chroot),
        cmocka_unit_test(sockets_outside_the_chroot_are_said),
        cmocka_unit_test(domains_in_other_letters_take_the_road_that_asks),
        cmocka_unit_test(inet_sockets_are_turned_around),
        cmocka_unit_test(everyones_road_is_the_default_transport),
        cmocka_unit_test(a_site_that_cannot_be_asked_gets_the_lines_and_a_warning),
        cmocka_unit_test(a_socket_that_is_none_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
