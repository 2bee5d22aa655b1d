#ifndef DANELAW_LOOKUP_HTTPS_H
#define DANELAW_LOOKUP_HTTPS_H

#include "lookup/lookup.h"

/*
 * Policy files over HTTPS (RFC 8461 3.3), on a thread of its own: a slow policy host never holds up DNS. At most
 * HTTPS_RUNNING_MAX transfers at once, the others wait their turn.
 */
struct https;

enum { HTTPS_RUNNING_MAX = 128, HTTPS_WAITING_MAX = 4096 };

struct https *https_new(const struct settings *set);
/* addresses as libcurl's CURLOPT_RESOLVE has them. at arrives on the https thread, or inside the call once it is shut. */
void https_get(struct https *h, const char *host, const char *addresses, struct policy_landing *at);
/* Lets everything arrive and ends the thread; what comes later arrives at once, as failed. */
void https_shut(struct https *h);
void https_free(struct https *h);           /* after https_shut; NULL is welcome */

#endif
