#ifndef DANELAW_ENGINE_OWN_H
#define DANELAW_ENGINE_OWN_H

#include "base/domain.h"

/* The domains that the MTA itself delivers or relays for, as keys: `d`, `.d`. Any thread. */
struct own;

struct own *own_new(void);                  /* empty */
void own_free(struct own *o);
/* Copies them; they are sorted. */
void own_set(struct own *o, const char *const *domains, size_t count);
bool own_has(struct own *o, const char *domain);

#endif
