/*
 * With the real SQLite, each test in a folder of its own. What needs a disk that is full or read-only mounts one in a
 * private mount namespace, and skips itself where we may not.
 */
#include "store/policies.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include <cmocka.h>

enum { NOW = 1700000000, WEEK = 604800, WAIT_MS = 60000 };

/* Time: the real one, and what a test adds to it */

static _Atomic int64_t ahead;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + ahead;
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - ahead);
}

/* What is said loudly */

static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said[64 * 1024];

static void hear(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static void hear(const char *format, va_list args)
{
    size_t length;

    pthread_mutex_lock(&said_lock);
    length = strlen(said);
    vsnprintf(said + length, sizeof(said) - length - 1, format, args);
    strcat(said, "\n");
    pthread_mutex_unlock(&said_lock);
}

void __wrap_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void __wrap_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

void __wrap_log_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hear(format, args);
    va_end(args);
}

void __wrap_log_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hear(format, args);
    va_end(args);
}

static int heard(const char *words)
{
    const char *at = said;
    int count = 0;

    pthread_mutex_lock(&said_lock);
    while ((at = strstr(at, words)) != NULL) {
        count++;
        at++;
    }
    pthread_mutex_unlock(&said_lock);
    return count;
}

/* A folder, and what runs in it */

static char base[256], folder[300];
static struct settings settings;
static struct store *store;
static struct policies *policies;

static void path_of(const char *name, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s", folder, name);
}

static void open_with(size_t entries)
{
    settings.store.directory = folder;
    store = store_open(&settings);
    policies = policies_open(store, entries, NOW);
}

static void open_all(void)
{
    open_with(1000);
}

static void close_all(void)
{
    policies_close(policies);
    store_close(store);
    policies = NULL;
    store = NULL;
}

static void pause_ms(long ms)
{
    struct timespec span = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&span, NULL);
}

static struct store_status status(void)
{
    struct store_status now;

    store_status(store, &now);
    return now;
}

static void settle(void)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (status().waiting > 0 && __real_clock_ms() < until)
        pause_ms(5);
    assert_int_equal(status().waiting, 0);
}

static void until_good(bool good)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (status().good != good && __real_clock_ms() < until)
        pause_ms(5);
    assert_int_equal(status().good, good);
}

static void until_dropped(void)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (status().dropped == 0 && __real_clock_ms() < until)
        pause_ms(5);
    assert_true(status().dropped > 0);
}

/* Something to wake the writer with; it leaves no trace. */
static bool run_nothing(struct store_job *self, struct writer *w)
{
    (void)self;
    (void)w;
    return true;
}

static void free_job(struct store_job *self)
{
    free(self);
}

static void push_job(bool (*run)(struct store_job *, struct writer *), bool dispensable)
{
    struct store_job *job = mem_zero(sizeof(*job));

    job->run = run;
    job->free = free_job;
    job->dispensable = dispensable;
    store_push(store, job);
}

/* The next try is due. */
static void time_passes(int64_t ms)
{
    ahead += ms;
    push_job(run_nothing, true);
}

static struct domain named(const char *name)
{
    struct domain d;

    assert_true(domain_parse(name, &d, NULL));
    return d;
}

static bool put_at(const char *name, const char *id, unsigned max_age, const char *more, int64_t now)
{
    struct domain d = named(name);
    struct sts_policy *policy;
    char *body;
    bool kept;

    assert_true(asprintf(&body, "version: STSv1\nmode: enforce\nmax_age: %u\nmx: mx.%s\n%s", max_age, name, more) > 0);
    assert_true(sts_policy_parse(body, strlen(body), &policy, NULL));
    kept = policies_put(policies, &d, id, policy, body, strlen(body), now);
    sts_policy_unref(policy);
    free(body);
    return kept;
}

static bool put(const char *name, const char *id, unsigned max_age)
{
    return put_at(name, id, max_age, "", NOW);
}

static bool has_at(const char *name, const char *id, int64_t now)
{
    struct domain d = named(name);
    struct kept_policy kept;
    char host[300];
    bool same;

    if (!policies_get(policies, &d, now, &kept))
        return false;
    snprintf(host, sizeof(host), "mx.%s", name);
    same = strcmp(kept.id, id) == 0 && sts_policy_lists(kept.policy, host);
    sts_policy_unref(kept.policy);
    assert_true(same);
    return true;
}

static bool has(const char *name, const char *id)
{
    return has_at(name, id, NOW);
}

/* The file, past the store */

static sqlite3 *open_file(void)
{
    char path[400];
    sqlite3 *db;

    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, WAIT_MS);
    return db;
}

static void sql(const char *words)
{
    sqlite3 *db = open_file();

    assert_int_equal(sqlite3_exec(db, words, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int ask(const char *words)
{
    sqlite3 *db = open_file();
    sqlite3_stmt *statement;
    int answer;

    assert_int_equal(sqlite3_prepare_v2(db, words, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    answer = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return answer;
}

/* As above; -1: it can't be had now. */
static int try_to_ask(const char *words)
{
    sqlite3_stmt *statement = NULL;
    char path[400];
    int answer = -1;
    sqlite3 *db;

    path_of("danelaw.db", path, sizeof(path));
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, words, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        answer = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return answer;
}

/* Until the file has so many; what the store lost is written anew some time later. */
static void until_kept(int count)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (try_to_ask("SELECT count(*) FROM policies") != count && __real_clock_ms() < until)
        pause_ms(5);
    assert_int_equal(try_to_ask("SELECT count(*) FROM policies"), count);
}

static void until_heard(const char *words)
{
    int64_t until = __real_clock_ms() + WAIT_MS;

    while (heard(words) == 0 && __real_clock_ms() < until)
        pause_ms(5);
    assert_true(heard(words) >= 1);
}

static void scribble(const char *name, off_t at, size_t length)
{
    char path[400];
    size_t i;
    int fd;

    path_of(name, path, sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (i = 0; i < length; i++)
        assert_int_equal(pwrite(fd, &"garbage!"[i % 8], 1, at + (off_t)i), 1);
    close(fd);
}

static bool there(const char *name)
{
    char path[400];

    path_of(name, path, sizeof(path));
    return access(path, F_OK) == 0;
}

/* How many files stand aside, each counted with its log as one, which may be all there is; the path of the last (or NULL). */
static int list_asides(char *ret, size_t size)
{
    static const char start[] = "danelaw.db.corrupt-";
    size_t plain = strlen("danelaw.db.corrupt-20240101T000000"), i;
    char names[32][64];
    DIR *dir = opendir(folder);
    struct dirent *found;
    size_t count = 0;

    assert_non_null(dir);
    while (count < COUNT_OF(names) && (found = readdir(dir)) != NULL) {
        if (strncmp(found->d_name, start, strlen(start)) != 0)
            continue;
        assert_in_range(strlen(found->d_name), plain, sizeof(names[0]) - 1);
        strcpy(names[count], found->d_name);
        names[count][plain + strcspn(names[count] + plain, "-")] = '\0';
        for (i = 0; strcmp(names[i], names[count]) != 0; i++)
            ;
        if (i < count)
            continue;
        if (ret != NULL)
            path_of(names[count], ret, size);
        count++;
    }
    closedir(dir);
    return (int)count;
}

static int asides(void)
{
    return list_asides(NULL, 0);
}

static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *found;
    char inner[1024];

    if (dir == NULL)
        return;
    while ((found = readdir(dir)) != NULL) {
        snprintf(inner, sizeof(inner), "%s/%s", path, found->d_name);
        if (found->d_name[0] != '.' && unlink(inner) != 0)
            rmdir(inner);
    }
    closedir(dir);
}

static int begin(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(base, sizeof(base), "%s/policies.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(base) == NULL)
        return -1;
    snprintf(folder, sizeof(folder), "%s", base);
    said[0] = '\0';
    ahead = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    close_all();
    if (strcmp(folder, base) != 0) {
        umount2(folder, MNT_DETACH);
        rmdir(folder);
    }
    empty_folder(base);
    return rmdir(base);
}

/* A small disk of our own below the folder, which becomes the store's directory. */
static void mount_disk(const char *size)
{
    char options[64];

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        skip();
    snprintf(folder, sizeof(folder), "%s/disk", base);
    snprintf(options, sizeof(options), "size=%s", size);
    assert_int_equal(mkdir(folder, 0700), 0);
    if (mount("tmpfs", folder, "tmpfs", 0, options) != 0) {
        rmdir(folder);
        snprintf(folder, sizeof(folder), "%s", base);
        skip();
    }
}

static void remount(unsigned long flags)
{
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | flags, NULL), 0);
}

static void fill_disk(void)
{
    static char block[1024];
    char path[400];
    int fd;

    path_of("filler", path, sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void free_disk(void)
{
    char path[400];

    path_of("filler", path, sizeof(path));
    assert_int_equal(unlink(path), 0);
}

/* Keeping */

static void a_policy_lives_through_a_restart(void **state)
{
    struct domain d = named("a.example");
    struct kept_policy kept;
    struct stat st;
    char path[400];

    (void)state;
    open_all();
    assert_true(put("a.example", "one", WEEK));
    assert_true(put("b.example", "two", 60));
    assert_true(has("a.example", "one"));
    assert_false(has("c.example", ""));
    close_all();
    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    open_all();
    assert_int_equal(policies_count(policies), 2);
    assert_true(policies_get(policies, &d, NOW, &kept));
    assert_string_equal(kept.id, "one");
    assert_int_equal(kept.fetched_at, NOW);
    assert_int_equal(kept.checked_at, NOW);
    assert_int_equal(kept.expires_at, NOW + WEEK);
    assert_int_equal(kept.policy->mode, STS_MODE_ENFORCE);
    sts_policy_unref(kept.policy);
    assert_true(has("b.example", "two"));
    assert_string_equal(said, "");
    assert_true(ask("PRAGMA user_version") >= 1);
}

static void a_permissive_file_is_closed_to_others(void **state)
{
    struct stat st;
    char path[400];

    (void)state;
    open_all();
    close_all();
    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(chmod(path, 0644), 0);
    open_all();
    put("a.example", "one", WEEK);
    settle();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    path_of("danelaw.db-wal", path, sizeof(path));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_later_policy_takes_the_place_of_the_first(void **state)
{
    (void)state;
    open_all();
    put("a.example", "one", WEEK);
    put_at("a.example", "two", 60, "note: new\n", NOW + 10);
    assert_true(has_at("a.example", "two", NOW + 69));
    assert_false(has_at("a.example", "two", NOW + 70));
    assert_int_equal(policies_count(policies), 1);
    close_all();
    open_all();
    assert_true(has("a.example", "two"));
    assert_int_equal(ask("SELECT count(*) FROM policies"), 1);
    assert_int_equal(ask("SELECT CAST(body AS TEXT) LIKE '%note: new%' FROM policies"), 1);
}

static void a_touched_policy_lives_on(void **state)
{
    struct domain d = named("a.example"), none = named("b.example");
    struct kept_policy kept;

    (void)state;
    open_all();
    put("a.example", "one", 100);
    policies_checked(policies, &d, NOW + 20);
    assert_true(policies_get(policies, &d, NOW, &kept));
    assert_int_equal(kept.checked_at, NOW + 20);
    assert_int_equal(kept.fetched_at, NOW);
    assert_int_equal(kept.expires_at, NOW + 100);
    sts_policy_unref(kept.policy);
    assert_true(policies_touch(policies, &d, NOW + 50));
    assert_false(policies_touch(policies, &none, NOW));
    assert_true(has_at("a.example", "one", NOW + 149));
    assert_false(has_at("a.example", "one", NOW + 150));
    assert_false(policies_touch(policies, &d, NOW + 150));
    close_all();
    open_all();
    assert_true(has_at("a.example", "one", NOW + 149));
}

static void a_clock_that_is_set_back_makes_no_policy_live_on(void **state)
{
    (void)state;
    open_all();
    put("a.example", "one", 100);
    ahead += 99 * 1000;
    assert_true(has_at("a.example", "one", NOW - WEEK));
    ahead += 2 * 1000;
    assert_false(has_at("a.example", "one", NOW - WEEK));
    put("b.example", "one", 100);
    close_all();
    store = store_open(&settings);
    policies = policies_open(store, 10, NOW - WEEK);        /* a row from the future */
    assert_true(has_at("b.example", "one", NOW - WEEK));
    ahead += 101 * 1000;
    assert_false(has_at("b.example", "one", NOW - WEEK));
}

static void a_max_age_of_0_is_not_kept(void **state)
{
    (void)state;
    open_all();
    assert_false(put("a.example", "one", 0));
    assert_false(has("a.example", "one"));
    put("b.example", "one", WEEK);
    assert_false(put("b.example", "two", 0));
    assert_false(has("b.example", "one"));
    close_all();
    assert_int_equal(ask("SELECT count(*) FROM policies"), 0);
}

static void a_dropped_policy_stays_away(void **state)
{
    struct domain d = named("a.example");

    (void)state;
    open_all();
    put("a.example", "one", WEEK);
    settle();
    assert_true(policies_drop(policies, &d));
    assert_false(policies_drop(policies, &d));
    assert_false(has("a.example", "one"));
    close_all();
    open_all();
    assert_int_equal(policies_count(policies), 0);
    put("a.example", "one", WEEK);
    policies_drop(policies, &d);
    put("a.example", "two", WEEK);
    close_all();
    open_all();
    assert_true(has("a.example", "two"));
}

static void an_expired_policy_goes(void **state)
{
    (void)state;
    open_all();
    put("a.example", "one", 100);
    put("b.example", "one", 7200);
    settle();
    assert_true(has_at("a.example", "one", NOW + 99));
    assert_false(has_at("a.example", "one", NOW + 100));
    policies_purge(policies, NOW + 100);
    assert_int_equal(policies_count(policies), 1);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM policies"), 1);
    put_at("c.example", "one", WEEK, "", NOW + 7300);       /* a put purges hourly */
    assert_int_equal(policies_count(policies), 1);
}

static void an_expired_row_is_not_read(void **state)
{
    (void)state;
    open_all();
    put("a.example", "one", 100);
    close_all();
    store = store_open(&settings);
    policies = policies_open(store, 10, NOW + 100);
    assert_int_equal(policies_count(policies), 0);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM policies"), 0);
}

/* Giving way */

static void the_expired_give_way_then_who_expires_soonest(void **state)
{
    (void)state;
    open_with(3);
    put("long.example", "1", 5000);
    put("short.example", "1", 100);
    put("middle.example", "1", 1000);
    put_at("a.example", "1", 50, "", NOW + 200);            /* short.example has expired */
    assert_false(has("short.example", "1"));
    assert_int_equal(policies_count(policies), 3);
    put_at("b.example", "1", 2000, "", NOW + 210);          /* a.example would be next */
    assert_false(has("a.example", "1"));
    put_at("c.example", "1", 10, "", NOW + 220);            /* the newcomer never gives way */
    assert_false(has("middle.example", "1"));
    assert_true(has_at("c.example", "1", NOW + 220));
    put_at("long.example", "2", 5000, "", NOW + 221);       /* who is there already takes nobody's place */
    assert_int_equal(policies_count(policies), 3);
    close_all();
    open_with(3);
    assert_true(has("long.example", "2"));
    assert_true(has("b.example", "1"));
    assert_true(has("c.example", "1"));
    assert_int_equal(ask("SELECT count(*) FROM policies"), 3);
}

static void the_fattest_give_way_where_octets_are_short(void **state)
{
    char *fat = malloc(60001), name[64];
    size_t i;

    (void)state;
    memset(fat, 'x', 60000);
    memcpy(fat, "note:", 5);
    fat[60000] = '\0';
    open_with(100);                                         /* 400 KiB */
    for (i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "small%zu.example", i);
        put(name, "1", 100);
    }
    for (i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "fat%zu.example", i);
        put_at(name, "1", WEEK, fat, NOW);
    }
    for (i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "small%zu.example", i);
        assert_true(has(name, "1"));
    }
    assert_true(policies_count(policies) < 55);
    assert_true(has("fat19.example", "1"));
    free(fat);
}

static void past_the_limit_those_that_expire_last_are_read(void **state)
{
    (void)state;
    open_with(10);
    put("a.example", "1", 100);
    put("b.example", "1", 300);
    put("c.example", "1", 200);
    close_all();
    open_with(2);
    assert_int_equal(policies_count(policies), 2);
    assert_false(has("a.example", "1"));
    settle();
    assert_int_equal(ask("SELECT count(*) FROM policies"), 2);
}

static bool note_name(void *self, const struct domain *domain, const struct kept_policy *kept)
{
    strcat(self, domain->name);
    strcat(self, kept->policy->mode == STS_MODE_ENFORCE ? "," : "?");
    return strstr(self, "c.example") == NULL;
}

static void the_list_is_by_name_and_ends_when_told(void **state)
{
    char list[256] = "";

    (void)state;
    open_all();
    put("d.example", "1", WEEK);
    put("c.example", "1", WEEK);
    put("a.example", "1", WEEK);
    put("b.example", "1", 10);
    policies_each(policies, NOW + 10, note_name, list);
    assert_string_equal(list, "a.example,c.example,");
}

/* Rows that nobody would write */

static void a_row_that_no_longer_reads_is_dropped_and_said(void **state)
{
    (void)state;
    open_all();
    put("a.example", "1", WEEK);
    put("b.example", "1", WEEK);
    put("c.example", "1", WEEK);
    close_all();
    sql("UPDATE policies SET body = 'version: STSv7' WHERE domain = 'b.example';"
        "UPDATE policies SET id = '123456789012345678901234567890123' WHERE domain = 'c.example';"
        "INSERT INTO policies VALUES ('not a name', '1', 'x', 0, 0, 9999999999)");
    open_all();
    assert_int_equal(policies_count(policies), 1);
    assert_int_equal(heard("b.example can't be read any more"), 1);
    assert_int_equal(heard("c.example can't be read any more"), 1);
    assert_int_equal(heard("no domain name"), 1);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM policies WHERE domain LIKE '%.example'"), 1);
}

/* Broken files */

static void fill(void)
{
    char name[64];
    int i;

    for (i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "d%d.example", i);
        put(name, "1", WEEK);
    }
}

/* Whatever happened to the old file, a new one works, and survives. */
static void check_new_file(int expected_asides)
{
    assert_true(status().good);
    assert_int_equal(asides(), expected_asides);
    put("new.example", "1", WEEK);
    close_all();
    open_all();
    assert_true(has("new.example", "1"));
    assert_int_equal(asides(), expected_asides);
}

static void a_scribbled_header_is_moved_aside(void **state)
{
    char path[700], head[9] = "";
    int fd;

    (void)state;
    open_all();
    fill();
    close_all();
    scribble("danelaw.db", 0, 100);
    open_all();
    assert_int_equal(heard("is kept as danelaw.db.corrupt-"), 1);
    assert_int_equal(policies_count(policies), 0);
    check_new_file(1);
    list_asides(path, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, head, 8), 8);
    close(fd);
    assert_string_equal(head, "garbage!");
}

static void a_scribbled_page_is_moved_aside(void **state)
{
    (void)state;
    open_all();
    fill();
    close_all();
    scribble("danelaw.db", 4096, 16384);
    open_all();
    check_new_file(1);
}

static void a_cut_file_is_moved_aside(void **state)
{
    char path[400];

    (void)state;
    open_all();
    fill();
    close_all();
    path_of("danelaw.db", path, sizeof(path));
    assert_int_equal(truncate(path, 10000), 0);
    open_all();
    check_new_file(1);
}

static void some_octets_are_moved_aside(void **state)
{
    (void)state;
    scribble("danelaw.db", 0, 10);
    open_all();
    check_new_file(1);
}

static void an_empty_file_is_a_new_store(void **state)
{
    (void)state;
    scribble("danelaw.db", 0, 0);
    open_all();
    check_new_file(0);
}

static void a_log_without_its_file_is_moved_aside(void **state)
{
    (void)state;
    scribble("danelaw.db-wal", 0, 100);
    open_all();
    assert_int_equal(heard("left its log"), 1);
    check_new_file(1);
}

static void a_newer_schema_is_moved_aside_untouched(void **state)
{
    char from[700], to[700];

    (void)state;
    open_all();
    fill();
    close_all();
    sql("PRAGMA user_version = 99");
    open_all();
    assert_int_equal(heard("its schema has version 99, ours is "), 1);
    assert_int_equal(policies_count(policies), 0);
    check_new_file(1);
    close_all();
    list_asides(from, sizeof(from));
    path_of("danelaw.db", to, sizeof(to));
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(ask("PRAGMA user_version"), 99);
    assert_int_equal(ask("SELECT count(*) FROM policies"), 200);
}

static void a_newer_schema_keeps_its_log(void **state)
{
    char path[800];
    sqlite3 *db;

    (void)state;
    db = open_file();
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA user_version = 97; CREATE TABLE t (x);"
                                      "INSERT INTO t VALUES (1)", NULL, NULL, NULL), SQLITE_OK);
    open_all();                                     /* as if an old process still had it */
    list_asides(path, sizeof(path));
    strcat(path, "-wal");
    assert_int_equal(access(path, F_OK), 0);
    assert_true(status().good);
    put("a.example", "1", WEEK);
    settle();
    sqlite3_close(db);
    assert_int_equal(ask("SELECT count(*) FROM policies"), 1);
    close_all();
    open_all();
    assert_true(has("a.example", "1"));
}

static void a_strangers_database_is_moved_aside(void **state)
{
    (void)state;
    sql("CREATE TABLE addresses (name)");
    open_all();
    assert_int_equal(heard("none of ours"), 1);
    check_new_file(1);
}

static void two_broken_files_in_a_second_have_two_names(void **state)
{
    (void)state;
    scribble("danelaw.db", 0, 1000);
    open_all();
    close_all();
    scribble("danelaw.db", 0, 1000);
    open_all();
    assert_int_equal(asides(), 2);
    assert_true(status().good);
}

static void broken_files_do_not_fill_the_disk(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < 21; i++) {
        scribble("danelaw.db", 0, 1000);
        open_all();
        assert_int_equal(status().good, i < 20);
        close_all();
    }
    open_all();
    assert_int_equal(heard("there are 20 such files already"), 2);
    put("a.example", "1", WEEK);
    assert_true(has("a.example", "1"));
    empty_folder(folder);
    time_passes(6000);
    until_good(true);
}

static bool no_row(struct store_query *self, struct sqlite3_stmt *statement)
{
    (void)self;
    (void)statement;
    return true;
}

static void a_file_that_breaks_while_we_run_is_made_anew(void **state)
{
    struct store_query q = { .sql = "SELECT * FROM policies", .row = no_row };
    struct fault why;

    (void)state;
    open_all();
    fill();
    settle();
    scribble("danelaw.db", 0, 200000);
    scribble("danelaw.db-wal", 32, 200000);
    assert_false(store_read(store, &q, &why));
    put("late.example", "1", WEEK);
    until_heard("is kept as danelaw.db.corrupt-");
    until_kept(201);
    until_good(true);
    assert_true(asides() >= 1);
    assert_true(has("d7.example", "1"));
    close_all();
    open_all();
    assert_int_equal(policies_count(policies), 201);
    assert_true(has("d199.example", "1"));
    assert_true(has("late.example", "1"));
}

static void a_file_that_is_deleted_while_we_run_is_made_anew(void **state)
{
    (void)state;
    open_all();
    fill();
    settle();
    empty_folder(folder);
    put("late.example", "1", WEEK);
    until_heard("moved or deleted");
    until_kept(201);
    assert_int_equal(heard("moved or deleted"), 1);
    close_all();
    open_all();
    assert_int_equal(policies_count(policies), 201);
}

/* Disks */

static void without_a_directory_memory_serves(void **state)
{
    int64_t start;

    (void)state;
    snprintf(folder, sizeof(folder), "%.200s/none", base);
    open_all();
    assert_false(status().good);
    assert_true(strstr(status().why.text, "No such file") != NULL);
    put("a.example", "1", WEEK);
    assert_true(has("a.example", "1"));
    time_passes(6000);
    pause_ms(50);
    time_passes(6000);
    pause_ms(50);
    assert_int_equal(heard("running on from memory"), 1);
    assert_int_equal(mkdir(folder, 0700), 0);
    time_passes(6000);
    until_good(true);
    assert_int_equal(heard("can be written again"), 1);
    settle();
    close_all();
    open_all();
    assert_true(has("a.example", "1"));
    close_all();
    empty_folder(folder);
    assert_int_equal(rmdir(folder), 0);
    open_all();
    put("a.example", "1", WEEK);
    start = __real_clock_ms();
    close_all();
    assert_true(__real_clock_ms() - start < 30000);
    assert_true(heard("records unwritten") == 1);
    snprintf(folder, sizeof(folder), "%s", base);
}

/* The rows were there before us, only we could not see them. */
static void what_the_store_kept_is_read_when_it_comes_back(void **state)
{
    int64_t now = (int64_t)clock_wall(), until;     /* which the store looks at when it is back */
    char place[320], away[320];

    (void)state;
    open_all();
    put_at("old.example", "1", WEEK, "", now);
    put_at("both.example", "1", WEEK, "", now);
    close_all();
    snprintf(place, sizeof(place), "%s/danelaw.db", folder);
    snprintf(away, sizeof(away), "%s/away", folder);
    assert_int_equal(rename(place, away), 0);
    assert_int_equal(mkdir(place, 0700), 0);        /* nothing can be opened there */
    open_all();
    assert_false(status().good);
    put_at("both.example", "2", WEEK, "", now);
    assert_int_equal(rmdir(place), 0);
    assert_int_equal(rename(away, place), 0);
    time_passes(6000);
    until_good(true);
    for (until = __real_clock_ms() + WAIT_MS; !has("old.example", "1") && __real_clock_ms() < until;)
        pause_ms(5);
    settle();
    assert_true(has("old.example", "1"));
    assert_true(has("both.example", "2"));
    close_all();
    open_all();
    assert_true(has("old.example", "1"));
    assert_true(has("both.example", "2"));
}

static void a_read_only_store_is_read(void **state)
{
    (void)state;
    mount_disk("4m");
    open_all();
    put("a.example", "1", WEEK);
    close_all();
    remount(MS_RDONLY);
    open_all();
    assert_false(status().good);
    assert_int_equal(heard("running on from memory"), 1);
    assert_true(has("a.example", "1"));
    put("b.example", "1", WEEK);
    assert_true(has("b.example", "1"));
    time_passes(6000);
    pause_ms(100);
    assert_false(status().good);
    remount(0);
    time_passes(6000);
    until_good(true);
    settle();
    assert_int_equal(heard("can be written again"), 1);
    close_all();
    open_all();
    assert_true(has("a.example", "1"));
    assert_true(has("b.example", "1"));
    assert_int_equal(asides(), 0);
}

static void a_store_that_was_killed_is_read_on_a_read_only_disk(void **state)
{
    char to[400];

    (void)state;
    mount_disk("4m");
    open_all();
    put("a.example", "1", WEEK);
    settle();
    assert_true(there("danelaw.db-wal"));
    /* what a kill leaves: the file and its log, as they are now */
    snprintf(to, sizeof(to), "cd '%s' && mkdir k && cp danelaw.db danelaw.db-wal danelaw.db-shm k/", folder);
    assert_int_equal(system(to), 0);
    close_all();
    snprintf(to, sizeof(to), "cd '%s' && mv k/* . && rmdir k", folder);
    assert_int_equal(system(to), 0);
    remount(MS_RDONLY);
    open_all();
    assert_false(status().good);
    assert_true(has("a.example", "1"));
}

static void a_directory_that_turns_read_only_comes_back(void **state)
{
    (void)state;
    mount_disk("4m");
    open_all();
    put("a.example", "1", WEEK);
    settle();
    close_all();
    open_all();
    /* a disk with open files can't be made read-only, so take the directory from under them */
    assert_int_equal(mount("tmpfs", folder, "tmpfs", MS_RDONLY, "size=64k"), 0);
    put("b.example", "1", WEEK);
    until_good(false);
    assert_true(has("a.example", "1"));
    assert_int_equal(umount2(folder, 0), 0);
    time_passes(6000);
    until_good(true);
    until_kept(2);
    close_all();
    open_all();
    assert_true(has("a.example", "1"));
    assert_true(has("b.example", "1"));
}

static void a_full_disk_costs_nothing_but_time(void **state)
{
    struct store_status now;
    char name[64], *fat = malloc(20001);
    int i;

    (void)state;
    memset(fat, 'x', 20000);
    memcpy(fat, "note:", 5);
    fat[20000] = '\0';
    mount_disk("2m");
    open_all();
    put("a.example", "1", WEEK);
    settle();
    fill_disk();
    for (i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "d%d.example", i);
        put_at(name, "1", WEEK, fat, NOW);
    }
    until_good(false);
    now = status();
    assert_true(strstr(now.why.text, "full") != NULL);
    assert_int_equal(now.waiting, 20);
    assert_true(has("d19.example", "1"));
    time_passes(6000);
    until_dropped();                                /* what may be; the rest waits */
    assert_int_equal(heard("running on from memory"), 1);
    assert_false(status().good);
    free_disk();
    time_passes(6000);
    until_good(true);
    settle();
    assert_int_equal(heard("can be written again"), 1);
    assert_int_equal(asides(), 0);
    close_all();
    open_all();
    assert_int_equal(policies_count(policies), 21);
    free(fat);
}

static void a_disk_that_is_full_at_start_is_read(void **state)
{
    (void)state;
    mount_disk("1m");
    open_all();
    put("a.example", "1", WEEK);
    close_all();
    fill_disk();
    open_all();
    assert_true(has("a.example", "1"));
    put("b.example", "1", WEEK);
    until_good(false);
    assert_true(has("b.example", "1"));
    free_disk();
    time_passes(6000);
    until_good(true);
    settle();
    close_all();
    open_all();
    assert_true(has("a.example", "1"));
    assert_true(has("b.example", "1"));
    assert_int_equal(asides(), 0);
}

static void an_empty_full_disk_lets_us_start(void **state)
{
    (void)state;
    mount_disk("64k");
    fill_disk();
    open_all();
    put("a.example", "1", WEEK);
    assert_true(has("a.example", "1"));
    pause_ms(200);
    assert_false(status().good);
}

/* Jobs */

static bool run_badly(struct store_job *self, struct writer *w)
{
    struct sqlite3_stmt *statement = writer_prepare(w, "INSERT INTO policies VALUES ('x', NULL, 'x', 0, 0, 0)");

    (void)self;
    return statement != NULL && writer_step(w, statement);
}

static void one_bad_job_does_not_hold_up_the_rest(void **state)
{
    (void)state;
    open_all();
    put("a.example", "1", WEEK);
    push_job(run_badly, false);
    push_job(run_badly, true);
    put("b.example", "1", WEEK);
    settle();
    assert_true(status().good);
    assert_int_equal(status().dropped, 2);
    assert_int_equal(heard("one record can't be written"), 2);
    assert_int_equal(ask("SELECT count(*) FROM policies"), 2);
}

static void a_queue_without_end_is_cut(void **state)
{
    static const char renewed[] = "SELECT count(*) FROM policies WHERE id = '2'";
    struct domain d = named("c.example");
    int64_t until;
    int i;

    (void)state;
    snprintf(folder, sizeof(folder), "%.200s/none", base);
    open_all();
    ahead -= 3600 * 1000;                           /* no other try meanwhile */
    put("b.example", "1", WEEK);
    put("c.example", "1", WEEK);
    for (i = 0; i < 20000; i++)
        push_job(run_nothing, true);
    assert_in_range(status().waiting, 16000, 20000);
    for (i = 0; i < 66000; i++)
        push_job(run_nothing, false);
    assert_int_equal(status().waiting, 65536);
    put("a.example", "2", WEEK);
    policies_drop(policies, &d);
    assert_int_equal(status().waiting, 65536);
    assert_int_equal(mkdir(folder, 0700), 0);
    time_passes(3600 * 1000 + 6000);
    until_good(true);
    settle();
    for (until = __real_clock_ms() + WAIT_MS; try_to_ask(renewed) != 1 && __real_clock_ms() < until;)
        pause_ms(5);                                /* what was lost is written anew */
    until_kept(2);
    close_all();
    open_all();
    assert_true(has("a.example", "2"));
    assert_true(has("b.example", "1"));
    assert_int_equal(policies_count(policies), 2);
    assert_true(heard("records were dropped") >= 1);
    close_all();
    empty_folder(folder);
    rmdir(folder);
    snprintf(folder, sizeof(folder), "%s", base);
}

static void another_process_that_writes_is_waited_for(void **state)
{
    sqlite3 *db;

    (void)state;
    open_all();
    settle();
    db = open_file();
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    put("a.example", "1", WEEK);
    pause_ms(500);
    assert_int_equal(status().waiting, 1);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    settle();
    assert_true(status().good);
    assert_string_equal(said, "");
}

/* Kill */

/* In a process of its own: puts a policy every few ms, and says each that is written. Ends by being killed. */
static int put_for_ever(const char *where)
{
    uint64_t before, told = 0;
    char name[64];
    int i;

    snprintf(folder, sizeof(folder), "%s", where);
    open_all();
    settle();
    before = status().written;
    for (i = 0; i < 1000 || status().waiting > 0; i++) {
        snprintf(name, sizeof(name), "d%d.example", i);
        if (i < 1000)
            put(name, "1", WEEK);
        for (; told < status().written - before; told++) {
            if (write(STDOUT_FILENO, "+", 1) != 1)
                return 1;
        }
        pause_ms(10);
    }
    return 1;
}

static void a_put_survives_kill_9_once_it_is_written(void **state)
{
    int pipes[2], i, told = 0;
    char name[64], mark;
    pid_t child;

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_policies", "put", folder, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    while (told < 50 && read(pipes[0], &mark, 1) == 1)
        told++;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    while (read(pipes[0], &mark, 1) == 1)
        told++;
    close(pipes[0]);
    assert_true(told >= 50);
    open_all();
    assert_true(status().good);
    for (i = 0; i < told; i++) {
        snprintf(name, sizeof(name), "d%d.example", i);
        assert_true(has(name, "1"));
    }
    assert_int_equal(asides(), 0);
}

/* Many at once */

static atomic_bool enough;

static bool count_one(void *self, const struct domain *domain, const struct kept_policy *kept)
{
    (void)domain;
    *(size_t *)self += kept->policy->mx_count;
    return true;
}

static void *meddle(void *argument)
{
    unsigned seed = (unsigned)(size_t)argument, round = 0;
    struct kept_policy kept;
    struct domain d;
    char name[64];
    size_t sum = 0;

    while (!atomic_load(&enough)) {
        snprintf(name, sizeof(name), "d%d.example", rand_r(&seed) % 60);
        d = named(name);
        switch (rand_r(&seed) % 8) {
        case 0:
        case 1:
            put_at(name, "1", 1 + (unsigned)rand_r(&seed) % 1000, "", NOW + round % 100);
            break;
        case 2:
            policies_touch(policies, &d, NOW + round % 100);
            break;
        case 3:
            policies_drop(policies, &d);
            break;
        case 4:
            if (round++ % 20 == 0)
                policies_each(policies, NOW, count_one, &sum);
            if (round % 50 == 0)
                policies_purge(policies, NOW + 50);
            break;
        default:
            if (policies_get(policies, &d, NOW, &kept))
                sts_policy_unref(kept.policy);
        }
    }
    return NULL;
}

static void many_threads_agree(void **state)
{
    pthread_t threads[4];
    size_t i;
    int in_memory;

    (void)state;
    open_with(40);
    atomic_store(&enough, false);
    for (i = 0; i < COUNT_OF(threads); i++)
        thread_start(&threads[i], "meddle", meddle, (void *)(i + 1));
    pause_ms(700);
    atomic_store(&enough, true);
    for (i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    settle();
    in_memory = (int)policies_count(policies);
    assert_true(in_memory <= 40);
    policies_purge(policies, NOW + 150);
    settle();
    assert_int_equal(ask("SELECT count(*) FROM policies"), policies_count(policies));
}

/* How long it takes */

static void ten_thousand_policies_are_read_quickly(void **state)
{
    int64_t start, put_ms, write_ms, open_ms, read_ms;
    char name[64];
    int i;

    (void)state;
    open_with(10000);
    start = __real_clock_ms();
    for (i = 0; i < 10000; i++) {
        snprintf(name, sizeof(name), "partner-%d.example", i);
        put_at(name, "20240101T000000", WEEK, "mx: *.mail.protection.example\nmx: backup.example.net\n", NOW);
    }
    put_ms = __real_clock_ms() - start;
    settle();
    write_ms = __real_clock_ms() - start;
    close_all();
    start = __real_clock_ms();
    store = store_open(&settings);
    open_ms = __real_clock_ms() - start;
    start = __real_clock_ms();
    policies = policies_open(store, 10000, NOW);
    read_ms = __real_clock_ms() - start;
    assert_int_equal(policies_count(policies), 10000);
    print_message("10,000 policies: put in %lld ms, written after %lld, file opened and checked in %lld, read in %lld\n",
                  (long long)put_ms, (long long)write_ms, (long long)open_ms, (long long)read_ms);
    assert_true(read_ms < 5000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_policy_lives_through_a_restart, begin, end),
        cmocka_unit_test_setup_teardown(a_permissive_file_is_closed_to_others, begin, end),
        cmocka_unit_test_setup_teardown(a_later_policy_takes_the_place_of_the_first, begin, end),
        cmocka_unit_test_setup_teardown(a_touched_policy_lives_on, begin, end),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back_makes_no_policy_live_on, begin, end),
        cmocka_unit_test_setup_teardown(a_max_age_of_0_is_not_kept, begin, end),
        cmocka_unit_test_setup_teardown(a_dropped_policy_stays_away, begin, end),
        cmocka_unit_test_setup_teardown(an_expired_policy_goes, begin, end),
        cmocka_unit_test_setup_teardown(an_expired_row_is_not_read, begin, end),
        cmocka_unit_test_setup_teardown(the_expired_give_way_then_who_expires_soonest, begin, end),
        cmocka_unit_test_setup_teardown(the_fattest_give_way_where_octets_are_short, begin, end),
        cmocka_unit_test_setup_teardown(past_the_limit_those_that_expire_last_are_read, begin, end),
        cmocka_unit_test_setup_teardown(the_list_is_by_name_and_ends_when_told, begin, end),
        cmocka_unit_test_setup_teardown(a_row_that_no_longer_reads_is_dropped_and_said, begin, end),
        cmocka_unit_test_setup_teardown(a_scribbled_header_is_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(a_scribbled_page_is_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(a_cut_file_is_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(some_octets_are_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(an_empty_file_is_a_new_store, begin, end),
        cmocka_unit_test_setup_teardown(a_log_without_its_file_is_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(a_newer_schema_is_moved_aside_untouched, begin, end),
        cmocka_unit_test_setup_teardown(a_newer_schema_keeps_its_log, begin, end),
        cmocka_unit_test_setup_teardown(a_strangers_database_is_moved_aside, begin, end),
        cmocka_unit_test_setup_teardown(two_broken_files_in_a_second_have_two_names, begin, end),
        cmocka_unit_test_setup_teardown(broken_files_do_not_fill_the_disk, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_breaks_while_we_run_is_made_anew, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_is_deleted_while_we_run_is_made_anew, begin, end),
        cmocka_unit_test_setup_teardown(without_a_directory_memory_serves, begin, end),
        cmocka_unit_test_setup_teardown(what_the_store_kept_is_read_when_it_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(a_read_only_store_is_read, begin, end),
        cmocka_unit_test_setup_teardown(a_store_that_was_killed_is_read_on_a_read_only_disk, begin, end),
        cmocka_unit_test_setup_teardown(a_directory_that_turns_read_only_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_nothing_but_time, begin, end),
        cmocka_unit_test_setup_teardown(a_disk_that_is_full_at_start_is_read, begin, end),
        cmocka_unit_test_setup_teardown(an_empty_full_disk_lets_us_start, begin, end),
        cmocka_unit_test_setup_teardown(one_bad_job_does_not_hold_up_the_rest, begin, end),
        cmocka_unit_test_setup_teardown(a_queue_without_end_is_cut, begin, end),
        cmocka_unit_test_setup_teardown(another_process_that_writes_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(a_put_survives_kill_9_once_it_is_written, begin, end),
        cmocka_unit_test_setup_teardown(many_threads_agree, begin, end),
        cmocka_unit_test_setup_teardown(ten_thousand_policies_are_read_quickly, begin, end),
    };

    if (argc == 3 && strcmp(argv[1], "put") == 0)
        return put_for_ever(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
