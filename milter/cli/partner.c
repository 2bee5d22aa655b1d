#include "cli/partner.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "engine/engine.h"
#include "policy/tlsrpt.h"

#include <stdio.h>
#include <string.h>

enum { RECORD_MAX = 16 * 1024 };

static struct look *look_below(struct lookup *lookup, const char *label, const struct domain *domain)
{
    char name[300];

    snprintf(name, sizeof(name), "%s.%s", label, domain->name);
    return look_at_records(lookup, name, DNS_TYPE_TXT);
}

void partner_begin(struct partner *p, struct lookup *lookup, const struct domain *domain)
{
    p->domain = *domain;
    p->record = look_below(lookup, "_mta-sts", domain);
    p->report = look_below(lookup, "_smtp._tls", domain);
}

static bool answered(const struct dns_look *look, struct fault *why)
{
    if (look->trust == DNS_SECURE || look->trust == DNS_INSECURE)
        return true;
    return fault_set(why, "the TXT look-up failed: %s", look->why[0] == '\0' ? "no answer" : look->why);
}

void partner_follow(struct partner *p, struct lookup *lookup)
{
    const struct dns_records *found;

    if (p->record == NULL)
        return;
    found = look_records(p->record);
    if (answered(&found->look, &p->record_why) && engine_sts_id(found, p->id, &p->record_why))
        p->file = look_at_policy(lookup, &p->domain);
}

/* Joins the strings of all records. Returns how many could be. */
static size_t join_all(const struct dns_records *found, struct text texts[static DNS_RECORDS_MAX])
{
    size_t count = 0, i;

    for (i = 0; i < found->count; i++) {
        text_init(&texts[count], RECORD_MAX);
        if (dns_txt_join(found->data[i], found->lengths[i], &texts[count]))
            count++;
        else
            text_done(&texts[count]);
    }
    return count;
}

static char *plain_text(const struct text *text)
{
    char *plain = mem_zero(text->length + 1);

    return text_printable(text_words(text), false, plain, text->length + 1);
}

char *partner_text(struct look *records, const char *beginning)
{
    struct text texts[DNS_RECORDS_MAX];
    size_t count = join_all(look_records(records), texts), i;
    char *found = NULL;

    for (i = 0; i < count; i++) {
        if (found == NULL && strncmp(text_words(&texts[i]), beginning, strlen(beginning)) == 0)
            found = plain_text(&texts[i]);
        text_done(&texts[i]);
    }
    return found;
}

static void read_report(struct partner *p)
{
    const struct dns_records *found = look_records(p->report);
    const char *records[DNS_RECORDS_MAX];
    struct text texts[DNS_RECORDS_MAX];
    size_t lengths[DNS_RECORDS_MAX], count, index, i;

    if (!answered(&found->look, &p->report_why))
        return;
    count = join_all(found, texts);
    for (i = 0; i < count; i++) {
        records[i] = text_words(&texts[i]);
        lengths[i] = texts[i].length;
    }
    if (tlsrpt_parse(records, lengths, count, &index, &p->report_why))
        p->report_text = plain_text(&texts[index]);
    for (i = 0; i < count; i++)
        text_done(&texts[i]);
}

/* As the engine would find it that never saw the domain before. */
struct evidence *partner_judge(struct partner *p)
{
    const struct dns_look *record = &look_records(p->record)->look;
    int64_t now = clock_ms();
    char words[96];

    read_report(p);
    if (record->trust == DNS_FAILED || record->trust == DNS_BOGUS)
        return evidence_of_sts(STS_UNKNOWN, p->record_why.text, NULL, now);
    if (p->file == NULL)
        return evidence_of_sts(STS_ABSENT, p->record_why.text, NULL, now);
    if (!engine_sts_policy(look_policy(p->file), &p->policy, &p->policy_why))
        return evidence_of_sts(STS_FETCH_ERROR, p->policy_why.text, NULL, now);
    snprintf(words, sizeof(words), "policy %s, mode %s", p->id, sts_mode_word(p->policy->mode));
    return evidence_of_sts(sts_state_of(p->policy), words, p->policy, now);
}

void partner_done(struct partner *p)
{
    look_free(p->record);
    look_free(p->report);
    look_free(p->file);
    sts_policy_unref(p->policy);
    free(p->report_text);
}
