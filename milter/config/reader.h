#ifndef DANELAW_CONFIG_READER_H
#define DANELAW_CONFIG_READER_H

#include "config/config.h"
#include "config/seen.h"

#include <libconfig.h>
#include <stdio.h>

/*
 * The room's own face. One configuration is read by one thread: config.c opens sources, groups.c fills tables of
 * settings from them, routes.c and connectors.c build the rules, faults.c collects what is wrong with all of that.
 */

/* A file and what it includes, parsed. */
struct source {
    config_t tree;
    const char *path;               /* lives in the reader's scratch */
    const char *folder;             /* what @include is relative to */
    struct late_text *late;         /* texts whose line libconfig gets wrong */
    size_t late_count, late_room;
    const char *spoken, *shown;     /* the file asked about last, as libconfig and as an administrator call it */
};

/* What a connector, or `defaults`, asks for, as written; filled by the table connectors_settings. */
struct wishes {
    const char *name, *comment, *smtp_dane, *mta_sts, *require, *tls, *route, *fallback, *on_hold, *probe;
    struct setting_list recipients, senders, smart_hosts, tls_match;
    uint32_t fallback_after, hold;
    bool enabled, fallback_weak, test_mode;
};

struct reader {
    struct config_report *report;
    size_t fault_count, hint_count;
    struct configuration *made;
    struct arena *scratch;          /* what is only needed while reading */
    struct wishes defaults;
    struct seen names, patterns, tested;    /* tested: the patterns of those in test_mode, who shadow others */
    const char *file_shown, *file_kept;     /* the file name last kept in the ruleset's memory */
};

/* What is being read just now: the settings of one group, where they go, and how faults call it. */
struct group {
    struct reader *reader;
    struct source *source;          /* node may be NULL: the group isn't there */
    config_setting_t *node;
    const char *before, *name, *behind;     /* `milter` `.`; `connector "` `NAME` `": `; `routes.` `NAME` `.` */
    void *target;                   /* the struct that the table's offsets point into */
    struct arena *memory;           /* of lists and, where `keep` is set, of texts */
    bool keep;                      /* texts outlive the source */
};

struct spot {
    const char *file;
    unsigned line;                  /* 0: none */
};

/* faults.c */
enum { FAULTS_SHOW_SIZE = 160 };
void faults_add(struct reader *r, struct spot at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void faults_hint(struct reader *r, struct spot at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* About a setting of the group; it need not be there (then the group's own line is named). "": about the group itself. */
void faults_setting(const struct group *g, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void faults_setting_hint(const struct group *g, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* About an entry of a list. */
void faults_item(const struct group *g, const char *name, size_t index, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A value as it is shown in a fault: no control characters, not endless. Returns ret. */
char *faults_show(const char *value, char ret[static FAULTS_SHOW_SIZE]);
/* Keeps the nearest of the names offered so far in best. */
struct nearest {
    const char *wanted, *best;
    size_t distance;
};
void faults_nearer(struct nearest *n, const char *offered);
/* `; did you mean "NAME"?` or, where nothing is near, a pointer to the manual. Returns ret. */
char *faults_offer(const struct nearest *n, char ret[static FAULTS_SHOW_SIZE]);

/* source.c: false: there is nothing to read, and a fault says why */
bool source_open(struct source *s, struct reader *r, const char *path, const char *folder);
void source_close(struct source *s);
struct spot source_spot(struct source *s, struct reader *r, const config_setting_t *at);
/* Opens a regular file that not just anybody may write to; gives its stream, or NULL. */
FILE *source_file(const char *path, struct fault *why);
/* FOLDER/NAME, or NAME where it begins with a slash; lives in memory. */
const char *source_join(struct arena *memory, const char *folder, const char *name);

/* scan.c: looks for what libconfig would swallow or die of; false: it must not see this file */
struct late_text {
    const char *file;
    unsigned line, real;            /* as libconfig says, and as it is */
};
bool scan_source(struct source *s, struct reader *r);

/* groups.c */
void groups_preset(const struct setting *known, void *target, struct arena *memory);
/* Fills the target from every member of the group; false: some were faulty (and left as they were). */
bool groups_read(const struct group *g, const struct setting *known);
bool groups_read_member(const struct group *g, const struct setting *known, const config_setting_t *node);
const struct setting *groups_find(const struct setting *known, const char *name);     /* or NULL */
/* Whether it is a `{ }` at all; false: a fault says what to write. */
bool groups_is(const struct group *g, const char *example);
bool groups_has(const struct group *g, const char *name);

/* checks.c: what is wrong with a value that is of the right kind */
void checks_value(const struct group *g, const struct setting *known);
/* What the MTA can't use; wants all of the group. */
void checks_tables(const struct group *g);
/* Sockets that would take each other's place. */
void checks_sockets(const struct group *groups, const char *const *sockets, size_t count);
bool checks_readable(const char *path, bool folder, struct fault *why);

/* patterns.c */
enum pattern_list { LIST_RECIPIENTS = 0, LIST_SENDERS };
/* before: the pattern in front of it in its list, or NULL. */
bool patterns_parse(const char *spoken, enum pattern_list list, struct arena *memory, const struct pattern *before,
                    struct pattern *ret, struct fault *why);
uint64_t patterns_hash(const struct pattern *p);
bool patterns_equal(const struct pattern *a, const struct pattern *b);
bool patterns_smart_host(const char *spoken, struct next_hop *ret, struct fault *why);
/* A name that a certificate must bear. */
bool patterns_match_name(const char *spoken, struct domain *ret, struct fault *why);
/* The list tls_match of a connector or route into the ruleset's memory. */
const char *const *patterns_match_list(const struct group *g, const struct setting_list *list, uint32_t *ret_count);

/* lists.c */
void lists_read(const struct group *g, const struct wishes *w, struct connector *c);
void lists_smart_hosts(const struct group *g, const struct wishes *w, struct connector *c);     /* wants the modes */
/* Remembers the connector, and complains if an earlier one has its name, or leaves it nothing to act on. */
void lists_file_name(const struct group *g, const struct connector *c);
void lists_file(const struct group *g, const struct wishes *w, const struct connector *c);

/* routes.c */
void routes_read(struct reader *r, struct source *s, config_setting_t *node);      /* NULL: the built-in ones alone */
/* The road of a connector, and its fallback; wants the modes and the smart hosts. */
void routes_choose(const struct group *g, const struct wishes *w, struct connector *c);
/* Whether Sendmail will read what we generate: its rules see senders, and everyone has a line. */
bool routes_for_sendmail(const struct reader *r);
/* What is worth a look about both. */
void routes_hint(const struct group *g, const struct wishes *w, const struct connector *c);

/* connectors.c */
void connectors_defaults(struct reader *r, struct source *s, config_setting_t *node);   /* NULL: presets alone */
void connectors_read(struct reader *r, struct source *s, config_setting_t *node);
/* What is worth a look once all are known and faultless. */
void connectors_hints(struct reader *r);

#endif
