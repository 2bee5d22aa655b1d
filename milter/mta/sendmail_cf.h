#ifndef DANELAW_MTA_SENDMAIL_CF_H
#define DANELAW_MTA_SENDMAIL_CF_H

#include "base/arena.h"
#include "base/fault.h"

#include <stddef.h>

/* A sendmail.cf as it stands: its lines, with continuations joined, and the classes that it fills, files read. All texts live
 * in memory. One thread. */
struct sendmail_line {
    char command;                   /* `K`, `M`, `O`, `D`, `C`, `F`, `R`, `S`, `X`, ... */
    const char *text;               /* what follows it */
    unsigned number;                /* of its first line */
};

struct sendmail_cf {
    struct arena *memory;           /* borrowed */
    const char *path;
    struct sendmail_line *lines;
    size_t count, room;
};

/* config_dir: where sendmail.cf is; "": /etc/mail. false: it can't be read, or is none. */
bool sendmail_cf_read(const char *config_dir, struct arena *memory, struct sendmail_cf *ret, struct fault *why);
/* The same for a file by its own name, which lives as long as memory (submit.cf). */
bool sendmail_cf_read_file(const char *path, struct arena *memory, struct sendmail_cf *ret, struct fault *why);
void sendmail_cf_done(struct sendmail_cf *cf);

/* All members of a class (`w`, `{VirtHost}`), from C and F lines; macros in them resolved as far as D lines tell. false: a file of
 * it, or a map, can't be read. */
bool sendmail_cf_class(const struct sendmail_cf *cf, const char *name, const char *const **ret, size_t *ret_count, struct fault *why);
/* An option by its long name (`PrivacyOptions`), the last word on it; NULL: not set. */
const char *sendmail_cf_option(const struct sendmail_cf *cf, const char *name);
/* A map's declaration behind its name (`hash -T<TMPF> /etc/mail/mailertable`); NULL: there is none. */
const char *sendmail_cf_map(const struct sendmail_cf *cf, const char *name);

#endif
