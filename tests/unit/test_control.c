/*
 * The control socket on a real loop with a real engine, whose eyes are ours: "good.*" has usable DANE, "bare.*" has none,
 * everything else fails.
 */
#include "server/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/clerk.h"
#include "store/policies.h"
#include "store/store.h"
#include "store/trace.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 100000, MANY_HOPS = 2000, CLIENTS_MAX = 64, REQUEST_MAX = 64 * 1024, PATIENCE_SECONDS = 60, NOBODY = 65534 };

/* Eyes */

struct errand {
    struct landing *at;
    struct query_landing *query_at;
    struct records_landing *records_at;
    struct next_hop hop;
    bool has_policy;
};

static struct mutex under_way_lock = { PTHREAD_MUTEX_INITIALIZER };
static struct signal under_way_changed = { PTHREAD_COND_INITIALIZER };
static size_t under_way;

static struct dns_answers *answers_about(const struct next_hop *hop)
{
    static const uint8_t digest[32] = { 1 };
    struct dns_answers *answers = dns_answers_new();
    struct dns_look secure = { .asked = true, .trust = DNS_SECURE, .found = true, .ttl = 3600 };
    struct dns_look denied = { .asked = true, .trust = DNS_SECURE, .ttl = 3600 };
    bool good = strncmp(hop->host.name, "good", 4) == 0, bare = strncmp(hop->host.name, "bare", 4) == 0;
    struct dns_host *host;

    if (!good && !bare) {
        answers->mx = (struct dns_look){ .asked = true, .trust = DNS_FAILED, .why = "nobody answers" };
        return answers;
    }
    host = arena_take(answers->memory, sizeof(*host));
    answers->mx = secure;
    answers->host_count = 1;
    answers->hosts = host;
    host->name = host->expanded = hop->host;
    host->preference = 10;
    host->a = secure;
    host->aaaa = denied;
    host->at_name.look = good ? secure : denied;
    host->at_name.base = hop->host;
    if (good) {
        host->at_name.count = 1;
        host->at_name.records = arena_take(answers->memory, sizeof(*host->at_name.records));
        host->at_name.records[0] = (struct dns_tlsa){ .usage = 3, .selector = 1, .matching = 1, .length = 32, .data = digest };
    }
    return answers;
}

/* No TXT record, or the one whose policy is kept. */
static struct dns_records records_about(bool has_policy)
{
    static const uint8_t record[] = "\x10v=STSv1; id=1999";
    struct dns_records found = { .look = { .asked = true, .trust = DNS_INSECURE, .found = has_policy, .ttl = 3600 } };

    if (has_policy) {
        found.data[0] = record;
        found.lengths[0] = sizeof(record) - 1;
        found.count = 1;
    }
    return found;
}

static void *run_errand(void *argument)
{
    struct errand *errand = argument;
    struct dns_look root = { .asked = true, .trust = DNS_SECURE, .found = true, .ttl = 3600 };
    struct dns_records records = records_about(errand->has_policy);

    if (errand->at != NULL)
        errand->at->arrive(errand->at, answers_about(&errand->hop));
    else if (errand->query_at != NULL)
        errand->query_at->arrive(errand->query_at, &root);
    else
        errand->records_at->arrive(errand->records_at, &records);
    free(errand);
    mutex_lock(&under_way_lock);
    under_way--;
    signal_all(&under_way_changed);
    mutex_unlock(&under_way_lock);
    return NULL;
}

static void send_out(struct errand wanted)
{
    struct errand *errand = mem_zero(sizeof(*errand));
    pthread_t thread;

    *errand = wanted;
    mutex_lock(&under_way_lock);
    under_way++;
    mutex_unlock(&under_way_lock);
    thread_start(&thread, "errand", run_errand, errand);
    pthread_detach(thread);
}

static void eyes_resolve(struct lookup *self, const struct next_hop *hop, struct landing *at)
{
    (void)self;
    send_out((struct errand){ .at = at, .hop = *hop });
}

static void eyes_query(struct lookup *self, const char *name, int type, struct query_landing *at)
{
    (void)self;
    (void)name;
    (void)type;
    send_out((struct errand){ .query_at = at });
}

static void eyes_close(struct lookup *self)
{
    (void)self;
    mutex_lock(&under_way_lock);
    while (under_way > 0)
        signal_wait(&under_way_changed, &under_way_lock);
    mutex_unlock(&under_way_lock);
}

static void eyes_records(struct lookup *self, const char *name, int type, struct records_landing *at)
{
    (void)self;
    (void)type;
    send_out((struct errand){ .records_at = at, .has_policy = strcmp(name, "_mta-sts.bare.sts.example") == 0 });
}

static struct lookup eyes = { .resolve = eyes_resolve, .query = eyes_query, .records = eyes_records, .close = eyes_close };

/* The daemon around the control socket */

static struct {
    struct settings settings;
    struct store *store;
    struct policies *policies;
    struct engine *engine;
    struct event_base *loop;
    struct control *control;
    pthread_t thread;
    char path[108], folder[64];
    struct control_job *_Atomic job;        /* the last reload */
    atomic_bool tables_good;
    bool closed, broken_store;
} house;

static void hook_reload(void *self, struct control_job *job)
{
    (void)self;
    atomic_store(&house.job, job);
}

static void hook_status(void *self, bool *ret_good, char *ret_why, size_t size)
{
    (void)self;
    *ret_good = atomic_load(&house.tables_good);
    snprintf(ret_why, size, "%s", *ret_good ? "" : "no room on disk");
}

static struct control_hooks hooks = { .reload = hook_reload, .status = hook_status };

static const struct route strict = { .name = "dane-mandatory", .transport = "danelaw-dane" };
static const struct route loose = { .name = "opportunistic", .transport = "danelaw" };

static struct connector *add(struct ruleset *rules, const char *name, const char *domain, enum mode dane)
{
    struct arena *memory = ruleset_memory(rules);
    struct connector *c = arena_take(memory, sizeof(*c));
    struct pattern *p = arena_take(memory, sizeof(*p));

    *p = (struct pattern){ .kind = PATTERN_DOMAIN, .domain = arena_text(memory, domain) };
    *c = (struct connector){ .name = arena_text(memory, name), .recipients = p, .recipient_count = 1, .smtp_dane = dane,
                             .mta_sts = MODE_NONE, .tls = TLS_SITE,
                             .route = dane == MODE_MANDATORY ? &strict : &loose };
    return c;
}

static void add_two_domains(struct ruleset *rules)
{
    static const struct pattern both[] = { { .kind = PATTERN_DOMAIN, .domain = "good.example" },
                                           { .kind = PATTERN_BELOW, .domain = "good.example" },
                                           { .kind = PATTERN_ADDRESS, .local = "bo", .domain = "bare.example" } };
    struct connector *c = add(rules, "Both", "unused.example", MODE_MANDATORY);

    c->recipients = both;
    c->recipient_count = COUNT_OF(both);
    ruleset_add(rules, c);
}

static void add_smart(struct ruleset *rules)
{
    static struct next_hop hosts[2];
    struct connector *c = add(rules, "Smart", "smart.example", MODE_MANDATORY);
    struct fault why;

    assert_true(next_hop_parse("[bare.smart.example]:587", &hosts[0], &why));
    assert_true(next_hop_parse("[good.smart.example]:587", &hosts[1], &why));
    c->smart_hosts = hosts;
    c->smart_host_count = 2;
    ruleset_add(rules, c);
}

static struct ruleset *few_rules(void)
{
    static const struct pattern boss = { .kind = PATTERN_ADDRESS, .local = "boss", .domain = "home.example" };
    struct ruleset *rules = ruleset_new();
    struct connector *c;

    ruleset_add(rules, add(rules, "Good", "good.example", MODE_MANDATORY));
    ruleset_add(rules, add(rules, "Cold", "cold.example", MODE_NONE));
    add_two_domains(rules);
    add_smart(rules);
    c = add(rules, "Boss \xff\"", "boss.example", MODE_NONE);
    c->senders = &boss;
    c->sender_count = 1;
    ruleset_add(rules, c);
    return rules;
}

/* bare.sts.example has no DANE, but a policy. */
static struct ruleset *sts_rules(void)
{
    struct ruleset *rules = ruleset_new();
    struct connector *c = add(rules, "Sts", "bare.sts.example", MODE_OPPORTUNISTIC);

    c->mta_sts = MODE_MANDATORY;
    ruleset_add(rules, c);
    return rules;
}

static void keep_policy(const char *name, const char *body)
{
    struct sts_policy *policy;
    struct domain domain;

    assert_true(domain_parse(name, &domain, NULL));
    assert_true(sts_policy_parse(body, strlen(body), &policy, NULL));
    assert_true(policies_put(house.policies, &domain, "1999", policy, body, strlen(body), (int64_t)clock_wall()));
    sts_policy_unref(policy);
}

static struct ruleset *many_rules(void)
{
    struct ruleset *rules = ruleset_new();
    char name[32], domain[64];
    unsigned i;

    for (i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "Partner %u", i);
        snprintf(domain, sizeof(domain), "d%u.example", i);
        ruleset_add(rules, add(rules, name, domain, MODE_OPPORTUNISTIC));
    }
    return rules;
}

static void set_rules(struct ruleset *rules)
{
    struct connector *rest = add(rules, "(default)", "unused.example", MODE_OPPORTUNISTIC);

    rest->is_default = true;
    rest->recipient_count = 0;
    ruleset_set_default(rules, rest);
    ruleset_freeze(rules);
    if (house.engine == NULL)
        house.engine = engine_open(&house.settings, &eyes, &(struct engine_memory){ .policies = house.policies },
                                   rules);
    else
        engine_adopt(house.engine, ruleset_ref(rules));
    ruleset_unref(rules);
}

static int listen_here(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(house.path, sizeof(house.path), "/tmp/test_control.%d", (int)getpid());
    unlink(house.path);
    strcpy(at.sun_path, house.path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(chmod(house.path, 0666), 0);
    assert_int_equal(listen(fd, 128), 0);
    return fd;
}

static void *loop_body(void *argument)
{
    (void)argument;
    event_base_loop(house.loop, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static int open_house(void **state)
{
    (void)state;
    house.settings.resolver.when_broken = "hold-mandatory";
    house.settings.resolver.entries = 10000;
    house.settings.resolver.cache = 64 << 20;
    house.settings.resolver.tlsa_records = 16;
    house.settings.resolver.timeout = 5;
    atomic_store(&house.tables_good, true);
    atomic_store(&house.job, NULL);
    house.closed = false;
    strcpy(house.folder, "/tmp/test_control.XXXXXX");
    assert_non_null(mkdtemp(house.folder));
    house.settings.store.directory = house.broken_store ? "/proc/nowhere" : house.folder;
    house.store = store_open(&house.settings);
    house.policies = policies_open(house.store, 1000, (int64_t)clock_wall());
    hooks.store = house.store;
    hooks.policies = house.policies;
    set_rules(few_rules());
    house.loop = event_base_new();
    house.control = control_open(house.loop, listen_here(), house.engine, &hooks);
    assert_non_null(house.control);
    thread_start(&house.thread, "loop", loop_body, NULL);
    return 0;
}

static void close_doors(void)
{
    if (house.closed)
        return;
    house.closed = true;
    event_base_loopbreak(house.loop);
    pthread_join(house.thread, NULL);
    control_close(house.control);
    event_base_free(house.loop);
}

static void empty_folder(void)
{
    static const char *const files[] = { "danelaw.db", "danelaw.db-wal", "danelaw.db-shm" };
    char path[100];
    size_t i;

    for (i = 0; i < COUNT_OF(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", house.folder, files[i]);
        unlink(path);
    }
    rmdir(house.folder);
}

static int close_house(void **state)
{
    (void)state;
    close_doors();
    engine_close(house.engine);
    house.engine = NULL;
    policies_close(house.policies);
    store_close(house.store);
    empty_folder();
    unlink(house.path);
    return 0;
}

/* The client */

static int dial(void)
{
    const struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(to.sun_path, house.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static void say(int fd, const char *bytes, size_t length)
{
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* All lines as a JSON array; the last has "exit". NULL: the daemon hung up without a last line. */
static json_t *hear(int fd)
{
    FILE *wire = fdopen(fd, "r");
    json_t *all = json_array();
    char *line = NULL;
    size_t room = 0;
    bool done = false;

    while (!done && getline(&line, &room, wire) > 0) {
        json_t *item = json_loads(line, 0, NULL);

        assert_non_null(item);
        done = json_object_get(item, "exit") != NULL;
        json_array_append_new(all, item);
    }
    if (done)
        assert_int_equal(getline(&line, &room, wire), -1);      /* nothing behind the last line */
    free(line);
    fclose(wire);
    if (done)
        return all;
    json_decref(all);
    return NULL;
}

static json_t *ask(const char *line)
{
    int fd = dial();

    say(fd, line, strlen(line));
    return hear(fd);
}

static int exit_of(const json_t *all)
{
    assert_non_null(all);
    return (int)json_integer_value(json_object_get(json_array_get(all, json_array_size(all) - 1), "exit"));
}

static const char *error_of(const json_t *all)
{
    const char *error = json_string_value(json_object_get(json_array_get(all, json_array_size(all) - 1), "error"));

    return error == NULL ? "" : error;
}

static const char *word(const json_t *item, const char *key)
{
    const json_t *value = json_object_get(item, key);

    assert_non_null(value);
    return json_is_null(value) ? "null" : json_string_value(value);
}

/* Until the watch has brought evidence about all that mandatory rules name. */
static void warm_up(const char *hop_text)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000, since;
    struct evidence *found = NULL;
    struct next_hop hop;
    struct fault why;

    assert_true(next_hop_parse(hop_text, &hop, &why));
    while (found == NULL && clock_ms() < until) {
        found = engine_peek(house.engine, &hop, &since);
        if (found == NULL)
            usleep(10000);
    }
    assert_non_null(found);
    evidence_unref(found);
}

/* The tests */

static void a_rule_has_all_its_keys(void **state)
{
    static const char *const keys[] = { "name", "enabled", "recipients", "senders", "smtp_dane", "mta_sts", "override",
                                        "test_mode", "dane", "sts", "verdict", "reason", "route", "since" };
    const char *key;
    json_t *all, *value;
    size_t i = 0;

    (void)state;
    warm_up("good.example");
    all = ask("{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"Good\"}\n");
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 2);
    json_object_foreach(json_array_get(all, 0), key, value) {
        assert_true(i < COUNT_OF(keys));
        assert_string_equal(key, keys[i++]);
    }
    assert_int_equal(i, COUNT_OF(keys));
    assert_string_equal(word(json_array_get(all, 0), "dane"), "usable");
    assert_string_equal(word(json_array_get(all, 0), "verdict"), "deliver");
    assert_string_equal(word(json_array_get(all, 0), "reason"), "null");
    assert_string_equal(word(json_array_get(all, 0), "route"), "dane-mandatory");
    assert_int_equal(strlen(word(json_array_get(all, 0), "since")), strlen("2024-01-01T00:00:00Z"));
    json_decref(all);
}

static void the_strictest_next_hop_speaks_for_a_rule(void **state)
{
    json_t *all;

    (void)state;
    warm_up("good.example");
    warm_up("bare.example");
    all = ask("{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"Both\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "dane"), "absent");
    assert_string_equal(word(json_array_get(all, 0), "verdict"), "hold");
    assert_string_equal(word(json_array_get(all, 0), "reason"), "dane-required");
    json_decref(all);
}

static void smart_hosts_are_as_good_as_their_first_that_delivers(void **state)
{
    json_t *all;

    (void)state;
    warm_up("[bare.smart.example]:587");
    warm_up("[good.smart.example]:587");
    all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"x@smart.example\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "name"), "Smart");
    assert_string_equal(word(json_array_get(all, 0), "dane"), "usable");
    assert_string_equal(word(json_array_get(all, 0), "verdict"), "deliver");
    json_decref(all);
}

static void what_nobody_asked_for_is_null(void **state)
{
    json_t *all = ask("{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"Cold\"}\n");

    (void)state;
    assert_string_equal(word(json_array_get(all, 0), "dane"), "null");
    assert_string_equal(word(json_array_get(all, 0), "verdict"), "null");
    assert_string_equal(word(json_array_get(all, 0), "since"), "null");
    assert_string_equal(word(json_array_get(all, 0), "route"), "opportunistic");
    json_decref(all);
}

static void match_finds_by_sender(void **state)
{
    json_t *all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"x@boss.example\",\"from\":\"Boss@home.example\"}\n");

    (void)state;
    assert_string_equal(word(json_array_get(all, 0), "name"), "Boss ?\"");
    json_decref(all);
    all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"x@boss.example\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "name"), "(default)");
    assert_string_equal(word(json_array_get(all, 0), "route"), "null");
    json_decref(all);
    all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"bare.example\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "name"), "(default)");
    json_decref(all);
    all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"bo@bare.example\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "name"), "Both");
    json_decref(all);
}

static void a_search_begins_where_nothing_is_known(void **state)
{
    json_t *all = ask("{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"x@cold.example\",\"search\":true}\n");

    (void)state;
    assert_int_equal(exit_of(all), 0);
    json_decref(all);
    warm_up("cold.example");
}

static void what_was_swept_counts_as_bounced(void **state)
{
    static const char *const wrong[] = {
        "{\"verb\":\"swept\"}\n",
        "{\"verb\":\"swept\",\"queue_id\":\"A1\",\"to\":\"x@good.example\",\"from\":\"\"}\n",
        "{\"verb\":\"swept\",\"queue_id\":\"A1\",\"to\":\"x@good.example\",\"from\":\"\",\"reason\":\"boredom\"}\n",
        "{\"verb\":\"swept\",\"queue_id\":7,\"to\":\"x@good.example\",\"from\":\"\",\"reason\":\"-\"}\n",
    };
    struct engine_status now;
    json_t *all;
    size_t i;

    (void)state;
    all = ask("{\"verb\":\"swept\",\"queue_id\":\"A1\",\"to\":\"x@good.example\",\"from\":\"\",\"reason\":\"dane-required\"}\n");
    assert_int_equal(exit_of(all), 0);
    json_decref(all);
    all = ask("{\"verb\":\"swept\",\"queue_id\":\"A1\",\"to\":\"x@[192.0.2.1]\",\"from\":\"a@b\",\"reason\":\"-\"}\n");
    assert_int_equal(exit_of(all), 0);
    json_decref(all);
    for (i = 0; i < COUNT_OF(wrong); i++) {
        all = ask(wrong[i]);
        assert_int_equal(exit_of(all), 2);
        json_decref(all);
    }
    engine_status(house.engine, &now);
    assert_int_equal(now.bounced, 2);
}

static void an_unknown_name_is_no(void **state)
{
    json_t *all = ask("{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"Nobody\"}\n");

    (void)state;
    assert_int_equal(exit_of(all), 1);
    assert_non_null(strstr(error_of(all), "Nobody"));
    json_decref(all);
}

static void status_says_what_fails(void **state)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    json_t *all = ask("{\"verb\":\"status\"}\n");
    const json_t *item;

    (void)state;
    while (exit_of(all) == 75 && clock_ms() < until) {      /* the self-check is still under way */
        json_decref(all);
        usleep(10000);
        all = ask("{\"verb\":\"status\"}\n");
    }
    assert_int_equal(exit_of(all), 0);
    item = json_array_get(all, 0);
    assert_string_equal(word(item, "version"), PACKAGE_VERSION);
    assert_int_equal(json_integer_value(json_object_get(item, "connectors")), 5);
    assert_true(json_is_true(json_object_get(json_object_get(item, "resolver"), "proven")));
    assert_true(json_is_true(json_object_get(json_object_get(item, "tables"), "current")));
    json_decref(all);
    atomic_store(&house.tables_good, false);
    all = ask("{\"verb\":\"status\"}\n");
    assert_int_equal(exit_of(all), 1);
    assert_string_equal(word(json_object_get(json_array_get(all, 0), "tables"), "why"), "no room on disk");
    json_decref(all);
}

static void nonsense_is_refused(void **state)
{
    static const char *const nonsense[] = {
        "\n", "verb\n", "[]\n", "{\"verb\":1}\n", "{\"verb\":\"fly\"}\n", "{\"verb\":\"status\",\"verb\":\"status\"}\n",
        "{\"verb\":\"cache\"}\n", "{\"verb\":\"cache\",\"what\":\"show\",\"domain\":null}\n",
        "{\"verb\":\"cache\",\"what\":\"flush\",\"domain\":\"a..b\"}\n", "{\"verb\":\"connectors\"}\n", "{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"<>\"}\n",
        "{\"verb\":\"connectors\",\"what\":\"match\",\"address\":\"a b\"}\n", "{\"verb\":\"\xff\"}\n",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(nonsense); i++) {
        json_t *all = ask(nonsense[i]);

        assert_int_equal(exit_of(all), 2);
        assert_true(error_of(all)[0] != '\0');
        json_decref(all);
    }
}

static void an_endless_line_is_refused(void **state)
{
    AUTO(free) char *line = mem_zero(REQUEST_MAX);
    json_t *all;
    int fd = dial();

    (void)state;
    memset(line, 'x', REQUEST_MAX);
    say(fd, line, REQUEST_MAX);
    all = hear(fd);
    assert_int_equal(exit_of(all), 2);
    json_decref(all);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char request[] = "{\"verb\":\"status\"}\n{\"verb\":\"reload\"}\n";
    int fd = dial();
    json_t *all;
    size_t i;

    (void)state;
    for (i = 0; i < strlen("{\"verb\":\"status\"}\n"); i++) {
        say(fd, request + i, 1);
        usleep(1000);
    }
    all = hear(fd);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
    assert_null(atomic_load(&house.job));           /* one request a connection */
}

static void a_long_list_keeps_nobody_waiting(void **state)
{
    clock_t begun;
    json_t *all;
    int stuck;

    (void)state;
    set_rules(many_rules());
    stuck = dial();                                 /* not before: who is silent for long is let go */
    say(stuck, "{\"verb\":\"connectors\",\"what\":\"list\"}\n", strlen("{\"verb\":\"connectors\",\"what\":\"list\"}\n"));
    usleep(100000);                                 /* it asks for everything and reads nothing */
    begun = clock();                                /* our own work: others may keep the machine busy */
    all = ask("{\"verb\":\"status\"}\n");
    assert_int_equal(json_array_size(all), 2);
    assert_true(clock() - begun < CLOCKS_PER_SEC / 2);
    json_decref(all);
    all = hear(stuck);
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), MANY + 1);
    assert_string_equal(word(json_array_get(all, MANY - 1), "name"), "Partner 99999");
    json_decref(all);
}

static void a_list_keeps_the_rules_it_began_with(void **state)
{
    json_t *all;
    int fd;

    (void)state;
    set_rules(many_rules());
    fd = dial();
    say(fd, "{\"verb\":\"connectors\",\"what\":\"list\"}\n", strlen("{\"verb\":\"connectors\",\"what\":\"list\"}\n"));
    usleep(100000);
    set_rules(few_rules());
    all = hear(fd);
    assert_int_equal(json_array_size(all), MANY + 1);
    json_decref(all);
    all = ask("{\"verb\":\"connectors\",\"what\":\"list\"}\n");
    assert_int_equal(json_array_size(all), 5 + 1);
    json_decref(all);
}

static void a_reader_who_leaves_is_forgotten(void **state)
{
    char some[4096];
    json_t *all;
    int i, fd;

    (void)state;
    set_rules(many_rules());
    for (i = 0; i < 2 * CLIENTS_MAX; i++) {
        fd = dial();
        say(fd, "{\"verb\":\"connectors\",\"what\":\"list\"}\n", strlen("{\"verb\":\"connectors\",\"what\":\"list\"}\n"));
        assert_true(recv(fd, some, sizeof(some), 0) > 0);
        close(fd);
    }
    all = ask("{\"verb\":\"status\"}\n");
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void one_too_many_waits_at_the_door(void **state)
{
    const struct timeval short_wait = { .tv_usec = 300000 };
    int idle[CLIENTS_MAX], fd, i;
    json_t *all;
    char byte;

    (void)state;
    for (i = 0; i < CLIENTS_MAX; i++)
        idle[i] = dial();
    usleep(100000);
    fd = dial();
    say(fd, "{\"verb\":\"status\"}\n", strlen("{\"verb\":\"status\"}\n"));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &short_wait, sizeof(short_wait));
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
    close(idle[0]);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = PATIENCE_SECONDS }, sizeof(struct timeval));
    all = hear(fd);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
    for (i = 1; i < CLIENTS_MAX; i++)
        close(idle[i]);
}

static void who_says_nothing_is_let_go(void **state)
{
    int fd = dial();
    char byte;

    (void)state;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

static struct control_job *wait_for_job(void)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    struct control_job *job = NULL;

    while (job == NULL && clock_ms() < until) {
        usleep(1000);
        job = atomic_exchange(&house.job, NULL);
    }
    assert_non_null(job);
    return job;
}

static void a_reload_is_answered_from_another_thread(void **state)
{
    int fd = dial();
    json_t *all;

    (void)state;
    say(fd, "{\"verb\":\"reload\"}\n", strlen("{\"verb\":\"reload\"}\n"));
    control_job_done(wait_for_job(), 78, "a.conf:1: first\na.conf:2: second");
    all = hear(fd);
    assert_int_equal(exit_of(all), 78);
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(word(json_array_get(all, 0), "line"), "a.conf:1: first");
    assert_string_equal(word(json_array_get(all, 1), "line"), "a.conf:2: second");
    json_decref(all);
    fd = dial();
    say(fd, "{\"verb\":\"reload\"}\n", strlen("{\"verb\":\"reload\"}\n"));
    control_job_done(wait_for_job(), 0, "");
    all = hear(fd);
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 1);
    json_decref(all);
}

static void a_reload_outlives_its_client(void **state)
{
    int fd = dial();
    json_t *all;

    (void)state;
    say(fd, "{\"verb\":\"reload\"}\n", strlen("{\"verb\":\"reload\"}\n"));
    close(fd);
    control_job_done(wait_for_job(), 0, "done");
    all = ask("{\"verb\":\"status\"}\n");
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void a_reload_outlives_the_socket(void **state)
{
    struct control_job *job;
    int fd = dial();
    json_t *all;

    (void)state;
    say(fd, "{\"verb\":\"reload\"}\n", strlen("{\"verb\":\"reload\"}\n"));
    job = wait_for_job();
    close_doors();
    all = hear(fd);
    assert_null(all);
    control_job_done(job, 0, "too late");
}

/* As another user; what it heard last is its exit status. */
static int exit_for_nobody(const char *line)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        json_t *all;

        if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(99);
        all = ask(line);
        _exit(exit_of(all) == 1 && error_of(all)[0] == '\0' ? 98 : exit_of(all));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void strangers_look_but_change_nothing(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(exit_for_nobody("{\"verb\":\"connectors\",\"what\":\"list\"}\n"), 0);
    assert_int_equal(exit_for_nobody("{\"verb\":\"reload\"}\n"), 1);
    assert_int_equal(exit_for_nobody("{\"verb\":\"cache\",\"what\":\"show\"}\n"), 0);
    assert_int_equal(exit_for_nobody("{\"verb\":\"cache\",\"what\":\"flush\"}\n"), 1);
    assert_int_equal(exit_for_nobody("{\"verb\":\"cache\",\"what\":\"flush\",\"sts\":true}\n"), 1);
    assert_null(atomic_load(&house.job));
}

/* Until the daemon says so of the rule. */
static json_t *wait_for_rule(const char *name, const char *key, const char *expected)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    char request[200];
    json_t *all;

    snprintf(request, sizeof(request), "{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"%s\"}\n", name);
    all = ask(request);
    while (strcmp(word(json_array_get(all, 0), key), expected) != 0 && clock_ms() < until) {
        json_decref(all);
        usleep(10000);
        all = ask(request);
    }
    assert_string_equal(word(json_array_get(all, 0), key), expected);
    return all;
}

static void a_rule_shows_both_halves(void **state)
{
    json_t *all;

    (void)state;
    keep_policy("bare.sts.example", "version: STSv1\nmode: enforce\nmx: bare.sts.example\nmax_age: 86400\n");
    set_rules(sts_rules());
    all = wait_for_rule("Sts", "sts", "enforce");
    assert_string_equal(word(json_array_get(all, 0), "dane"), "absent");
    assert_string_equal(word(json_array_get(all, 0), "verdict"), "deliver");
    json_decref(all);
}

static void a_rule_that_asks_for_no_policy_shows_none(void **state)
{
    json_t *all;

    (void)state;
    warm_up("good.example");
    all = ask("{\"verb\":\"connectors\",\"what\":\"show\",\"name\":\"Good\"}\n");
    assert_string_equal(word(json_array_get(all, 0), "sts"), "null");
    json_decref(all);
}

static void the_cache_shows_what_a_hop_rests_on(void **state)
{
    static const char *const keys[] = { "next_hop", "dane", "sts", "fresh_until", "since", "why", "sts_why", "id", "mode",
                                        "mx", "max_age", "fetched", "expires" };
    const char *key;
    json_t *all, *value;
    size_t i = 0;

    (void)state;
    keep_policy("bare.sts.example", "version: STSv1\nmode: enforce\nmx: mail.example\nmax_age: 86400\n");
    set_rules(sts_rules());
    json_decref(wait_for_rule("Sts", "sts", "enforce-mismatch"));
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"domain\":\"Bare.STS.example.\"}\n");
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 2);
    json_object_foreach(json_array_get(all, 0), key, value)
        assert_string_equal(key, keys[i++]);
    assert_int_equal(i, COUNT_OF(keys));
    assert_string_equal(word(json_array_get(all, 0), "next_hop"), "bare.sts.example");
    assert_string_equal(word(json_array_get(all, 0), "dane"), "absent");
    assert_string_equal(word(json_array_get(all, 0), "sts"), "enforce-mismatch");
    assert_string_equal(word(json_array_get(all, 0), "mode"), "enforce");
    assert_string_equal(word(json_array_get(all, 0), "id"), "null");
    assert_int_equal(strlen(word(json_array_get(all, 0), "fresh_until")), strlen("2024-01-01T00:00:00Z"));
    json_decref(all);
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"domain\":\"elsewhere.example\"}\n");
    assert_int_equal(exit_of(all), 1);
    assert_int_equal(json_array_size(all), 1);
    assert_true(error_of(all)[0] != '\0');
    json_decref(all);
}

static void kept_policies_are_listed_by_name(void **state)
{
    json_t *all;

    (void)state;
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"sts\":true}\n");
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 1);
    json_decref(all);
    keep_policy("b.example", "version: STSv1\nmode: testing\nmx: *.b.example\nmax_age: 86400\n");
    keep_policy("a.example", "version: STSv1\nmode: none\nmax_age: 86400\n");
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"sts\":true}\n");
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(word(json_array_get(all, 0), "next_hop"), "a.example");
    assert_string_equal(word(json_array_get(all, 1), "sts"), "testing");
    assert_string_equal(word(json_array_get(all, 1), "mode"), "testing");
    assert_string_equal(word(json_array_get(all, 1), "id"), "1999");
    assert_string_equal(word(json_array_get(all, 1), "dane"), "null");
    assert_int_equal(strlen(word(json_array_get(all, 1), "expires")), strlen("2024-01-01T00:00:00Z"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(all, 1), "mx"), 0)), "*.b.example");
    json_decref(all);
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"sts\":true,\"domain\":\"a.example\"}\n");
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
    all = ask("{\"verb\":\"cache\",\"what\":\"show\",\"sts\":true,\"domain\":\"c.example\"}\n");
    assert_int_equal(exit_of(all), 1);
    json_decref(all);
}

static long long number(const json_t *item, const char *key)
{
    assert_true(json_is_integer(json_object_get(item, key)));
    return json_integer_value(json_object_get(item, key));
}

static void flush_forgets_evidence_but_no_policy(void **state)
{
    json_t *all;

    (void)state;
    warm_up("good.example");
    keep_policy("good.example", "version: STSv1\nmode: none\nmax_age: 86400\n");
    all = ask("{\"verb\":\"cache\",\"what\":\"flush\",\"domain\":\"good.example\"}\n");
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(number(json_array_get(all, 0), "evidence"), 1);
    assert_int_equal(number(json_array_get(all, 0), "policies"), 0);
    json_decref(all);
    assert_int_equal(policies_count(house.policies), 1);
    all = ask("{\"verb\":\"cache\",\"what\":\"flush\",\"domain\":\"other.example\",\"sts\":true}\n");
    assert_int_equal(number(json_array_get(all, 0), "policies"), 0);
    json_decref(all);
    all = ask("{\"verb\":\"cache\",\"what\":\"flush\",\"domain\":\"good.example\",\"sts\":true}\n");
    assert_int_equal(number(json_array_get(all, 0), "policies"), 1);
    json_decref(all);
    assert_int_equal(policies_count(house.policies), 0);
    warm_up("good.example");                        /* a mandatory rule names it, so it is looked up again */
}

static void flush_without_a_domain_forgets_all(void **state)
{
    json_t *all;

    (void)state;
    warm_up("good.example");
    warm_up("bare.example");
    keep_policy("a.example", "version: STSv1\nmode: none\nmax_age: 86400\n");
    keep_policy("b.example", "version: STSv1\nmode: none\nmax_age: 86400\n");
    all = ask("{\"verb\":\"cache\",\"what\":\"flush\"}\n");
    assert_true(number(json_array_get(all, 0), "evidence") >= 2);
    assert_int_equal(number(json_array_get(all, 0), "policies"), 0);
    json_decref(all);
    all = ask("{\"verb\":\"cache\",\"what\":\"flush\",\"sts\":true}\n");
    assert_int_equal(number(json_array_get(all, 0), "policies"), 2);
    json_decref(all);
    assert_int_equal(policies_count(house.policies), 0);
}

/* Until at most so many are on their way. */
static void wait_for_errands(size_t most)
{
    mutex_lock(&under_way_lock);
    while (under_way > most)
        signal_wait(&under_way_changed, &under_way_lock);
    mutex_unlock(&under_way_lock);
}

/* Looks many next hops up, some at a time. */
static void fill_cache(void)
{
    struct address to = { .kind = ADDRESS_DOMAIN };
    char name[64];
    struct text line;
    unsigned i;

    for (i = 0; i < MANY_HOPS; i++) {
        snprintf(name, sizeof(name), "good%u.many.example", i);
        assert_true(domain_parse(name, &to.domain, NULL));
        text_init(&line, 4096);
        engine_explain(house.engine, &to, &line);
        text_done(&line);
        wait_for_errands(50);
    }
    wait_for_errands(0);
}

static void a_large_cache_keeps_nobody_waiting(void **state)
{
    int stuck, leaver;
    size_t many = 0, i;
    char some[4096];
    clock_t begun;
    json_t *all;

    (void)state;
    fill_cache();
    stuck = dial();                                 /* not before: who is silent for long is let go */
    leaver = dial();
    say(stuck, "{\"verb\":\"cache\",\"what\":\"show\"}\n", strlen("{\"verb\":\"cache\",\"what\":\"show\"}\n"));
    say(leaver, "{\"verb\":\"cache\",\"what\":\"show\"}\n", strlen("{\"verb\":\"cache\",\"what\":\"show\"}\n"));
    assert_true(recv(leaver, some, sizeof(some), 0) > 0);
    close(leaver);
    begun = clock();
    all = ask("{\"verb\":\"status\"}\n");
    assert_true(clock() - begun < CLOCKS_PER_SEC / 2);
    json_decref(all);
    all = hear(stuck);
    assert_int_equal(exit_of(all), 0);
    for (i = 0; i + 1 < json_array_size(all); i++)
        many += strstr(word(json_array_get(all, i), "next_hop"), ".many.example") != NULL;
    assert_int_equal(many, MANY_HOPS);
    json_decref(all);
}

static void a_failing_store_is_trouble(void **state)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    json_t *all = ask("{\"verb\":\"status\"}\n");
    const json_t *store;

    (void)state;
    keep_policy("a.example", "version: STSv1\nmode: none\nmax_age: 86400\n");
    while (exit_of(all) == 75 && clock_ms() < until) {
        json_decref(all);
        usleep(10000);
        all = ask("{\"verb\":\"status\"}\n");
    }
    json_decref(all);
    all = ask("{\"verb\":\"status\"}\n");
    store = json_object_get(json_array_get(all, 0), "store");
    assert_int_equal(exit_of(all), 0);
    assert_true(json_is_true(json_object_get(store, "good")));
    assert_string_equal(word(store, "why"), "null");
    assert_int_equal(number(json_array_get(all, 0), "policies"), 1);
    json_decref(all);
    close_house(NULL);
    house.broken_store = true;
    open_house(NULL);
    house.broken_store = false;
    do {
        all = ask("{\"verb\":\"status\"}\n");
        store = json_object_get(json_array_get(all, 0), "store");
        if (json_is_false(json_object_get(store, "good")))
            break;
        json_decref(all);
        usleep(10000);
    } while (clock_ms() < until);
    assert_int_equal(exit_of(all), 1);
    assert_true(json_is_false(json_object_get(store, "good")));
    assert_true(strlen(word(store, "why")) > 4);
    json_decref(all);
}

/* So many rows of the last minute. */
static void keep_rows(size_t count)
{
    struct trace *trace = trace_open(house.store, 30, 1000 * 1000);
    struct trace_row row = { .where = "rcpt", .queue_id = "4gQ", .from = "al@home.example", .to = "bo@good.example",
                             .connector = "(default)", .verdict = "deliver" };
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000, now = clock_wall_ms();
    struct trace_status status;
    size_t i;

    for (i = 0; i < count; i++) {
        row.at = now - 60000 + (int64_t)i;
        trace_note(trace, &row);
        for (trace_status(trace, &status); status.waiting > 8000 && clock_ms() < until; trace_status(trace, &status))
            usleep(1000);
    }
    for (trace_status(trace, &status); status.waiting > 0 && clock_ms() < until; trace_status(trace, &status))
        usleep(1000);
    assert_int_equal(status.written, count);
    trace_close(trace);
}

static const char all_rows[] = "{\"verb\":\"trace\",\"since\":3600,\"limit\":1000000}\n";

static void a_trace_is_listed_as_it_is_read(void **state)
{
    json_t *all;
    int stuck;

    (void)state;
    keep_rows(20000);
    stuck = dial();
    say(stuck, all_rows, strlen(all_rows));
    usleep(100000);                                 /* it asks for everything and reads nothing */
    all = ask("{\"verb\":\"trace\",\"since\":3600,\"limit\":1000,\"to\":\"BO@good.example\"}\n");
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 1000 + 1);
    json_decref(all);
    all = ask("{\"verb\":\"trace\",\"since\":3600,\"limit\":10,\"to\":\"nobody@good.example\"}\n");
    assert_int_equal(exit_of(all), 1);
    json_decref(all);
    all = hear(stuck);
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 20000 + 1);
    json_decref(all);
}

static void readers_of_the_trace_who_leave_make_room(void **state)
{
    int64_t until = clock_ms() + PATIENCE_SECONDS * 1000;
    char some[4096];
    json_t *all;
    int i, fd;

    (void)state;
    keep_rows(5000);
    for (i = 0; i < 3 * CLERK_READINGS_MAX; i++) {
        fd = dial();
        say(fd, all_rows, strlen(all_rows));
        assert_true(recv(fd, some, sizeof(some), 0) > 0);
        close(fd);
    }
    all = ask(all_rows);
    while (exit_of(all) == 75 && clock_ms() < until) {      /* the last of them is still to be seen leaving */
        json_decref(all);
        usleep(10000);
        all = ask(all_rows);
    }
    assert_int_equal(exit_of(all), 0);
    assert_int_equal(json_array_size(all), 5000 + 1);
    json_decref(all);
}

static void one_reader_of_the_trace_too_many_is_told(void **state)
{
    int stuck[CLERK_READINGS_MAX], i;
    json_t *all;
    char byte;

    (void)state;
    keep_rows(20000);
    for (i = 0; i < CLERK_READINGS_MAX; i++) {
        stuck[i] = dial();
        say(stuck[i], all_rows, strlen(all_rows));
    }
    for (i = 0; i < CLERK_READINGS_MAX; i++)
        assert_int_equal(recv(stuck[i], &byte, 1, MSG_PEEK), 1);       /* it is being read */
    all = ask(all_rows);
    assert_int_equal(exit_of(all), 75);
    json_decref(all);
    close_doors();                                  /* in the midst of all of them */
    for (i = 0; i < CLERK_READINGS_MAX; i++)
        close(stuck[i]);
}

static void a_trace_asked_for_in_nonsense_is_refused(void **state)
{
    static const char *const nonsense[] = {
        "{\"verb\":\"trace\"}\n", "{\"verb\":\"trace\",\"since\":-1,\"limit\":1}\n",
        "{\"verb\":\"trace\",\"since\":1,\"limit\":0}\n", "{\"verb\":\"trace\",\"since\":\"x\",\"limit\":1}\n",
        "{\"verb\":\"trace\",\"since\":1,\"limit\":1,\"verdict\":\"maybe\"}\n",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(nonsense); i++) {
        json_t *all = ask(nonsense[i]);

        assert_int_equal(exit_of(all), 2);
        json_decref(all);
    }
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, open_house, close_house)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(a_rule_has_all_its_keys),
        ROOM_TEST(the_strictest_next_hop_speaks_for_a_rule),
        ROOM_TEST(smart_hosts_are_as_good_as_their_first_that_delivers),
        ROOM_TEST(what_nobody_asked_for_is_null),
        ROOM_TEST(match_finds_by_sender),
        ROOM_TEST(a_search_begins_where_nothing_is_known),
        ROOM_TEST(what_was_swept_counts_as_bounced),
        ROOM_TEST(an_unknown_name_is_no),
        ROOM_TEST(status_says_what_fails),
        ROOM_TEST(nonsense_is_refused),
        ROOM_TEST(an_endless_line_is_refused),
        ROOM_TEST(a_request_may_come_byte_by_byte),
        ROOM_TEST(a_long_list_keeps_nobody_waiting),
        ROOM_TEST(a_list_keeps_the_rules_it_began_with),
        ROOM_TEST(a_reader_who_leaves_is_forgotten),
        ROOM_TEST(one_too_many_waits_at_the_door),
        ROOM_TEST(who_says_nothing_is_let_go),
        ROOM_TEST(a_reload_is_answered_from_another_thread),
        ROOM_TEST(a_reload_outlives_its_client),
        ROOM_TEST(a_reload_outlives_the_socket),
        ROOM_TEST(strangers_look_but_change_nothing),
        ROOM_TEST(a_rule_shows_both_halves),
        ROOM_TEST(a_rule_that_asks_for_no_policy_shows_none),
        ROOM_TEST(the_cache_shows_what_a_hop_rests_on),
        ROOM_TEST(kept_policies_are_listed_by_name),
        ROOM_TEST(flush_forgets_evidence_but_no_policy),
        ROOM_TEST(flush_without_a_domain_forgets_all),
        ROOM_TEST(a_large_cache_keeps_nobody_waiting),
        ROOM_TEST(a_failing_store_is_trouble),
        ROOM_TEST(a_trace_is_listed_as_it_is_read),
        ROOM_TEST(readers_of_the_trace_who_leave_make_room),
        ROOM_TEST(one_reader_of_the_trace_too_many_is_told),
        ROOM_TEST(a_trace_asked_for_in_nonsense_is_refused),
    };

    signal(SIGPIPE, SIG_IGN);
    evthread_use_pthreads();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
