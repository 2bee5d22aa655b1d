#ifndef DANELAW_CLI_DAEMON_H
#define DANELAW_CLI_DAEMON_H

#include "cli/cli.h"

#include <jansson.h>

/* Who takes the items of an answer, in the order they come; item is borrowed. */
struct daemon_reader {
    void (*item)(struct daemon_reader *self, const json_t *item);
};

/*
 * One request to the running daemon (taken). With --json the items go to standard output as they are, else to reader.
 * What the daemon has to say about a failure is on standard error. Gives the exit status that the daemon answered, or
 * CLI_UNREACHABLE, CLI_TEMPORARY, CLI_CONFIG.
 */
int daemon_ask(const struct cli *c, json_t *request, struct daemon_reader *reader);
/* The same where control.socket is known already, for those who ask often. */
int daemon_ask_at(const struct cli *c, const char *socket, json_t *request, struct daemon_reader *reader);
/* Whether somebody listens at control.socket. Says nothing. */
bool daemon_listens(const struct settings *set);

#endif
