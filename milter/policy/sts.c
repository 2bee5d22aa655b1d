/*
 * The two grammars of RFC 8461. Both readers walk the bytes once and accept just what the ABNF does: who publishes
 * something else has published nothing, and must be able to notice.
 */
#include "policy/sts.h"

#include "base/memory.h"

#include <string.h>

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What is left to read. */
struct span {
    const char *at, *end;
};

static size_t left(const struct span *s)
{
    return (size_t)(s->end - s->at);
}

static bool skip_word(struct span *s, const char *word)
{
    size_t length = strlen(word);

    if (left(s) < length || memcmp(s->at, word, length) != 0)
        return false;
    s->at += length;
    return true;
}

static void skip_blanks(struct span *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

static bool span_is(const struct span *s, const char *word)
{
    return left(s) == strlen(word) && memcmp(s->at, word, left(s)) == 0;
}

static bool in_name(char c, bool first)
{
    return is_alpha(c) || is_digit(c) || (!first && (c == '_' || c == '-' || c == '.'));
}

/* sts-ext-name: (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / "."), also every field's own name. */
static bool take_name(struct span *s, struct span *ret)
{
    ret->at = s->at;
    while (s->at < s->end && in_name(*s->at, s->at == ret->at))
        s->at++;
    ret->end = s->at;
    return left(ret) >= 1 && left(ret) <= 32;
}

/* The TXT record */

/* sts-ext-value: visible ASCII but "=" and ";". */
static bool take_record_value(struct span *s, struct span *ret)
{
    ret->at = s->at;
    while (s->at < s->end && *s->at > 0x20 && *s->at < 0x7f && *s->at != '=' && *s->at != ';')
        s->at++;
    ret->end = s->at;
    return left(ret) > 0;
}

static bool keep_id(const struct span *value, char ret_id[static STS_ID_SIZE], struct fault *why)
{
    const char *p;

    if (left(value) >= STS_ID_SIZE)
        return fault_set(why, "the id has more than 32 characters");
    for (p = value->at; p < value->end; p++) {
        if (!is_alpha(*p) && !is_digit(*p))
            return fault_set(why, "the id has letters and digits only");
    }
    memcpy(ret_id, value->at, left(value));
    ret_id[left(value)] = '\0';
    return true;
}

/* One `name=value`; the first id counts, unknown fields are read over. */
static bool read_record_field(struct span *s, char ret_id[static STS_ID_SIZE], struct fault *why)
{
    struct span name, value;

    if (!take_name(s, &name) || !skip_word(s, "=") || !take_record_value(s, &value))
        return fault_set(why, "the record is no list of name=value fields");
    if (!span_is(&name, "id") || ret_id[0] != '\0')
        return true;
    return keep_id(&value, ret_id, why);
}

/* sts-version 1*(sts-field-delim sts-field) [sts-field-delim]: blanks stand beside semicolons only. */
static bool read_record(struct span s, char ret_id[static STS_ID_SIZE], struct fault *why)
{
    ret_id[0] = '\0';
    skip_word(&s, "v=STSv1");
    while (s.at < s.end) {
        skip_blanks(&s);
        if (!skip_word(&s, ";"))
            return fault_set(why, "the fields of the record are not parted by semicolons");
        skip_blanks(&s);
        if (s.at < s.end && !read_record_field(&s, ret_id, why))
            return false;
    }
    return ret_id[0] != '\0' || fault_set(why, "the record has no id");
}

bool sts_record_parse(const char *const records[], const size_t lengths[], size_t count, char ret_id[static STS_ID_SIZE],
                      struct fault *why)
{
    struct span only = { NULL };
    size_t found = 0, i;
    char id[STS_ID_SIZE];

    for (i = 0; i < count; i++) {
        struct span s = { records[i], records[i] + lengths[i] };

        if (!skip_word(&s, "v=STSv1;"))
            continue;
        only = (struct span){ records[i], records[i] + lengths[i] };
        found++;
    }
    if (found != 1)
        return fault_set(why, found == 0 ? "there is no v=STSv1 record" : "there is more than one v=STSv1 record");
    if (!read_record(only, id, why))
        return false;
    strcpy(ret_id, id);
    return true;
}

/* The policy file */

/* A policy as it fills up. */
struct draft {
    bool version, mode_said, max_age_said;
    enum sts_mode mode;
    uint32_t max_age;
    size_t mx_count, mx_room;
    char (*mx)[256];
};

static bool keep_mode(const struct span *value, struct draft *d, struct fault *why)
{
    if (span_is(value, "enforce"))
        d->mode = STS_MODE_ENFORCE;
    else if (span_is(value, "testing"))
        d->mode = STS_MODE_TESTING;
    else if (span_is(value, "none"))
        d->mode = STS_MODE_NONE;
    else
        return fault_set(why, "mode is none of enforce, testing, none");
    d->mode_said = true;
    return true;
}

static bool keep_max_age(const struct span *value, struct draft *d, struct fault *why)
{
    uint64_t age = 0;
    const char *p;

    if (left(value) < 1 || left(value) > 10)
        return fault_set(why, "max_age is no number of 1 to 10 digits");
    for (p = value->at; p < value->end; p++) {
        if (!is_digit(*p))
            return fault_set(why, "max_age is no number of 1 to 10 digits");
        age = age * 10 + (uint64_t)(*p - '0');
    }
    d->max_age = age > STS_MAX_AGE_MAX ? STS_MAX_AGE_MAX : (uint32_t)age;
    d->max_age_said = true;
    return true;
}

/* Domain of RFC 5321 4.1.2: labels of letters, digits and, within, hyphens. So U-labels are none (RFC 8461 4.1). */
static bool is_host(const char *name)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        bool edge = i == 0 || name[i - 1] == '.' || name[i + 1] == '.' || name[i + 1] == '\0';

        if (!is_alpha(name[i]) && !is_digit(name[i]) && (edge || (name[i] != '-' && name[i] != '.')))
            return false;
    }
    return i > 0;
}

static bool keep_mx(const struct span *value, struct draft *d, struct fault *why)
{
    struct span host = *value;
    bool wild = skip_word(&host, "*.");
    char spoken[256];
    struct domain name;

    if (left(&host) >= sizeof(spoken))
        return fault_set(why, "mx is no host name");
    memcpy(spoken, host.at, left(&host));
    spoken[left(&host)] = '\0';
    if (strlen(spoken) != left(&host) || !is_host(spoken) || !domain_parse(spoken, &name, NULL))
        return fault_set(why, "mx is no host name, nor one with *. before it");
    if (d->mx_count == d->mx_room) {
        d->mx_room = d->mx_room == 0 ? 4 : d->mx_room * 2;
        d->mx = mem_grow(d->mx, d->mx_room, sizeof(*d->mx));
    }
    strcpy(d->mx[d->mx_count], wild ? "*." : "");
    strcat(d->mx[d->mx_count++], name.name);
    return true;
}

/* The first of each field counts, but for mx (RFC 8461 3.2). */
static bool keep_field(const struct span *name, const struct span *value, struct draft *d, struct fault *why)
{
    if (span_is(name, "mx"))
        return keep_mx(value, d, why);
    if (span_is(name, "mode"))
        return d->mode_said || keep_mode(value, d, why);
    if (span_is(name, "max_age"))
        return d->max_age_said || keep_max_age(value, d, why);
    if (!span_is(name, "version") || d->version)
        return true;
    d->version = span_is(value, "STSv1");
    return d->version || fault_set(why, "version is not STSv1");
}

/* One well-formed UTF-8 character of two to four octets (RFC 3629 4); 0: none. */
static size_t utf8_length(const struct span *s)
{
    const unsigned char *u = (const unsigned char *)s->at;
    size_t length = *u >= 0xc2 && *u <= 0xdf ? 2 : (*u & 0xf0) == 0xe0 ? 3 : *u >= 0xf0 && *u <= 0xf4 ? 4 : 0, i;

    if (length == 0 || left(s) < length)
        return 0;
    if ((*u == 0xe0 && u[1] < 0xa0) || (*u == 0xed && u[1] > 0x9f) || (*u == 0xf0 && u[1] < 0x90) || (*u == 0xf4 && u[1] > 0x8f))
        return 0;
    for (i = 1; i < length; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

/* Visible characters, with blanks (no tabs) between them; the blanks behind are not the value's. */
static bool take_policy_value(struct span *s, struct span *ret)
{
    size_t length;

    ret->at = ret->end = s->at;
    while (s->at < s->end && *s->at != '\n' && *s->at != '\r' && *s->at != '\t') {
        length = *s->at >= 0x20 && *s->at < 0x7f ? 1 : utf8_length(s);
        if (length == 0)
            return false;
        s->at += length;
        if (s->at[-1] != ' ')
            ret->end = s->at;
    }
    return left(ret) > 0;
}

static bool skip_line_end(struct span *s)
{
    return skip_word(s, "\n") || skip_word(s, "\r\n");
}

/* `name: value` and what parts it from the next. */
static bool read_policy_line(struct span *s, struct draft *d, struct fault *why)
{
    struct span name, value;

    if (!take_name(s, &name) || !skip_word(s, ":"))
        return fault_set(why, "a line is no \"name: value\"");
    skip_blanks(s);
    if (!take_policy_value(s, &value))
        return fault_set(why, "a field has no value, or one with control characters");
    skip_blanks(s);
    if (s->at < s->end && !skip_line_end(s))
        return fault_set(why, "a line does not end with LF or CRLF");
    return keep_field(&name, &value, d, why);
}

static bool complete(const struct draft *d, struct fault *why)
{
    if (!d->version)
        return fault_set(why, "the policy has no version");
    if (!d->mode_said)
        return fault_set(why, "the policy has no mode");
    if (!d->max_age_said)
        return fault_set(why, "the policy has no max_age");
    return d->mx_count > 0 || d->mode == STS_MODE_NONE || fault_set(why, "the policy has no mx");
}

/* One block: the policy, its list, then the names. */
static struct sts_policy *assemble(const struct draft *d)
{
    size_t size = sizeof(struct sts_policy) + d->mx_count * sizeof(char *), words = 0, i;
    struct sts_policy *p;
    const char **list;
    char *at;

    for (i = 0; i < d->mx_count; i++)
        words += strlen(d->mx[i]) + 1;
    p = mem_zero(size + words);
    list = (const char **)(p + 1);
    at = (char *)p + size;
    for (i = 0; i < d->mx_count; i++) {
        list[i] = strcpy(at, d->mx[i]);
        at += strlen(at) + 1;
    }
    p->mode = d->mode;
    p->max_age = d->max_age;
    p->mx_count = d->mx_count;
    p->octets = size + words;
    p->mx = list;
    atomic_init(&p->users, 1);
    return p;
}

bool sts_policy_parse(const char *bytes, size_t length, struct sts_policy **ret, struct fault *why)
{
    struct span s = { bytes, bytes + length };
    struct draft d = { 0 };
    bool good = length <= STS_BODY_MAX || fault_set(why, "the policy has more than 1 MiB");

    if (good && length == 0)
        good = fault_set(why, "the policy is empty");
    while (good && s.at < s.end)
        good = read_policy_line(&s, &d, why);
    good = good && complete(&d, why);
    if (good)
        *ret = assemble(&d);
    free(d.mx);
    return good;
}

struct sts_policy *sts_policy_ref(struct sts_policy *p)
{
    atomic_fetch_add_explicit(&p->users, 1, memory_order_relaxed);
    return p;
}

void sts_policy_unref(struct sts_policy *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->users, 1, memory_order_acq_rel) == 1)
        free(p);
}

bool sts_mx_match(const char *pattern, const char *host)
{
    const char *parent;

    if (pattern[0] != '*')
        return strcmp(pattern, host) == 0;
    parent = domain_parent(host);
    return parent != NULL && parent > host + 1 && strcmp(pattern + 2, parent) == 0;
}

bool sts_policy_lists(const struct sts_policy *p, const char *host)
{
    size_t i;

    for (i = 0; i < p->mx_count; i++) {
        if (sts_mx_match(p->mx[i], host))
            return true;
    }
    return false;
}

const char *sts_mode_word(enum sts_mode m)
{
    switch (m) {
    case STS_MODE_ENFORCE:
        return "enforce";
    case STS_MODE_TESTING:
        return "testing";
    case STS_MODE_NONE:
        break;
    }
    return "none";
}

enum sts_state sts_state_of(const struct sts_policy *p)
{
    switch (p->mode) {
    case STS_MODE_ENFORCE:
        return STS_ENFORCE;
    case STS_MODE_TESTING:
        return STS_TESTING;
    case STS_MODE_NONE:
        break;
    }
    return STS_NONE;
}
