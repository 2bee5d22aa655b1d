#ifndef DANELAW_POLICY_STS_H
#define DANELAW_POLICY_STS_H

#include "base/domain.h"
#include "policy/terms.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* MTA-STS (RFC 8461): what a domain's TXT record and its policy file say. All pure. */

enum { STS_ID_SIZE = 33, STS_BODY_MAX = 1024 * 1024, STS_MAX_AGE_MAX = 31557600 };
enum sts_mode { STS_MODE_ENFORCE = 0, STS_MODE_TESTING, STS_MODE_NONE };

/* A policy file. Frozen; counted. */
struct sts_policy {
    enum sts_mode mode;
    uint32_t max_age;               /* seconds, at most STS_MAX_AGE_MAX */
    size_t mx_count;
    size_t octets;                  /* what it takes of memory */
    const char *const *mx;          /* lower-case A-labels, with `*.` before a wildcard's */
    atomic_uint users;
};

/*
 * The TXT RRset of _mta-sts.DOMAIN (RFC 8461 3.1), each record's strings joined. Records that don't begin with
 * `v=STSv1;` don't count; exactly one must be left, and be valid. Writes its id.
 */
bool sts_record_parse(const char *const records[], const size_t lengths[], size_t count, char ret_id[static STS_ID_SIZE],
                      struct fault *why);
/* A policy file (RFC 8461 3.2). Gives a policy with one user. */
bool sts_policy_parse(const char *bytes, size_t length, struct sts_policy **ret, struct fault *why);
struct sts_policy *sts_policy_ref(struct sts_policy *p);
void sts_policy_unref(struct sts_policy *p);            /* NULL is welcome */

/* `*.x` matches exactly one label before x, else both are equal (RFC 8461 4.1). host in lower-case A-labels. */
bool sts_mx_match(const char *pattern, const char *host);
bool sts_policy_lists(const struct sts_policy *p, const char *host);
const char *sts_mode_word(enum sts_mode m);
enum sts_state sts_state_of(const struct sts_policy *p);

#endif
