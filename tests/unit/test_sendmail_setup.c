#include "mta/setup.h"

#include "rules.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const struct route sendmail_routes[] = {
    { .name = "dane-mandatory", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_DANE_ONLY },
    { .name = "sts-mandatory", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_SECURE },
    { .name = "opportunistic", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_DANE },
};

static struct settings presets(void)
{
    struct settings set = { .milter.socket = "unix:/run/danelaw/milter.sock", .milter.budget = 3,
                            .maps.socket = "local:/run/danelaw/map.sock", .maps.budget = 4,
                            .store.directory = "/var/lib/danelaw" };

    set.tables.mta = "sendmail";
    set.tables.type = set.tables.config_dir = set.tables.postmap = "";
    return set;
}

static struct ruleset *sendmail_rules(void)
{
    struct ruleset *rules = rules_new();
    size_t i;

    for (i = 0; i < COUNT_OF(sendmail_routes); i++)
        ruleset_add_route(rules, &sendmail_routes[i]);
    return rules;
}

/* Takes the rules; gives the lines. */
static char *printed(const struct settings *set, struct ruleset *rules)
{
    struct fault why = { "" };
    struct text t;

    ruleset_freeze(rules);
    text_init(&t, 1024 * 1024);
    if (!setup_sendmail(set, rules, &t, &why))
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

/* The lines that m4 takes for what they say. */
static char *without_notes(const char *lines)
{
    struct text bare;

    text_init(&bare, 65536);
    for (; *lines != '\0'; lines += strcspn(lines, "\n") + 1) {
        if (strncmp(lines, "dnl ", 4) != 0)
            text_add(&bare, lines, strcspn(lines, "\n") + 1);
    }
    return text_give(&bare);
}

static void the_lines_are_what_the_rules_take(void **state)
{
    struct settings set = presets();
    AUTO(free) char *said = printed(&set, sendmail_rules()), *bare = without_notes(said);

    (void)state;
    assert_string_equal(bare,
                        "# sendmail.mc\n"
                        "define(`DANELAW_MAP_SOCKET', `local:/run/danelaw/map.sock')dnl\n"
                        "define(`DANELAW_MANDATORY_MAP', `/var/lib/danelaw/sendmail/mandatory')dnl\n"
                        "define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')dnl\n"
                        "INPUT_MAIL_FILTER(`danelaw', `S=local:/run/danelaw/milter.sock, F=T, T=C:30s;S:10s;R:20s;E:60s')dnl\n"
                        "undefine(`confHOST_STATUS_DIRECTORY')dnl\n"
                        "include(`" PKGDATADIR "/sendmail/danelaw.m4')dnl\n"
                        "\n# submit.mc\n"
                        "define(`confDONT_EXPAND_CNAMES', `True')dnl\n");
}

/* A note that m4 expanded would end up in sendmail.cf. */
static void every_other_line_is_a_note(void **state)
{
    struct settings set = presets();
    AUTO(free) char *said = printed(&set, sendmail_rules());
    const char *line;

    (void)state;
    for (line = strchr(said, '\n') + 1; *line != '\0'; line += strcspn(line, "\n") + 1) {
        if (strncmp(line, "dnl ", 4) != 0 && strncmp(line, "define(`", 8) != 0 && strncmp(line, "include(`", 9) != 0 &&
            strncmp(line, "INPUT_MAIL_FILTER(`", 19) != 0 && strncmp(line, "undefine(`", 10) != 0 && *line != '\n' &&
            strncmp(line, "# submit.mc\n", 12) != 0)
            fail_msg("%.*s", (int)strcspn(line, "\n"), line);
    }
}

static void what_differs_from_the_presets_is_said(void **state)
{
    struct settings set = presets();
    struct route own = { .name = "relay", .transport = "submitter", .next_hop = "[relay.example]" };
    struct route known = { .name = "plain", .transport = "esmtp", .next_hop = "[plain.example]" };
    struct ruleset *rules = sendmail_rules();
    AUTO(free) char *said = NULL;

    (void)state;
    ruleset_add_route(rules, &own);
    ruleset_add_route(rules, &known);
    set.tables.type = "btree";
    set.maps.budget = 9;
    set.milter.budget = 10;
    set.store.directory = "/srv/danelaw";
    said = printed(&set, rules);
    expect_in(said, "define(`DANELAW_MANDATORY_MAP', `/srv/danelaw/sendmail/mandatory')dnl\n");
    expect_in(said, "define(`DANELAW_MANDATORY_TYPE', `btree')dnl\n");
    expect_in(said, "define(`DANELAW_TIMEOUT', `10')dnl\n");
    expect_in(said, "define(`DANELAW_MAILERS', `danesmtp smtp esmtp smtp8 dsmtp relay submitter')dnl\n");
    expect_in(said, "dnl note: the route \"relay\" goes by the mailer \"submitter\"");
    expect_in(said, "R:41s;E:123s");
}

static void sockets_are_named_in_sendmails_words(void **state)
{
    static const struct {
        const char *spoken, *wanted;
    } sockets[] = {
        { "inet:9470@127.0.0.1", "inet:9470@127.0.0.1" }, { "inet:9470@localhost", "inet:9470@localhost" },
        { "inet:9470@::1", "inet6:9470@[::1]" },          { "inet:9470@[::1]", "inet6:9470@[::1]" },
        { "unix:/a/b.sock", "local:/a/b.sock" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(sockets); i++) {
        struct settings set = presets();
        AUTO(free) char *said = NULL;
        char map[128], milter[128];

        set.maps.socket = set.milter.socket = sockets[i].spoken;
        said = printed(&set, sendmail_rules());
        snprintf(map, sizeof(map), "`DANELAW_MAP_SOCKET', `%s')", sockets[i].wanted);
        snprintf(milter, sizeof(milter), "`S=%s, F=T", sockets[i].wanted);
        expect_in(said, map);
        expect_in(said, milter);
        if (strncmp(sockets[i].spoken, "inet", 4) == 0)
            expect_in(said, "could take the port of");
    }
}

static void a_configuration_that_is_not_ready_is_told_of(void **state)
{
    struct settings set = presets();
    AUTO(free) char *said = NULL;

    (void)state;
    set.tables.mta = "none";
    said = printed(&set, rules_new());
    expect_in(said, "dnl note: the map is only written when danelaw.conf says tables.mta = \"sendmail\"");
    expect_not_in(said, "DANELAW_MAILERS");                     /* the routes are another MTA's */
}

static void folders_that_others_may_write_to_are_told_of(void **state)
{
    char root[] = "/tmp/danelaw-setup-XXXXXX", socket[64], wanted[128];
    struct settings set = presets();
    AUTO(free) char *said = NULL;

    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(chmod(root, 0775), 0);
    snprintf(socket, sizeof(socket), "unix:%s/map.sock", root);
    snprintf(wanted, sizeof(wanted), "others than its owner may write to %s, ", root);
    set.maps.socket = socket;
    said = printed(&set, sendmail_rules());
    expect_in(said, wanted);
    expect_in(said, ": choose a path that is not below /tmp\n");        /* Sendmail makes no exception of it */
    expect_not_in(said, "chmod go-w /tmp\n");
    rmdir(root);
}

static void what_m4_cannot_quote_is_refused(void **state)
{
    struct settings set = presets();
    struct ruleset *rules = sendmail_rules();
    struct fault why = { "" };
    struct text t;

    (void)state;
    ruleset_freeze(rules);
    text_init(&t, 65536);
    set.store.directory = "/srv/it's";
    assert_false(setup_sendmail(&set, rules, &t, &why));
    assert_non_null(strstr(why.text, "quote"));
    set.store.directory = "/srv";
    set.milter.socket = "unix:/srv/a,b";
    assert_false(setup_sendmail(&set, rules, &t, &why));
    assert_non_null(strstr(why.text, "milter.socket"));
    text_done(&t);
    ruleset_unref(rules);
}

static char *rules_file(void)
{
    const char *top = getenv("srcdir");
    char path[PATH_MAX], *bytes = mem_zero(262144);
    FILE *file;

    snprintf(path, sizeof(path), "%s/conf/sendmail/danelaw.m4", top == NULL ? "." : top);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(bytes, 1, 262143, file) > 0);
    fclose(file);
    return bytes;
}

static void every_name_is_one_that_the_rules_know(void **state)
{
    static const char *const names[] = { "MAP_SOCKET", "MANDATORY_MAP", "MANDATORY_TYPE", "TIMEOUT", "MAILERS" };
    AUTO(free) char *file = rules_file();
    char wanted[64];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(names); i++) {
        snprintf(wanted, sizeof(wanted), "ifdef(`DANELAW_%s',,", names[i]);
        if (strstr(file, wanted) == NULL)
            fail_msg("danelaw.m4 has no %s", wanted);
    }
    expect_in(file, "`DANELAW_MAILERS', `danesmtp smtp esmtp smtp8 dsmtp relay')");
    expect_in(file, "`DANELAW_TIMEOUT', `5')");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lines_are_what_the_rules_take),
        cmocka_unit_test(every_other_line_is_a_note),
        cmocka_unit_test(what_differs_from_the_presets_is_said),
        cmocka_unit_test(sockets_are_named_in_sendmails_words),
        cmocka_unit_test(a_configuration_that_is_not_ready_is_told_of),
        cmocka_unit_test(folders_that_others_may_write_to_are_told_of),
        cmocka_unit_test(what_m4_cannot_quote_is_refused),
        cmocka_unit_test(every_name_is_one_that_the_rules_know),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
