#include "mta/makemap.h"

#include "base/memory.h"
#include "mta/run.h"

#include <string.h>
#include <unistd.h>

static const char *const places[] = {
    "/usr/sbin/makemap", "/usr/lib/sm.bin/makemap", "/usr/bin/makemap", "/usr/libexec/sendmail/makemap",
    "/usr/local/sbin/makemap",
};

bool makemap_find(const struct settings *set, struct makemap *ret, struct fault *why)
{
    size_t i;

    ret->program = set->tables.postmap;
    for (i = 0; *ret->program == '\0' && i < COUNT_OF(places); i++) {
        if (access(places[i], X_OK) == 0)
            ret->program = places[i];
    }
    return *ret->program != '\0' ||
           fault_set(why, "makemap(8) is in none of the usual folders; set tables.postmap to its path");
}

/*
 * -C: of a configuration it would only want to know which user root's maps are given to, and end if there is none. -D: a
 * key may begin with `#`, but has no control characters. -t: a key may have blanks.
 */
static bool call(const struct makemap *m, bool list, const char *type, const char *path, const struct text *lines,
                 struct run *ret, struct fault *why)
{
    const char *const argv[] = { m->program, "-C", "/dev/null", "-D", "\001", "-t", "\t", list ? "-u" : type,
                                 list ? type : path, list ? path : NULL, NULL };
    char said[256];

    if (!run_program(argv, lines == NULL ? NULL : text_words(lines), lines == NULL ? 0 : lines->length, ret, why))
        return false;
    if (ret->code == 0)
        return true;
    run_complaint(ret, said, sizeof(said));
    run_done(ret);
    return fault_set(why, "%s %s %s: %s", m->program, type, path, said);
}

bool makemap_index(const struct makemap *m, const char *type, const char *path, const struct text *lines, struct fault *why)
{
    struct run r;

    if (!call(m, false, type, path, lines, &r, why))
        return false;
    run_done(&r);
    return true;
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Parts the lines in place, sorts them, and puts them together again. */
static char *sorted(char *lines)
{
    size_t count = 0, i;
    const char **each;
    struct text all;
    char *at, *end;

    for (at = lines; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    each = mem_array(count + 1, sizeof(*each));
    for (at = lines, i = 0; i < count; at = end + 1, i++) {
        end = strchr(at, '\n');
        *end = '\0';
        each[i] = at;
    }
    qsort(each, count, sizeof(*each), by_line);
    text_init(&all, (size_t)-1);
    for (i = 0; i < count; i++)
        text_print(&all, "%s\n", each[i]);
    free(each);
    return text_give(&all);
}

bool makemap_list(const struct makemap *m, const char *type, const char *path, char **ret, struct fault *why)
{
    AUTO(free) char *lines = NULL;
    struct run r;

    if (!call(m, true, type, path, NULL, &r, why))
        return false;
    lines = text_give(&r.out);
    run_done(&r);
    *ret = sorted(lines);
    return true;
}
