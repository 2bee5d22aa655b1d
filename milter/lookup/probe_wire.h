#ifndef DANELAW_LOOKUP_PROBE_WIRE_H
#define DANELAW_LOOKUP_PROBE_WIRE_H

#include "base/fault.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * A connection that never waits past its deadline, nor once `stop` is readable: each wait watches both. One thread at a
 * time. All that fail say why; `stopped` tells whether that was us.
 */
struct wire {
    int fd;                     /* -1: none */
    int stop;
    int64_t deadline;           /* by clock_ms(); may be moved any time */
    bool stopped;
};

/* from: AF_UNSPEC, or of another family than to: any address of ours. */
bool wire_connect(struct wire *w, const struct sockaddr_storage *to, const struct sockaddr_storage *from, struct fault *why);
/* All of the bytes. A host that is gone raises no SIGPIPE. */
bool wire_send(struct wire *w, const void *bytes, size_t length, struct fault *why);
/* At least one octet; false also where the host has hung up. */
bool wire_receive(struct wire *w, void *bytes, size_t size, size_t *ret, struct fault *why);
void wire_close(struct wire *w);

#endif
