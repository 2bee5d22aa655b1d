#include "server/listen.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

const char *listen_path(const char *spec)
{
    if (strncmp(spec, "unix:", 5) == 0)
        return spec + 5;
    if (strncmp(spec, "local:", 6) == 0)
        return spec + 6;
    return NULL;
}

/*
 * As root: the folder may be the daemon's user's, who must not win by putting a link there in the meantime. The socket goes
 * by a descriptor that follows none.
 */
static bool grant_as_root(const char *path, const struct listen_access *access, struct fault *why)
{
    int node = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat seen;
    char itself[32];
    bool good;

    if (node < 0)
        return fault_set(why, "%s: cannot be looked at: %s", path, strerror(errno));
    if (fstat(node, &seen) != 0 || !S_ISSOCK(seen.st_mode)) {
        close(node);
        return fault_set(why, "%s: something else has taken the socket's place", path);
    }
    snprintf(itself, sizeof(itself), "/proc/self/fd/%d", node);
    good = fchownat(node, "", access->owner, access->group, AT_EMPTY_PATH) == 0 && chmod(itself, access->mode) == 0;
    if (!good)
        fault_set(why, "%s: cannot give it to its owner: %s", path, strerror(errno));
    close(node);
    return good;
}

bool listen_grant(const char *path, const struct listen_access *access, struct fault *why)
{
    if (geteuid() == 0)
        return grant_as_root(path, access, why);
    if (access->group != (gid_t)-1 && chown(path, (uid_t)-1, access->group) != 0)
        return fault_set(why, "%s: cannot give it to its group: %s", path, strerror(errno));
    if (chmod(path, access->mode) != 0)
        return fault_set(why, "%s: cannot set its permissions: %s", path, strerror(errno));
    return true;
}

bool listen_free(const char *path, struct fault *why)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    struct stat there;
    int s, reason;

    if (lstat(path, &there) == 0 && !S_ISSOCK(there.st_mode))
        return fault_set(why, "%s: something that is no socket is in the way", path);
    if (strlen(path) >= sizeof(where.sun_path))
        return true;                        /* whoever opens it will say what is wrong */
    strcpy(where.sun_path, path);
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    reason = s >= 0 && connect(s, (struct sockaddr *)&where, sizeof(where)) == 0 ? 0 : errno;
    if (s >= 0)
        close(s);
    if (reason == 0 || reason == EAGAIN)
        return fault_set(why, "%s: somebody serves there already; stop that, or name another socket", path);
    return (reason != EMFILE && reason != ENFILE && reason != ENOMEM && reason != ENOBUFS) ||
           fault_set(why, "%s: cannot see whether somebody serves there: %s", path, strerror(reason));
}

static bool open_unix(const char *path, const struct listen_access *access, int *ret, struct fault *why)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    mode_t before;
    int s, bound;

    if (strlen(path) >= sizeof(where.sun_path))
        return fault_set(why, "%s: a socket's path has at most %zu characters", path, sizeof(where.sun_path) - 1);
    strcpy(where.sun_path, path);
    if (!listen_free(path, why))
        return false;
    unlink(path);
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return fault_set(why, "%s: cannot make a socket: %s", path, strerror(errno));
    before = umask(0177);                   /* nobody slips in before its permissions stand */
    bound = bind(s, (struct sockaddr *)&where, sizeof(where));
    umask(before);
    if (bound != 0 || listen(s, BACKLOG) != 0) {
        fault_set(why, "%s: cannot listen there: %s", path, strerror(errno));
        close(s);
        return false;
    }
    if (!listen_grant(path, access, why)) {
        close(s);
        return false;
    }
    *ret = s;
    return true;
}

/* Accepted connections inherit TCP_NODELAY on Linux. */
static int listen_at(const struct addrinfo *at)
{
    int s = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol), yes = 1;

    if (s < 0)
        return -1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (bind(s, at->ai_addr, at->ai_addrlen) != 0 || listen(s, BACKLOG) != 0) {
        int reason = errno;

        close(s);
        errno = reason;
        return -1;
    }
    return s;
}

static bool open_inet(const char *spec, int *ret, struct fault *why)
{
    AUTO(free) char *copy = mem_text(strchr(spec, ':') + 1);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *at = NULL;
    char *at_sign = strchr(copy, '@');
    const char *host;
    int code, s;

    if (at_sign == NULL)
        return fault_set(why, "%s: write inet:PORT@HOST", spec);
    *at_sign = '\0';
    if (strlen(copy) > 5 || strtoul(copy, NULL, 10) > UINT16_MAX)           /* getaddrinfo would take the rest of it */
        return fault_set(why, "%s: a port is a number up to %d", spec, UINT16_MAX);
    host = strcmp(at_sign + 1, "localhost") == 0 ? "127.0.0.1" : at_sign + 1;
    code = getaddrinfo(host, copy, &hints, &at);
    if (code != 0)
        return fault_set(why, "%s: %s", spec, gai_strerror(code));
    s = listen_at(at);
    freeaddrinfo(at);
    if (s < 0)
        return fault_set(why, "%s: cannot listen there: %s", spec, strerror(errno));
    *ret = s;
    return true;
}

bool listen_open(const char *spec, const struct listen_access *access, int *ret, struct fault *why)
{
    const char *path = listen_path(spec);

    return path != NULL ? open_unix(path, access, ret, why) : open_inet(spec, ret, why);
}
