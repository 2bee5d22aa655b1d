#ifndef DANELAW_CLI_LOOK_H
#define DANELAW_CLI_LOOK_H

#include "lookup/lookup.h"

/*
 * Questions to the resolver for a program that has one thread: begun at once, waited for one by one. Every look_ begun
 * is ended by look_free(), which waits for the answer too.
 */
struct look;

struct look *look_at_hop(struct lookup *lookup, const struct next_hop *hop);
struct look *look_at_name(struct lookup *lookup, const char *name, int type);
/* Waits; both answers live as long as the look. */
const struct dns_answers *look_answers(struct look *l);
const struct dns_look *look_result(struct look *l);
void look_free(struct look *l);         /* NULL is welcome */

#endif
