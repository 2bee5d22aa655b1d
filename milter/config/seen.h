#ifndef DANELAW_CONFIG_SEEN_H
#define DANELAW_CONFIG_SEEN_H

#include "policy/connector.h"

#include <stddef.h>
#include <stdint.h>

/* What has been met so far, so that the hundred thousandth connector is compared with its likes only. */
struct sighting {
    uint64_t hash;
    const struct connector *who;
    const struct pattern *what;     /* NULL: the connector's name */
    uint64_t senders;               /* a hash of all of them, in no order; 0: anyone's */
    bool enabled;
};

struct seen {
    struct sighting *slots;
    size_t room, used;
};

/* Files it, unless it is the same as an earlier one: then that is returned, else NULL. */
const struct sighting *seen_before(struct seen *s, const struct sighting *it,
                                   bool (*same)(const struct sighting *, const struct sighting *));
void seen_done(struct seen *s);

#endif
