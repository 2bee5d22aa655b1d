#include "server/libmilter.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 1024, DESCRIPTORS_AT_START = 256, LOOK_MS = 1000, STOP_MS = 12 * 1000, STACK = 512 * 1024 };

/* Frozen before smfi_main. */
static struct {
    int descriptor;
    bool known;
    struct stat socket;
} ear;

/* How smfi_main() ended, if it has. */
static struct {
    struct mutex lock;
    struct signal over;
    bool ended GUARDED_BY(lock), served GUARDED_BY(lock);
} libmilter;

/*
 * libmilter does not show its listening socket; accepted connections inherit TCP_NODELAY from it. Nothing else listens yet.
 * It is shut as soon as libmilter is told to stop, which nothing else shows either.
 */
static void find_ear(void)
{
    int s, yes = 1, listening = 0;
    socklen_t size = sizeof(listening);

    for (s = 0; s < DESCRIPTORS_AT_START; s++) {
        if (getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening) {
            setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
            ear.descriptor = s;
            ear.known = fstat(s, &ear.socket) == 0;
        }
    }
}

static bool ear_is_open(void)
{
    struct stat now;

    return !ear.known || (fstat(ear.descriptor, &now) == 0 && now.st_dev == ear.socket.st_dev && now.st_ino == ear.socket.st_ino);
}

static bool fail(struct fault *why, const char *spec, const char *what)
{
    return fault_set(why, "%s: libmilter cannot %s: %s", spec, what, strerror(errno));
}

/* Nobody slips in before its permissions stand. */
static bool open_closed(void)
{
    mode_t before = umask(0177);
    bool good = smfi_opensocket(true) == MI_SUCCESS;

    umask(before);
    return good;
}

static bool open_socket(const char *spec, const struct listen_access *access, struct fault *why)
{
    const char *path = listen_path(spec);

    if (path != NULL && !listen_free(path, why))
        return false;
    if (smfi_setconn((char *)(uintptr_t)spec) != MI_SUCCESS)
        return fail(why, spec, "use this socket");
    smfi_setbacklog(BACKLOG);
    if (!open_closed())
        return fail(why, spec, "listen there");
    find_ear();
    return path == NULL || listen_grant(path, access, why);
}

bool libmilter_open(const struct smfiDesc *filter, const char *spec, const struct listen_access *access, struct fault *why)
{
    mutex_init(&libmilter.lock);
    signal_init(&libmilter.over);
    if (smfi_register(*filter) != MI_SUCCESS)
        return fail(why, spec, "start");
    return open_socket(spec, access, why);
}

static void *libmilter_body(void *unused)
{
    bool served = smfi_main() == MI_SUCCESS;

    (void)unused;
    mutex_lock(&libmilter.lock);
    libmilter.ended = true;
    libmilter.served = served;
    signal_all(&libmilter.over);
    mutex_unlock(&libmilter.lock);
    return NULL;
}

/*
 * libmilter takes up to 5 seconds to stop; but under load it may unlock a mutex that it has destroyed, and never end. false:
 * it has been left to itself.
 */
static bool await_end(bool *ret_served)
{
    int64_t told = INT64_MAX - STOP_MS, now;
    bool open = true, ended;

    do {
        now = clock_ms();
        if (open && !ear_is_open()) {
            open = false;
            told = now;
        }
        mutex_lock(&libmilter.lock);
        if (!libmilter.ended)
            signal_wait_until(&libmilter.over, &libmilter.lock, now + LOOK_MS);
        ended = libmilter.ended;
        *ret_served = !ended || libmilter.served;
        mutex_unlock(&libmilter.lock);
    } while (!ended && clock_ms() < told + STOP_MS);
    return ended;
}

static void *do_nothing(void *nothing)
{
    return nothing;
}

/*
 * libmilter makes and ends threads as sessions come and go. glibc keeps 40 MB of stacks for the next ones: of the usual 8 MB
 * these are five, and each thread past them is mapped, filled and unmapped. It is the preset of all threads that say nothing
 * else: ours do (thread_start()), and libunbound's has room enough. Where a library wants more of each stack than that for
 * itself, as a sanitizer does, no thread could start: then all stays as it is.
 */
static void keep_stacks_small(void)
{
    pthread_attr_t how;
    pthread_t trial;

    if (pthread_getattr_default_np(&how) != 0)
        return;
    if (pthread_attr_setstacksize(&how, STACK) == 0 && pthread_create(&trial, &how, do_nothing, NULL) == 0) {
        pthread_join(trial, NULL);
        pthread_setattr_default_np(&how);
    }
    pthread_attr_destroy(&how);
}

bool libmilter_serve(void)
{
    pthread_t thread;
    bool served;

    keep_stacks_small();
    thread_start(&thread, "milter", libmilter_body, NULL);
    if (await_end(&served)) {
        pthread_join(thread, NULL);
    } else {
        log_warning("libmilter has been told to stop and does not; it is left behind");
        pthread_detach(thread);
    }
    return served;
}
