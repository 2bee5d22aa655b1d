#include "lookup/trust.h"

#include "base/memory.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

AUTO_DEFINE(X509_STORE_free, X509_STORE *)
AUTO_DEFINE(curl_easy_cleanup, CURL *)

static bool add_file(X509_STORE *trust, const char *path, struct fault *why)
{
    if (X509_STORE_load_file(trust, path) == 1)
        return true;
    return fault_set(why, "%s: cannot read certificate authorities: %s", path,
                     ERR_reason_error_string(ERR_peek_last_error()));
}

static bool add_folder(X509_STORE *trust, const char *path, struct fault *why)
{
    return X509_STORE_load_path(trust, path) == 1
           || fault_set(why, "%s: cannot use this folder of certificate authorities", path);
}

/* What libcurl was built with; a build that names neither leaves it to OpenSSL. */
static bool add_presets(X509_STORE *trust, struct fault *why)
{
    AUTO(curl_easy_cleanup) CURL *easy = curl_easy_init();
    char *file = NULL, *folder = NULL;

    if (easy == NULL)
        mem_out();
    curl_easy_getinfo(easy, CURLINFO_CAINFO, &file);
    curl_easy_getinfo(easy, CURLINFO_CAPATH, &folder);
    if (file == NULL && folder == NULL)
        return X509_STORE_set_default_paths(trust) == 1
               || fault_set(why, "cannot use OpenSSL's own certificate authorities");
    return (file == NULL || add_file(trust, file, why)) && (folder == NULL || add_folder(trust, folder, why));
}

bool trust_open(const char *ca_file, X509_STORE **ret, struct fault *why)
{
    AUTO(X509_STORE_free) X509_STORE *trust = X509_STORE_new();
    bool good;

    if (trust == NULL || X509_STORE_set_flags(trust, X509_V_FLAG_PARTIAL_CHAIN) != 1)
        mem_out();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        mem_out();
    ERR_set_mark();
    good = *ca_file == '\0' ? add_presets(trust, why) : add_file(trust, ca_file, why);
    ERR_pop_to_mark();
    curl_global_cleanup();
    if (good)
        *ret = take(trust);
    return good;
}
