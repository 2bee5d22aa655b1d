#ifndef DANELAW_STORE_READING_H
#define DANELAW_STORE_READING_H

#include "store/store.h"

/* A query past the writer. Inside the room. */

/*
 * On a connection of its own, to the file below directory; any thread. Gives SQLite's word: SQLITE_DONE where all was read, or
 * as much as was wanted; else why is set. ret_frozen: as file_open_to_read() has it.
 */
int reading_do(const char *directory, struct store_query *q, bool *ret_frozen, struct fault *why);

#endif
