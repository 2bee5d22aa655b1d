#include "process.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS_WANTED = 65536, DESCRIPTORS_ENOUGH = 8192, LOCK_TRIES = 450, LOCK_PAUSE_NS = 100 * 1000 * 1000, TELL_TRIES = 20,
       INHERITED_MAX = 1024, END_GRACE = 5 };

static int parent_pipe = -1;            /* to the process that waits for process_ready() */

bool process_group(const char *name, gid_t *ret, struct fault *why)
{
    const struct group *found;

    *ret = (gid_t)-1;
    if (*name == '\0')
        return true;
    found = getgrnam(name);
    if (found == NULL)
        return fault_set(why, "group \"%s\" does not exist; make it, or name another one", name);
    *ret = found->gr_gid;
    return true;
}

bool process_identity(const struct settings *set, struct identity *ret, struct fault *why)
{
    const struct passwd *found;
    gid_t group;

    *ret = (struct identity){ .uid = geteuid(), .gid = getegid() };
    if (geteuid() != 0)
        return true;                    /* root behind it, as of a set-user-ID program, goes in process_become() */
    found = getpwnam(set->user);
    if (found == NULL)
        return fault_set(why, "user \"%s\" does not exist; make it (adduser --system --group %s) or set user", set->user,
                         set->user);
    if (found->pw_uid == 0)
        return fault_set(why, "user \"%s\" is root; set user to one without privileges", set->user);
    if (!process_group(set->group, &group, why))
        return false;
    ret->uid = found->pw_uid;
    ret->gid = group == (gid_t)-1 ? found->pw_gid : group;
    ret->change = true;
    snprintf(ret->name, sizeof(ret->name), "%s", set->user);
    return true;
}

/* What the caller left open is none of our business, nor of the programs that we run. */
static void close_inherited(void)
{
    int s;

    if (syscall(SYS_close_range, (unsigned)STDERR_FILENO + 1, ~0U, 0U) == 0)
        return;
    for (s = STDERR_FILENO + 1; s < INHERITED_MAX; s++)        /* a kernel before 5.9 */
        close(s);
}

void process_begin(void)
{
    int nothing;

    umask(0022);                        /* the MTA must get to its sockets; what others must not read says so itself */
    close_inherited();
    do
        nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (nothing >= 0 && nothing <= STDERR_FILENO);
    if (nothing >= 0)
        close(nothing);
}

void process_raise_descriptors(void)
{
    struct rlimit limit, larger;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    larger = (struct rlimit){ .rlim_cur = DESCRIPTORS_WANTED, .rlim_max = DESCRIPTORS_WANTED };
    if (limit.rlim_max < DESCRIPTORS_WANTED && setrlimit(RLIMIT_NOFILE, &larger) == 0)
        return;                         /* root may */
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("cannot raise the number of descriptors to %lu: %s", (unsigned long)limit.rlim_cur, strerror(errno));
    else if (limit.rlim_cur < DESCRIPTORS_ENOUGH)
        log_warning("only %lu descriptors; many connections at once want %d (LimitNOFILE)", (unsigned long)limit.rlim_cur,
                    DESCRIPTORS_ENOUGH);
}

/* By a descriptor: its parent may be the user's already, who must not win by putting a link there in the meantime. */
static bool give_folder(const char *path, const struct identity *who, struct fault *why)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool good = folder >= 0 && fchown(folder, who->uid, who->gid) == 0;

    if (!good)
        fault_set(why, "%s: cannot give the folder to %s: %s", path, who->name, strerror(errno));
    if (folder >= 0)
        close(folder);
    return good;
}

bool process_folder(const char *path, mode_t mode, const struct identity *who, struct fault *why)
{
    AUTO(free) char *partial = mem_text(path);
    char *slash;

    for (slash = strchr(partial + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return fault_set(why, "%s: cannot make the folder: %s", partial, strerror(errno));
        *slash = '/';
    }
    if (mkdir(path, mode) != 0)
        return errno == EEXIST || fault_set(why, "%s: cannot make the folder: %s", path, strerror(errno));
    return !who->change || give_folder(path, who, why);
}

/* Pauses a little; true: a signal that ends the daemon (all are blocked by now) has come. */
static bool told_to_stop(void)
{
    struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    return sigtimedwait(&ends, NULL, &pause) > 0;
}

static bool open_lock(const char *path, const struct identity *who, int *ret, struct fault *why)
{
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat seen;

    if (lock < 0)
        return fault_set(why, "%s: cannot open the lock: %s", path, strerror(errno));
    if (fstat(lock, &seen) != 0 || !S_ISREG(seen.st_mode) || seen.st_nlink > 1) {
        close(lock);                    /* a link of the user's to somebody else's file? */
        return fault_set(why, "%s: is no plain file of its own; remove it", path);
    }
    if (who->change && fchown(lock, who->uid, who->gid) != 0)
        log_warning("%s: cannot give the lock to %s: %s", path, who->name, strerror(errno));
    *ret = lock;
    return true;
}

static bool await_lock(int lock, const char *path, struct fault *why)
{
    int tries;

    for (tries = 0; flock(lock, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fault_set(why, "%s: cannot be locked: %s", path, strerror(errno));
        if (tries == LOCK_TRIES)
            return fault_set(why, "%s: another danelawd serves this configuration; stop it first, or see `danelaw reload`", path);
        if (tries == 0)
            log_info("waiting for another danelawd to end");
        if (told_to_stop())
            return fault_set(why, "%s: told to stop while waiting for another danelawd to end", path);
    }
    return true;
}

/* Who clears the folder away when the other ends, as a service manager does, takes the file on whose lock we waited. */
static bool lock_is_at(int lock, const char *path)
{
    struct stat ours, there;

    return fstat(lock, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

bool process_lock(const char *control_path, const struct identity *who, struct fault *why)
{
    char path[512];
    int lock = -1;

    snprintf(path, sizeof(path), "%s.lock", control_path);
    while (open_lock(path, who, &lock, why)) {
        if (!await_lock(lock, path, why)) {
            close(lock);
            return false;
        }
        if (lock_is_at(lock, path))
            return true;                /* stays open, and locked, until we end */
        close(lock);
    }
    return false;
}

/*
 * Of every set, even where none are left: a service manager or a file may have given some. Only the bounding set needs a
 * privilege to be made smaller, and means nothing any more to who can't gain new ones.
 */
static bool drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);          /* fails where the kernel has none */
    return syscall(SYS_capset, &header, none) == 0;
}

static void drop_bounds(void)
{
    unsigned long one;

    for (one = 0; prctl(PR_CAPBSET_DROP, one, 0, 0, 0) == 0; one++)
        ;
}

/* In all the places where the kernel keeps it. */
static bool is_identity(const struct identity *who)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;

    return getresuid(&real, &effective, &saved) == 0 && getresgid(&real_group, &effective_group, &saved_group) == 0 &&
           real == who->uid && effective == who->uid && saved == who->uid && real_group == who->gid &&
           effective_group == who->gid && saved_group == who->gid;
}

static bool take_identity(const struct identity *who, struct fault *why)
{
    if (who->change && initgroups(who->name, who->gid) != 0)
        return fault_set(why, "cannot take the groups of user \"%s\": %s", who->name, strerror(errno));
    if (who->change)
        drop_bounds();
    if (is_identity(who))               /* where nothing is to be done, a sandbox may forbid to try */
        return true;
    return (setresgid(who->gid, who->gid, who->gid) == 0 && setresuid(who->uid, who->uid, who->uid) == 0) ||
           fault_set(why, "cannot become user %lu: %s", (unsigned long)who->uid, strerror(errno));
}

/*
 * A process that was root stays "not dumpable" to the kernel: another process of the same user can't look into it. That is
 * left so; root's debugger may, and its core goes where fs.suid_dumpable lets it.
 */
bool process_become(const struct identity *who, struct fault *why)
{
    if (!take_identity(who, why))
        return false;
    if (!drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fault_set(why, "cannot give up privileges: %s", strerror(errno));
    return (is_identity(who) && setuid(0) != 0 && seteuid(0) != 0) || fault_set(why, "could become root again after giving it up");
}

/* The parent's part: our success is the child's word. */
static _Noreturn void wait_for_child(int ear)
{
    char word = 1;
    ssize_t heard;

    do
        heard = read(ear, &word, 1);
    while (heard < 0 && errno == EINTR);
    _exit(heard == 1 ? word : 1);
}

bool process_detach(struct fault *why)
{
    int ends[2], nothing;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return fault_set(why, "cannot go to the background: %s", strerror(errno));
    child = fork();
    if (child < 0)
        return fault_set(why, "cannot go to the background: %s", strerror(errno));
    if (child > 0) {
        close(ends[1]);
        wait_for_child(ends[0]);
    }
    close(ends[0]);
    parent_pipe = ends[1];
    setsid();
    if (chdir("/") != 0)
        return fault_set(why, "cannot go to /: %s", strerror(errno));
    nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing >= 0) {
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
        dup2(nothing, STDERR_FILENO);
    }
    return true;
}

bool process_write_pid(const char *path, struct fault *why)
{
    FILE *file;
    int descriptor;

    if (*path == '\0')
        return true;
    unlink(path);
    descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (file == NULL)
        return fault_set(why, "%s: cannot write the process id: %s", path, strerror(errno));
    fprintf(file, "%ld\n", (long)getpid());
    return fclose(file) == 0 || fault_set(why, "%s: cannot write the process id: %s", path, strerror(errno));
}

/* Whoever waits for this word would end us without it. */
static bool tell(const struct sockaddr_un *to, socklen_t size, const char *words)
{
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), reason;
    bool told = s >= 0 && sendto(s, words, strlen(words), MSG_NOSIGNAL, (const struct sockaddr *)to, size) >= 0;

    reason = errno;
    if (s >= 0)
        close(s);
    errno = reason;
    return told;
}

/* sd_notify(3) without its library. */
static void tell_manager(const char *words)
{
    const char *where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    socklen_t size;
    bool told = false;
    int tries;

    if (where == NULL || strlen(where) >= sizeof(to.sun_path))
        return;
    strcpy(to.sun_path, where);
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(where));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    for (tries = 0; !told && tries < TELL_TRIES; tries++) {
        if (tries > 0)
            nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_NS }, NULL);
        told = tell(&to, size, words);
    }
    if (!told)
        log_warning("cannot tell the service manager that we are ready: %s", strerror(errno));
}

static void *end_body(void *seconds)
{
    nanosleep(&(struct timespec){ .tv_sec = *(const unsigned *)seconds }, NULL);
    log_error("the end takes too long; ending at once");
    log_flush();
    _exit(EXIT_FAILURE);
}

void process_end_within(unsigned seconds)
{
    static unsigned limit;
    pthread_t watch;

    limit = seconds;
    thread_start(&watch, "end", end_body, &limit);
    pthread_detach(watch);
    alarm(seconds + END_GRACE);         /* should even that one hang */
}

void process_ready(void)
{
    char good = 0;

    tell_manager("READY=1");
    if (parent_pipe < 0)
        return;
    if (write(parent_pipe, &good, 1) != 1)
        log_warning("nobody waited for us to be ready");
    close(parent_pipe);
    parent_pipe = -1;
}
