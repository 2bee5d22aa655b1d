#include "policy/reply.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* The sentence behind a reason; %1$s the domain, %2$s the connector. Every case spelled out, the careful one last. */
static const char *sentence(enum reason reason)
{
    switch (reason) {
    case REASON_DANE_REQUIRED:
        return "%1$s publishes no usable DANE records, and the connector \"%2$s\" requires them";
    case REASON_DNSSEC_INVALID:
        return "the DNSSEC signatures of %1$s are invalid; connector \"%2$s\"";
    case REASON_TLSA_INVALID:
        return "no mail server of %1$s shows a certificate that matches its DANE records; connector \"%2$s\"";
    case REASON_STS_REQUIRED:
        return "%1$s publishes no MTA-STS policy in enforce mode, and the connector \"%2$s\" requires one";
    case REASON_STS_MX_MISMATCH:
        return "no mail server of %1$s is listed in its MTA-STS policy; connector \"%2$s\"";
    case REASON_STS_FETCH_ERROR:
        return "the MTA-STS policy of %1$s can not be fetched, and the connector \"%2$s\" requires it";
    case REASON_DNS_TEMP:
        return "the DNS of %1$s does not answer at the moment; connector \"%2$s\"";
    case REASON_TLS_REQUIRED:
        return "no mail server of %1$s offers the transport security that the connector \"%2$s\" requires";
    case REASON_NONE:
    case REASON_INTERNAL:
        break;
    }
    return "the transport security of %1$s can not be judged at the moment; connector \"%2$s\"";
}

/* While it is held, and after that; NULL: it is never given up. */
struct codes {
    const char *held, *over;
};

static struct codes codes_of(enum reason reason)
{
    switch (reason) {
    case REASON_DANE_REQUIRED:
    case REASON_DNSSEC_INVALID:
    case REASON_TLSA_INVALID:
    case REASON_STS_REQUIRED:
    case REASON_STS_MX_MISMATCH:
    case REASON_STS_FETCH_ERROR:
    case REASON_TLS_REQUIRED:
        return (struct codes){ "4.7.5", "5.7.5" };
    case REASON_DNS_TEMP:
        return (struct codes){ "4.4.3", "5.4.7" };
    case REASON_NONE:
    case REASON_INTERNAL:
        break;
    }
    return (struct codes){ "4.3.0", NULL };
}

void reply_words(enum reason reason, const char *words, struct reply *ret)
{
    char printable[REPLY_TEXT_MAX + 1];

    ret->code = "451";
    ret->enhanced = codes_of(reason).held;
    text_printable(words, false, printable, sizeof(printable));
    snprintf(ret->text, sizeof(ret->text), "%s: %.*s", reason == REASON_NONE ? "internal" : reason_word(reason),
             REPLY_TEXT_MAX - 20, printable);
}

static void write_reply(enum reason reason, const char *words, const struct connector *connector, const char *domain,
                        struct reply *ret)
{
    char raw[REPLY_TEXT_MAX + 1];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"    /* every sentence takes these two texts */
    snprintf(raw, sizeof(raw), words, domain, connector->name);
#pragma GCC diagnostic pop
    reply_words(reason, raw, ret);
}

void reply_hold(enum reason reason, const struct connector *connector, const char *domain, struct reply *ret)
{
    write_reply(reason, sentence(reason), connector, domain, ret);
}

void reply_resolver(const struct connector *connector, const char *domain, struct reply *ret)
{
    write_reply(REASON_DNS_TEMP, "our own resolver can prove nothing about %1$s at the moment; connector \"%2$s\"", connector,
                domain, ret);
}

/* In the largest unit that fits. */
static void print_span(uint32_t seconds, char ret[static 32])
{
    static const struct {
        uint32_t length;
        const char *name;
    } units[] = { { 24 * 60 * 60, "d" }, { 60 * 60, "h" }, { 60, "min" } };
    size_t i;

    for (i = 0; i < COUNT_OF(units); i++) {
        if (seconds % units[i].length == 0 && seconds > units[i].length) {
            snprintf(ret, 32, "%u %s", seconds / units[i].length, units[i].name);
            return;
        }
    }
    snprintf(ret, 32, "%u s", seconds);
}

void reply_give_up(enum reason reason, const struct connector *connector, struct reply *reply)
{
    const char *enhanced = codes_of(reason).over;
    char sentence_held[REPLY_TEXT_MAX + 1], span[32];
    const char *colon = strstr(reply->text, ": ");

    if (enhanced == NULL || colon == NULL)
        return;
    strcpy(sentence_held, colon + 2);
    print_span(connector->hold, span);
    reply->code = "550";
    reply->enhanced = enhanced;
    snprintf(reply->text, sizeof(reply->text), "%s: given up after %s: %.*s", reason_word(reason), span,
             REPLY_TEXT_MAX - 60, sentence_held);
}

void reply_plain(struct reply *reply)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .:=/_-";
    static const char dropped[] = "\"'(),<>[]";
    char plain[REPLY_TEXT_MAX + 1];
    const char *from;
    size_t at = 0;

    for (from = reply->text; *from != '\0' && at + 2 < sizeof(plain); from++) {
        if (strchr(dropped, *from) != NULL)
            continue;
        if (*from == ';')
            plain[at++] = ' ';
        plain[at++] = *from == ';' ? '-' : strchr(letters, *from) != NULL ? *from : '_';
    }
    plain[at] = '\0';
    strcpy(reply->text, plain);
}
