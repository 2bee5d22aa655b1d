#include "mta/postmap.h"

#include "mta/run.h"

#include <string.h>

static bool call(const struct postmap *p, const char *option, const char *table, const struct text *input,
                 struct run *ret, struct fault *why)
{
    const char *argv[8] = { p->program };
    size_t count = 1;

    if (*p->config_dir != '\0') {
        argv[count++] = "-c";
        argv[count++] = p->config_dir;
    }
    if (option != NULL)
        argv[count++] = option;
    if (input != NULL)
        argv[count++] = "-";
    argv[count] = table;
    return run_program(argv, input == NULL ? NULL : input->bytes, input == NULL ? 0 : input->length, ret, why);
}

static bool failed(const struct postmap *p, const char *table, struct run *r, struct fault *why)
{
    char said[256];

    run_complaint(r, said, sizeof(said));
    run_done(r);
    return fault_set(why, "%s %s: %s", p->program, table, said);
}

/* Other warnings are about main.cf and no business of ours. */
static bool complains_of(const struct run *r, const char *table)
{
    const char *path = strchr(table, ':');

    return r->err.length > 0 && path != NULL && strstr(text_words(&r->err), path + 1) != NULL;
}

bool postmap_index(const struct postmap *p, const char *table, struct fault *why)
{
    struct run r;

    if (!call(p, NULL, table, NULL, &r, why))
        return false;
    if (r.code != 0 || complains_of(&r, table))
        return failed(p, table, &r, why);
    run_done(&r);
    return true;
}

bool postmap_list(const struct postmap *p, const char *table, char **ret, struct fault *why)
{
    struct run r;

    if (!call(p, "-s", table, NULL, &r, why))
        return false;
    if (r.code != 0)
        return failed(p, table, &r, why);
    *ret = text_give(&r.out);
    run_done(&r);
    return true;
}

static bool says(const char *line, const char *program)
{
    size_t length = strlen(program);

    return strncmp(line, program, length) == 0 &&
           (strncmp(line + length, ": fatal: ", 9) == 0 || strncmp(line + length, ": error: ", 9) == 0);
}

/* `postmap: fatal: ...`, or with its path; the same words may stand in a warning that quotes main.cf. */
static bool gave_up(const struct postmap *p, const struct run *r)
{
    const char *slash = strrchr(p->program, '/'), *name = slash == NULL ? p->program : slash + 1, *line;

    for (line = text_words(&r->err); *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n') {
        if (says(line, p->program) || says(line, name))
            return true;
    }
    return false;
}

/* Exit status 1 alone says that no key was found; 1 with such words, that something is wrong. */
bool postmap_query(const struct postmap *p, const char *table, const struct text *keys, char **ret, struct fault *why)
{
    struct run r;

    if (!call(p, "-q", table, keys, &r, why))
        return false;
    if (r.code > 1 || (r.code == 1 && (r.out.length > 0 || gave_up(p, &r))))
        return failed(p, table, &r, why);
    *ret = text_give(&r.out);
    run_done(&r);
    return true;
}
