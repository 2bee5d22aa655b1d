#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether somebody listens on our sockets, and Sendmail trusts the folders on the way: safedirpath() in its libsmutil. */

static bool is_blamed(const struct sendmail_doctor *d, const char *word)
{
    const struct sendmail_line *line;

    return strstr(sendmail_option(d, "DontBlameSendmail", &line), word) == NULL;
}

/* The first folder on the way that others than its owner may write to; NULL: none. */
static const char *unsafe_folder(const struct sendmail_doctor *d, const char *path)
{
    bool groups = is_blamed(d, "groupwritabledirpathsafe"), sticky = is_blamed(d, "truststickybit");
    const char *slash;

    for (slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const char *folder = slash == path ? "/" : arena_bytes(d->memory, path, (size_t)(slash - path));
        struct stat seen;

        if (stat(folder, &seen) == 0 && (seen.st_mode & (S_IWOTH | (groups ? S_IWGRP : 0))) != 0 &&
            (sticky || (seen.st_mode & S_ISVTX) == 0))
            return folder;
    }
    return NULL;
}

bool sendmail_check_path(struct sendmail_doctor *d, const char *where, const char *path)
{
    char real[PATH_MAX];
    const char *folder = unsafe_folder(d, path);

    if (folder == NULL && realpath(path, real) != NULL)
        folder = unsafe_folder(d, real);
    if (folder != NULL)
        sendmail_find_at(d, DOCTOR_HOLD, where,
                         sendmail_say(d, "%s is writable for others than its owner, and Sendmail opens nothing below it",
                                      folder),
                         sendmail_say(d, "chmod go-w %s", folder));
    return folder == NULL;
}

static void check_listener(struct sendmail_doctor *d, const char *room, const char *socket)
{
    const char *path = strchr(socket, ':') + 1, *where = sendmail_say(d, "danelaw.conf: %s.socket", room);
    int failed = doctor_knock(socket);

    if (failed == EACCES && geteuid() != 0)
        sendmail_unread(d, sendmail_say(d, "%s: %s", path, strerror(failed)));
    else if (failed != 0)
        sendmail_find_at(d, DOCTOR_HOLD, where, sendmail_say(d, "nobody listens on %s: %s", socket, strerror(failed)),
                         "start danelawd");
    if (strncmp(socket, "inet", 4) != 0)
        sendmail_check_path(d, where, path);
}

void sendmail_check_sockets(struct sendmail_doctor *d)
{
    check_listener(d, "milter", d->set->milter.socket);
    check_listener(d, "maps", d->set->maps.socket);
}
