#ifndef DANELAW_LOOKUP_TRUST_H
#define DANELAW_LOOKUP_TRUST_H

#include "base/fault.h"

#include <openssl/x509.h>
#include <stdbool.h>

/*
 * The certificate authorities that mail hosts are judged by: those of ca_file, or for "" the ones that libcurl judges
 * policy hosts by. An intermediate authority that is listed is trusted, too, as libcurl does. Gives the store, to be freed
 * by X509_STORE_free(); any number of threads may verify with it. Reads files; false: one can't be read, or holds none.
 */
bool trust_open(const char *ca_file, X509_STORE **ret, struct fault *why);

#endif
