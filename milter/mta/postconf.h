#ifndef DANELAW_MTA_POSTCONF_H
#define DANELAW_MTA_POSTCONF_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/settings.h"

/* Where a Postfix installation's programs are; all texts live in the arena it was found with. */
struct postconf {
    const char *postconf;
    const char *config_dir;             /* "": its own default */
    struct arena *memory;
};

enum { POSTCONF_ARGUMENTS = 24 };

/*
 * The path of one of Postfix's programs for administrators: beside the `postmap` setting, else in the usual folders. Our own
 * PATH is never asked.
 */
bool postconf_program(const struct settings *set, const char *name, struct arena *memory, const char **ret, struct fault *why);
/* Finds postconf(1). */
bool postconf_find(const struct settings *set, struct arena *memory, struct postconf *ret, struct fault *why);

/*
 * The values of main.cf parameters, by name; expanded: with every $name replaced. A parameter that this Postfix doesn't
 * know is NULL. names ends with NULL and has at most POSTCONF_ARGUMENTS - 8 items.
 */
bool postconf_read(const struct postconf *p, bool expanded, const char *const names[], const char *ret[],
                   struct fault *why);

/* The field of a master.cf service, as `smtp/inet/chroot`; NULL: there is no such service. */
bool postconf_service(const struct postconf *p, const char *field, const char **ret, struct fault *why);

/* All that postconf(1) prints with one option (`-x`, `-Px`, `-M`), a line an item; gives it. */
bool postconf_list(const struct postconf *p, const char *option, char **ret, struct fault *why);

/* The next word of a list that commas and blanks part, braces kept together; NULL at the end. Moves *cursor. */
const char *postconf_word(const char **cursor, struct arena *memory);

/* Whether a list has exactly this word. */
bool postconf_has_word(const char *list, const char *word);

#endif
