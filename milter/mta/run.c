#include "mta/run.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What one turn reads is more than a pipe holds, so that the last turn after a program's end leaves nothing in it. */
enum { SAID_MAX = 64 * 1024 * 1024, COMPLAINT_MAX = 256 * 1024, TURN_MAX = 1024 * 1024, SLICE_MS = 50 };

unsigned run_limit_seconds = 60;

/* A running program and our ends of its three channels; -1: closed. */
struct talk {
    pid_t pid;
    int in, out, err;
    const char *input;
    size_t left;
    bool ended;
    int status;
    int trouble;                        /* errno of a channel that failed, so that not all was said or heard; 0: none */
};

static char *const environment[] = {
    (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, (char[]){ "LANG=C" }, (char[]){ "LC_ALL=C" }, NULL,
};

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Fresh signals and a group of its own, so that whatever it starts can be ended with it. */
static void set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(const char *const argv[], const int theirs[static 3], pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int code, i;

    set_attributes(&attributes);
    posix_spawn_file_actions_init(&actions);
    for (i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
#ifdef __GLIBC__
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);      /* libraries may hold some without close-on-exec */
#endif
    code = posix_spawn(ret, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

/* A socket pair for the input, since a pipe whose reader is gone would raise SIGPIPE. */
static bool start(const char *const argv[], struct talk *t, struct fault *why)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, code = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
        pipe2(err, O_CLOEXEC) != 0)
        code = errno;
    if (code == 0)
        code = spawn(argv, (int[]){ in[1], out[1], err[1] }, &t->pid);
    shut(&in[1]);
    shut(&out[1]);
    shut(&err[1]);
    t->in = in[0];
    t->out = out[0];
    t->err = err[0];
    if (code == 0) {
        fcntl(t->out, F_SETFL, O_NONBLOCK);
        fcntl(t->err, F_SETFL, O_NONBLOCK);
        return true;
    }
    shut(&t->in);
    shut(&t->out);
    shut(&t->err);
    return fault_set(why, "%s: cannot be run: %s", argv[0], strerror(code));
}

static void feed(struct talk *t)
{
    ssize_t sent = t->left == 0 ? 0 : send(t->in, t->input, t->left, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent > 0) {
        t->input += sent;
        t->left -= (size_t)sent;
    }
    if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != EPIPE && errno != ECONNRESET)
        t->trouble = errno;
    if (t->left == 0 || (sent < 0 && errno != EAGAIN && errno != EINTR))
        shut(&t->in);                       /* a program that doesn't want all of it will say why */
}

static void drain(struct talk *t, int *fd, struct text *ret)
{
    char some[16 * 1024];
    ssize_t got = 1;
    size_t total;

    for (total = 0; *fd >= 0 && got > 0 && !ret->full && total < TURN_MAX; total += got > 0 ? (size_t)got : 0) {
        got = read(*fd, some, sizeof(some));
        if (got > 0)
            text_add(ret, some, (size_t)got);
        else if (got < 0 && errno == EINTR)
            got = 1;
        else if (got == 0 || errno != EAGAIN) {
            t->trouble = got == 0 ? t->trouble : errno;
            shut(fd);
        }
    }
}

static bool has_ended(struct talk *t)
{
    pid_t found = waitpid(t->pid, &t->status, WNOHANG);

    return found != 0 && !(found < 0 && errno == EINTR);
}

static void listen_to(struct talk *t, struct run *ret)
{
    struct pollfd on[3] = { { t->out, POLLIN, 0 }, { t->err, POLLIN, 0 }, { t->in, POLLOUT, 0 } };

    if (t->out < 0 && t->err < 0)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);      /* it is about to end */
    else
        poll(on, 3, SLICE_MS);
    if (t->in >= 0 && on[2].revents != 0)
        feed(t);
    t->ended = has_ended(t);                /* before the last reading, so that nothing is missed */
    drain(t, &t->out, &ret->out);
    drain(t, &t->err, &ret->err);
}

static void finish(struct talk *t)
{
    if (!t->ended) {
        kill(-t->pid, SIGKILL);
        while (waitpid(t->pid, &t->status, 0) < 0 && errno == EINTR)
            ;
    }
    shut(&t->in);
    shut(&t->out);
    shut(&t->err);
}

static bool judge(const struct talk *t, const char *name, const struct run *r, struct fault *why)
{
    if (r->out.full || r->err.full)
        return fault_set(why, "%s: says more than we can read", name);
    if (t->trouble != 0)
        return fault_set(why, "%s: cannot be talked to: %s", name, strerror(t->trouble));
    if (!t->ended)
        return fault_set(why, "%s: not done within %u seconds", name, run_limit_seconds);
    if (!WIFEXITED(t->status))
        return fault_set(why, "%s: ended by signal %d", name, WIFSIGNALED(t->status) ? WTERMSIG(t->status) : 0);
    return true;
}

/* Gives the whole lines on, and keeps what is left of one. */
static void hand_on(struct text *said, struct run_reader *reader)
{
    char *at = said->bytes, *end;
    size_t left = said->length;

    while (left > 0 && (end = memchr(at, '\n', left)) != NULL) {
        *end = '\0';
        reader->line(reader, at, (size_t)(end - at));
        left -= (size_t)(end - at) + 1;
        at = end + 1;
    }
    if (left == said->length)
        return;
    memmove(said->bytes, at, left);
    said->bytes[left] = '\0';
    said->length = left;
}

/* reader or NULL: who takes the output meanwhile; then only silence has a limit. */
static void converse(struct talk *t, struct run_reader *reader, struct run *ret)
{
    const int64_t patience = (int64_t)run_limit_seconds * 1000;
    int64_t until = clock_ms() + patience;
    size_t before;

    while (!t->ended && !ret->out.full && !ret->err.full && clock_ms() < until) {
        before = ret->out.length;
        listen_to(t, ret);
        if (reader != NULL && ret->out.length > before) {
            hand_on(&ret->out, reader);
            until = clock_ms() + patience;
        }
    }
}

static bool run_to_end(const char *const argv[], struct talk *t, struct run_reader *reader, struct run *ret,
                       struct fault *why)
{
    bool good;

    text_init(&ret->out, SAID_MAX);
    text_init(&ret->err, COMPLAINT_MAX);
    ret->code = -1;
    if (!start(argv, t, why))
        return false;
    converse(t, reader, ret);
    good = judge(t, argv[0], ret, why);
    finish(t);
    if (good)
        ret->code = WEXITSTATUS(t->status);
    else
        run_done(ret);
    return good;
}

bool run_program(const char *const argv[], const char *input, size_t length, struct run *ret, struct fault *why)
{
    struct talk t = { .input = input, .left = length, .status = -1 };

    return run_to_end(argv, &t, NULL, ret, why);
}

bool run_lines(const char *const argv[], struct run_reader *reader, struct run *ret, struct fault *why)
{
    struct talk t = { .status = -1 };

    return run_to_end(argv, &t, reader, ret, why);
}

void run_done(struct run *r)
{
    text_done(&r->out);
    text_done(&r->err);
}

char *run_complaint(const struct run *r, char *ret, size_t size)
{
    const char *words = text_words(&r->err), *end = words + strlen(words), *begin;
    char line[256];

    while (end > words && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    for (begin = end; begin > words && begin[-1] != '\n'; begin--)
        ;
    snprintf(line, sizeof(line), "%.*s", (int)(end - begin), begin);
    if (line[0] == '\0')
        snprintf(line, sizeof(line), "exit status %d", r->code);
    return text_printable(line, false, ret, size);
}
