#ifndef DANELAW_LOOKUP_PROBE_H
#define DANELAW_LOOKUP_PROBE_H

#include "lookup/lookup.h"

/*
 * Visits to mail hosts, by at most probe.concurrency threads of their own; the first starts with the first visit. At one
 * address there is one visit at a time.
 */
struct probe;

enum { PROBE_ADDRESSES_MAX = 8, PROBE_WAITING_MAX = 4096 };     /* those that wait, urgent ones and others apart */

/* false: a setting can't be meant, or there is no descriptor. */
bool probe_open(const struct settings *set, struct probe **ret, struct fault *why);
/*
 * Visits the first of the addresses that lets us in; their ports don't count. at arrives on one of our threads, or inside
 * the call where there is no room, or once we are shut.
 */
void probe_go(struct probe *p, const struct probe_target *target, const struct sockaddr_storage *addresses, size_t count,
              struct probe_landing *at);
/* Lets everything arrive and ends the threads; what comes later arrives at once, as unreachable. */
void probe_shut(struct probe *p);
void probe_free(struct probe *p);           /* after probe_shut, or before the first visit; NULL is welcome */
/* Nobody could go: lets it arrive, as unreachable. */
void probe_refuse(struct probe_landing *at, const char *why);

#endif
