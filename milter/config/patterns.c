#include "config/reader.h"

#include "base/hash.h"
#include "base/memory.h"
#include "config/values.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_ip(const char *spoken)
{
    unsigned char raw[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, spoken, raw) == 1 || inet_pton(AF_INET6, spoken, raw) == 1;
}

static bool parse_domain(const char *spoken, struct domain *ret, struct fault *why)
{
    if (spoken[0] == '[' || is_ip(spoken))
        return fault_set(why, "address literals have no rules of their own; only \"*\" covers them");
    if (strchr(spoken, '*') != NULL)
        return fault_set(why, "a * stands alone or first, as in \"*\" and \"*.d.example\"");
    if (!values_utf8(spoken))
        return fault_set(why, "this is not UTF-8");
    return domain_parse(spoken, ret, why);
}

/* A dot-atom (RFC 5321 4.1.2, with RFC 6531's letters), folded; quoted ones would need a rule for every spelling. */
static bool parse_local(const char *spoken, size_t length, char ret[static ADDRESS_LOCAL_SIZE], struct fault *why)
{
    size_t i;

    if (length >= ADDRESS_LOCAL_SIZE)
        return fault_set(why, "the local part has at most %d characters", ADDRESS_LOCAL_SIZE - 1);
    for (i = 0; i < length; i++) {
        char c = spoken[i];

        if (c == '*')
            return fault_set(why, "a local part takes no *; write the domain alone for everyone in it");
        if ((unsigned char)c <= ' ' || c == 0x7f || strchr("()<>[]:;@\\,\"", c) != NULL)
            return fault_set(why, "the local part can't have blanks, quotes or any of ()<>[]:;@\\,");
        if (c == '.' && (i == 0 || i + 1 == length || spoken[i - 1] == '.'))
            return fault_set(why, "a dot in a local part stands between other characters");
        ret[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    ret[length] = '\0';
    return values_utf8(ret) || fault_set(why, "the local part is not UTF-8");
}

/* `d` and `*.d` mostly stand side by side: they share the name. */
static const char *keep_domain(const struct domain *d, const struct pattern *before, struct arena *memory)
{
    if (before != NULL && before->domain != NULL && strcmp(before->domain, d->name) == 0)
        return before->domain;
    return arena_text(memory, d->name);
}

static bool parse_address(const char *spoken, const char *at, struct arena *memory, const struct pattern *before,
                          struct pattern *ret, struct fault *why)
{
    char local[ADDRESS_LOCAL_SIZE];
    struct domain d;

    if (at == spoken)
        return fault_set(why, "without a local part write the domain alone, \"%.200s\"", at + 1);
    if (!parse_local(spoken, (size_t)(at - spoken), local, why) || !parse_domain(at + 1, &d, why))
        return false;
    *ret = (struct pattern){ .kind = PATTERN_ADDRESS, .local = arena_text(memory, local),
                             .domain = keep_domain(&d, before, memory) };
    return true;
}

bool patterns_parse(const char *spoken, enum pattern_list list, struct arena *memory, const struct pattern *before,
                    struct pattern *ret, struct fault *why)
{
    const char *at = strrchr(spoken, '@');
    bool below = strncmp(spoken, "*.", 2) == 0;
    struct domain d;

    if (strcmp(spoken, "*") == 0) {
        *ret = (struct pattern){ .kind = PATTERN_EVERYONE };
        return true;
    }
    if (strcmp(spoken, "<>") == 0) {
        if (list != LIST_SENDERS)
            return fault_set(why, "<> is a sender, never a recipient; it may stand in senders");
        *ret = (struct pattern){ .kind = PATTERN_NULL_SENDER };
        return true;
    }
    if (spoken[0] == '\0')
        return fault_set(why, "write \"d.example\", \"*.d.example\", \"user@d.example\" or \"*\"");
    if (at != NULL)
        return parse_address(spoken, at, memory, before, ret, why);
    if (spoken[0] == '.' && spoken[1] != '\0')
        return fault_set(why, "for every subdomain write \"*%.200s\"", spoken);
    if (!parse_domain(below ? spoken + 2 : spoken, &d, why))
        return false;
    *ret = (struct pattern){ .kind = below ? PATTERN_BELOW : PATTERN_DOMAIN, .domain = keep_domain(&d, before, memory) };
    return true;
}

uint64_t patterns_hash(const struct pattern *p)
{
    uint64_t parts[3] = { (uint64_t)p->kind, 0, 0 };

    if (p->local != NULL)
        parts[1] = hash_text(p->local);
    if (p->domain != NULL)
        parts[2] = hash_text(p->domain);
    return hash_bytes(parts, sizeof(parts));
}

static bool equal_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool patterns_equal(const struct pattern *a, const struct pattern *b)
{
    return a->kind == b->kind && equal_text(a->local, b->local) && equal_text(a->domain, b->domain);
}

bool patterns_smart_host(const char *spoken, struct next_hop *ret, struct fault *why)
{
    if (is_ip(spoken))
        return fault_set(why, "write an address in brackets, \"[%.100s]\"", spoken);
    return next_hop_parse(spoken, ret, why);
}

/* Postfix reads these as ways to find a name, most of them through DNS that nobody signed. */
static bool is_strategy(const char *spoken)
{
    static const char *const words[] = { "nexthop", "dot-nexthop", "hostname" };
    size_t i;

    for (i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(spoken, words[i]) == 0)
            return true;
    }
    return false;
}

bool patterns_match_name(const char *spoken, struct domain *ret, struct fault *why)
{
    if (spoken[0] == '.')
        return fault_set(why, "a leading dot would match names at any depth below; write each host name");
    if (is_ip(spoken) || spoken[0] == '[')
        return fault_set(why, "certificates are matched by name only; write the host name");
    if (strchr(spoken, '*') != NULL)
        return fault_set(why, "names are matched as they are; write each host name");
    if (!domain_parse(spoken, ret, why))
        return false;
    return !is_strategy(ret->name) || fault_set(why, "this is a word of Postfix, not a name; write the host name");
}

const char *const *patterns_match_list(const struct group *g, const struct setting_list *list, uint32_t *ret_count)
{
    struct arena *memory = ruleset_memory(g->reader->made->rules);
    const char **names = list->count == 0 ? NULL : arena_take(memory, list->count * sizeof(*names));
    char shown[FAULTS_SHOW_SIZE];
    struct domain name;
    struct fault why;
    size_t i;

    *ret_count = 0;
    for (i = 0; i < list->count; i++) {
        if (patterns_match_name(list->items[i], &name, &why))
            names[(*ret_count)++] = arena_text(memory, name.name);
        else
            faults_item(g, "tls_match", i, "\"%s\": %s", faults_show(list->items[i], shown), why.text);
    }
    return names;
}
