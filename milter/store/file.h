#ifndef DANELAW_STORE_FILE_H
#define DANELAW_STORE_FILE_H

#include "base/fault.h"

#include <stdbool.h>

#include <sqlite3.h>

/* The SQLite file below a directory: finding, checking and making it. Inside the room; each call from any thread. */

/* Gives a connection for writing, to a file of our schema. What is broken, or newer than we are, is moved aside. */
bool file_open(const char *directory, sqlite3 **ret, struct fault *why);
/* SQLITE_OK: gives a connection for reading, also where nothing can be written; *ret_frozen: then it sees the file alone,
   not what another connection writes. */
int file_open_to_read(const char *directory, sqlite3 **ret, bool *ret_frozen, struct fault *why);
/* Moves the file away under a name with the time, and says so loudly. No connection of ours is open. */
bool file_set_aside(const char *directory, const char *reason, struct fault *why);
/* The disk gives all octets back, whatever they mean. */
bool file_can_be_read(const char *directory, struct fault *why);
/* One was there and is no more, or what was in it is lost and not noted yet. */
bool file_missed(const char *directory);
/* Closes without touching the file again. */
void file_close_broken(sqlite3 *db);
/* The name in the directory is no longer this file's. */
bool file_moved(sqlite3 *db);
/* A result code that says that the file itself is broken. */
bool file_broken(int code);

#endif
