#ifndef DANELAW_CLI_WORDS_H
#define DANELAW_CLI_WORDS_H

#include "cli/cli.h"
#include "mta/sweep.h"

/*
 * What the daemon says of connectors' mail, each thing asked once; and what it is told to log and trace. Once it can't be
 * reached it isn't asked again. Borrows all that it is opened with.
 */
struct words;

struct words *words_open(const struct cli *c, const struct configuration *conf);
void words_close(struct words *w);

/* Its word on a recipient in this domain who falls to this connector; borrowed until words_close(). NULL: it has none. */
const struct sweep_word *words_ask(struct words *w, const struct connector *about, const struct domain *domain,
                                   const char *to, const char *from);
/* Has it write down that a recipient's mail is returned. */
void words_tell(struct words *w, const char *queue_id, const char *to, const char *from, enum reason reason);

#endif
