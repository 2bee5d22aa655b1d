#ifndef DANELAW_TESTS_EAR_H
#define DANELAW_TESTS_EAR_H

#include <stddef.h>

/* Listens to what the program says on standard error, whichever of its threads says it. */
struct ear {
    int kept, heard;
};

void ear_open(struct ear *e);
/* Gives what was said, cut where it is longer than size; standard error is itself again. */
void ear_close(struct ear *e, char *ret_said, size_t size);

#endif
