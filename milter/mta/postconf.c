#include "mta/postconf.h"

#include "base/memory.h"
#include "mta/run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const folders[] = {
    "/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/sbin", "/opt/postfix/sbin", "/usr/libexec/postfix",
};

static const char *program_in(const char *folder, size_t length, const char *name, struct arena *memory)
{
    char path[4096];
    int written = snprintf(path, sizeof(path), "%.*s/%s", (int)length, folder, name);

    if (written < 0 || (size_t)written >= sizeof(path) || access(path, X_OK) != 0)
        return NULL;
    return arena_text(memory, path);
}

bool postconf_program(const struct settings *set, const char *name, struct arena *memory, const char **ret, struct fault *why)
{
    const char *slash = strrchr(set->tables.postmap, '/'), *found = NULL;
    size_t i;

    if (slash != NULL)
        found = program_in(set->tables.postmap, (size_t)(slash - set->tables.postmap), name, memory);
    for (i = 0; found == NULL && i < COUNT_OF(folders); i++)
        found = program_in(folders[i], strlen(folders[i]), name, memory);
    if (found == NULL)
        return fault_set(why, "%s(1) is in none of the usual folders; set tables.postmap to postmap's path", name);
    *ret = found;
    return true;
}

bool postconf_find(const struct settings *set, struct arena *memory, struct postconf *ret, struct fault *why)
{
    *ret = (struct postconf){ .config_dir = set->tables.config_dir, .memory = memory };
    return postconf_program(set, "postconf", memory, &ret->postconf, why);
}

/* postconf [-c DIR] OPTIONS... */
static size_t begin(const struct postconf *p, const char *argv[static POSTCONF_ARGUMENTS])
{
    size_t count = 0;

    argv[count++] = p->postconf;
    if (*p->config_dir != '\0') {
        argv[count++] = "-c";
        argv[count++] = p->config_dir;
    }
    return count;
}

static bool ask(const char *const argv[], struct run *ret, struct fault *why)
{
    char said[256];

    if (!run_program(argv, NULL, 0, ret, why))
        return false;
    if (ret->code == 0)
        return true;
    fault_set(why, "%s: %s", argv[0], run_complaint(ret, said, sizeof(said)));
    run_done(ret);
    return false;
}

/* The value in a line `name = value` or `name =`, or NULL. */
static const char *value_of(const char *line, size_t length, const char *name, struct arena *memory)
{
    size_t named = strlen(name);

    if (length < named + 2 || strncmp(line, name, named) != 0 || strncmp(line + named, " =", 2) != 0)
        return NULL;
    for (named += 2; named < length && line[named] == ' '; named++)
        ;
    return arena_bytes(memory, line + named, length - named);
}

static void take_line(const char *line, size_t length, const char *const names[], const char *ret[],
                      struct arena *memory)
{
    size_t i;

    for (i = 0; names[i] != NULL; i++) {
        if (ret[i] == NULL)
            ret[i] = value_of(line, length, names[i], memory);
    }
}

bool postconf_read(const struct postconf *p, bool expanded, const char *const names[], const char *ret[],
                   struct fault *why)
{
    const char *argv[POSTCONF_ARGUMENTS] = { NULL }, *line;
    size_t count = begin(p, argv), i;
    struct run r;

    if (expanded)
        argv[count++] = "-x";
    for (i = 0; names[i] != NULL; i++) {
        ret[i] = NULL;
        if (count + 1 < POSTCONF_ARGUMENTS)
            argv[count++] = names[i];
    }
    if (!ask(argv, &r, why))
        return false;
    for (line = text_words(&r.out); *line != '\0'; line += strcspn(line, "\n"), line += *line == '\n')
        take_line(line, strcspn(line, "\n"), names, ret, p->memory);
    run_done(&r);
    return true;
}

bool postconf_service(const struct postconf *p, const char *field, const char **ret, struct fault *why)
{
    const char *argv[POSTCONF_ARGUMENTS] = { NULL };
    size_t count = begin(p, argv);
    struct run r;

    argv[count++] = "-F";
    argv[count++] = field;
    if (!ask(argv, &r, why))
        return false;
    *ret = value_of(text_words(&r.out), strcspn(text_words(&r.out), "\n"), field, p->memory);
    run_done(&r);
    return true;
}

bool postconf_list(const struct postconf *p, const char *option, char **ret, struct fault *why)
{
    const char *argv[POSTCONF_ARGUMENTS] = { NULL };
    struct run r;

    argv[begin(p, argv)] = option;
    if (!ask(argv, &r, why))
        return false;
    *ret = text_give(&r.out);
    run_done(&r);
    return true;
}

static bool parts(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* As Postfix's mystrtokq() does it: what stands in braces is one word. */
static size_t word_length(const char *word)
{
    size_t length, depth = 0;

    for (length = 0; word[length] != '\0' && (depth > 0 || !parts(word[length])); length++) {
        if (word[length] == '{')
            depth++;
        else if (word[length] == '}' && depth > 0)
            depth--;
    }
    return length;
}

const char *postconf_word(const char **cursor, struct arena *memory)
{
    const char *word = *cursor;
    size_t length;

    while (parts(*word))
        word++;
    length = word_length(word);
    *cursor = word + length;
    return length == 0 ? NULL : arena_bytes(memory, word, length);
}

bool postconf_has_word(const char *list, const char *word)
{
    size_t length;

    for (; *list != '\0'; list += length) {
        while (parts(*list))
            list++;
        length = word_length(list);
        if (length == strlen(word) && strncmp(list, word, length) == 0)
            return true;
    }
    return false;
}
