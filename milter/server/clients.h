#ifndef DANELAW_SERVER_CLIENTS_H
#define DANELAW_SERVER_CLIENTS_H

#include "base/fault.h"
#include "base/settings.h"

#include <stdbool.h>

struct sockaddr;

/* Networks, as `192.0.2.0/24`, `2001:db8::/32`, `::1`. Frozen once parsed; any thread. */
struct clients;

bool clients_parse(const struct setting_list *list, struct clients **ret, struct fault *why);
void clients_free(struct clients *c);       /* NULL is welcome */
/* IPv4 addresses mapped into IPv6 count as IPv4. */
bool clients_match(const struct clients *c, const struct sockaddr *address);

#endif
