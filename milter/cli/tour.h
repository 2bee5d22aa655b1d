#ifndef DANELAW_CLI_TOUR_H
#define DANELAW_CLI_TOUR_H

#include "lookup/lookup.h"
#include "policy/connector.h"
#include "policy/evidence.h"

#include <jansson.h>

struct text;

/*
 * `danelaw check --probe`: visits to the hosts of some next hops, begun at once and waited for where they are needed. One
 * thread. Borrows all that it is given, until tour_free().
 */
struct tour;

struct tour *tour_new(struct lookup *lookup, const struct connector *c);
void tour_free(struct tour *t);                 /* waits; NULL is welcome */
/* The hosts of one more next hop are visited. policy: of its policy domain, or NULL. Shares found. */
void tour_add(struct tour *t, const struct next_hop *hop, struct evidence *found, const struct sts_policy *policy);

/* What decisions about the next hop that was added as the hop-th rest on: with probe = require it may be a mismatch. Takes and
 * gives a reference. */
struct evidence *tour_seen(struct tour *t, size_t hop, struct evidence *found);
/* As the manual has it. Gives the list. */
json_t *tour_json(struct tour *t);
/* For people, to standard output. */
void tour_page(struct tour *t);
/* Adds what to tell the partner. */
void tour_advice(struct tour *t, struct text *ret);
/* 0, 1 where a host fails, 75 where none could be seen. */
int tour_exit(struct tour *t);

#endif
