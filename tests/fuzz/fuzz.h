#ifndef DANELAW_TESTS_FUZZ_FUZZ_H
#define DANELAW_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* One input; whatever it is, the target returns 0 or aborts. Linked with replay.c it tries a corpus, with
   -fsanitize=fuzzer it looks for more. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What holds for any input. */
static inline void must(bool good)
{
    if (!good)
        abort();
}

/* An input that is taken piece by piece. At its end there are only zeroes. */
struct feed {
    const uint8_t *at, *end;
};

static inline uint8_t feed_octet(struct feed *f)
{
    return f->at < f->end ? *f->at++ : 0;
}

/* Up to the next line end or NUL, as text. Returns ret. */
static inline char *feed_line(struct feed *f, char *ret, size_t size)
{
    size_t length = 0;

    while (f->at < f->end && length + 1 < size && *f->at != '\n' && *f->at != '\0')
        ret[length++] = (char)*f->at++;
    if (f->at < f->end && (*f->at == '\n' || *f->at == '\0'))
        f->at++;
    ret[length] = '\0';
    return ret;
}

/* All that is left, as text that NUL may cut short; gives it. */
static inline char *feed_rest(struct feed *f)
{
    size_t length = (size_t)(f->end - f->at), i;
    char *text = malloc(length + 1);

    must(text != NULL);
    for (i = 0; i < length; i++)
        text[i] = (char)f->at[i];
    text[length] = '\0';
    f->at = f->end;
    return text;
}

/* Nothing but visible ASCII and blanks. */
static inline bool is_printable(const char *text)
{
    while (*text >= ' ' && *text < 0x7f)
        text++;
    return *text == '\0';
}

#endif
