/*
 * Bad luck, on order: a library for LD_PRELOAD whose calls fail now and then, as those of a machine in trouble do.
 *
 * UNLUCKY names a file that holds a struct orders; it is mapped, so that its writer (luck.py) may change the rules and read
 * the counts while the program runs. Without it, and where a kind of call has no errors, everything goes to the C library.
 *
 * A call fails before it has done anything. Standard input, output and error never fail; nor do the descriptors that only wake
 * a thread (eventfd, epoll): the kernel has no way to refuse those. stdio reads and writes past us; only its opening fails.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* As KINDS of luck.py. */
enum kind { MEMORY, OPEN, SOCKET, ACCEPT, CONNECT, READ, WRITE, RECEIVE, SEND, TALK, SYNC, TRUNCATE, RENAME, MAP, WATCH,
            CHANNEL, THREAD, PROGRAM, WAIT, KINDS };

struct rule {
    int32_t errors[4];          /* in turns */
    uint32_t error_count;       /* 0: this kind is left alone */
    uint32_t every;             /* each so many-th call fails */
    uint64_t at;                /* this call fails, counted from 1 */
    uint64_t lasting;           /* 1: and all behind it */
    uint32_t chance, seed;      /* so many of 65536 fail */
    uint32_t stacks, unused;    /* 1: of all calls that come the same way only the first counts */
    _Atomic uint64_t calls, failed;
};

struct orders {
    uint32_t tell;              /* 1: each failure shows its stack on standard error */
    char below[252];            /* files: only those below this folder; empty: all */
    struct rule rules[KINDS];
};

static struct orders *orders;

static __attribute__((constructor)) void take_orders(void)
{
    const char *path = getenv("UNLUCKY");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *first[1], *mapped;

    if (file < 0)
        return;
    backtrace(first, 1);        /* it takes memory the first time */
    mapped = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    orders = mapped == MAP_FAILED ? NULL : mapped;
}

/* Whether this kind of call is watched at all. */
static bool watched(enum kind kind)
{
    return orders != NULL && orders->rules[kind].error_count > 0;
}

static bool by_chance(const struct rule *r, uint64_t call)
{
    uint64_t mixed = (call + r->seed) * 0x9e3779b97f4a7c15u;

    mixed = (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9u;
    return ((mixed >> 32) & 0xffff) < r->chance;
}

/* The first call with this stack, as far as ten frames tell. */
static bool is_fresh(enum kind kind)
{
    static _Atomic uint64_t seen[1 << 16];
    uint64_t hash = (uint64_t)kind + 1, none = 0;
    void *frames[12];
    int count = backtrace(frames, 12), i;
    size_t at;

    for (i = 2; i < count; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 0x9e3779b97f4a7c15u;
    for (at = hash >> 48;; at = (at + 1) & 0xffff, none = 0) {
        if (atomic_compare_exchange_strong(&seen[at], &none, hash))
            return true;
        if (none == hash)
            return false;
    }
}

static void show(enum kind kind, uint64_t call)
{
    void *frames[24];
    char line[64];
    int length = snprintf(line, sizeof(line), "unlucky: kind %d, call %llu\n", (int)kind, (unsigned long long)call);

    if (write(STDERR_FILENO, line, (size_t)length) == length)
        backtrace_symbols_fd(frames, backtrace(frames, 24), STDERR_FILENO);
}

/* Counts a call; true: it fails, with errno. */
static bool fails(enum kind kind)
{
    static _Thread_local bool busy;
    struct rule *r;
    uint64_t call;

    if (!watched(kind) || busy)
        return false;
    r = &orders->rules[kind];
    busy = true;
    if (r->stacks && !is_fresh(kind)) {
        busy = false;
        return false;
    }
    busy = false;
    call = atomic_fetch_add(&r->calls, 1) + 1;
    if (!(r->every > 0 && call % r->every == 0) && !(r->at > 0 && (call == r->at || (r->lasting && call > r->at))) &&
        !(r->chance > 0 && by_chance(r, call)))
        return false;
    busy = true;
    if (orders->tell)
        show(kind, call);
    busy = false;
    errno = r->errors[atomic_fetch_add(&r->failed, 1) % r->error_count];
    return true;
}

/* Files */

static bool is_below(const char *path)
{
    size_t length = strlen(orders->below);

    return strncmp(path, orders->below, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool at_below(int folder, const char *path)
{
    char link[32], name[4096];
    ssize_t length;

    if (orders->below[0] == '\0')
        return true;
    if (path != NULL && (path[0] == '/' || folder == AT_FDCWD))
        return is_below(path);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
    length = readlink(link, name, sizeof(name) - 1);
    name[length < 0 ? 0 : length] = '\0';
    return is_below(name);
}

static bool path_fails(enum kind kind, int folder, const char *path)
{
    return watched(kind) && at_below(folder, path) && fails(kind);
}

static bool file_fails(enum kind kind, int file)
{
    return file > STDERR_FILENO && path_fails(kind, file, NULL);
}

/* A read or write is of the kind that its descriptor is. */
static bool wire_fails(int fd, enum kind on_file, enum kind on_socket)
{
    int before = errno;
    struct stat seen;
    bool failed;

    if (fd <= STDERR_FILENO || (!watched(on_file) && !watched(on_socket) && !watched(TALK)) || fstat(fd, &seen) != 0) {
        errno = before;
        return false;
    }
    errno = before;
    failed = (S_ISREG(seen.st_mode) && file_fails(on_file, fd)) || (S_ISSOCK(seen.st_mode) && fails(on_socket)) ||
             (S_ISFIFO(seen.st_mode) && fails(TALK));
    return failed;
}

/* The calls */

#define REAL(name)                                  \
    static __typeof__(&name) real;                  \
                                                    \
    if (real == NULL)                               \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define CALL(type, name, parameters, arguments, failing, failure) \
    type name parameters                                          \
    {                                                             \
        REAL(name);                                               \
        return failing ? failure : real arguments;                \
    }

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return fails(MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(MEMORY) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(MEMORY) ? NULL : __libc_realloc(old, size);
}

static mode_t mode_of(int flags, va_list more)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}

#define OPENING(name, parameters, folder, ...)                                     \
    int name parameters                                                            \
    {                                                                              \
        mode_t mode;                                                               \
        va_list more;                                                              \
        REAL(name);                                                                \
                                                                                   \
        va_start(more, flags);                                                     \
        mode = mode_of(flags, more);                                               \
        va_end(more);                                                              \
        return path_fails(OPEN, folder, path) ? -1 : real(__VA_ARGS__, flags, mode); \
    }

OPENING(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPENING(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPENING(openat, (int folder, const char *path, int flags, ...), folder, folder, path)
OPENING(openat64, (int folder, const char *path, int flags, ...), folder, folder, path)
CALL(FILE *, fopen, (const char *path, const char *how), (path, how), path_fails(OPEN, AT_FDCWD, path), NULL)
CALL(FILE *, fopen64, (const char *path, const char *how), (path, how), path_fails(OPEN, AT_FDCWD, path), NULL)
CALL(int, rename, (const char *from, const char *to), (from, to), path_fails(RENAME, AT_FDCWD, from), -1)
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), path_fails(RENAME, a, from), -1)
CALL(int, fsync, (int file), (file), file_fails(SYNC, file), -1)
CALL(int, fdatasync, (int file), (file), file_fails(SYNC, file), -1)
CALL(int, ftruncate, (int file, off_t size), (file, size), file_fails(TRUNCATE, file), -1)
CALL(int, ftruncate64, (int file, off64_t size), (file, size), file_fails(TRUNCATE, file), -1)
CALL(ssize_t, pread, (int file, void *to, size_t size, off_t at), (file, to, size, at), file_fails(READ, file), -1)
CALL(ssize_t, pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at), file_fails(READ, file), -1)
CALL(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at), file_fails(WRITE, file), -1)
CALL(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at), file_fails(WRITE, file), -1)
CALL(void *, mmap, (void *where, size_t size, int access, int how, int file, off_t at), (where, size, access, how, file, at),
     (file < 0 ? fails(MAP) : file_fails(MAP, file)), MAP_FAILED)
CALL(void *, mmap64, (void *where, size_t size, int access, int how, int file, off64_t at),
     (where, size, access, how, file, at), (file < 0 ? fails(MAP) : file_fails(MAP, file)), MAP_FAILED)

CALL(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size), wire_fails(fd, READ, RECEIVE), -1)
CALL(ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count), wire_fails(fd, READ, RECEIVE), -1)
CALL(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size), wire_fails(fd, WRITE, SEND), -1)
CALL(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count), wire_fails(fd, WRITE, SEND), -1)
CALL(ssize_t, recv, (int s, void *to, size_t size, int how), (s, to, size, how), fails(RECEIVE), -1)
CALL(ssize_t, recvfrom, (int s, void *to, size_t size, int how, __SOCKADDR_ARG who, socklen_t *length),
     (s, to, size, how, who, length), fails(RECEIVE), -1)
CALL(ssize_t, recvmsg, (int s, struct msghdr *to, int how), (s, to, how), fails(RECEIVE), -1)
CALL(ssize_t, send, (int s, const void *from, size_t size, int how), (s, from, size, how), fails(SEND), -1)
CALL(ssize_t, sendto, (int s, const void *from, size_t size, int how, __CONST_SOCKADDR_ARG who, socklen_t length),
     (s, from, size, how, who, length), fails(SEND), -1)
CALL(ssize_t, sendmsg, (int s, const struct msghdr *from, int how), (s, from, how), fails(SEND), -1)

/* Sockets, channels, threads, programs */

CALL(int, socket, (int family, int type, int protocol), (family, type, protocol), fails(SOCKET), -1)
CALL(int, connect, (int s, __CONST_SOCKADDR_ARG who, socklen_t length), (s, who, length), fails(CONNECT), -1)
CALL(int, accept, (int s, __SOCKADDR_ARG who, socklen_t *length), (s, who, length), fails(ACCEPT), -1)
CALL(int, accept4, (int s, __SOCKADDR_ARG who, socklen_t *length, int flags), (s, who, length, flags), fails(ACCEPT), -1)
CALL(int, socketpair, (int family, int type, int protocol, int ends[2]), (family, type, protocol, ends), fails(CHANNEL), -1)
CALL(int, pipe, (int ends[2]), (ends), fails(CHANNEL), -1)
CALL(int, pipe2, (int ends[2], int flags), (ends, flags), fails(CHANNEL), -1)
CALL(int, eventfd, (unsigned int value, int flags), (value, flags), fails(CHANNEL), -1)
CALL(int, signalfd, (int fd, const sigset_t *which, int flags), (fd, which, flags), fails(CHANNEL), -1)
CALL(int, epoll_create, (int size), (size), fails(CHANNEL), -1)
CALL(int, epoll_create1, (int flags), (flags), fails(CHANNEL), -1)
CALL(int, epoll_ctl, (int poll, int what, int fd, struct epoll_event *event), (poll, what, fd, event),
     (what == EPOLL_CTL_ADD && fails(WATCH)), -1)
CALL(int, epoll_wait, (int poll, struct epoll_event *events, int most, int ms), (poll, events, most, ms), fails(WAIT), -1)
CALL(int, poll, (struct pollfd *fds, nfds_t count, int ms), (fds, count, ms), fails(WAIT), -1)
CALL(pid_t, waitpid, (pid_t child, int *status, int how), (child, status, how), fails(WAIT), -1)
CALL(pid_t, fork, (void), (), fails(PROGRAM), -1)
CALL(int, pthread_create, (pthread_t *thread, const pthread_attr_t *how, void *(*body)(void *), void *argument),
     (thread, how, body, argument), fails(THREAD), errno)
CALL(int, posix_spawn, (pid_t *child, const char *path, const posix_spawn_file_actions_t *files, const posix_spawnattr_t *how,
     char *const arguments[], char *const environment[]), (child, path, files, how, arguments, environment), fails(PROGRAM),
     errno)
