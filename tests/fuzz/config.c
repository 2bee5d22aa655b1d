/*
 * A configuration as somebody may write it, from a file in memory. One that is refused says why, in whole lines of the
 * file's name; one that is accepted has every number within its bounds, finds each connector by what it lists, keeps a
 * mandatory one's mail on a strict road and never leads it to a weaker one.
 */
#include "fuzz.h"

#include "base/log.h"
#include "config/config.h"
#include "policy/roads.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[32];
static int file = -1;

static void open_file(void)
{
    file = memfd_create("danelaw.conf", MFD_CLOEXEC);
    must(file >= 0 && fchmod(file, 0600) == 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", file);
    log_set_level(LOG_LEVEL_ERROR);
}

static void write_file(const uint8_t *bytes, size_t length)
{
    must(ftruncate(file, 0) == 0 && pwrite(file, bytes, length, 0) == (ssize_t)length);
}

static bool has_control(const char *text)
{
    while ((unsigned char)*text >= ' ' && *text != 0x7f)
        text++;
    return *text != '\0';
}

/* `FILE: ...` or `FILE:LINE: ...` each, and nothing that a terminal would obey. */
static void check_lines(const struct text *lines)
{
    const char *line = text_words(lines), *end;

    for (; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        must(end != NULL && strncmp(line, "/dev/fd", 7) == 0 && strstr(line, ": ") < end);
        for (; line < end; line++)
            must((unsigned char)*line >= ' ' && *line != 0x7f);
    }
}

static void check_number(const struct setting *s, uint64_t value)
{
    must(value >= s->least && (s->most == 0 || value <= s->most));
}

static void check_setting(const struct settings *set, const struct setting *s)
{
    const char *at = (const char *)set + s->offset;

    switch (s->kind) {
    case SETTING_TEXT:
    case SETTING_WORD:
        must(*(const char *const *)(const void *)at != NULL);
        break;
    case SETTING_NUMBER:
    case SETTING_DURATION:
        check_number(s, *(const uint32_t *)(const void *)at);
        break;
    case SETTING_SIZE:
        check_number(s, *(const uint64_t *)(const void *)at);
        break;
    case SETTING_MODE:
        must(*(const uint32_t *)(const void *)at <= 0777);
        break;
    case SETTING_FLAG:
    case SETTING_LIST:
        break;
    }
}

/* A recipient whom the pattern is for. */
static struct address example_of(const struct pattern *p)
{
    struct address a = { .kind = ADDRESS_DOMAIN, .local = "somebody" };

    if (p->kind == PATTERN_ADDRESS)
        snprintf(a.local, sizeof(a.local), "%s", p->local);
    a.domain.length = (uint8_t)snprintf(a.domain.name, sizeof(a.domain.name), "%s%s", p->kind == PATTERN_BELOW ? "below." : "",
                                        p->kind == PATTERN_EVERYONE ? "else.example" : p->domain);
    return a;
}

static void check_pattern(const struct ruleset *rules, const struct connector *c, const struct pattern *p)
{
    struct address to = example_of(p), from = { .kind = ADDRESS_NULL };
    const struct connector *found;
    struct road road;
    char shown[600];

    must(!has_control(pattern_print(p, shown, sizeof(shown))));
    if (strlen(p->kind == PATTERN_BELOW ? p->domain : "") > 240)
        return;
    must(pattern_matches(p, &to));
    found = ruleset_find(rules, &to, &from);
    must(c->sender_count > 0 || !found->is_default);
    road = road_of(rules, p);
    must(p->kind == PATTERN_EVERYONE || !connector_is_mandatory(c) || (road.route != NULL && road.strict));
}

static bool is_strong(const struct route *r)
{
    return r->tls == TLS_DANE_ONLY || (r->tls == TLS_SECURE && r->tls_match_count > 0) ||
           (r->tls == TLS_VERIFY && r->next_hop[0] == '[');
}

static void check_connector(const struct ruleset *rules, const struct connector *c, bool weak)
{
    size_t i;

    must(c->name[0] != '\0' && c->route != NULL && c->hold > 0 && c->recipient_count > 0 && !c->is_default);
    must(ruleset_named(rules, c->name) == c && c->smart_host_count <= CONNECTOR_SMART_HOSTS_MAX && c->tls != TLS_DANE_ONLY);
    must(c->fallback == NULL || !connector_is_mandatory(c) || weak || is_strong(c->fallback));
    for (i = 0; i < c->recipient_count && !c->test_mode; i++)
        check_pattern(rules, c, &c->recipients[i]);
}

static void check(const struct configuration *c, bool weak)
{
    const struct setting *s;
    size_t i;

    for (i = 0; settings_groups[i].name != NULL; i++) {
        for (s = settings_groups[i].settings; s->name != NULL; s++)
            check_setting(&c->settings, s);
    }
    for (i = 0; i < ruleset_count(c->rules); i++)
        check_connector(c->rules, ruleset_at(c->rules, i), weak);
    must(ruleset_default(c->rules)->is_default);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char weak[] = "fallback_weak";
    struct configuration *made = NULL;
    struct config_report report;
    bool good;

    if (file < 0)
        open_file();
    write_file(bytes, length);
    config_report_init(&report);
    good = config_load(path, &made, &report);
    must(good == (report.faults.length == 0) && good == (made != NULL));
    check_lines(&report.faults);
    check_lines(&report.hints);
    if (good)
        check(made, memmem(bytes, length, weak, strlen(weak)) != NULL);
    config_free(made);
    config_report_done(&report);
    return 0;
}
