#ifndef DANELAW_PROCESS_H
#define DANELAW_PROCESS_H

#include "base/fault.h"
#include "base/settings.h"

#include <stdbool.h>
#include <sys/types.h>

/* The daemon as a process: who it is, where it lives, how it starts and ends. Main thread, before others start. */

struct identity {
    uid_t uid;
    gid_t gid;
    bool change;                /* we are root and become this one */
    char name[64];
};

/*
 * First of all: nothing inherited counts but standard input, output and error, and no descriptor of ours may be taken for
 * one of those, should the caller have closed them.
 */
void process_begin(void);
/* The user and group of the configuration; who isn't root stays who he is. */
bool process_identity(const struct settings *set, struct identity *ret, struct fault *why);
/* A group by name; "": (gid_t)-1. */
bool process_group(const char *name, gid_t *ret, struct fault *why);
/* As many descriptors as thousands of look-ups need, as far as we may. */
void process_raise_descriptors(void);
/* Makes the folder (and its parents) if it is missing, for the identity. */
bool process_folder(const char *path, mode_t mode, const struct identity *who, struct fault *why);
/*
 * Waits until no other danelawd with this control socket is left: libmilter unlinks its socket when it ends, whoever
 * listens there by then. The lock lives as long as the process.
 */
bool process_lock(const char *control_path, const struct identity *who, struct fault *why);
/*
 * Gives up for good what privileges there are, also those of a plain user: becomes the identity with its groups, without
 * capabilities, and nothing that is run from here on can gain any.
 */
bool process_become(const struct identity *who, struct fault *why);
/* Goes to the background; the parent stays until process_ready(), and ends with our success. */
bool process_detach(struct fault *why);
bool process_write_pid(const char *path, struct fault *why);
/* Tells the parent and the service manager that we serve. */
void process_ready(void);
/*
 * From here on the process has so many seconds to end in, else it ends as if it were killed, which loses no state: all that
 * matters is on disk, and whole. Threads may run.
 */
void process_end_within(unsigned seconds);

#endif
