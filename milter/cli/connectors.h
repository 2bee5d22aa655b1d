#ifndef DANELAW_CLI_CONNECTORS_H
#define DANELAW_CLI_CONNECTORS_H

#include "cli/cli.h"
#include "cli/daemon.h"

/* One connector, whole, for people. */
void connectors_show_item(struct daemon_reader *self, const json_t *item);
/* Asks the daemon for one, and shows it. The exit status. */
int connectors_show(const struct cli *c, const char *name);

#endif
