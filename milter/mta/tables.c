#include "mta/tables.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "mta/own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * The table is a pair: its text `transport` and the index that Postfix reads.
 *
 * 1. Postfix only ever sees a whole index: it is made beside the old one, read back key by key, and renamed.
 * 2. Until that rename nothing of the old pair is touched; whatever fails before leaves it as it was.
 * 3. The text is renamed last, so a text that is current vouches for an index that is: is_current() needs no more.
 * 4. One process at a time: the folder is locked from the first look to the last rename.
 *
 *     draft() -> lock_folder() -> is_current() -> write_text() -> postmap_index() -> read_back() -> settle_pair()
 *                                     '-> done       '----------------'---------------'-> sweep(): the old pair stays
 */

enum { TABLE_BYTES_MAX = 256 * 1024 * 1024, LOCK_WAIT_MS = 10000 };

#define TEXT "transport"
#define FRESH TEXT ".new"
#define PROBE "nothing.danelaw.invalid"

static const struct index_kind {
    const char *type, *suffix;
} kinds[] = {
    { "hash", ".db" }, { "btree", ".db" }, { "lmdb", ".lmdb" }, { "cdb", ".cdb" },
};

/* What is to be written, and where. One thread. */
struct draft {
    struct arena *memory;
    const struct index_kind *kind;
    const char *folder, *path;
    const char *index, *fresh_index;    /* file names in the folder */
    struct postmap postmap;
    struct sheet sheet;
    struct text text;
};

static const char *joined(struct arena *memory, const char *a, const char *b)
{
    size_t length = strlen(a);
    char *made = arena_take(memory, length + strlen(b) + 1);

    memcpy(made, a, length);
    strcpy(made + length, b);
    return made;
}

static const struct index_kind *kind_of(const char *type, struct fault *why)
{
    size_t i;

    for (i = 0; i < COUNT_OF(kinds); i++) {
        if (strcmp(type, kinds[i].type) == 0)
            return &kinds[i];
    }
    fault_set(why, "tables.type: Postfix's table type \"%s\" can't be changed safely while Postfix reads it; write hash, "
              "btree, lmdb or cdb", type);
    return NULL;
}

static bool has_wrong_byte(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    }
    return false;
}

/* The settings' own words, else what Postfix says of itself. */
static bool ask_postfix(struct draft *d, const struct settings *set, struct postconf *conf, struct fault *why)
{
    static const char *const names[] = { "default_database_type", "command_directory",
                                         "parent_domain_matches_subdomains", "recipient_delimiter", NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_find(set, d->memory, conf, why) || !postconf_read(conf, true, names, values, why))
        return false;
    if (values[2] != NULL && postconf_has_word(values[2], "transport_maps"))
        return fault_set(why, "parent_domain_matches_subdomains: with transport_maps in it, Postfix takes a domain's line for "
                         "all below it, and no connector could mean just one; take it out in main.cf");
    d->sheet.extensions = values[3] == NULL || *values[3] != '\0';
    d->postmap.config_dir = set->tables.config_dir;
    d->postmap.program = set->tables.postmap;
    if (*d->postmap.program == '\0')
        d->postmap.program = joined(d->memory, values[1] == NULL ? "/usr/sbin" : values[1], "/postmap");
    d->kind = kind_of(*set->tables.type != '\0' || values[0] == NULL ? set->tables.type : values[0], why);
    return d->kind != NULL;
}

static bool fill_sheet(struct draft *d, const struct ruleset *rules, const struct postconf *conf, struct fault *why)
{
    struct tables_own own = { NULL };
    size_t i;

    sheet_add_connectors(&d->sheet, rules);
    if (sheet_has_wildcards(&d->sheet) && !own_read(conf, &d->postmap, &d->sheet, d->path, &own, why))
        return false;
    sheet_add_own(&d->sheet, &own);
    for (i = 0; i < d->sheet.count; i++) {
        if (has_wrong_byte(d->sheet.lines[i].key) || has_wrong_byte(d->sheet.lines[i].value))
            return fault_set(why, "the line for \"%.100s\" would have control characters in it", d->sheet.lines[i].key);
    }
    return true;
}

static void draft_done(struct draft *d)
{
    sheet_done(&d->sheet);
    text_done(&d->text);
    arena_free(d->memory);
}

static void draft_init(struct draft *d, const struct settings *set)
{
    *d = (struct draft){ .memory = arena_new() };
    sheet_init(&d->sheet);
    text_init(&d->text, TABLE_BYTES_MAX);
    d->folder = joined(d->memory, set->store.directory, "/postfix");
    d->path = joined(d->memory, d->folder, "/" TEXT);
}

/* The first line names the table, so that a change of type is a change of text. */
static bool draft(struct draft *d, const struct settings *set, const struct ruleset *rules, struct fault *why)
{
    struct postconf conf;

    draft_init(d, set);
    if (!ask_postfix(d, set, &conf, why) || !fill_sheet(d, rules, &conf, why))
        return false;
    d->index = joined(d->memory, TEXT, d->kind->suffix);
    d->fresh_index = joined(d->memory, FRESH, d->kind->suffix);
    text_print(&d->text, "# %s:%s\n", d->kind->type, d->path);
    sheet_print(&d->sheet, &d->text);
    return !d->text.full || fault_set(why, "%s: too long", d->path);
}

static int open_folder(const struct draft *d, bool make, struct fault *why)
{
    bool made = make && mkdir(d->folder, 0755) == 0;
    int folder;

    if (make && !made && errno != EEXIST) {
        fault_set(why, "%s: cannot be made: %s", d->folder, strerror(errno));
        return -1;
    }
    folder = open(d->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        fault_set(why, "%s: cannot be opened: %s", d->folder, strerror(errno));
    else if (made)
        fchmod(folder, 0755);                   /* whatever our umask is, Postfix must get in */
    return folder;
}

static bool lock_folder(int folder, const char *name, struct fault *why)
{
    int64_t until = clock_ms() + LOCK_WAIT_MS;

    while (flock(folder, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fault_set(why, "%s: cannot be locked: %s", name, strerror(errno));
        if (clock_ms() >= until)
            return fault_set(why, "%s: somebody else has been writing it for %d seconds", name, LOCK_WAIT_MS / 1000);
        nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    }
    return true;
}

static bool same_bytes(int file, const struct text *text)
{
    char some[64 * 1024];
    size_t at = 0;
    ssize_t got;

    while ((got = read(file, some, sizeof(some))) > 0) {
        if ((size_t)got > text->length - at || memcmp(some, text->bytes + at, (size_t)got) != 0)
            return false;
        at += (size_t)got;
    }
    return got == 0 && at == text->length;
}

static bool is_older(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool is_current(const struct draft *d, int folder, struct fault *why)
{
    int file = openat(folder, TEXT, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat text, index;
    bool same;

    if (file < 0)
        return fault_set(why, "%s: cannot be opened: %s", d->path, strerror(errno));
    same = fstat(file, &text) == 0 && S_ISREG(text.st_mode) && same_bytes(file, &d->text);
    close(file);
    if (!same)
        return fault_set(why, "%s: is not what the connectors ask for", d->path);
    if (fstatat(folder, d->index, &index, AT_SYMLINK_NOFOLLOW) != 0)
        return fault_set(why, "%s%s: cannot be read: %s", d->path, d->kind->suffix, strerror(errno));
    if (!S_ISREG(index.st_mode) || index.st_size == 0 || is_older(&index.st_mtim, &text.st_mtim))
        return fault_set(why, "%s%s: is older than its text", d->path, d->kind->suffix);
    return true;
}

static bool write_all(int file, const char *bytes, size_t length)
{
    ssize_t written;

    for (; length > 0; bytes += written, length -= (size_t)written) {
        written = write(file, bytes, length);
        if (written < 0 && errno == EINTR)
            written = 0;
        else if (written <= 0)
            return false;
    }
    return true;
}

static bool write_text(const struct draft *d, int folder, struct fault *why)
{
    int file = openat(folder, FRESH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool good;

    if (file < 0)
        return fault_set(why, "%s.new: cannot be made: %s", d->path, strerror(errno));
    good = fchmod(file, 0644) == 0 && write_all(file, d->text.bytes, d->text.length) && fsync(file) == 0;
    if (!good)
        fault_set(why, "%s.new: cannot be written: %s", d->path, strerror(errno));
    close(file);
    return good;
}

/* All lines, and nothing for a key that nobody has: an index that answers everything is as wrong as one that is empty. */
static bool compare(const struct draft *d, const char *lines, struct fault *why)
{
    size_t i;

    for (i = 0; i < d->sheet.count; i++) {
        const char *key = d->sheet.lines[i].key, *value = d->sheet.lines[i].value;
        size_t key_length = strlen(key), length = strlen(value);

        if (strncmp(lines, key, key_length) != 0 || lines[key_length] != '\t' ||
            strncmp(lines + key_length + 1, value, length) != 0 || lines[key_length + 1 + length] != '\n')
            return fault_set(why, "%s.new: the new index does not give \"%.200s\" back", d->path, key);
        lines += key_length + length + 2;
    }
    return *lines == '\0' || fault_set(why, "%s.new: the new index has more than was written", d->path);
}

static bool read_back(const struct draft *d, const char *table, struct fault *why)
{
    AUTO(free) char *lines = NULL;
    struct text keys;
    size_t i;
    bool good;

    text_init(&keys, TABLE_BYTES_MAX);
    for (i = 0; i < d->sheet.count; i++)
        text_print(&keys, "%s\n", d->sheet.lines[i].key);
    text_put(&keys, PROBE "\n");
    good = postmap_query(&d->postmap, table, &keys, &lines, why) && compare(d, lines, why);
    text_done(&keys);
    return good;
}

static bool sync_file(int folder, const char *name, struct fault *why)
{
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat seen;
    bool good = file >= 0 && fstat(file, &seen) == 0 && S_ISREG(seen.st_mode) && fsync(file) == 0;

    if (!good)
        fault_set(why, "%s: cannot be brought to disk: %s", name, file < 0 ? strerror(errno) : "not a file, or a disk error");
    if (file >= 0)
        close(file);
    return good;
}

static bool settle_pair(const struct draft *d, int folder, struct fault *why)
{
    if (!sync_file(folder, d->fresh_index, why))
        return false;
    if (fsync(folder) != 0)
        return fault_set(why, "%s: cannot be brought to disk: %s", d->folder, strerror(errno));
    if (renameat(folder, d->fresh_index, folder, d->index) != 0 || renameat(folder, FRESH, folder, TEXT) != 0)
        return fault_set(why, "%s: cannot be renamed: %s", d->path, strerror(errno));
    if (fsync(folder) != 0)
        return fault_set(why, "%s: cannot be brought to disk: %s", d->folder, strerror(errno));
    return true;
}

/* All that is called after the fresh table: postmap has files of its own beside it (`__db.transport.new.db`). */
static void sweep(int folder)
{
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    struct dirent *entry;

    if (list == NULL) {
        if (again >= 0)
            close(again);
        return;
    }
    while ((entry = readdir(list)) != NULL) {
        if (strncmp(entry->d_name, FRESH, strlen(FRESH)) == 0 || strstr(entry->d_name, "." FRESH) != NULL)
            unlinkat(folder, entry->d_name, 0);
    }
    closedir(list);
}

static bool make_pair(const struct draft *d, int folder, struct fault *why)
{
    const char *path = joined(d->memory, d->path, ".new");
    const char *table = joined(d->memory, joined(d->memory, d->kind->type, ":"), path);
    bool good;

    sweep(folder);
    good = write_text(d, folder, why) && postmap_index(&d->postmap, table, why) && read_back(d, table, why) &&
           settle_pair(d, folder, why);
    sweep(folder);
    return good;
}

static bool write_draft(const struct draft *d, bool *ret_changed, struct fault *why)
{
    int folder = open_folder(d, true, why);
    bool current = false, good = folder >= 0 && lock_folder(folder, d->folder, why);

    if (good)
        current = is_current(d, folder, NULL);
    if (good && !current)
        good = make_pair(d, folder, why);
    if (folder >= 0)
        close(folder);
    if (good)
        *ret_changed = !current;
    return good;
}

static bool is_none(const struct settings *set, bool *ret, struct fault *why)
{
    *ret = strcmp(set->tables.mta, "none") == 0;
    return *ret || strcmp(set->tables.mta, "postfix") == 0 ||
           fault_set(why, "tables.mta: \"%s\" is not available in this version", set->tables.mta);
}

bool tables_write(const struct settings *set, const struct ruleset *rules, bool *ret_changed, struct fault *why)
{
    struct draft d;
    bool none, good;

    if (!is_none(set, &none, why))
        return false;
    if (none) {
        *ret_changed = false;
        return true;
    }
    good = draft(&d, set, rules, why) && write_draft(&d, ret_changed, why);
    if (good && *ret_changed && d.sheet.tightened != NULL)
        log_warning("tables: %s takes its domain's stricter road, because Postfix would take its line for every extension of "
                    "it, too; to have it laxer, empty recipient_delimiter in main.cf", d.sheet.tightened);
    draft_done(&d);
    return good;
}

bool tables_current(const struct settings *set, const struct ruleset *rules, struct fault *why)
{
    struct draft d;
    bool none, good;
    int folder = -1;

    if (!is_none(set, &none, why))
        return false;
    if (none)
        return true;
    good = draft(&d, set, rules, why) && (folder = open_folder(&d, false, why)) >= 0 && is_current(&d, folder, why);
    if (folder >= 0)
        close(folder);
    draft_done(&d);
    return good;
}

bool tables_own(const struct settings *set, struct arena *memory, struct tables_own *ret, struct fault *why)
{
    struct draft d;
    struct postconf conf;
    bool good;

    draft_init(&d, set);
    good = ask_postfix(&d, set, &conf, why);
    conf.memory = memory;
    good = good && own_read(&conf, &d.postmap, NULL, NULL, ret, why);
    draft_done(&d);
    return good;
}

static int by_domain(const void *a, const void *b)
{
    return strcmp(a, *(const char *const *)b);
}

static bool has_key(const struct tables_own *own, const char *key)
{
    return own->count > 0 && bsearch(key, own->domains, own->count, sizeof(*own->domains), by_domain) != NULL;
}

bool tables_own_has(const struct tables_own *own, const char *domain)
{
    char below[1 + sizeof(((struct domain *)NULL)->name)];
    const char *parent;

    if (has_key(own, domain))
        return true;
    for (parent = domain_parent(domain); parent != NULL; parent = domain_parent(parent)) {
        snprintf(below, sizeof(below), ".%s", parent);
        if (has_key(own, below))
            return true;
    }
    return false;
}

bool tables_there(const struct settings *set)
{
    struct stat seen;
    struct draft d;
    bool there;

    draft_init(&d, set);
    there = lstat(d.path, &seen) == 0 || errno != ENOENT;
    draft_done(&d);
    return there;
}

bool tables_name(const struct settings *set, struct text *ret, struct fault *why)
{
    struct postconf conf;
    struct draft d;
    bool good;

    draft_init(&d, set);
    good = ask_postfix(&d, set, &conf, why);
    if (good)
        text_print(ret, "%s:%s", d.kind->type, d.path);
    draft_done(&d);
    return good;
}
