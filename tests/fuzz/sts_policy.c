/* Whatever a policy host serves: a policy that is accepted is one that means the same when it is written out again. */
#include "fuzz.h"

#include "base/text.h"
#include "policy/sts.h"

#include <string.h>

static void write_out(const struct sts_policy *p, struct text *ret)
{
    size_t i;

    text_print(ret, "version: STSv1\nmode: %s\nmax_age: %u\n", sts_mode_word(p->mode), p->max_age);
    for (i = 0; i < p->mx_count; i++)
        text_print(ret, "mx: %s\n", p->mx[i]);
}

static void check(const struct sts_policy *p)
{
    size_t i;

    must(p->max_age <= STS_MAX_AGE_MAX);
    must(p->mx_count > 0 || p->mode == STS_MODE_NONE);
    for (i = 0; i < p->mx_count; i++) {
        const char *host = p->mx[i];
        bool wild = strncmp(host, "*.", 2) == 0;
        struct domain d;

        must(domain_parse(host + (wild ? 2 : 0), &d, NULL) && strcmp(d.name, host + (wild ? 2 : 0)) == 0);
        must(sts_policy_lists(p, host) || wild);
        must(!wild || !sts_mx_match(host, host + 2));
    }
}

static void compare(const struct sts_policy *a, const struct sts_policy *b)
{
    size_t i;

    must(a->mode == b->mode && a->max_age == b->max_age && a->mx_count == b->mx_count);
    for (i = 0; i < a->mx_count; i++)
        must(strcmp(a->mx[i], b->mx[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct sts_policy *policy = NULL, *again = NULL;
    struct fault why = { { 0 } };
    struct text body;

    if (!sts_policy_parse((const char *)bytes, length, &policy, &why)) {
        must(policy == NULL && why.text[0] != '\0');
        return 0;
    }
    check(policy);
    text_init(&body, 4 * STS_BODY_MAX);
    write_out(policy, &body);
    if (body.length <= STS_BODY_MAX) {
        must(sts_policy_parse(text_words(&body), body.length, &again, &why));
        compare(policy, again);
        sts_policy_unref(again);
    }
    text_done(&body);
    sts_policy_unref(policy);
    return 0;
}
