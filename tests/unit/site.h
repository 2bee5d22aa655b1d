#ifndef DANELAW_TESTS_SITE_H
#define DANELAW_TESTS_SITE_H

#include "base/settings.h"
#include "policy/ruleset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A site of our own in a folder of its own: main.cf, master.cf and Danelaw's state. The system's Postfix is only run. */
struct site {
    char root[64];
    char config[96], state[96], postmap[96];
    struct settings settings;
};

/* main_cf: lines of its own. Skips the test where Postfix isn't installed. */
void site_open(struct site *s, const char *main_cf);
void site_close(struct site *s);
/* A file below the site's root: write, read (gives; NULL: none), remove. */
void site_write(const struct site *s, const char *name, const char *text);
char *site_read(const struct site *s, const char *name, size_t *ret_length);
void site_index(const struct site *s, const char *table);           /* `hash:name` below the root */
/* Puts a script in place of postmap. $REAL is the real one. */
void site_fake_postmap(struct site *s, const char *script);

/* Rules with the built-in routes and (default); freeze them before use. */
struct ruleset *rules_new(void);
/* recipients: patterns as in a configuration, parted by blanks. */
struct connector *rules_add(struct ruleset *rules, const char *name, enum mode dane, enum mode sts, const char *recipients);
void rules_senders(struct ruleset *rules, struct connector *c, const char *senders);
void rules_smart_hosts(struct ruleset *rules, struct connector *c, const char *hosts);

#endif
