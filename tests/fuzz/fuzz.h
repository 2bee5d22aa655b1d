#ifndef DANELAW_TESTS_FUZZ_FUZZ_H
#define DANELAW_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* One input; whatever it is, the target returns 0 or aborts. Linked with replay.c it tries a corpus, with
   -fsanitize=fuzzer it looks for more. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#endif
