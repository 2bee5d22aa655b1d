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
struct look *look_at_records(struct lookup *lookup, const char *name, int type);
struct look *look_at_policy(struct lookup *lookup, const struct domain *policy_domain);
struct look *look_at_host(struct lookup *lookup, const struct probe_target *target);
/* Each waits, and is for its own look_at_; what it gives lives as long as the look. */
const struct dns_answers *look_answers(struct look *l);
const struct dns_look *look_result(struct look *l);
const struct dns_records *look_records(struct look *l);
const struct policy_file *look_policy(struct look *l);
const struct probe_sight *look_sight(struct look *l);
void look_free(struct look *l);         /* NULL is welcome */

#endif
