#include "lookup/unbound.h"

#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unbound.h>
#include <unistd.h>

struct option {
    const char *name, *value;
};

/*
 * The first three: with libunbound's 16 ports, 64 look-ups that hang on a dead server delay everyone else's for seconds,
 * and its 10 TCP streams are as easily hung. A server that was down is trusted again after a minute, not after a quarter
 * of an hour, and so fewer servers need to be remembered. Without minimisation a new zone costs fewer round trips.
 * Prefetching is the engine's business, and expired answers prove nothing. The level of val-log-level is the library's own,
 * 2: it goes into why_bogus, not into a log.
 */
static const struct option options[] = {
    { "outgoing-range:", "4096" },
    { "num-queries-per-thread:", "4096" },
    { "outgoing-num-tcp:", "64" },
    { "infra-host-ttl:", "60" },
    { "infra-cache-numhosts:", "4000" },
    { "qname-minimisation:", "no" },
    { "do-not-query-localhost:", "no" },
    { "harden-dnssec-stripped:", "yes" },
    { "harden-glue:", "yes" },
    { "val-permissive-mode:", "no" },
    { "val-bogus-ttl:", "30" },
    { "cache-max-ttl:", "86400" },
    { "serve-expired:", "no" },
    { "prefetch:", "no" },
    { "use-syslog:", "no" },
};

static const char *const anchor_files[] = { "/usr/share/dns/root.key", "/var/lib/unbound/root.key" };

static bool set_option(struct ub_ctx *ctx, const char *name, const char *value, struct fault *why)
{
    int code = ub_ctx_set_option(ctx, name, value);

    return code == 0 || fault_set(why, "libunbound refuses the option \"%s %s\": %s", name, value, ub_strerror(code));
}

/* unbound's own advice: twice as much for RRsets as for messages. */
static bool set_cache(struct ub_ctx *ctx, uint64_t octets, struct fault *why)
{
    char messages[24], rrsets[24];

    snprintf(messages, sizeof(messages), "%" PRIu64, octets / 3);
    snprintf(rrsets, sizeof(rrsets), "%" PRIu64, octets - octets / 3);
    return set_option(ctx, "msg-cache-size:", messages, why) && set_option(ctx, "rrset-cache-size:", rrsets, why);
}

static bool readable(const char *setting, const char *path, struct fault *why)
{
    return access(path, R_OK) == 0 || fault_set(why, "%s: cannot read %s: %s", setting, path, strerror(errno));
}

static bool add_anchor_file(struct ub_ctx *ctx, const char *path, struct fault *why)
{
    int code;

    if (!readable("resolver.trust_anchor_file", path, why))
        return false;
    code = ub_ctx_add_ta_file(ctx, path);
    return code == 0 || fault_set(why, "resolver.trust_anchor_file: %s: %s", path, ub_strerror(code));
}

/* The system's anchor is only for those who name no anchor at all. Without any, nothing is ever secure. */
static bool add_anchors(struct ub_ctx *ctx, const struct settings *set, struct fault *why)
{
    const struct setting_list *anchors = &set->resolver.trust_anchor;
    size_t i;
    int code;

    for (i = 0; i < anchors->count; i++) {
        code = ub_ctx_add_ta(ctx, anchors->items[i]);
        if (code != 0)
            return fault_set(why, "resolver.trust_anchor: \"%.100s\": %s", anchors->items[i], ub_strerror(code));
    }
    if (set->resolver.trust_anchor_file[0] != '\0')
        return add_anchor_file(ctx, set->resolver.trust_anchor_file, why);
    for (i = 0; i < COUNT_OF(anchor_files) && anchors->count == 0; i++) {
        if (access(anchor_files[i], R_OK) == 0)
            return add_anchor_file(ctx, anchor_files[i], why);
    }
    return true;
}

static bool set_servers(struct ub_ctx *ctx, const struct settings *set, struct fault *why)
{
    const struct setting_list *forward = &set->resolver.forward;
    const char *hints = set->resolver.root_hints;
    size_t i;

    for (i = 0; i < forward->count; i++) {
        if (ub_ctx_set_fwd(ctx, forward->items[i]) != 0)
            return fault_set(why, "resolver.forward: \"%.100s\" is no address; write \"192.0.2.1\" or \"127.0.0.1@5353\"",
                             forward->items[i]);
    }
    if (hints[0] == '\0')
        return true;
    return readable("resolver.root_hints", hints, why) && set_option(ctx, "root-hints:", hints, why);
}

static bool configure(struct ub_ctx *ctx, const struct settings *set, struct fault *why)
{
    size_t i;

    for (i = 0; i < COUNT_OF(options); i++) {
        if (!set_option(ctx, options[i].name, options[i].value, why))
            return false;
    }
    if (ub_ctx_async(ctx, 1) != 0)
        return fault_set(why, "libunbound was built without threads");
    ub_ctx_debuglevel(ctx, 0);
    return set_cache(ctx, settings_unbound_cache(set), why) && add_anchors(ctx, set, why) && set_servers(ctx, set, why);
}

/* What libunbound wrote about its refusal: the first line, without time and process. */
static void explain(int code, const char *words, struct fault *why)
{
    char line[400];
    const char *start = strstr(words, "error: ");

    snprintf(line, sizeof(line), "%s", start == NULL ? "" : start + strlen("error: "));
    line[strcspn(line, "\n")] = '\0';
    text_printable(line, false, line, sizeof(line));
    fault_set(why, "libunbound: %s%s%s", ub_strerror(code), line[0] == '\0' ? "" : ": ", line);
}

/*
 * Anchors are only read when the context is finished. Taking away the built-in zone `test`, which would deny that name
 * itself and without proof, finishes it and asks nobody.
 */
static bool finish(struct ub_ctx *ctx, struct fault *why)
{
    AUTO(free) char *words = NULL;
    size_t length;
    FILE *ear = open_memstream(&words, &length);
    int code;

    if (ear == NULL)
        mem_out();
    ub_ctx_debugout(ctx, ear);
    code = ub_ctx_zone_remove(ctx, "test");
    ub_ctx_debugout(ctx, NULL);
    fclose(ear);
    if (code != 0)
        explain(code, words, why);
    return code == 0;
}

bool unbound_open(const struct settings *set, struct ub_ctx **ret, struct fault *why)
{
    struct ub_ctx *ctx = ub_ctx_create();

    if (ctx == NULL)
        return fault_set(why, "libunbound cannot start: %s", strerror(errno));
    if (!configure(ctx, set, why) || !finish(ctx, why)) {
        unbound_close(ctx);
        return false;
    }
    *ret = ctx;
    return true;
}

void unbound_close(struct ub_ctx *ctx)
{
    if (ctx != NULL)
        ub_ctx_delete(ctx);
}
