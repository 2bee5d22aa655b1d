#ifndef DANELAW_LOOKUP_PROBE_SMTP_H
#define DANELAW_LOOKUP_PROBE_SMTP_H

#include "lookup/lookup.h"
#include "lookup/probe_wire.h"

/* The talk with a mail host, up to STARTTLS and no further. */

/*
 * Greeting, EHLO, STARTTLS. helo: our name; "": the address that we come from. How far it came: PROBE_TLS_FAILED where
 * the handshake may begin, else why is set. ret_in_step: the host waits for a command.
 */
enum probe_state smtp_open(struct wire *w, const char *helo, bool *ret_in_step, struct fault *why);
/* Takes leave of a host that waits for a command. */
void smtp_quit(struct wire *w);

#endif
