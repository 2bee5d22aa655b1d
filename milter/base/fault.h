#ifndef DANELAW_BASE_FAULT_H
#define DANELAW_BASE_FAULT_H

#include <stdbool.h>

/* Why something failed, in words for an administrator. */
struct fault {
    char text[512];
};

/* Writes the reason into why (or NULL: nobody asked). Always returns false, so that `return fault_set(...)` reads well. */
bool fault_set(struct fault *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
