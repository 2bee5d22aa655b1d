#include "lookup/probe_reply.h"

#include "base/text.h"

#include <string.h>
#include <strings.h>

static void spoil(struct reply *r, const char *why)
{
    r->state = REPLY_GARBAGE;
    r->why = why;
}

/* The code a line begins with, 200 to 599; 0: none. */
static int read_code(const char *line)
{
    int i, code = 0;

    for (i = 0; i < 3; i++) {
        if (line[i] < '0' || line[i] > '9')
            return 0;
        code = code * 10 + line[i] - '0';
    }
    return code >= 200 && code < 600 ? code : 0;
}

static bool is_starttls(const char *keyword)
{
    static const char word[] = "STARTTLS";
    size_t length = sizeof(word) - 1;

    return strncasecmp(keyword, word, length) == 0 && (keyword[length] == '\0' || keyword[length] == ' ');
}

static void keep_words(struct reply *r)
{
    size_t end;

    text_printable(r->line, false, r->words, sizeof(r->words));
    for (end = strlen(r->words); end > 0 && r->words[end - 1] == ' '; end--)
        r->words[end - 1] = '\0';
}

/* A line is there, without its end. The code alone is a whole reply, too (RFC 5321 4.2). */
static void end_line(struct reply *r)
{
    size_t kept = r->length < sizeof(r->line) ? r->length : sizeof(r->line) - 1;
    int code;

    if (r->length <= sizeof(r->line) - 1 && kept > 0 && r->line[kept - 1] == '\r')
        kept--;
    r->line[kept] = '\0';
    code = read_code(r->line);
    if (code == 0 || strchr(" -", r->line[3]) == NULL) {
        spoil(r, "no reply as in SMTP");
        return;
    }
    if (r->lines > 0 && code != r->code) {
        spoil(r, "a reply with two codes");
        return;
    }
    if (r->lines == 0)
        keep_words(r);
    else if (r->line[3] != '\0' && is_starttls(r->line + 4))
        r->starttls = true;
    r->code = code;
    r->lines++;
    r->length = 0;
    if (r->line[3] != '-')
        r->state = REPLY_WHOLE;
    else if (r->lines == REPLY_LINES_MAX)
        spoil(r, "a reply without an end");
}

static void read_octet(struct reply *r, char octet)
{
    if (octet == '\n') {
        end_line(r);
        return;
    }
    if (r->length < sizeof(r->line) - 1)
        r->line[r->length] = octet == '\0' ? '?' : octet;
    if (++r->length >= REPLY_LINE_MAX)
        spoil(r, "a line without an end");
}

size_t reply_read(struct reply *r, const char *bytes, size_t length)
{
    size_t taken = 0;

    while (taken < length && r->state == REPLY_MORE) {
        read_octet(r, bytes[taken++]);
        if (++r->octets == REPLY_OCTETS_MAX && r->state == REPLY_MORE)
            spoil(r, "a reply without an end");
    }
    return taken;
}
