#include "config/reader.h"

#include "base/memory.h"
#include "config/values.h"

#include <string.h>

#define AT(field) offsetof(struct wishes, field)

const struct setting connectors_settings[] = {
    { "name", SETTING_TEXT, AT(name), "", "how log, command and replies call it" },
    { "enabled", SETTING_FLAG, AT(enabled), "true", "false: checked, then as if absent" },
    { "comment", SETTING_TEXT, AT(comment), "", "for those who read the configuration" },
    { "recipients", SETTING_LIST, AT(recipients), "", "whose mail it rules" },
    { "senders", SETTING_LIST, AT(senders), "", "only mail from these; absent: anyone's" },
    { "smart_hosts", SETTING_LIST, AT(smart_hosts), "", "next hops instead of the domain's MX hosts" },
    { "smtp_dane", SETTING_WORD, AT(smtp_dane), "opportunistic", "what DANE has to say",
      .words = "opportunistic mandatory none" },
    { "mta_sts", SETTING_WORD, AT(mta_sts), "opportunistic", "what MTA-STS has to say",
      .words = "opportunistic mandatory none" },
    { "require", SETTING_WORD, AT(require), "all", "where both are mandatory: all, or any of them", .words = "all any" },
    { "tls", SETTING_WORD, AT(tls), "site", "least TLS where neither DANE nor MTA-STS decides",
      .words = "site may encrypt verify secure" },
    { "tls_match", SETTING_LIST, AT(tls_match), "", "names for verify and secure" },
    { "route", SETTING_TEXT, AT(route), "", "the road when the requirement holds; empty: by its modes" },
    { "fallback", SETTING_TEXT, AT(fallback), "", "the road instead of holding" },
    { "fallback_after", SETTING_DURATION, AT(fallback_after), "15m", "how long a hold lasts before it is taken", .least = 1 },
    { "fallback_weak", SETTING_FLAG, AT(fallback_weak), "false", "let it be weaker than the requirement" },
    { "on_hold", SETTING_WORD, AT(on_hold), "auto", "refuse for now, or accept and queue",
      .words = "auto tempfail queue" },
    { "hold", SETTING_DURATION, AT(hold), "24h", "how long before held mail bounces", .least = 1,
      .most = 30 * 24 * 60 * 60 },
    { "test_mode", SETTING_FLAG, AT(test_mode), "false", "only say what it would do" },
    { "probe", SETTING_WORD, AT(probe), "off", "visit the partner's hosts",
      .words = "off watch require" },
    { NULL },
};

/* Those that are one connector's own, never a default. */
static const char own[] = "name enabled recipients senders smart_hosts";

enum { NAME_MAX_LENGTH = 128 };

static bool has_control(const char *name)
{
    for (; *name != '\0'; name++) {
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            return true;
    }
    return false;
}

static bool good_name(const struct group *g, const char *name)
{
    if (!groups_has(g, "name"))
        faults_setting(g, "name", "is missing; write name = \"...\", unlike every other connector's");
    else if (name[0] == '\0')
        faults_setting(g, "name", "is empty; write name = \"...\", unlike every other connector's");
    else if (strlen(name) > NAME_MAX_LENGTH)
        faults_setting(g, "name", "is too long; write at most %d characters", NAME_MAX_LENGTH);
    else if (strcmp(name, "(default)") == 0)
        faults_setting(g, "name", "\"(default)\" is what rules all mail without a connector; write another name");
    else if (!values_utf8(name))
        faults_setting(g, "name", "is not UTF-8");
    else if (strchr(name, '"') != NULL || has_control(name))
        faults_setting(g, "name", "has a quote or a control character; remove it");
    else
        return true;
    return false;
}

static void read_modes(const struct wishes *w, struct connector *c)
{
    mode_parse(w->smtp_dane, &c->smtp_dane);
    mode_parse(w->mta_sts, &c->mta_sts);
    require_parse(w->require, &c->require);
    tls_parse(w->tls, &c->tls);
    on_hold_parse(w->on_hold, &c->on_hold);
    probing_parse(w->probe, &c->probe);
}

/* A default asks nothing of those who have only one requirement. */
static void check_require(const struct group *g, const struct connector *c)
{
    bool both = c->smtp_dane == MODE_MANDATORY && c->mta_sts == MODE_MANDATORY;

    if (c->require == REQUIRE_ANY && !both && !c->is_default && groups_has(g, "require"))
        faults_setting(g, "require",
                       "\"any\" lets one of two requirements suffice, and only matters where smtp_dane and mta_sts are both "
                       "\"mandatory\"; make them so, or remove require");
}

static void read_match(const struct group *g, const struct wishes *w, struct connector *c)
{
    bool matched = c->tls == TLS_VERIFY || c->tls == TLS_SECURE;
    bool mine = groups_has(g, "tls_match");

    if (mine && w->tls_match.count > 0 && !matched) {
        faults_setting(g, "tls_match",
                       "names are only matched with tls = \"verify\" or \"secure\"; "
                       "set one, or remove tls_match");
        return;
    }
    if (!matched)
        return;
    if (mine || c->is_default)
        c->tls_match = patterns_match_list(g, &w->tls_match, &c->tls_match_count);
    else
        c->tls_match = w->tls_match.items, c->tls_match_count = (uint32_t)w->tls_match.count;
    if (w->tls_match.count == 0 && groups_has(g, "tls"))
        faults_setting_hint(g, "tls",
                            "without tls_match the certificate must bear the name of the next hop, as few MX "
                            "hosts' do; set tls_match to the partner's host names");
}

/* --- one connector --- */

static void hint_senders(const struct group *g, const struct connector *c)
{
    if (!connector_is_mandatory(c) || c->sender_count == 0 || g->reader->made->settings.milter.tag)
        return;
    faults_setting_hint(g, "senders",
                        "the transport table can't see senders: mail of every sender to these recipients travels "
                        "the mandatory road; set milter.tag = true to loosen that for the others");
}

static void hint_everyone(const struct group *g, const struct connector *c)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_EVERYONE)
            faults_setting_hint(g, "recipients",
                                "\"*\" is never written to the table; set default_transport as `danelaw setup "
                                "postfix` prints it");
    }
}

static const char *kept_file(struct reader *r, const char *shown)
{
    if (r->file_shown != shown) {
        r->file_shown = shown;
        r->file_kept = arena_text(ruleset_memory(r->made->rules), shown);
    }
    return r->file_kept;
}

/* What connectors and (default) share. */
static struct connector *make(const struct group *g, const struct wishes *w)
{
    struct reader *r = g->reader;
    struct connector *c = arena_take(ruleset_memory(r->made->rules), sizeof(*c));
    struct spot at = source_spot(g->source, r, g->node);

    c->file = kept_file(r, at.file);
    c->line = at.line;
    c->hold = w->hold;
    read_modes(w, c);
    return c;
}

static void read_connector(struct reader *r, struct source *s, config_setting_t *node, size_t number)
{
    struct arena *memory = ruleset_memory(r->made->rules);
    struct wishes wishes = r->defaults;
    char text[24];
    struct group g = { .reader = r, .source = s, .node = node, .before = "connector ", .name = text, .behind = ": ",
                       .target = &wishes, .memory = r->scratch };
    struct connector *c;
    bool named;

    snprintf(text, sizeof(text), "%zu", number);
    if (!groups_is(&g, "{ name = \"...\"; recipients = [ \"...\" ]; }"))
        return;
    if (config_setting_lookup_string(node, "name", &wishes.name) == CONFIG_TRUE && wishes.name[0] != '\0' &&
        strlen(wishes.name) <= NAME_MAX_LENGTH && strchr(wishes.name, '"') == NULL && !has_control(wishes.name))
        g.before = "connector \"", g.name = wishes.name, g.behind = "\": ";
    groups_read(&g, connectors_settings);
    named = good_name(&g, wishes.name);
    c = make(&g, &wishes);
    c->name = arena_text(memory, wishes.name);
    lists_read(&g, &wishes, c);
    lists_smart_hosts(&g, &wishes, c);
    check_require(&g, c);
    read_match(&g, &wishes, c);
    routes_choose(&g, &wishes, c);
    if (named)
        lists_file_name(&g, c);
    lists_file(&g, &wishes, c);
    if (!wishes.enabled)
        return;
    c->test_mode = wishes.test_mode;
    if (!c->test_mode) {                /* a shadow puts nobody's mail on any road */
        if (!routes_for_sendmail(r)) {
            hint_senders(&g, c);
            hint_everyone(&g, c);
        }
        routes_hint(&g, &wishes, c);
    }
    ruleset_add(r->made->rules, c);
}

void connectors_read(struct reader *r, struct source *s, config_setting_t *node)
{
    struct group g = { .reader = r, .source = s, .node = node, .before = "", .name = "connectors", .behind = "." };
    int count, i;

    if (!config_setting_is_list(node)) {
        faults_setting(&g, "", "is no list of groups; write connectors = ( { ... }, { ... } );");
        return;
    }
    count = config_setting_length(node);
    for (i = 0; i < count; i++)
        read_connector(r, s, config_setting_get_elem(node, (unsigned)i), (size_t)i + 1);
}

/* --- defaults --- */

static void read_defaults(struct group *g)
{
    int count = config_setting_length(g->node), i;

    for (i = 0; i < count; i++) {
        const config_setting_t *member = config_setting_get_elem(g->node, (unsigned)i);

        if (values_has_word(own, config_setting_name(member)))
            faults_setting(g, config_setting_name(member), "is each connector's own, never a default; remove it");
        else
            groups_read_member(g, connectors_settings, member);
    }
}

void connectors_defaults(struct reader *r, struct source *s, config_setting_t *node)
{
    struct group g = { .reader = r, .source = s, .node = node, .before = "", .name = "defaults", .behind = ".",
                       .target = &r->defaults, .memory = ruleset_memory(r->made->rules), .keep = true };
    struct connector *c;

    groups_preset(connectors_settings, &r->defaults, r->scratch);
    if (node != NULL && groups_is(&g, "defaults = { smtp_dane = \"...\"; };"))
        read_defaults(&g);
    c = make(&g, &r->defaults);
    c->name = "(default)";
    c->is_default = true;
    read_match(&g, &r->defaults, c);
    r->defaults.tls_match = (struct setting_list){ (const char **)c->tls_match, c->tls_match_count };
    routes_choose(&g, &r->defaults, c);
    if (connector_is_mandatory(c))
        faults_setting_hint(&g, c->smtp_dane == MODE_MANDATORY ? "smtp_dane" : "mta_sts",
                            "destinations without a connector are judged by this too, but only named connectors are "
                            "enforced");
    ruleset_set_default(r->made->rules, c);
}

/* --- what is worth a look once all are known --- */

/* By a rule that means it; `*` is no such rule. */
static bool is_covered(const struct ruleset *rules, const char *domain)
{
    const struct pattern itself = { .kind = PATTERN_DOMAIN, .domain = domain };
    const char *parent;

    if (ruleset_has(rules, &itself))
        return true;
    for (parent = domain_parent(domain); parent != NULL; parent = domain_parent(parent)) {
        const struct pattern below = { .kind = PATTERN_BELOW, .domain = parent };

        if (ruleset_has(rules, &below))
            return true;
    }
    return false;
}

void connectors_hints(struct reader *r)
{
    const struct ruleset *rules = r->made->rules;
    size_t i, j;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        for (j = 0; j < c->recipient_count; j++) {
            const struct pattern *p = &c->recipients[j];

            if (p->kind == PATTERN_BELOW && !is_covered(rules, p->domain))
                faults_hint(r, (struct spot){ c->file, c->line },
                            "connector \"%s\": recipients: \"*.%s\" does not cover %s itself, and no other connector "
                            "does; add \"%s\" if it is meant", c->name, p->domain, p->domain, p->domain);
        }
    }
}
