#ifndef DANELAW_POLICY_QUEUE_ID_H
#define DANELAW_POLICY_QUEUE_ID_H

#include <stdbool.h>
#include <stdint.h>

/*
 * When Sendmail made a queue id, in wall seconds: its first six letters tell, in UTC, the year only modulo 60; the one next
 * to now is meant. false: this is no queue id. Pure.
 */
bool queue_id_time(const char *id, int64_t now, int64_t *ret);

#endif
