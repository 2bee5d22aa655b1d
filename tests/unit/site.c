#include "site.h"

#include "base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const real_postmap = "/usr/sbin/postmap";

static const char *const master_cf =
    "smtp inet n - y - - smtpd\n"
    "pickup unix n - y 60 1 pickup\n"
    "cleanup unix n - y - 0 cleanup\n"
    "qmgr unix n - n 300 1 qmgr\n"
    "rewrite unix - - y - - trivial-rewrite\n"
    "bounce unix - - y - 0 bounce\n"
    "proxymap unix - - n - - proxymap\n"
    "smtp unix - - y - - smtp\n"
    "local unix - n n - - local\n";

static void path_of(const struct site *s, const char *name, char ret[static 512])
{
    snprintf(ret, 512, "%s/%s", s->root, name);
}

void site_write(const struct site *s, const char *name, const char *text)
{
    const struct timespec past[2] = { { .tv_sec = time(NULL) - 60 }, { .tv_sec = time(NULL) - 60 } };
    char path[512];
    FILE *file;

    path_of(s, name, path);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    /* Postfix waits for a main.cf to be some seconds old, lest somebody is still writing it. */
    assert_int_equal(utimensat(AT_FDCWD, path, past, 0), 0);
}

char *site_read(const struct site *s, const char *name, size_t *ret_length)
{
    char path[512], *bytes;
    struct stat seen;
    FILE *file;

    path_of(s, name, path);
    file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    assert_int_equal(fstat(fileno(file), &seen), 0);
    bytes = mem_zero((size_t)seen.st_size + 1);
    assert_int_equal(fread(bytes, 1, (size_t)seen.st_size, file), seen.st_size);
    fclose(file);
    if (ret_length != NULL)
        *ret_length = (size_t)seen.st_size;
    return bytes;
}

static void shell(const char *format, const char *a, const char *b)
{
    char *command;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    assert_true(asprintf(&command, format, a, b) > 0);
#pragma GCC diagnostic pop
    assert_int_equal(system(command), 0);
    free(command);
}

void site_open(struct site *s, const char *main_cf)
{
    char text[8192];

    if (access(real_postmap, X_OK) != 0 || access("/usr/sbin/postconf", X_OK) != 0)
        skip();
    *s = (struct site){ .root = "/tmp/danelaw-site-XXXXXX" };
    assert_non_null(mkdtemp(s->root));
    assert_int_equal(chmod(s->root, 0755), 0);
    snprintf(s->config, sizeof(s->config), "%s/etc", s->root);
    snprintf(s->state, sizeof(s->state), "%s/state", s->root);
    assert_int_equal(mkdir(s->config, 0755), 0);
    assert_int_equal(mkdir(s->state, 0755), 0);
    snprintf(text, sizeof(text), "compatibility_level = 3.6\nmyhostname = mail.home.example\n"
             "default_database_type = hash\nqueue_directory = /var/spool/postfix\nmydestination =\n%s\n", main_cf);
    site_write(s, "etc/main.cf", text);
    site_write(s, "etc/master.cf", master_cf);
    s->settings = (struct settings){
        .milter = { .socket = "unix:/run/danelaw/milter.sock", .socket_group = "", .socket_mode = 0660, .budget = 3 },
        .maps = { .socket = "unix:/run/danelaw/map.sock", .socket_group = "", .socket_mode = 0660, .budget = 4 },
        .store = { .directory = s->state },
        .tables = { .mta = "postfix", .type = "", .config_dir = s->config, .postmap = "" },
    };
}

void site_close(struct site *s)
{
    shell("rm -rf '%s'%s", s->root, "");
}

void site_index(const struct site *s, const char *table)
{
    char path[512];
    const char *name = strchr(table, ':') + 1;

    snprintf(path, sizeof(path), "%.*s%s/%s", (int)(name - table), table, s->root, name);
    shell("/usr/sbin/postmap -c '%s' '%s'", s->config, path);
}

void site_fake_postmap(struct site *s, const char *script)
{
    char text[4096];

    snprintf(text, sizeof(text), "#!/bin/sh\nREAL=%s\n%s\n", real_postmap, script);
    site_write(s, "postmap", text);
    snprintf(s->postmap, sizeof(s->postmap), "%s/postmap", s->root);
    assert_int_equal(chmod(s->postmap, 0755), 0);
    s->settings.tables.postmap = s->postmap;
}

static const struct route dane = { .name = "dane-mandatory", .transport = "danelaw-dane", .next_hop = "" };
static const struct route sts = { .name = "sts-mandatory", .transport = "danelaw-sts", .next_hop = "" };
static const struct route opportunistic = { .name = "opportunistic", .transport = "danelaw", .next_hop = "" };
static const struct connector everyone_else = {
    .name = "(default)", .is_default = true, .smtp_dane = MODE_OPPORTUNISTIC, .mta_sts = MODE_OPPORTUNISTIC,
    .tls = TLS_SITE, .route = &opportunistic,
};

struct ruleset *rules_new(void)
{
    struct ruleset *rules = ruleset_new();

    ruleset_add_route(rules, &dane);
    ruleset_add_route(rules, &sts);
    ruleset_add_route(rules, &opportunistic);
    ruleset_set_default(rules, &everyone_else);
    return rules;
}

static struct pattern pattern_of(struct arena *memory, char *word)
{
    struct pattern p = { .kind = PATTERN_DOMAIN };
    char *at = strrchr(word, '@'), *domain = word;
    struct domain d;

    if (strcmp(word, "*") == 0)
        return (struct pattern){ .kind = PATTERN_EVERYONE };
    if (strcmp(word, "<>") == 0)
        return (struct pattern){ .kind = PATTERN_NULL_SENDER };
    if (at != NULL) {
        *at = '\0';
        p.kind = PATTERN_ADDRESS;
        p.local = arena_text(memory, word);
        domain = at + 1;
    } else if (strncmp(word, "*.", 2) == 0) {
        p.kind = PATTERN_BELOW;
        domain = word + 2;
    }
    assert_true(domain_parse(domain, &d, NULL));
    p.domain = arena_text(memory, d.name);
    return p;
}

static const struct pattern *patterns_of(struct arena *memory, const char *words, uint32_t *ret_count)
{
    struct pattern *made = arena_take(memory, 16 * sizeof(*made));
    char *text = arena_text(memory, words), *word, *rest = text;
    uint32_t count = 0;

    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        assert_true(count < 16);
        made[count++] = pattern_of(memory, word);
    }
    *ret_count = count;
    return made;
}

struct connector *rules_add(struct ruleset *rules, const char *name, enum mode dane_mode, enum mode sts_mode,
                            const char *recipients)
{
    struct arena *memory = ruleset_memory(rules);
    struct connector *c = arena_take(memory, sizeof(*c));

    c->name = arena_text(memory, name);
    c->smtp_dane = dane_mode;
    c->mta_sts = sts_mode;
    c->tls = TLS_SITE;
    c->route = sts_mode == MODE_MANDATORY ? &sts : dane_mode == MODE_MANDATORY ? &dane : &opportunistic;
    c->recipients = patterns_of(memory, recipients, &c->recipient_count);
    ruleset_add(rules, c);
    return c;
}

void rules_senders(struct ruleset *rules, struct connector *c, const char *senders)
{
    c->senders = patterns_of(ruleset_memory(rules), senders, &c->sender_count);
}

void rules_smart_hosts(struct ruleset *rules, struct connector *c, const char *hosts)
{
    struct arena *memory = ruleset_memory(rules);
    struct next_hop *made = arena_take(memory, 16 * sizeof(*made));
    char *text = arena_text(memory, hosts), *word, *rest = text;

    while ((word = strtok_r(rest, " ", &rest)) != NULL)
        assert_true(next_hop_parse(word, &made[c->smart_host_count++], NULL));
    c->smart_hosts = made;
}
