#include "server/peer.h"

#include "base/text.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLAIM_MAX = 64 };

struct peer peer_of(int socket)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || size != sizeof(credentials) ||
        credentials.pid == 0)               /* no local peer at all */
        return (struct peer){ .uid = (uid_t)-1 };
    return (struct peer){ .trusted = credentials.uid == 0 || credentials.uid == geteuid(), .uid = credentials.uid };
}

char *peer_own_name(char ret[static PEER_NAME_SIZE])
{
    char space[4096];
    struct passwd entry, *found = NULL;

    if (getpwuid_r(geteuid(), &entry, space, sizeof(space), &found) == 0 && found != NULL)
        return text_printable(found->pw_name, true, ret, PEER_NAME_SIZE);
    snprintf(ret, PEER_NAME_SIZE, "uid %lu", (unsigned long)geteuid());
    return ret;
}

static bool is_plain(const char *claimed)
{
    size_t length = strlen(claimed);

    return length > 0 && length <= CLAIM_MAX && strspn(claimed, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                                                "!#$%&'*+,-./:;=?@^_`{|}~ ") == length;
}

char *peer_name(const struct peer *p, const char *own, const char *claimed, char *ret, size_t size)
{
    if (p->uid != 0)
        snprintf(ret, size, "%s", own);
    else if (claimed != NULL && is_plain(claimed))
        snprintf(ret, size, "root (%s)", claimed);
    else
        snprintf(ret, size, "root");
    return ret;
}
