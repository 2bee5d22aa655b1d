#ifndef DANELAW_BASE_TEXT_H
#define DANELAW_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Growing text with a ceiling; past it the text stays as it is and `full` is set. Always NUL-terminated once written to. */
struct text {
    char *bytes;            /* NULL while empty */
    size_t length, room, ceiling;
    bool full;
};

void text_init(struct text *t, size_t ceiling);
void text_done(struct text *t);
bool text_add(struct text *t, const char *bytes, size_t length);
bool text_put(struct text *t, const char *words);
bool text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *text_words(const struct text *t);           /* borrowed; "" while empty */
char *text_give(struct text *t);                        /* gives the bytes (never NULL); t is empty again */

/* Copies strangers' bytes as printable ASCII (others as `?`, also `"` and `\` where quoted is set); returns ret. */
char *text_printable(const char *bytes, bool quoted, char *ret, size_t size);

/* How many single-letter edits apart (Levenshtein); names longer than 63 bytes are as far apart as can be. */
size_t text_distance(const char *a, const char *b);

#endif
