#ifndef DANELAW_MTA_RUN_H
#define DANELAW_MTA_RUN_H

#include "base/fault.h"
#include "base/text.h"

/* What a program said and how it ended. */
struct run {
    struct text out, err;
    int code;                               /* exit status */
};

/* How long a program may take; for tests to shorten, before threads start. */
extern unsigned run_limit_seconds;

/*
 * Runs the program at path argv[0] without a shell, with a clean environment, our signals unblocked and no descriptor but
 * its own three; input (length octets, NULL: none) is its standard input. false: it could not be started, was killed, took
 * too long or said too much; then it is dead and ret is empty. Any thread.
 */
bool run_program(const char *const argv[], const char *input, size_t length, struct run *ret, struct fault *why);
/* Who takes a program's output by lines; a line is borrowed for the call, and has a NUL in place of its end. */
struct run_reader {
    void (*line)(struct run_reader *self, const char *line, size_t length);
};

/* The same for output of any length, a line at a time as it comes; run_limit_seconds may pass between two lines. */
bool run_lines(const char *const argv[], struct run_reader *reader, struct run *ret, struct fault *why);
void run_done(struct run *r);

/* The last line it wrote to standard error, printable, for a fault. Returns ret. */
char *run_complaint(const struct run *r, char *ret, size_t size);

#endif
