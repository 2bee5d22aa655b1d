#include "cli/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only a folder that we made changes hands: whose an old one is was somebody's decision. */
static bool make_store(const char *path, uid_t uid, gid_t gid, struct fault *why)
{
    int folder;
    bool good;

    if (mkdir(path, 0755) != 0)
        return errno == EEXIST || fault_set(why, "%s: cannot be made: %s", path, strerror(errno));
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    good = folder >= 0 && fchown(folder, uid, gid) == 0 && fchmod(folder, 0755) == 0;
    if (!good) {
        fault_set(why, "%s: cannot be given to the daemon's user: %s", path, strerror(errno));
        rmdir(path);
    }
    if (folder >= 0)
        close(folder);
    return good;
}

static bool find_group(const char *name, gid_t *ret, struct fault *why)
{
    const struct group *group;

    if (name[0] == '\0')
        return true;
    group = getgrnam(name);
    if (group == NULL)
        return fault_set(why, "group: there is no group \"%s\"", name);
    *ret = group->gr_gid;
    return true;
}

bool user_become(const struct settings *set, struct fault *why)
{
    const struct passwd *user;
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0)
        return true;
    user = getpwnam(set->user);
    if (user == NULL)
        return fault_set(why, "user: there is no user \"%s\"; make it, or name another in the configuration", set->user);
    uid = user->pw_uid;
    gid = user->pw_gid;
    if (!find_group(set->group, &gid, why) || !make_store(set->store.directory, uid, gid, why))
        return false;
    if (initgroups(set->user, gid) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
        return fault_set(why, "user: cannot become \"%s\": %s", set->user, strerror(errno));
    return true;
}
