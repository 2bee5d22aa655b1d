/*
 * The MTA-STS half of evidence, for a policy domain (RFC 8461 3.3, 5.1):
 *
 *   sts_search() ── TXT ──► txt_arrive() ── id known, body of today ──────────────► land_kept()
 *                               ├── another id, an old body, or doubted ── HTTPS ──► file_arrive() ──► land_policy()
 *                               └── no record, no answer ── what is kept, if any ──► land_kept(), else land_without()
 *
 * A kept policy outlives every failure to have it again, until it expires. Who looks on is only told at the end.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

enum {
    TXT_SECONDS_LEAST = 60, TXT_SECONDS_MOST = 60 * 60,
    FAILED_MS = 60 * 1000,
    BODY_SECONDS = 24 * 60 * 60,        /* the body is fetched again at least daily */
    LEAVE_ALONE_MS = 5 * 60 * 1000,     /* a policy host that failed */
    RECORD_MAX = 16 * 1024,
};

struct sts_search {
    struct records_landing txt;
    struct policy_landing file;
    struct engine *engine;
    struct next_hop hop;                /* the policy domain */
    bool doubted, ahead;
    int64_t retry_at;                   /* of the evidence before */
    int64_t fetch_start;
    uint32_t txt_seconds;               /* how long its TXT record may be believed */
    char id[STS_ID_SIZE];
};

/* What is kept of the domain; who keeps no policies has none. */
static bool kept_get(struct sts_search *s, struct kept_policy *ret)
{
    return s->engine->policies != NULL &&
           policies_get(s->engine->policies, &s->hop.host, (int64_t)clock_wall(), ret);
}

/* Ends the search; takes found. */
static void land(struct sts_search *s, struct evidence *found)
{
    struct engine *e = s->engine;

    if (s->ahead)
        atomic_fetch_sub(&e->ahead, 1);
    cache_land(e->sts, &s->hop, found, clock_ms());
    free(s);
}

static void land_without(struct sts_search *s, enum sts_state state, const char *why, int64_t life_ms)
{
    struct evidence *found = evidence_of_sts(state, why, NULL, clock_ms() + life_ms);

    found->retry_at = s->retry_at;
    land(s, found);
}

/* Believed as long as the TXT record may be, but never past the policy's end. */
static void land_policy(struct sts_search *s, struct sts_policy *policy, const char *why, int64_t fetched_at, int64_t expires_at)
{
    int64_t life = s->txt_seconds, now = (int64_t)clock_wall();
    struct evidence *found;

    if (expires_at - now < life)
        life = expires_at - now;
    found = evidence_of_sts(sts_state_of(policy), why, policy, clock_ms() + (life > 0 ? life : 0) * 1000);
    found->fetched_at = fetched_at;
    found->retry_at = s->retry_at;
    land(s, found);
}

/* Takes kept. why: what went wrong meanwhile, or "". */
static void land_kept(struct sts_search *s, struct kept_policy *kept, const char *why)
{
    char words[256];

    snprintf(words, sizeof(words), "policy %s, mode %s%s%.150s", kept->id, sts_mode_word(kept->policy->mode),
             *why == '\0' ? "" : "; kept although ", why);
    land_policy(s, kept->policy, words, kept->fetched_at, kept->expires_at);
    sts_policy_unref(kept->policy);
}

/* The policy can't be had now. */
static void land_failure(struct sts_search *s, const char *why)
{
    struct kept_policy kept;

    if (kept_get(s, &kept)) {
        if (s->txt_seconds > LEAVE_ALONE_MS / 1000)
            s->txt_seconds = LEAVE_ALONE_MS / 1000;
        kept.fetched_at = (int64_t)clock_wall();        /* asked, if in vain: a mismatch need not ask again at once */
        land_kept(s, &kept, why);
    } else {
        land_without(s, STS_FETCH_ERROR, why, LEAVE_ALONE_MS);
    }
}

bool engine_sts_policy(const struct policy_file *file, struct sts_policy **ret, struct fault *why)
{
    struct fault inner;

    if (file->state != FETCH_GOOD)
        return fault_set(why, "%s", file->why);
    return sts_policy_parse(file->body, file->length, ret, &inner) || fault_set(why, "the policy is invalid: %.200s", inner.text);
}

static void file_arrive(struct policy_landing *self, const struct policy_file *file)
{
    struct sts_search *s = (struct sts_search *)(void *)((char *)self - offsetof(struct sts_search, file));
    int64_t now = (int64_t)clock_wall();
    struct sts_policy *policy = NULL;
    struct fault why;
    char words[96];

    counters_took(s->engine->counters, COUNTED_STS_POLICY, clock_ms() - s->fetch_start);
    if (!engine_sts_policy(file, &policy, &why)) {
        log_warning("sts: %s: %s", s->hop.host.name, why.text);
        s->retry_at = clock_ms() + LEAVE_ALONE_MS;
        land_failure(s, why.text);
        return;
    }
    s->retry_at = 0;
    if (s->engine->policies != NULL)
        policies_put(s->engine->policies, &s->hop.host, s->id, policy, file->body, file->length, now);
    snprintf(words, sizeof(words), "policy %s, mode %s", s->id, sts_mode_word(policy->mode));
    /* a max_age of 0 counts for those who asked, and is not kept (RFC 8461 3.2) */
    land_policy(s, policy, words, now, now + (policy->max_age > 0 ? (int64_t)policy->max_age : TXT_SECONDS_LEAST));
    sts_policy_unref(policy);
}

bool engine_sts_id(const struct dns_records *found, char ret_id[static STS_ID_SIZE], struct fault *why)
{
    const char *records[DNS_RECORDS_MAX];
    size_t lengths[DNS_RECORDS_MAX], count = 0, i;
    struct text joined[DNS_RECORDS_MAX];
    bool good;

    for (i = 0; i < found->count; i++) {
        text_init(&joined[i], RECORD_MAX);
        if (!dns_txt_join(found->data[i], found->lengths[i], &joined[i]))
            continue;
        records[count] = text_words(&joined[i]);
        lengths[count++] = joined[i].length;
    }
    good = !found->clipped ? sts_record_parse(records, lengths, count, ret_id, why)
                           : fault_set(why, "there are more than %d TXT records", DNS_RECORDS_MAX);
    for (i = 0; i < found->count; i++)
        text_done(&joined[i]);
    return good;
}

/* There is a record. What we keep will do if it is the one the record means, and not too old. */
static void follow_record(struct sts_search *s)
{
    int64_t now = (int64_t)clock_wall();
    struct engine *e = s->engine;
    struct kept_policy kept;

    if (kept_get(s, &kept)) {
        int64_t age = now - kept.fetched_at;            /* negative: the clock has been set back, and nobody knows */
        bool doubted = s->doubted && age > ENGINE_BELIEVED_SECONDS;     /* others may have asked for it */

        if (strcmp(kept.id, s->id) == 0 && age >= 0 && age < BODY_SECONDS && !doubted) {
            policies_checked(e->policies, &s->hop.host, now);
            land_kept(s, &kept, "");
            return;
        }
        sts_policy_unref(kept.policy);
    }
    if (clock_ms() < s->retry_at || !engine_may_search(e)) {
        land_failure(s, "the policy host failed a short while ago");
        return;
    }
    s->fetch_start = clock_ms();
    e->lookup->fetch_policy(e->lookup, &s->hop.host, &s->file);
    engine_has_asked(e);
}

static void txt_arrive(struct records_landing *self, const struct dns_records *found)
{
    struct sts_search *s = (struct sts_search *)(void *)((char *)self - offsetof(struct sts_search, txt));
    bool answered = found->look.trust != DNS_FAILED && found->look.trust != DNS_BOGUS;
    struct kept_policy kept;
    struct fault why = { "" };
    uint32_t ttl = answered ? found->look.ttl : 0;

    s->txt_seconds = ttl < TXT_SECONDS_LEAST ? TXT_SECONDS_LEAST : ttl > TXT_SECONDS_MOST ? TXT_SECONDS_MOST : ttl;
    if (answered && engine_sts_id(found, s->id, &why)) {
        follow_record(s);
        return;
    }
    if (!answered)
        fault_set(&why, "the TXT look-up failed: %s", found->look.why);
    if (kept_get(s, &kept)) {
        if (s->doubted)
            kept.fetched_at = (int64_t)clock_wall();    /* no record leads to the policy: that was all there was to ask */
        land_kept(s, &kept, why.text);
    } else if (answered) {
        land_without(s, STS_ABSENT, why.text, (int64_t)s->txt_seconds * 1000);
    } else {
        land_without(s, STS_UNKNOWN, why.text, FAILED_MS);
    }
}

void engine_search_sts(struct engine *e, const struct next_hop *hop, bool ahead, bool doubted)
{
    struct sts_search *s;
    struct evidence *before;
    char name[300];
    int64_t since;

    if (!engine_may_search(e)) {
        cache_land(e->sts, hop, evidence_of_sts(STS_UNKNOWN, "the daemon is stopping", NULL, 0), clock_ms());
        return;
    }
    s = mem_zero(sizeof(*s));
    *s = (struct sts_search){ .txt = { txt_arrive }, .file = { file_arrive }, .engine = e, .hop = *hop, .doubted = doubted,
                              .ahead = ahead };
    before = cache_peek(e->sts, hop, &since);
    if (before != NULL)
        s->retry_at = before->retry_at;
    evidence_unref(before);
    if (ahead)
        atomic_fetch_add(&e->ahead, 1);
    snprintf(name, sizeof(name), "_mta-sts.%s", hop->host.name);
    e->lookup->records(e->lookup, name, DNS_TYPE_TXT, &s->txt);
    engine_has_asked(e);
}
