#ifndef DANELAW_MTA_CDB_H
#define DANELAW_MTA_CDB_H

#include "base/fault.h"

/* All lines `key<TAB>value` of the table cdb:path, which postmap can't list; gives them. */
bool cdb_list(const char *path, char **ret, struct fault *why);

#endif
