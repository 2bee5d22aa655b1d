#include "policy/terms.h"

#include "base/memory.h"

#include <string.h>

static const char *const mode_words[] = {
    [MODE_MANDATORY] = "mandatory", [MODE_OPPORTUNISTIC] = "opportunistic", [MODE_NONE] = "none",
};
static const char *const require_words[] = { [REQUIRE_ALL] = "all", [REQUIRE_ANY] = "any" };
static const char *const on_hold_words[] = {
    [ON_HOLD_AUTO] = "auto", [ON_HOLD_TEMPFAIL] = "tempfail", [ON_HOLD_QUEUE] = "queue",
};
static const char *const probing_words[] = {
    [PROBING_OFF] = "off", [PROBING_WATCH] = "watch", [PROBING_REQUIRE] = "require",
};
static const char *const dane_words[] = {
    [DANE_UNKNOWN] = "unknown",   [DANE_BOGUS] = "bogus",             [DANE_MISMATCH] = "mismatch",
    [DANE_NO_MAIL] = "no-mail",   [DANE_ABSENT] = "absent",           [DANE_UNUSABLE] = "unusable",
    [DANE_DEGRADED] = "degraded", [DANE_INSECURE_MX] = "insecure-mx", [DANE_PARTIAL] = "partial",
    [DANE_USABLE] = "usable",
};
static const char *const host_words[] = {
    [HOST_FAILING] = "failing", [HOST_BOGUS] = "bogus",       [HOST_GONE] = "gone",
    [HOST_BARE] = "bare",       [HOST_UNUSABLE] = "unusable", [HOST_GOOD] = "good",
};
static const char *const sts_words[] = {
    [STS_UNKNOWN] = "unknown", [STS_FETCH_ERROR] = "fetch-error", [STS_ENFORCE_MISMATCH] = "enforce-mismatch",
    [STS_ABSENT] = "absent",   [STS_NONE] = "none",               [STS_TESTING] = "testing",
    [STS_ENFORCE] = "enforce",
};
static const char *const tls_words[] = {
    [TLS_DANE_ONLY] = "dane-only", [TLS_SITE] = "site",     [TLS_MAY] = "may",       [TLS_DANE] = "dane",
    [TLS_ENCRYPT] = "encrypt",     [TLS_VERIFY] = "verify", [TLS_SECURE] = "secure",
};
static const char *const where_words[] = {
    [WHERE_RCPT] = "rcpt", [WHERE_EOM] = "eom", [WHERE_MAP] = "map", [WHERE_SWEEP] = "sweep",
};

static const char *const verdict_words[] = {
    [VERDICT_HOLD] = "hold", [VERDICT_BOUNCE] = "bounce", [VERDICT_FALLBACK] = "fallback",
    [VERDICT_PASS] = "pass", [VERDICT_DELIVER] = "deliver",
};
static const char *const reason_words[] = {
    [REASON_INTERNAL] = "internal",
    [REASON_NONE] = "-",
    [REASON_DANE_REQUIRED] = "dane-required",
    [REASON_DNSSEC_INVALID] = "dnssec-invalid",
    [REASON_TLSA_INVALID] = "tlsa-invalid",
    [REASON_STS_REQUIRED] = "sts-required",
    [REASON_STS_MX_MISMATCH] = "sts-mx-mismatch",
    [REASON_STS_FETCH_ERROR] = "sts-fetch-error",
    [REASON_DNS_TEMP] = "dns-temp",
    [REASON_TLS_REQUIRED] = "tls-required",
};
static const char *const trust_words[] = {
    [DNS_FAILED] = "failed", [DNS_BOGUS] = "bogus", [DNS_INSECURE] = "insecure", [DNS_SECURE] = "secure",
};

static const char *word_of(const char *const words[], size_t count, size_t which)
{
    return which < count ? words[which] : "?";
}

static bool find_word(const char *const words[], size_t count, const char *word, size_t *ret)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

#define WORD_FUNCTION(function, type, words)                        \
    const char *function(enum type which)                           \
    {                                                               \
        return word_of(words, COUNT_OF(words), (size_t)which);      \
    }

#define PARSE_FUNCTION(function, type, words)                       \
    bool function(const char *word, enum type *ret)                 \
    {                                                               \
        size_t found;                                               \
                                                                    \
        if (!find_word(words, COUNT_OF(words), word, &found))       \
            return false;                                           \
        *ret = (enum type)found;                                    \
        return true;                                                \
    }

WORD_FUNCTION(mode_word, mode, mode_words)
PARSE_FUNCTION(mode_parse, mode, mode_words)
WORD_FUNCTION(require_word, require, require_words)
PARSE_FUNCTION(require_parse, require, require_words)
PARSE_FUNCTION(on_hold_parse, on_hold, on_hold_words)
WORD_FUNCTION(probing_word, probing, probing_words)
PARSE_FUNCTION(probing_parse, probing, probing_words)
WORD_FUNCTION(dane_word, dane_state, dane_words)
PARSE_FUNCTION(dane_parse, dane_state, dane_words)
WORD_FUNCTION(host_word, host_state, host_words)
WORD_FUNCTION(sts_word, sts_state, sts_words)
PARSE_FUNCTION(sts_parse, sts_state, sts_words)
WORD_FUNCTION(tls_word, tls_level, tls_words)
PARSE_FUNCTION(tls_parse, tls_level, tls_words)
WORD_FUNCTION(verdict_word, verdict, verdict_words)
PARSE_FUNCTION(verdict_parse, verdict, verdict_words)
WORD_FUNCTION(where_word, where, where_words)
WORD_FUNCTION(reason_word, reason, reason_words)
PARSE_FUNCTION(reason_parse, reason, reason_words)
WORD_FUNCTION(trust_word, dns_trust, trust_words)

int tls_strength(enum tls_level t)
{
    switch (t) {
    case TLS_SITE:
        return 0;
    case TLS_MAY:
        return 1;
    case TLS_DANE:
        return 2;
    case TLS_ENCRYPT:
        return 3;
    case TLS_VERIFY:
        return 4;
    case TLS_SECURE:
        return 5;
    case TLS_DANE_ONLY:
        break;
    }
    return 6;
}
