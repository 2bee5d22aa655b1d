#include "mta/pair.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * 1. The MTA only ever sees a whole index: it is made beside the old one, read back key by key, and renamed.
 * 2. Until that rename nothing of the old pair is touched; whatever fails before leaves it as it was.
 * 3. The text is renamed last, so a text that is current vouches for an index that is. Both bear the same time, to the
 *    nanosecond: whoever writes to the index afterwards gives himself away, and is_current() needs not read it.
 * 4. One process at a time: the folder is locked from the first look to the last rename.
 * 5. Who has the old index open learns that it is old: Postfix sees that its name is gone, Sendmail that it seems to be
 *    younger than when it was opened.
 *
 *     lock_folder() -> is_current() -> write_text() -> index() -> read_back() -> settle()
 *                          '-> done        '--------------'-----------'-> sweep(): the old pair stays
 */

enum { LOCK_WAIT_MS = 10000, NAME_SIZE = 256 };

/* The pair's four names in its folder, while that is open. */
struct place {
    const struct pair *pair;
    int folder;
    char path[PATH_MAX];                /* of the text, for people */
    char index[NAME_SIZE], fresh[NAME_SIZE], fresh_index[NAME_SIZE];
};

static bool open_place(const struct pair *p, bool make, struct place *ret, struct fault *why)
{
    bool made = make && mkdir(p->folder, 0755) == 0;

    *ret = (struct place){ .pair = p, .folder = -1 };
    if (snprintf(ret->path, sizeof(ret->path) - sizeof(".new"), "%s/%s", p->folder, p->name) >=
        (int)(sizeof(ret->path) - sizeof(".new")))
        return fault_set(why, "%s: too long a path", p->folder);
    snprintf(ret->index, sizeof(ret->index), "%s%s", p->name, p->suffix);
    snprintf(ret->fresh, sizeof(ret->fresh), "%s.new", p->name);
    snprintf(ret->fresh_index, sizeof(ret->fresh_index), "%s.new%s", p->name, p->suffix);
    if (make && !made && errno != EEXIST)
        return fault_set(why, "%s: cannot be made: %s", p->folder, strerror(errno));
    ret->folder = open(p->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (ret->folder < 0)
        return fault_set(why, "%s: cannot be opened: %s", p->folder, strerror(errno));
    if (made)
        fchmod(ret->folder, 0755);              /* whatever our umask is, the MTA must get in */
    return true;
}

static void close_place(struct place *at)
{
    if (at->folder >= 0)
        close(at->folder);
}

static bool lock_folder(const struct place *at, struct fault *why)
{
    int64_t until = clock_ms() + LOCK_WAIT_MS;

    while (flock(at->folder, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fault_set(why, "%s: cannot be locked: %s", at->pair->folder, strerror(errno));
        if (clock_ms() >= until)
            return fault_set(why, "%s: somebody else has been writing it for %d seconds", at->pair->folder, LOCK_WAIT_MS / 1000);
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

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_current(const struct place *at, struct fault *why)
{
    int file = openat(at->folder, at->pair->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat text, index;
    bool same;

    if (file < 0)
        return fault_set(why, "%s: cannot be opened: %s", at->path, strerror(errno));
    same = fstat(file, &text) == 0 && S_ISREG(text.st_mode) && same_bytes(file, at->pair->text);
    close(file);
    if (!same)
        return fault_set(why, "%s: is not what the connectors ask for", at->path);
    if (fstatat(at->folder, at->index, &index, AT_SYMLINK_NOFOLLOW) != 0)
        return fault_set(why, "%s%s: cannot be read: %s", at->path, at->pair->suffix, strerror(errno));
    if (!S_ISREG(index.st_mode) || index.st_size == 0 || !same_time(&index.st_mtim, &text.st_mtim))
        return fault_set(why, "%s%s: is not the index that was made of its text", at->path, at->pair->suffix);
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

static bool write_text(const struct place *at, struct fault *why)
{
    int file = openat(at->folder, at->fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    const struct text *text = at->pair->text;
    bool good;

    if (file < 0)
        return fault_set(why, "%s.new: cannot be made: %s", at->path, strerror(errno));
    good = fchmod(file, 0644) == 0 && write_all(file, text->bytes, text->length) && fsync(file) == 0;
    if (!good)
        fault_set(why, "%s.new: cannot be written: %s", at->path, strerror(errno));
    close(file);
    return good;
}

/* Gives the index the text's time. */
static bool stamp(const struct place *at, int index)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    struct stat text;

    if (fstatat(at->folder, at->fresh, &text, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    times[1] = text.st_mtim;
    return futimens(index, times) == 0;
}

/* Whoever the MTA runs as, it reads the index as it does the text. */
static bool sync_index(const struct place *at, struct fault *why)
{
    int file = openat(at->folder, at->fresh_index, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat seen;
    bool good = file >= 0 && fstat(file, &seen) == 0 && S_ISREG(seen.st_mode) && fchmod(file, 0644) == 0 &&
                stamp(at, file) && fsync(file) == 0;

    if (!good)
        fault_set(why, "%s: cannot be brought to disk: %s", at->fresh_index,
                  file < 0 ? strerror(errno) : "not a file, or a disk error");
    if (file >= 0)
        close(file);
    return good;
}

static bool sync_folder(const struct place *at, struct fault *why)
{
    return fsync(at->folder) == 0 ||
           fault_set(why, "%s: cannot be brought to disk: %s", at->pair->folder, strerror(errno));
}

/* Sendmail compares whole seconds. */
static void age(int old)
{
    struct stat seen;
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) } };

    if (old < 0 || fstat(old, &seen) != 0)
        return;
    if (times[1].tv_sec <= seen.st_mtim.tv_sec)
        times[1].tv_sec = seen.st_mtim.tv_sec + 1;
    futimens(old, times);
}

static bool rename_pair(const struct place *at, struct fault *why)
{
    int old = openat(at->folder, at->index, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool good = renameat(at->folder, at->fresh_index, at->folder, at->index) == 0;

    if (good)
        age(old);
    if (old >= 0)
        close(old);
    good = good && renameat(at->folder, at->fresh, at->folder, at->pair->name) == 0;
    return good || fault_set(why, "%s: cannot be renamed: %s", at->path, strerror(errno));
}

static bool settle(const struct place *at, struct fault *why)
{
    return sync_index(at, why) && sync_folder(at, why) && rename_pair(at, why) && sync_folder(at, why);
}

/* All that is called after the fresh table: indexers have files of their own beside it (`__db.transport.new.db`). */
static void sweep(const struct place *at)
{
    int again = openat(at->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    struct dirent *entry;
    const char *found;

    if (list == NULL) {
        if (again >= 0)
            close(again);
        return;
    }
    while ((entry = readdir(list)) != NULL) {
        found = strstr(entry->d_name, at->fresh);
        if (found != NULL && (found == entry->d_name || found[-1] == '.'))
            unlinkat(at->folder, entry->d_name, 0);
    }
    closedir(list);
}

static bool make(const struct place *at, struct fault *why)
{
    const struct pair *p = at->pair;
    char path[PATH_MAX + sizeof(".new")];
    bool good;

    snprintf(path, sizeof(path), "%s.new", at->path);
    sweep(at);
    good = write_text(at, why) && p->index(p->indexer, path, why) && p->read_back(p->indexer, path, why) && settle(at, why);
    sweep(at);
    return good;
}

bool pair_write(const struct pair *p, bool *ret_changed, struct fault *why)
{
    struct place at;
    bool current = false, good = open_place(p, true, &at, why) && lock_folder(&at, why);

    if (good)
        current = is_current(&at, NULL);
    if (good && !current)
        good = make(&at, why);
    close_place(&at);
    if (good)
        *ret_changed = !current;
    return good;
}

bool pair_current(const struct pair *p, struct fault *why)
{
    struct place at;
    bool current = open_place(p, false, &at, why) && is_current(&at, why);

    close_place(&at);
    return current;
}

static uint64_t mix(uint64_t sum, uint64_t number)
{
    sum = (sum ^ number) * 0x9e3779b97f4a7c15U;
    return sum ^ sum >> 32;
}

/* Nobody can set the time at which a file was changed. */
static uint64_t look_at(const struct stat *seen)
{
    uint64_t sum = mix(mix(1, seen->st_ino), (uint64_t)seen->st_size);

    sum = mix(mix(sum, (uint64_t)seen->st_mtim.tv_sec), (uint64_t)seen->st_mtim.tv_nsec);
    return mix(mix(sum, (uint64_t)seen->st_ctim.tv_sec), (uint64_t)seen->st_ctim.tv_nsec);
}

bool pair_look(const char *folder, const char *name, uint64_t *ret)
{
    DIR *list = opendir(folder);
    struct dirent *entry;
    struct stat seen;
    uint64_t sum = 0;

    if (list == NULL && errno != ENOENT)
        return false;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        if (strncmp(entry->d_name, name, strlen(name)) == 0 && strstr(entry->d_name, ".new") == NULL &&
            fstatat(dirfd(list), entry->d_name, &seen, AT_SYMLINK_NOFOLLOW) == 0)
            sum += look_at(&seen);
    }
    if (list != NULL)
        closedir(list);
    *ret = sum;
    return true;
}

void pair_distrust(const char *folder, const char *name)
{
    const struct timespec never[2] = { { 0 }, { 0 } };
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    (void)utimensat(AT_FDCWD, path, never, AT_SYMLINK_NOFOLLOW);    /* where there is no such file, it is not current either */
}

bool pair_there(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat seen;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return lstat(path, &seen) == 0 || errno != ENOENT;
}
