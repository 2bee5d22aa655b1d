#include "config/reader.h"

#include "base/memory.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

/*
 * A look through a file and its includes before libconfig (1.5) sees them, for it would
 *   - end the process on an @include of a folder, and know no good word for one that isn't there;
 *   - take `"a.example" "b.example"` for one text where a comma was forgotten, so that neither partner has its rule;
 *   - swallow the rest of a file behind a comment that nobody closed;
 *   - wrap large numbers around;
 *   - say "syntax error" where a comma stands behind a list's last entry.
 */

enum { NEST_MAX = 64, INCLUDES_MAX = 10, WORD_SIZE = 64 };

/* What a token was, as far as we care; brackets and commas stand for themselves. */
enum { TOKEN_NONE = 0, TOKEN_TEXT = '"', TOKEN_WORD = 'w' };

struct scan {
    struct source *source;
    struct reader *reader;
    char nest[NEST_MAX];            /* open brackets */
    size_t depth;
    int last;                       /* the token before */
    unsigned last_line;             /* where it began */
    size_t includes;                /* open, one in the other */
    bool good, stop;
};

struct page {
    FILE *stream;
    const char *path;
    unsigned line;
};

static bool scan_page(struct scan *s, const char *path, const struct spot *included_at);

static int next(struct page *p)
{
    int c = getc_unlocked(p->stream);

    if (c == '\n')
        p->line++;
    return c;
}

static void back(struct page *p, int c)
{
    if (c == '\n')
        p->line--;
    ungetc(c, p->stream);
}

static void complain(struct scan *s, const struct page *p, unsigned line, const char *words)
{
    faults_add(s->reader, (struct spot){ .file = p->path, .line = line }, "%s", words);
    s->good = false;
}

static bool in_list(const struct scan *s)
{
    return s->depth > 0 && s->depth <= NEST_MAX && s->nest[s->depth - 1] != '{';
}

/* A text's libconfig line is that of the token behind it. */
static void note_late(struct scan *s, const struct page *p, unsigned line)
{
    struct source *to = s->source;

    if (to->late_count == to->late_room) {
        to->late_room = to->late_room == 0 ? 64 : to->late_room * 2;
        to->late = mem_grow(to->late, to->late_room, sizeof(*to->late));
    }
    to->late[to->late_count++] = (struct late_text){ .file = p->path, .line = line, .real = s->last_line };
}

static void note(struct scan *s, const struct page *p, int token, unsigned line)
{
    bool opens = token == '{' || token == '[' || token == '(';
    bool closes = token == '}' || token == ']' || token == ')';

    if (s->last == TOKEN_TEXT && in_list(s)) {
        if (token == TOKEN_TEXT)
            complain(s, p, line, "two texts without a comma between them would be taken for one; write a comma");
        if (line != s->last_line)
            note_late(s, p, line);
    }
    if (s->last == ',' && closes)
        complain(s, p, s->last_line, "a comma behind the last entry; remove it");
    if (opens && s->depth++ < NEST_MAX)
        s->nest[s->depth - 1] = (char)token;
    if (closes && s->depth > 0)
        s->depth--;
    s->last = token;
    s->last_line = line;
}

static void skip_line(struct page *p)
{
    int c;

    do {
        c = next(p);
    } while (c != EOF && c != '\n');
    if (c == '\n')
        back(p, c);
}

static void skip_comment(struct scan *s, struct page *p)
{
    unsigned line = p->line;
    int before = 0, c;

    for (c = next(p); c != EOF; before = c, c = next(p)) {
        if (before == '*' && c == '/')
            return;
    }
    complain(s, p, line,
             "this comment is never closed, so that the rest of the file would be ignored; close it with */");
}

/* Behind the opening quote, to the closing one. */
static void skip_text(struct scan *s, struct page *p)
{
    unsigned line = p->line;
    int c;

    for (c = next(p); c != '"'; c = next(p)) {
        if (c == '\\')
            c = next(p);
        if (c == EOF) {
            complain(s, p, line, "this text is never closed; write the closing \"");
            s->stop = true;
            return;
        }
    }
    note(s, p, TOKEN_TEXT, line);
}

static void check_number(struct scan *s, const struct page *p, const char *word)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(word, &end, 10);
    if (end == word || (*end != '\0' && strcmp(end, "L") != 0 && strcmp(end, "LL") != 0))
        return;
    if (errno == ERANGE)
        complain(s, p, p->line, "this number is too large");
    else if (*end == '\0' && (number > INT_MAX || number < INT_MIN))
        complain(s, p, p->line, "this number is too large to be written plainly; write an L behind it");
}

static void read_word(struct scan *s, struct page *p, int c)
{
    char word[WORD_SIZE];
    size_t length = 0;

    for (; isalnum(c) || (c > 0 && strchr("-+._*", c) != NULL); c = next(p)) {
        if (length + 1 < sizeof(word))
            word[length++] = (char)c;
    }
    if (c != EOF)
        back(p, c);
    word[length] = '\0';
    check_number(s, p, word);
    note(s, p, TOKEN_WORD, p->line);
}

/* Behind the `@` at a line's beginning: `include "NAME"`. Anything else is left to libconfig. */
static void read_include(struct scan *s, struct page *p)
{
    static const char word[] = "include";
    char name[512];
    size_t length = 0, i;
    struct spot here = { .file = p->path, .line = p->line };
    int c;

    for (i = 0; word[i] != '\0'; i++) {
        c = next(p);
        if (c != word[i]) {
            back(p, c);
            return;
        }
    }
    do {
        c = next(p);
    } while (c == ' ' || c == '\t');
    if (c != '"') {
        back(p, c);
        return;
    }
    for (c = next(p); c != '"' && c != '\n' && c != EOF && length + 1 < sizeof(name); c = next(p))
        name[length++] = (char)c;
    name[length] = '\0';
    if (c != '"') {
        complain(s, p, here.line, "write @include \"FILE\", one a line");
        s->stop = true;
    } else if (name[0] == '/') {
        complain(s, p, here.line, "@include takes a path relative to the folder of the configuration file");
    } else {
        scan_page(s, source_join(s->reader->scratch, s->source->folder, name), &here);
    }
}

static void read_token(struct scan *s, struct page *p, int c)
{
    int after;

    if (c == '#') {
        skip_line(p);
    } else if (c == '/') {
        after = next(p);
        if (after == '/')
            skip_line(p);
        else if (after == '*')
            skip_comment(s, p);
        else
            back(p, after);
    } else if (c == '"') {
        skip_text(s, p);
    } else if (isalnum(c) || c == '-' || c == '+') {
        read_word(s, p, c);
    } else {
        note(s, p, c, p->line);
    }
}

static void scan_stream(struct scan *s, struct page *p)
{
    bool line_begins = true;
    int c = next(p);

    if (c == 0xef)
        complain(s, p, 1, "the file begins with a byte order mark; save it as UTF-8 without one");
    else if (c != EOF)
        back(p, c);
    while (!s->stop && (c = next(p)) != EOF) {
        if (c == '\n') {
            line_begins = true;
        } else if (c == '@' && line_begins) {
            read_include(s, p);
            line_begins = false;
        } else if (c != ' ' && c != '\t' && c != '\r' && c != '\f') {
            line_begins = false;
            read_token(s, p, c);
        }
    }
}

static bool scan_page(struct scan *s, const char *path, const struct spot *included_at)
{
    struct page p = { .path = path, .line = 1 };
    struct spot blame = { .file = path };
    struct fault why;

    if (s->includes > INCLUDES_MAX) {
        faults_add(s->reader, *included_at, "files include each other, or too many deep");
        s->stop = true;
        return s->good = false;
    }
    p.stream = source_file(path, &why);
    if (p.stream == NULL) {
        if (included_at != NULL)
            faults_add(s->reader, *included_at, "@include %s: %s", path, why.text);
        else
            faults_add(s->reader, blame, "%s", why.text);
        return s->good = false;
    }
    s->includes++;
    scan_stream(s, &p);
    s->includes--;
    if (ferror(p.stream)) {                 /* libconfig would end the process */
        faults_add(s->reader, blame, "cannot be read: %s", strerror(errno));
        s->good = false;
    }
    fclose(p.stream);
    return s->good;
}

bool scan_source(struct source *source, struct reader *r)
{
    struct scan s = { .source = source, .reader = r, .good = true };

    return scan_page(&s, source->path, NULL);
}
