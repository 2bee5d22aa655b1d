#ifndef DANELAW_BASE_SETTINGS_H
#define DANELAW_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Every setting outside connectors and routes: its name, kind, preset and one line of help, in one place, read by config/
 * (to fill and check), by the programs (to use) and by the tests (to see that manual and samples name each).
 */
enum setting_kind {
    SETTING_TEXT,           /* const char *, never NULL */
    SETTING_FLAG,           /* bool */
    SETTING_NUMBER,         /* uint32_t */
    SETTING_DURATION,       /* uint32_t, seconds; "30s" "15m" "24h" "7d" or an integer */
    SETTING_SIZE,           /* uint64_t, octets; "64M" */
    SETTING_MODE,           /* uint32_t, file permissions; "0660" */
    SETTING_LIST,           /* struct setting_list of texts */
    SETTING_WORD,           /* const char *, one of words */
};

struct setting_list {
    const char **items;
    size_t count;
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;          /* into struct settings */
    const char *preset;     /* as one would write it; lists: items parted by blanks */
    const char *help;
    const char *words;      /* SETTING_WORD: the choices, parted by blanks */
    uint64_t least, most;   /* numbers, durations, sizes; both 0: any */
};

struct setting_group {
    const char *name;       /* "" for the top level */
    const struct setting *settings; /* ends with a NULL name */
};

struct settings {
    const char *user, *group, *pid_file, *connectors_dir;
    struct {
        const char *socket, *socket_group;
        uint32_t socket_mode, budget, clients, recipients;
        struct setting_list mailers, queue_clients;
        bool tag;
    } milter;
    struct {
        const char *socket, *socket_group;
        uint32_t socket_mode, budget, clients;
    } maps;
    struct {
        const char *socket, *socket_group;
    } control;
    struct {
        const char *listen;
        uint32_t labels;
    } http;
    struct {
        const char *trust_anchor_file, *root_hints, *when_broken;
        struct setting_list trust_anchor, forward;
        uint32_t timeout, entries, tlsa_records;
        uint64_t cache;
    } resolver;
    struct {
        const char *ca_file;
        uint32_t port, timeout, entries;
        uint64_t body;
    } sts;
    struct {
        const char *helo, *bind;
        uint32_t interval, concurrency, timeout;
    } probe;
    struct {
        const char *directory;
        uint32_t trace_days, trace_rows;
    } store;
    struct {
        const char *target, *facility, *level;
    } log;
    struct {
        const char *mta, *type, *config_dir, *postmap;
    } tables;
};

/* All groups, the top level first; ends with a NULL name. Presets with paths follow the installation's directories. */
extern const struct setting_group settings_groups[];

/* What of resolver.cache is libunbound's own, in octets. Evidence keeps all that it has said, so that it needs room only for what
 * is under way and for what many names share, as the keys of top level domains; evidence has the rest. Pure. */
uint64_t settings_unbound_cache(const struct settings *set);

#endif
