#ifndef DANELAW_SERVER_PEER_H
#define DANELAW_SERVER_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Who is at the other end of a local socket, by the kernel's word. */
struct peer {
    bool trusted;                       /* root or our own user: may change things */
    uid_t uid;
};

enum { PEER_NAME_SIZE = 80 };

struct peer peer_of(int socket);
/* Our own user's name; asks the system's user database, so not on a thread that must not wait. Returns ret. */
char *peer_own_name(char ret[static PEER_NAME_SIZE]);
/*
 * A trusted peer's name for the audit: `root`, or own, our user's. Root may be somebody else by sudo(8), whose login he
 * claims: `root (alice)`; NULL: he claims nothing. Returns ret.
 */
char *peer_name(const struct peer *p, const char *own, const char *claimed, char *ret, size_t size);

#endif
