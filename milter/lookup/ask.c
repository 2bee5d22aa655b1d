#include "lookup/ask.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unbound.h>

enum { CLASS_IN = 1, RCODE_NXDOMAIN = 3 };

static const char *const rcode_words[] = { "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED" };

struct dns_look ask_failure(const char *why)
{
    struct dns_look failed = { .asked = true, .trust = DNS_FAILED };

    text_printable(why, false, failed.why, sizeof(failed.why));
    return failed;
}

static struct dns_look refusal(int rcode)
{
    char words[64];

    if (rcode >= 0 && (size_t)rcode < COUNT_OF(rcode_words))
        snprintf(words, sizeof(words), "the name servers answer %s, or not at all", rcode_words[rcode]);
    else
        snprintf(words, sizeof(words), "the name servers answer with error %d", rcode);
    return ask_failure(words);
}

/* libunbound's ttl is the smallest of the chain of aliases and the records or, of a denial, what its SOA allows. */
static struct dns_look read_result(const struct ub_result *result)
{
    struct dns_look look = { .asked = true };

    if (result->bogus) {                /* what it holds may be forged: there is no record in it */
        look.trust = DNS_BOGUS;
        text_printable(result->why_bogus == NULL ? "bogus" : result->why_bogus, false, look.why, sizeof(look.why));
        return look;
    }
    if (result->rcode != 0 && result->rcode != RCODE_NXDOMAIN)
        return refusal(result->rcode);
    look.trust = result->secure ? DNS_SECURE : DNS_INSECURE;
    look.found = result->havedata;
    look.no_name = result->nxdomain;
    look.ttl = result->ttl > 0 ? (uint32_t)result->ttl : 0;
    return look;
}

static void on_answer(void *argument, int code, struct ub_result *result)
{
    struct ask *a = argument;

    a->open = false;
    if (code != 0 || result == NULL)
        *a->look = ask_failure(ub_strerror(code));
    else
        *a->look = read_result(result);
    a->answered(a, result);             /* a may be gone now */
    ub_resolve_free(result);
}

void ask_give_up(int code)
{
    log_error("the resolver is broken (%s), and can't be mended; the process ends", ub_strerror(code));
    log_flush();
    abort();                        /* else every look-up would time out for ever; whoever is dead is started again */
}

void ask_send(struct ask *a, const char *name, int type)
{
    int code;

    *a->look = (struct dns_look){ .asked = true };
    code = ub_resolve_async(a->ctx, name, type, CLASS_IN, a, on_answer, &a->id);
    a->open = code == 0;
    if (code == UB_PIPE)
        ask_give_up(code);
    if (code != 0)
        *a->look = ask_failure(ub_strerror(code));
}

bool ask_arrived(const struct ask *a)
{
    return a->look->asked && !a->open;
}

void ask_drop(struct ask *a, const char *why)
{
    if (!a->open)
        return;
    ub_cancel(a->ctx, a->id);           /* in threaded mode this never fails for an open question, nor calls us again */
    a->open = false;
    *a->look = ask_failure(why);
}

void ask_forget(struct ask *a)
{
    ask_drop(a, "");
    *a->look = (struct dns_look){ 0 };
}

void ask_read(const struct ub_result *records, struct dns_records *ret)
{
    for (ret->count = 0; records->data[ret->count] != NULL; ret->count++) {
        if (ret->count == DNS_RECORDS_MAX) {
            ret->clipped = true;
            return;
        }
        ret->data[ret->count] = (const uint8_t *)records->data[ret->count];
        ret->lengths[ret->count] = (size_t)records->len[ret->count];
    }
}
