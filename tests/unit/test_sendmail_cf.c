#include "mta/sendmail_cf.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* A sendmail.cf in a folder of its own. */
struct site {
    char folder[64];
    struct arena *memory;
    struct sendmail_cf cf;
    struct fault why;
};

static void put(const struct site *s, const char *name, const char *lines)
{
    char path[PATH_MAX];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(lines, file);
    fclose(file);
}

static void take_down(const struct site *s, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    unlink(path);
}

static int open_site(void **state)
{
    struct site *s = calloc(1, sizeof(*s));

    strcpy(s->folder, "/tmp/danelaw-cf-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    s->memory = arena_new();
    *state = s;
    return 0;
}

static int close_site(void **state)
{
    struct site *s = *state;

    sendmail_cf_done(&s->cf);
    take_down(s, "sendmail.cf");
    take_down(s, "names");
    rmdir(s->folder);
    arena_free(s->memory);
    free(s);
    return 0;
}

static void begin(struct site *s, const char *lines)
{
    put(s, "sendmail.cf", lines);
    sendmail_cf_done(&s->cf);
    assert_true(sendmail_cf_read(s->folder, s->memory, &s->cf, &s->why));
}

/* The file `names` of the folder, between what stands before and behind its path. */
static void begin_with_file(struct site *s, const char *before, const char *behind)
{
    char lines[PATH_MAX];

    snprintf(lines, sizeof(lines), "V10\n%s%s/names%s\n", before, s->folder, behind);
    begin(s, lines);
}

/* The members, parted by blanks; NULL: they can't be told. */
static const char *members(struct site *s, const char *name)
{
    static char all[1024];
    const char *const *items;
    size_t count, i;

    if (!sendmail_cf_class(&s->cf, name, &items, &count, &s->why))
        return NULL;
    all[0] = '\0';
    for (i = 0; i < count; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i == 0 ? "" : " ", items[i]);
    return all;
}

static void lines_are_joined_and_numbered(void **state)
{
    struct site *s = *state;

    begin(s, "# a remark\n\nV10/Debian\nMesmtp,\tP=[IPC], F=mDFMuXa,\n\t\tA=TCP $h\nDnMAILER-DAEMON\n");
    assert_int_equal(s->cf.count, 3);
    assert_int_equal(s->cf.lines[1].command, 'M');
    assert_int_equal(s->cf.lines[1].number, 4);
    assert_string_equal(s->cf.lines[1].text, "esmtp,\tP=[IPC], F=mDFMuXa, \t\tA=TCP $h");
    assert_int_equal(s->cf.lines[2].number, 6);
}

static void comments_end_a_line_unless_escaped(void **state)
{
    struct site *s = *state;

    begin(s, "V10\nCw one # two\nC{x}a\\#b\nR$+ \t $#local $: $1\n# three\n four\n");
    assert_string_equal(members(s, "w"), "one");
    assert_string_equal(members(s, "{x}"), "a#b");
    assert_string_equal(s->cf.lines[3].text, "$+ \t $#local $: $1");
    assert_int_equal(s->cf.count, 4);
}

static void what_is_no_configuration_is_refused(void **state)
{
    struct site *s = *state;

    assert_false(sendmail_cf_read(s->folder, s->memory, &s->cf, &s->why));
    assert_non_null(strstr(s->why.text, "sendmail.cf: cannot be opened"));
    put(s, "sendmail.cf", "hello\n");
    assert_false(sendmail_cf_read(s->folder, s->memory, &s->cf, &s->why));
    assert_non_null(strstr(s->why.text, "no configuration of Sendmail"));
}

static void options_go_by_name_and_the_last_word_counts(void **state)
{
    struct site *s = *state;

    begin(s, "V10\nO PrivacyOptions=authwarnings\nO Timeout.queuereturn=5d\nO privacyoptions = goaway\nOQ/var\n");
    assert_string_equal(sendmail_cf_option(&s->cf, "PrivacyOptions"), "goaway");
    assert_string_equal(sendmail_cf_option(&s->cf, "Timeout.queuereturn"), "5d");
    assert_null(sendmail_cf_option(&s->cf, "Timeout"));
    assert_null(sendmail_cf_option(&s->cf, "Q"));
}

static void maps_are_found_by_name(void **state)
{
    struct site *s = *state;

    begin(s, "V10\nKmailertable hash -T<TMPF> -o /etc/mail/mailertable\nKmail dequote\n");
    assert_string_equal(sendmail_cf_map(&s->cf, "mailertable"), "hash -T<TMPF> -o /etc/mail/mailertable");
    assert_string_equal(sendmail_cf_map(&s->cf, "mail"), "dequote");
    assert_null(sendmail_cf_map(&s->cf, "mailer"));
}

static void classes_gather_from_all_their_lines(void **state)
{
    struct site *s = *state;

    put(s, "names", "# ours\nshop.example # the shop\n\n  mail.example\tsecond\n");
    begin_with_file(s, "Cw localhost here.example\nCW other\nFw", "\nC{w}last");
    assert_string_equal(members(s, "w"), "localhost here.example shop.example mail.example last");
    assert_string_equal(members(s, "W"), "other");
    assert_string_equal(members(s, "{VirtHost}"), "");
}

static void a_format_says_where_a_name_ends(void **state)
{
    struct site *s = *state;

    put(s, "names", "a.example b.example # remark\nc.example\n");
    begin_with_file(s, "F{VirtHost}-o ", " %[^\\#]");
    assert_string_equal(members(s, "{VirtHost}"), "a.example b.example c.example");
    begin_with_file(s, "F{VirtHost}-o ", " %*s %s");
    assert_null(members(s, "{VirtHost}"));
    assert_non_null(strstr(s->why.text, "format \"%*s %s\""));
}

static void only_an_optional_file_may_be_missing(void **state)
{
    struct site *s = *state;

    begin_with_file(s, "FR-o ", "\nCR relayed.example");
    assert_string_equal(members(s, "R"), "relayed.example");
    begin_with_file(s, "FR", "");
    assert_null(members(s, "R"));
    assert_non_null(strstr(s->why.text, "class R: "));
}

static void what_a_map_or_program_says_is_not_known(void **state)
{
    struct site *s = *state;

    begin(s, "V10\nF{x}@hash:/etc/mail/x\nF{y}|/usr/bin/names\nF{z}key@ldap:-k (&(a=b))\n");
    assert_null(members(s, "{x}"));
    assert_non_null(strstr(s->why.text, "class {x}: it is filled from a map"));
    assert_null(members(s, "{y}"));
    assert_non_null(strstr(s->why.text, "program"));
    assert_null(members(s, "{z}"));
}

static void macros_become_what_the_lines_say(void **state)
{
    struct site *s = *state;
    char host[256] = "";

    begin(s, "V10\nDDexample\nD{Name}shop.$D\nDL$L\nCw $D ${Name} $&{Name} x$Q.y\nC{v}$j\nC{loop}$L\n");
    assert_string_equal(members(s, "w"), "example shop.example shop.example x.y");
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    assert_string_equal(members(s, "{v}"), host);
    assert_string_equal(members(s, "{loop}"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_are_joined_and_numbered, open_site, close_site),
        cmocka_unit_test_setup_teardown(comments_end_a_line_unless_escaped, open_site, close_site),
        cmocka_unit_test_setup_teardown(what_is_no_configuration_is_refused, open_site, close_site),
        cmocka_unit_test_setup_teardown(options_go_by_name_and_the_last_word_counts, open_site, close_site),
        cmocka_unit_test_setup_teardown(maps_are_found_by_name, open_site, close_site),
        cmocka_unit_test_setup_teardown(classes_gather_from_all_their_lines, open_site, close_site),
        cmocka_unit_test_setup_teardown(a_format_says_where_a_name_ends, open_site, close_site),
        cmocka_unit_test_setup_teardown(only_an_optional_file_may_be_missing, open_site, close_site),
        cmocka_unit_test_setup_teardown(what_a_map_or_program_says_is_not_known, open_site, close_site),
        cmocka_unit_test_setup_teardown(macros_become_what_the_lines_say, open_site, close_site),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
