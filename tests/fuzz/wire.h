#ifndef DANELAW_TESTS_FUZZ_WIRE_H
#define DANELAW_TESTS_FUZZ_WIRE_H

/*
 * A server's listening socket in memory: stands in for libevent's listener and its socket connections, so that a target
 * writes to a server's real client without any descriptor. One thread, one server, one client at a time.
 */
struct bufferevent;
struct event_base;

/* The loop that the server is to be opened on; made at the first call. */
struct event_base *wire_loop(void);
/* A client comes; gives its end of the wire. */
struct bufferevent *wire_connect(void);
/* Whether the server has hung up. */
int wire_is_cut(struct bufferevent *end);
/* Lets the loop do what is to be done now. */
void wire_run(void);
/* The client goes. Takes end. */
void wire_leave(struct bufferevent *end);

#endif
