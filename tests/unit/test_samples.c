#include "loading.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The samples in conf/ are documentation: every setting stands there with its preset, and what they say is true. */

static char source[PATH_MAX];

static char *slurp(const char *name)
{
    char path[PATH_MAX + 64];
    FILE *file;
    struct text all;
    int c;

    snprintf(path, sizeof(path), "%s/conf/%s", source, name);
    file = fopen(path, "r");
    assert_non_null(file);
    text_init(&all, 1024 * 1024);
    while ((c = getc(file)) != EOF)
        text_add(&all, &(char){ (char)c }, 1);
    fclose(file);
    return text_give(&all);
}

/* `#name = ...` and `#   name = ...` are settings, `# Word` is prose, `##` is refused by this version. */
static bool is_setting(const char *line)
{
    const char *mark = line + strspn(line, " ");

    return mark[0] == '#' && mark[1] != '#' && mark[1] != '\n' && (mark[1] != ' ' || mark[2] == ' ');
}

static char *uncommented(const char *text)
{
    struct text all;
    const char *end;

    text_init(&all, 1024 * 1024);
    for (; *text != '\0'; text = end) {
        end = strchr(text, '\n') + 1;
        if (is_setting(text))
            text += strspn(text, " ") + 1;
        text_add(&all, text, (size_t)(end - text));
    }
    return text_give(&all);
}

static struct configuration *load_samples(bool all, const char *hints)
{
    static const char *const names[] = { "connectors.conf", "danelaw.conf" };
    size_t i;

    for (i = 0; i < COUNT_OF(names); i++) {
        char *text = slurp(names[i]), *shown = all ? uncommented(text) : mem_text(text);

        put(names[i], shown);
        free(text);
        free(shown);
    }
    return load(NULL, "", hints);
}

static void a_fresh_installation_has_no_connector(void **state)
{
    struct configuration *c = load_samples(false, "");

    (void)state;
    assert_int_equal(ruleset_count(c->rules), 0);
    assert_int_equal(ruleset_route_count(c->rules), 3);
    config_free(c);
}

static void same_list(const struct setting_list *a, const struct setting_list *b)
{
    size_t i;

    assert_int_equal(a->count, b->count);
    for (i = 0; i < a->count; i++)
        assert_string_equal(a->items[i], b->items[i]);
}

static void same_value(const struct setting *known, const struct settings *a, const struct settings *b)
{
    const char *left = (const char *)a + known->offset, *right = (const char *)b + known->offset;

    switch (known->kind) {
    case SETTING_TEXT:
    case SETTING_WORD:
        assert_string_equal(*(const char *const *)left, *(const char *const *)right);
        break;
    case SETTING_FLAG:
        assert_int_equal(*(const bool *)left, *(const bool *)right);
        break;
    case SETTING_LIST:
        same_list((const struct setting_list *)left, (const struct setting_list *)right);
        break;
    case SETTING_SIZE:
        assert_true(*(const uint64_t *)left == *(const uint64_t *)right);
        break;
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_MODE:
        assert_int_equal(*(const uint32_t *)left, *(const uint32_t *)right);
        break;
    }
}

/* The sample's paths are those of a distribution, not of a build. */
static bool is_path(const struct setting *known)
{
    return strstr(known->preset, "/danelaw") != NULL;
}

static void every_commented_setting_is_its_preset_and_every_example_loads(void **state)
{
    struct configuration *c = load_samples(
        true, "./connectors.conf:34: connector \"Payroll to the tax office\": senders: the transport table can't see senders: "
              "mail of every sender to these recipients travels the mandatory road; set milter.tag = true to loosen that for "
              "the others\n");
    struct configuration *bare = load_good("routes = { by-relay = { transport = \"by-relay\"; }; by-partner = { transport = \"by-partner\"; }; };");
    const struct setting_group *group;
    const struct setting *known;

    (void)state;
    for (group = settings_groups; group->name != NULL; group++) {
        for (known = group->settings; known->name != NULL; known++) {
            if (!is_path(known))
                same_value(known, &c->settings, &bare->settings);
        }
    }
    assert_int_equal(ruleset_count(c->rules), 9);
    assert_non_null(ruleset_route(c->rules, "by-relay"));
    assert_string_equal(ruleset_named(c->rules, "Ministry")->route->name, "sts-mandatory");
    assert_string_equal(ruleset_named(c->rules, "Clinic")->fallback->name, "by-partner");
    assert_null(ruleset_named(c->rules, "Contoso Bank")->fallback);
    assert_int_equal(ruleset_named(c->rules, "Market data")->hold, 4 * 60 * 60);
    assert_true(ruleset_named(c->rules, "Inventory")->test_mode);
    assert_int_equal(ruleset_default(c->rules)->smtp_dane, ruleset_default(bare->rules)->smtp_dane);
    assert_int_equal(ruleset_default(c->rules)->mta_sts, ruleset_default(bare->rules)->mta_sts);
    assert_int_equal(ruleset_default(c->rules)->tls, ruleset_default(bare->rules)->tls);
    assert_int_equal(ruleset_default(c->rules)->hold, ruleset_default(bare->rules)->hold);
    assert_int_equal(ruleset_default(c->rules)->test_mode, ruleset_default(bare->rules)->test_mode);
    config_free(c);
    config_free(bare);
}

/* `MARK` + `NAME = `, alone on its line. */
static bool has_line(const char *from, const char *to, const char *mark, const char *name)
{
    char wanted[80];
    const char *at;

    snprintf(wanted, sizeof(wanted), "%s%s = ", mark, name);
    for (at = strstr(from, wanted); at != NULL && at < to; at = strstr(at + 1, wanted)) {
        const char *before = at;

        while (before > from && before[-1] == ' ')
            before--;
        if (before == from || before[-1] == '\n')
            return true;
    }
    return false;
}

/* Where a group's lines begin and end; the top level is the whole file. */
static const char *group_lines(const char *text, const char *name, const char **ret_end)
{
    char opening[64];
    const char *begin;

    *ret_end = text + strlen(text);
    if (name[0] == '\0')
        return text;
    snprintf(opening, sizeof(opening), "\n%s = {\n", name);
    begin = strstr(text, opening);
    if (begin == NULL)
        return NULL;
    begin += strlen(opening);
    *ret_end = strstr(begin, "\n};\n");
    return *ret_end == NULL ? NULL : begin;
}

static void expect_all(const char *text, const char *group, const struct setting *known, const char *but)
{
    const char *end, *begin = group_lines(text, group, &end);

    if (begin == NULL)
        fail_msg("the sample has no group %s", group);
    for (; known->name != NULL; known++) {
        if (strstr(but, known->name) == NULL && !has_line(begin, end, "#", known->name))
            fail_msg("the sample lacks #%s in %s", known->name, group[0] == '\0' ? "the top level" : group);
    }
}

static void no_setting_is_missing(void **state)
{
    char *text = slurp("danelaw.conf");
    const struct setting_group *group;

    (void)state;
    for (group = settings_groups; group->name != NULL; group++)
        expect_all(text, group->name, group->settings, "");
    expect_all(text, "defaults", connectors_settings, "name enabled recipients senders smart_hosts");
    free(text);
}

static void no_setting_of_a_connector_or_a_route_is_missing(void **state)
{
    char *rules = slurp("connectors.conf"), *main_file = slurp("danelaw.conf"), word[80];
    const struct setting *known;

    (void)state;
    for (known = connectors_settings; known->name != NULL; known++) {
        snprintf(word, sizeof(word), " %s = ", known->name);
        if (strstr(rules, word) == NULL)
            fail_msg("connectors.conf lacks %s", known->name);
    }
    for (known = routes_settings; known->name != NULL; known++) {
        snprintf(word, sizeof(word), " %s = ", known->name);
        if (strstr(strstr(main_file, "\nroutes = {"), word) == NULL)
            fail_msg("danelaw.conf lacks %s in routes", known->name);
    }
    free(rules);
    free(main_file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fresh_installation_has_no_connector),
        TEST(every_commented_setting_is_its_preset_and_every_example_loads),
        TEST(no_setting_is_missing),
        TEST(no_setting_of_a_connector_or_a_route_is_missing),
    };
    const char *told = getenv("srcdir");

    if (realpath(told == NULL ? "." : told, source) == NULL)
        return 1;
    return cmocka_run_group_tests_name("samples", tests, NULL, NULL);
}
