#ifndef DANELAW_POLICY_TERMS_H
#define DANELAW_POLICY_TERMS_H

#include <stdbool.h>

/*
 * The words of the trade. The same words stand in the configuration, the log, the command's output and the tests.
 * Zero is always the careful one: memory nobody filled in can delay mail, it cannot send it unprotected. Each takes one
 * octet: there are as many as there are connectors and partners.
 */
#define SMALL __attribute__((packed))

enum SMALL mode { MODE_MANDATORY = 0, MODE_OPPORTUNISTIC, MODE_NONE };
enum SMALL require { REQUIRE_ALL = 0, REQUIRE_ANY };
enum SMALL on_hold { ON_HOLD_AUTO = 0, ON_HOLD_TEMPFAIL, ON_HOLD_QUEUE };
/* Visits to a partner's hosts, beside all that the modes demand. */
enum SMALL probing { PROBING_OFF = 0, PROBING_WATCH, PROBING_REQUIRE };

/* State of a next hop (RFC 7672), of one of its hosts, and of a policy domain (RFC 8461). */
enum SMALL dane_state { DANE_UNKNOWN = 0, DANE_BOGUS, DANE_MISMATCH, DANE_NO_MAIL, DANE_ABSENT, DANE_UNUSABLE, DANE_DEGRADED,
                        DANE_INSECURE_MX, DANE_PARTIAL, DANE_USABLE };
enum SMALL host_state { HOST_FAILING = 0, HOST_BOGUS, HOST_GONE, HOST_BARE, HOST_UNUSABLE, HOST_GOOD };
enum SMALL sts_state { STS_UNKNOWN = 0, STS_FETCH_ERROR, STS_ENFORCE_MISMATCH, STS_ABSENT, STS_NONE, STS_TESTING, STS_ENFORCE };

/* How much TLS a delivery must have, weakest first but for the careful zero; `site`: whatever the MTA does by itself. */
enum SMALL tls_level { TLS_DANE_ONLY = 0, TLS_SITE, TLS_MAY, TLS_DANE, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };

enum SMALL verdict { VERDICT_HOLD = 0, VERDICT_BOUNCE, VERDICT_FALLBACK, VERDICT_PASS, VERDICT_DELIVER };
enum SMALL reason { REASON_INTERNAL = 0, REASON_NONE, REASON_DANE_REQUIRED, REASON_DNSSEC_INVALID, REASON_TLSA_INVALID,
                    REASON_STS_REQUIRED, REASON_STS_MX_MISMATCH, REASON_STS_FETCH_ERROR, REASON_DNS_TEMP,
                    REASON_TLS_REQUIRED };    /* the connector's own floor, where Danelaw itself sees the connection (Sendmail) */

/* Who asked for a decision: the milter at RCPT TO or at the end of a message, a table of the MTA, or `danelaw sweep`. */
enum SMALL where { WHERE_RCPT = 0, WHERE_EOM, WHERE_MAP, WHERE_SWEEP };

/* What the resolver's word is worth: how one DNS answer fared (RFC 4035 4.3, with "indeterminate" counted as failed). */
enum SMALL dns_trust { DNS_FAILED = 0, DNS_BOGUS, DNS_INSECURE, DNS_SECURE };

const char *mode_word(enum mode m);
bool mode_parse(const char *word, enum mode *ret);
const char *require_word(enum require r);
bool require_parse(const char *word, enum require *ret);
bool on_hold_parse(const char *word, enum on_hold *ret);
const char *probing_word(enum probing p);
bool probing_parse(const char *word, enum probing *ret);
const char *dane_word(enum dane_state s);
bool dane_parse(const char *word, enum dane_state *ret);
const char *host_word(enum host_state s);
const char *sts_word(enum sts_state s);
bool sts_parse(const char *word, enum sts_state *ret);
const char *tls_word(enum tls_level t);
bool tls_parse(const char *word, enum tls_level *ret);
/* How strong a level is, from 0 (site) to 6 (dane-only). */
int tls_strength(enum tls_level t);
const char *verdict_word(enum verdict v);
bool verdict_parse(const char *word, enum verdict *ret);
const char *where_word(enum where w);
const char *reason_word(enum reason r);             /* REASON_NONE: "-" */
bool reason_parse(const char *word, enum reason *ret);
const char *trust_word(enum dns_trust t);

#endif
