#ifndef DANELAW_LOOKUP_PROBE_REPLY_H
#define DANELAW_LOOKUP_PROBE_REPLY_H

#include <stdbool.h>
#include <stddef.h>

/* A mail host's reply (RFC 5321 4.2), octet by octet. Pure. Nothing a host says makes it grow. */

enum { REPLY_LINE_MAX = 2048, REPLY_LINES_MAX = 100, REPLY_OCTETS_MAX = 64 * 1024, REPLY_WORDS_SIZE = 128 };

enum reply_state { REPLY_MORE = 0, REPLY_GARBAGE, REPLY_WHOLE };

/* Zeroed: nothing has been read yet. */
struct reply {
    enum reply_state state;
    int code;
    bool starttls;                  /* a line behind the first, which is the host's name, is that keyword */
    char words[REPLY_WORDS_SIZE];   /* the first line with its code: printable, cut */
    const char *why;                /* of garbage */
    /* the reader's own */
    char line[REPLY_WORDS_SIZE];    /* how the line under way begins */
    size_t length, lines, octets;
};

/* Reads on. Returns how many octets it took: all of them, or those up to the end of the reply, or up to garbage. */
size_t reply_read(struct reply *r, const char *bytes, size_t length);

#endif
