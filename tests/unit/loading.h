#ifndef DANELAW_TESTS_UNIT_LOADING_H
#define DANELAW_TESTS_UNIT_LOADING_H

#include "config/config.h"

#include "base/memory.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Every test begins in an empty folder of its own; files are named as faults name them. */

static char folder[64];

static inline int begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/danelaw-config-XXXXXX");
    umask(022);
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static inline int drop(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

static inline int end(void **state)
{
    (void)state;
    return chdir("/") != 0 || nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS) != 0;
}

static inline void put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Loads and compares everything that was said. */
static inline struct configuration *load(const char *text, const char *faults, const char *hints)
{
    struct configuration *made = NULL;
    struct config_report report;
    bool good;

    if (text != NULL)
        put("danelaw.conf", text);
    config_report_init(&report);
    good = config_load("danelaw.conf", &made, &report);
    assert_string_equal(text_words(&report.faults), faults);
    assert_string_equal(text_words(&report.hints), hints);
    assert_int_equal(good, faults[0] == '\0');
    assert_int_equal(made != NULL, good);
    config_report_done(&report);
    return made;
}

static inline struct configuration *load_good(const char *text)
{
    return load(text, "", "");
}

static inline void load_bad(const char *text, const char *faults)
{
    load(text, faults, "");
}

static inline void load_hinted(const char *text, const char *hints)
{
    config_free(load(text, "", hints));
}

static inline const struct connector *found(const struct configuration *c, const char *recipient, const char *sender)
{
    struct address to, from;

    address_parse(recipient, &to);
    address_parse(sender, &from);
    return ruleset_find(c->rules, &to, &from);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

#endif
