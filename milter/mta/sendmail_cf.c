#include "mta/sendmail_cf.h"

#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/*
 * As Sendmail's readcf() takes it: a line that begins with a blank continues the one before, `#` begins a comment unless
 * `$` or `\` stands before it, the first character is the command.
 */

enum {
    CF_BYTES_MAX = 16 * 1024 * 1024, FILE_BYTES_MAX = 64 * 1024 * 1024, NAMES_MAX = 1000000,
    VALUE_MAX = 64 * 1024, DEPTH_MAX = 8,
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static const char *skip_blanks(const char *text)
{
    while (is_blank(*text))
        text++;
    return text;
}

static size_t word_length(const char *text)
{
    size_t length = 0;

    while (text[length] != '\0' && !is_blank(text[length]))
        length++;
    return length;
}

/* Lines of a file, one by one. */
struct pages {
    FILE *file;
    const char *path;
    char *line;
    size_t room, total, most;
    struct fault why;
    bool failed, gone;
};

static bool pages_open(struct pages *p, const char *path, size_t most)
{
    *p = (struct pages){ .file = fopen(path, "re"), .path = path, .most = most };
    if (p->file != NULL)
        return true;
    p->failed = true;
    p->gone = errno == ENOENT || errno == ENOTDIR;
    return fault_set(&p->why, "%s: cannot be opened: %s", path, strerror(errno));
}

/* The next one, without its end, in p->line; false: there is none, or the file can't be read (then failed is set). */
static bool pages_next(struct pages *p)
{
    ssize_t length = getline(&p->line, &p->room, p->file);

    if (length < 0) {
        p->failed = feof(p->file) == 0;         /* for want of memory, too, getline() ends */
        return p->failed ? fault_set(&p->why, "%s: cannot be read: %s", p->path, strerror(errno)) : false;
    }
    p->total += (size_t)length;
    p->failed = p->total > p->most || memchr(p->line, '\0', (size_t)length) != NULL;
    if (p->failed)
        return fault_set(&p->why, "%s: too long, or no text", p->path);
    if (length > 0 && p->line[length - 1] == '\n')
        p->line[--length] = '\0';
    if (length > 0 && p->line[length - 1] == '\r')
        p->line[length - 1] = '\0';
    return true;
}

static void pages_close(struct pages *p)
{
    if (p->file != NULL)
        fclose(p->file);
    free(p->line);
}

/* The lines */

/* Takes comments off, and the backslash before a `#` that begins none. */
static void strip(char *line)
{
    char *from, *to = line;

    for (from = line; *from != '\0'; from++) {
        if (*from == '#' && to > line && to[-1] == '\\') {
            to[-1] = '#';
            continue;
        }
        if (*from == '#' && to > line && to[-1] != '$') {
            while (to > line && is_blank(to[-1]))
                to--;
            from += strcspn(from, "\n");
            if (*from == '\0')
                break;
        }
        *to++ = *from;
    }
    while (to > line && is_blank(to[-1]))
        to--;
    *to = '\0';
}

static void keep_line(struct sendmail_cf *cf, const struct text *folded, unsigned number)
{
    char *line, *end;

    if (folded->length == 0 || folded->bytes[0] == '#' || is_blank(folded->bytes[0]))
        return;
    line = arena_text(cf->memory, folded->bytes);
    strip(line);
    if (*line == '\0')
        return;
    for (end = line; (end = strchr(end, '\n')) != NULL;)
        *end = ' ';
    if (cf->count == cf->room) {
        cf->room = cf->room == 0 ? 256 : cf->room * 2;
        cf->lines = mem_grow(cf->lines, cf->room, sizeof(*cf->lines));
    }
    cf->lines[cf->count++] = (struct sendmail_line){ .command = *line, .text = line + 1, .number = number };
}

static void read_lines(struct sendmail_cf *cf, struct pages *p)
{
    struct text folded;
    unsigned number = 0, first = 1;

    text_init(&folded, CF_BYTES_MAX);
    while (pages_next(p)) {
        number++;
        if (*p->line == ' ' || *p->line == '\t') {
            text_put(&folded, "\n");
        } else {
            keep_line(cf, &folded, first);
            text_done(&folded);
            text_init(&folded, CF_BYTES_MAX);
            first = number;
        }
        text_put(&folded, p->line);
    }
    keep_line(cf, &folded, first);
    text_done(&folded);
}

static const struct sendmail_line *last_of(const struct sendmail_cf *cf, char command)
{
    size_t i = cf->count;

    while (i > 0 && cf->lines[i - 1].command != command)
        i--;
    return i == 0 ? NULL : &cf->lines[i - 1];
}

bool sendmail_cf_read(const char *config_dir, struct arena *memory, struct sendmail_cf *ret, struct fault *why)
{
    static const char name[] = "/sendmail.cf";
    const char *folder = *config_dir == '\0' ? "/etc/mail" : config_dir;
    char *path = arena_take(memory, strlen(folder) + sizeof(name));

    strcpy(path, folder);
    strcat(path, name);
    return sendmail_cf_read_file(path, memory, ret, why);
}

bool sendmail_cf_read_file(const char *path, struct arena *memory, struct sendmail_cf *ret, struct fault *why)
{
    struct sendmail_cf cf = { .memory = memory, .path = path };
    struct pages p;

    if (pages_open(&p, path, CF_BYTES_MAX))
        read_lines(&cf, &p);
    pages_close(&p);
    if (!p.failed && last_of(&cf, 'V') == NULL)
        p.failed = !fault_set(&p.why, "%s: has no line \"V10\", so it is no configuration of Sendmail", path);
    if (p.failed) {
        sendmail_cf_done(&cf);
        return fault_set(why, "%s", p.why.text);
    }
    *ret = cf;
    return true;
}

void sendmail_cf_done(struct sendmail_cf *cf)
{
    free(cf->lines);
    cf->lines = NULL;
    cf->count = cf->room = 0;
}

/* Options and maps */

const char *sendmail_cf_option(const struct sendmail_cf *cf, const char *name)
{
    size_t i, length = strlen(name);

    for (i = cf->count; i > 0; i--) {
        const char *spoken = skip_blanks(cf->lines[i - 1].text);

        if (cf->lines[i - 1].command != 'O' || spoken == cf->lines[i - 1].text || strncasecmp(spoken, name, length) != 0)
            continue;
        spoken = skip_blanks(spoken + length);
        if (*spoken == '=')
            return skip_blanks(spoken + 1);
        if (*spoken == '\0')
            return "";
    }
    return NULL;
}

const char *sendmail_cf_map(const struct sendmail_cf *cf, const char *name)
{
    size_t i, length = strlen(name);

    for (i = cf->count; i > 0; i--) {
        const char *spoken = skip_blanks(cf->lines[i - 1].text);

        if (cf->lines[i - 1].command == 'K' && word_length(spoken) == length && strncasecmp(spoken, name, length) == 0)
            return skip_blanks(spoken + length);
    }
    return NULL;
}

/* Macros */

/* The length of a macro's or class's name: `w`, `{VirtHost}`. */
static size_t name_length(const char *text)
{
    const char *end = *text == '{' ? strchr(text, '}') : NULL;

    return end == NULL ? *text != '\0' : (size_t)(end - text) + 1;
}

/* `{w}` is `w`. */
static bool same_name(const char *a, size_t a_length, const char *b, size_t b_length)
{
    if (a_length == 3 && *a == '{') {
        a++;
        a_length = 1;
    }
    if (b_length == 3 && *b == '{') {
        b++;
        b_length = 1;
    }
    return a_length == b_length && strncmp(a, b, a_length) == 0;
}

/* What Sendmail finds out by itself, where no line says otherwise. */
static const char *own_value(const struct sendmail_cf *cf, const char *name, size_t length)
{
    char host[256] = "";
    const char *dot;

    if (length != 1 || strchr("wjm", *name) == NULL || gethostname(host, sizeof(host) - 1) != 0)
        return "";
    dot = strchr(host, '.');
    return arena_text(cf->memory, *name != 'm' ? host : dot == NULL ? "" : dot + 1);
}

static const char *macro(const struct sendmail_cf *cf, const char *name, size_t length)
{
    size_t i;

    for (i = cf->count; i > 0; i--) {
        const char *text = cf->lines[i - 1].text;
        size_t named = name_length(text);

        if (cf->lines[i - 1].command == 'D' && same_name(text, named, name, length))
            return text + named;
    }
    return own_value(cf, name, length);
}

static void expand(const struct sendmail_cf *cf, const char *text, unsigned depth, struct text *ret)
{
    size_t length;

    for (; *text != '\0'; text += length) {
        length = strcspn(text, "$");
        text_add(ret, text, length);
        if (text[length] == '\0')
            return;
        text += length + 1;
        text += *text == '&';
        length = name_length(text);
        if (depth < DEPTH_MAX)
            expand(cf, macro(cf, text, length), depth + 1, ret);
    }
}

/* Classes */

struct members {
    const struct sendmail_cf *cf;
    const char *class;
    const char **items;
    size_t count, room;
};

static bool add_words(struct members *m, const char *words, struct fault *why)
{
    size_t length;

    for (words = skip_blanks(words); *words != '\0'; words = skip_blanks(words + length)) {
        length = word_length(words);
        if (m->count == m->room) {
            m->room = m->room == 0 ? 16 : m->room * 2;
            m->items = mem_grow(m->items, m->room, sizeof(*m->items));
        }
        m->items[m->count++] = arena_bytes(m->cf->memory, words, length);
        if (m->count > NAMES_MAX)
            return fault_set(why, "class %s: more than %d members", m->class, NAMES_MAX);
    }
    return true;
}

/* How a line of the file is read: sscanf()'s `%s`, or `%[^SET]`, all up to one of the set. */
struct format {
    char until[64];                 /* "": a word */
};

static bool format_parse(const char *spoken, struct format *ret)
{
    size_t length;

    if (*spoken == '\0' || strcmp(spoken, "%s") == 0) {
        *ret = (struct format){ "" };
        return true;
    }
    length = strlen(spoken);
    if (strncmp(spoken, "%[^", 3) != 0 || length < 5 || length - 4 >= sizeof(ret->until) || spoken[length - 1] != ']' ||
        strpbrk(spoken + 3, "]-") != spoken + length - 1)
        return false;
    memcpy(ret->until, spoken + 3, length - 4);
    ret->until[length - 4] = '\0';
    return true;
}

static bool read_file(struct members *m, const char *path, const struct format *how, bool optional, struct fault *why)
{
    struct pages p;
    bool good = pages_open(&p, path, FILE_BYTES_MAX);

    while (good && pages_next(&p)) {
        const char *words = skip_blanks(p.line);

        if (*p.line == '#')
            continue;
        if (how->until[0] != '\0')
            p.line[strcspn(p.line, how->until)] = '\0';
        else
            p.line[(size_t)(words - p.line) + word_length(words)] = '\0';
        good = add_words(m, p.line, why);
    }
    pages_close(&p);
    if (p.failed && !(p.gone && optional))
        return fault_set(why, "class %s: %s", m->class, p.why.text);
    return good || p.gone;
}

/* `[-o] FILE [FORMAT]`; FILE may be a program behind `|`, or a map: `[KEY]@TYPE:NAME`. */
static bool add_file(struct members *m, const char *spoken, struct fault *why)
{
    bool optional = strncmp(spoken, "-o", 2) == 0;
    struct format how;
    const char *path, *format;
    size_t length;

    if (optional)
        spoken = skip_blanks(spoken + word_length(spoken));
    length = word_length(spoken);
    if (*spoken == '|')
        return fault_set(why, "class %s: it is filled by a program (%.100s), which is not run to see what it says", m->class,
                         spoken);
    if (*spoken != '/' && memchr(spoken, '@', length) != NULL)
        return fault_set(why, "class %s: it is filled from a map (%.100s), which can't be listed", m->class, spoken);
    path = arena_bytes(m->cf->memory, spoken, length);
    format = skip_blanks(spoken + length);
    if (!format_parse(format, &how))
        return fault_set(why, "class %s: %.200s is read by the format \"%.50s\", which is not known here", m->class, path, format);
    return read_file(m, path, &how, optional, why);
}

static bool add_line(struct members *m, const struct sendmail_line *line, struct fault *why)
{
    const char *spoken = line->text;
    size_t named = name_length(spoken);
    struct text words;
    bool good;

    if ((line->command != 'C' && line->command != 'F') || !same_name(spoken, named, m->class, strlen(m->class)))
        return true;
    text_init(&words, VALUE_MAX);
    expand(m->cf, skip_blanks(spoken + named), 0, &words);
    good = line->command == 'C' ? add_words(m, text_words(&words), why) : add_file(m, text_words(&words), why);
    text_done(&words);
    return good;
}

bool sendmail_cf_class(const struct sendmail_cf *cf, const char *name, const char *const **ret, size_t *ret_count, struct fault *why)
{
    struct members m = { .cf = cf, .class = name };
    const char **kept;
    bool good = true;
    size_t i;

    for (i = 0; good && i < cf->count; i++)
        good = add_line(&m, &cf->lines[i], why);
    if (good) {
        kept = arena_take(cf->memory, (m.count + 1) * sizeof(*kept));
        if (m.count > 0)
            memcpy(kept, m.items, m.count * sizeof(*kept));
        *ret = kept;
        *ret_count = m.count;
    }
    free(m.items);
    return good;
}
