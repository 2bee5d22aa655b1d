#ifndef DANELAW_SERVER_GATE_H
#define DANELAW_SERVER_GATE_H

/*
 * smfi_main() returns while sessions still run, and nothing joins their threads. So each callback that uses what the daemon's
 * end takes away passes a gate; once that is shut, who comes to it waits there for the end of the process. The MTA then sees
 * what a dead filter shows: a connection that ends. There is one gate; any thread, but for gate_open().
 */

/* Before any thread starts. */
void gate_open(void);
/* Returns while the gate is open, else never. */
void gate_enter(void);
void gate_leave(void);
void gate_shut(void);
/* After gate_shut(): returns once nobody is inside. */
void gate_await(void);

#endif
