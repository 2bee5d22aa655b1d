#ifndef DANELAW_SERVER_LISTEN_H
#define DANELAW_SERVER_LISTEN_H

#include "base/fault.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who may open a socket: its owner, group ((gid_t)-1: the owner's own) and permissions. Only for sockets in the file system. */
struct listen_access {
    uid_t owner;
    gid_t group;
    mode_t mode;
};

/* The path of `unix:/path` or `local:/path`, or NULL for `inet:PORT@HOST`. */
const char *listen_path(const char *spec);
/* Opens a listening, non-blocking socket; a stale socket file is replaced, any other file refused. The caller holds the
 * daemon's lock, so that no other process can be serving there. */
bool listen_open(const char *spec, const struct listen_access *access, int *ret, struct fault *why);
/* Whether a socket file may be made there; false: somebody answers, and must not be robbed of it, or it is something else,
 * a link or a pipe too. */
bool listen_free(const char *path, struct fault *why);
/* Makes an existing socket file belong to whom it should. */
bool listen_grant(const char *path, const struct listen_access *access, struct fault *why);

#endif
