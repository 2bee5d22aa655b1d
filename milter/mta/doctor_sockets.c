#include "mta/doctor_checks.h"

#include "base/memory.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether somebody listens on our sockets, and Postfix's user may knock. */

enum { GROUPS_MAX = 256 };

/* As which Postfix's daemons run: its user, and all groups of that user (initgroups(3)). */
struct person {
    const char *name;
    uid_t uid;
    gid_t groups[GROUPS_MAX];
    int count;
};

static bool person_find(const char *name, struct person *ret)
{
    const struct passwd *entry = getpwnam(name);

    if (entry == NULL)
        return false;
    *ret = (struct person){ .name = name, .uid = entry->pw_uid, .count = GROUPS_MAX };
    if (getgrouplist(name, entry->pw_gid, ret->groups, &ret->count) < 0)
        ret->count = GROUPS_MAX;
    return true;
}

/* may: 1 to pass through, 2 to write. Access lists are not looked at. */
static bool person_may(const struct person *p, const struct stat *file, unsigned may)
{
    int i;

    if (file->st_uid == p->uid)
        return ((file->st_mode >> 6) & may) != 0;
    for (i = 0; i < p->count; i++) {
        if (p->groups[i] == file->st_gid)
            return ((file->st_mode >> 3) & may) != 0;
    }
    return (file->st_mode & may) != 0;
}

/* One of our sockets in danelaw.conf. */
struct listener {
    const char *room, *socket;              /* `milter` */
};

static void forbid(struct doctor *d, const struct listener *l, const struct person *p, const char *path, bool folder)
{
    doctor_find(d, DOCTOR_HOLD, doctor_say(d, "danelaw.conf: %s.socket", l->room),
                doctor_say(d, "Postfix's user \"%s\" may not %s %s", p->name, folder ? "pass through" : "write to", path),
                folder ? doctor_say(d, "chmod o+x %s, or chgrp %s %s and chmod g+x %s", path, p->name, path, path)
                       : doctor_say(d, "%s.socket_group = \"%s\" in danelaw.conf, and a restart of danelawd", l->room,
                                    p->name));
}

/* Each folder from the root on, then the socket. */
static bool may_knock(struct doctor *d, const struct listener *l, const struct person *p, const char *path)
{
    const char *slash = path;
    struct stat seen;

    while ((slash = strchr(slash + 1, '/')) != NULL) {
        const char *folder = arena_bytes(d->memory, path, (size_t)(slash - path));

        if (stat(folder, &seen) == 0 && !person_may(p, &seen, 1)) {
            forbid(d, l, p, folder, true);
            return false;
        }
    }
    if (stat(path, &seen) == 0 && !person_may(p, &seen, 2)) {
        forbid(d, l, p, path, false);
        return false;
    }
    return true;
}

static void check_listener(struct doctor *d, const struct listener *l, const struct person *p)
{
    const char *path = strchr(l->socket, ':') + 1;
    bool is_path = strncmp(l->socket, "inet", 4) != 0;
    int failed = doctor_knock(l->socket);

    if (failed == EACCES && geteuid() != 0)
        doctor_unread(d, doctor_say(d, "%s: %s", path, strerror(failed)));
    else if (failed != 0)
        doctor_find(d, DOCTOR_HOLD, doctor_say(d, "danelaw.conf: %s.socket", l->room),
                    doctor_say(d, "nobody listens on %s: %s", l->socket, strerror(failed)), "start danelawd");
    else if (is_path && p != NULL)
        may_knock(d, l, p, path);
}

void doctor_sockets(struct doctor *d)
{
    const struct listener listeners[] = { { .room = "milter", .socket = d->set->milter.socket },
                                          { .room = "maps", .socket = d->set->maps.socket } };
    struct person postfix;
    bool known = person_find(d->site.owner, &postfix);
    size_t i;

    if (!known)
        doctor_unread(d, doctor_say(d, "main.cf: mail_owner: there is no user \"%s\"", d->site.owner));
    for (i = 0; i < COUNT_OF(listeners); i++)
        check_listener(d, &listeners[i], known ? &postfix : NULL);
}
