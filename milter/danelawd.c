/*
 * danelawd(8): opens the rooms from the ground up and closes them in reverse.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "config/config.h"
#include "engine/engine.h"
#include "lookup/lookup.h"
#include "process.h"
#include "server/control.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/milter.h"
#include "server/socketmap.h"
#include "steward.h"
#include "store/counters.h"
#include "store/holds.h"
#include "store/policies.h"
#include "store/store.h"
#include "store/trace.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <getopt.h>
#include <jansson.h>
#include <libgen.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 64, EXIT_CONFIG = 78, STOP_SECONDS = 15 };

/* What the command line asks for. */
struct orders {
    const char *config_path;
    bool foreground, test, verbose;
};

/* What is open while we serve. */
struct house {
    struct configuration *config;
    struct identity who;
    struct store *store;
    struct policies *policies;
    struct counters *counters;
    struct holds *holds;
    struct trace *trace;
    struct engine *engine;
    struct event_base *loop;
    pthread_t loop_thread;
    struct socketmap *map;
    struct control *control;
    struct metrics *metrics;
    struct control_hooks hooks;
    struct steward *steward;
    struct event *reload_signal, *minute;
    int map_socket, control_socket, http_socket, signals;
};

static void print_help(FILE *to)
{
    fprintf(to,
            "usage: danelawd [-c FILE] [-f] [-t] [-v]\n"
            "Enforces DANE and MTA-STS for partners' mail, as a milter and a table server beside the MTA.\n\n"
            "  -c, --config FILE   configuration (preset " SYSCONFDIR "/danelaw/danelaw.conf)\n"
            "  -f, --foreground    stay in the foreground, log on standard error\n"
            "  -t, --test          test the configuration and exit: 0 good, 78 faulty\n"
            "  -v, --verbose       log more\n"
            "  -h, --help          this help\n"
            "  -V, --version       the version\n\n"
            "See danelawd(8), danelaw.conf(5), danelaw(1).\n");
}

static bool read_orders(int argc, char **argv, struct orders *ret, int *ret_exit)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' }, { "foreground", no_argument, NULL, 'f' },
        { "test", no_argument, NULL, 't' },         { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
        { NULL },
    };
    int letter;

    *ret = (struct orders){ .config_path = SYSCONFDIR "/danelaw/danelaw.conf" };
    *ret_exit = EXIT_USAGE;
    while ((letter = getopt_long(argc, argv, "c:ftvhV", options, NULL)) != -1) {
        switch (letter) {
        case 'c': ret->config_path = optarg; break;
        case 'f': ret->foreground = true; break;
        case 't': ret->test = true; break;
        case 'v': ret->verbose = true; break;
        case 'h': print_help(stdout); *ret_exit = EXIT_GOOD; return false;
        case 'V': puts("danelawd " PACKAGE_VERSION); *ret_exit = EXIT_GOOD; return false;
        default: print_help(stderr); return false;
        }
    }
    if (optind == argc)
        return true;
    fprintf(stderr, "danelawd: \"%s\" is no option\n", argv[optind]);
    print_help(stderr);
    return false;
}

/* Loads and complains on standard error; hints are for those who test. */
static bool read_config(const struct orders *orders, struct configuration **ret)
{
    struct config_report report;
    bool good;

    config_report_init(&report);
    good = config_load(orders->config_path, ret, &report);
    fputs(text_words(&report.faults), stderr);
    if (orders->test) {
        fputs(text_words(&report.hints), stderr);
        if (good)
            fprintf(stderr, "danelawd: %s is good, %zu connectors\n", orders->config_path, ruleset_count((*ret)->rules));
    }
    config_report_done(&report);
    return good;
}

static void open_log(const struct orders *orders, const struct settings *set)
{
    enum log_level level = LOG_LEVEL_INFO;

    log_open("danelawd", !orders->foreground && strcmp(set->log.target, "syslog") == 0, set->log.facility);
    log_level_parse(set->log.level, &level);
    log_set_level(orders->verbose ? LOG_LEVEL_DEBUG : level);
}

/* HUP, TERM and INT are libmilter's; USR1 is read from a descriptor. No thread of ours may be surprised by any. */
static int block_signals(void)
{
    sigset_t ours, reload;

    sigemptyset(&reload);
    sigaddset(&reload, SIGUSR1);
    ours = reload;
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);               /* ignored by inheritance, it would hide how postmap ended */
    return signalfd(-1, &reload, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool socket_folder(const char *spec, const struct identity *who, struct fault *why)
{
    AUTO(free) char *copy = NULL;

    if (listen_path(spec) == NULL)
        return true;
    copy = mem_text(listen_path(spec));
    return process_folder(dirname(copy), 0755, who, why);
}

static bool make_folders(const struct settings *set, const struct identity *who, struct fault *why)
{
    return socket_folder(set->milter.socket, who, why) && socket_folder(set->maps.socket, who, why) &&
           socket_folder(set->control.socket, who, why) && process_folder(set->store.directory, 0755, who, why);
}

static bool grant(const struct identity *who, const char *group, uint32_t mode, struct listen_access *ret, struct fault *why)
{
    *ret = (struct listen_access){ .owner = who->uid, .mode = (mode_t)mode };
    if (!process_group(group, &ret->group, why))
        return false;
    if (*group == '\0' && who->change)
        ret->group = who->gid;
    return true;
}

/* All sockets open while we still may give them to whom they should belong. */
static bool open_sockets(struct house *h, struct fault *why)
{
    const struct settings *set = &h->config->settings;
    struct listen_access access;

    return grant(&h->who, set->milter.socket_group, set->milter.socket_mode, &access, why) &&
           milter_open(set, &access, why) &&
           grant(&h->who, set->maps.socket_group, set->maps.socket_mode, &access, why) &&
           listen_open(set->maps.socket, &access, &h->map_socket, why) &&
           grant(&h->who, set->control.socket_group, 0660, &access, why) &&
           listen_open(set->control.socket, &access, &h->control_socket, why);
}

/* Mail matters more than watching it: without its port the daemon starts all the same. */
static void open_http(struct house *h)
{
    const char *listen = h->config->settings.http.listen;
    struct fault why;

    if (*listen != '\0' && !http_listen(listen, &h->http_socket, &why))
        log_warning("http: %s; there are no metrics and no health until it can be had", why.text);
}

/* Everything that wants privileges, or must come before the first thread. */
static bool settle_in(struct house *h, const struct orders *orders, struct fault *why)
{
    const struct settings *set = &h->config->settings;

    h->signals = block_signals();
    if (h->signals < 0)
        return fault_set(why, "there can't be an ear for SIGUSR1: %s", strerror(errno));
    process_raise_descriptors();
    if (!process_identity(set, &h->who, why) || !make_folders(set, &h->who, why) ||
        !process_lock(listen_path(set->control.socket), &h->who, why) || !open_sockets(h, why))
        return false;
    open_http(h);
    return (orders->foreground || process_detach(why)) && process_write_pid(set->pid_file, why) &&
           process_become(&h->who, why);
}

static void on_reload_signal(evutil_socket_t s, short what, void *house)
{
    struct house *h = house;
    struct signalfd_siginfo one;

    (void)what;
    while (read(s, &one, sizeof(one)) == (ssize_t)sizeof(one))
        steward_reload(h->steward, NULL);
}

static void on_minute(evutil_socket_t none, short what, void *house)
{
    (void)none;
    (void)what;
    trace_tend(((struct house *)house)->trace, clock_wall_ms());
}

static void reload_hook(void *house, struct control_job *job)
{
    steward_reload(((struct house *)house)->steward, job);
}

static void mode_hook(void *house, const struct mode_order *order, struct control_job *job)
{
    steward_mode(((struct house *)house)->steward, order, job);
}

static void tables_hook(void *house, enum tables_order order, struct control_job *job)
{
    steward_write(((struct house *)house)->steward, order, job);
}

static void status_hook(void *house, bool *ret_tables_good, char *ret_why, size_t size)
{
    steward_tables(((struct house *)house)->steward, ret_tables_good, ret_why, size);
}

static void *loop_body(void *house)
{
    event_base_loop(((struct house *)house)->loop, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

/*
 * Large blocks are mapped one by one, always: by itself malloc soon keeps them, and a reload would leave as much memory behind
 * as the old rules took.
 */
static void return_large_blocks(void)
{
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

/* libevent's complaints, of whichever loop; its own way is standard error, which may lead nowhere. */
static void on_event_words(int severity, const char *words)
{
    static _Thread_local int64_t said_at;

    if (severity >= EVENT_LOG_WARN && log_due(&said_at))
        log_warning("libevent: %s", words);
}

/* What these two can't do for want of memory, they would leave undone without a word in places that we can't see. */
static void feed_libraries(void)
{
    event_set_mem_functions(mem_raw, mem_raw_grow, free);
    event_set_log_callback(on_event_words);
    json_set_alloc_funcs(mem_raw, free);
}

/* All that the loop serves. */
static void open_doors(struct house *h)
{
    const struct settings *set = &h->config->settings;

    if (evthread_use_pthreads() != 0)
        mem_out();
    h->loop = event_base_new();
    if (h->loop == NULL)
        mem_lack("an event loop");
    h->hooks = (struct control_hooks){ .self = h, .reload = reload_hook, .mode = mode_hook, .tables = tables_hook,
                                         .status = status_hook,
                                         .store = h->store, .policies = h->policies, .holds = h->holds,
                                         .trace = h->trace };
    h->map = socketmap_open(h->loop, h->map_socket, set, h->engine);
    h->control = control_open(h->loop, h->control_socket, h->engine, &h->hooks);
    h->metrics = metrics_open(h->loop, set->http.listen, h->http_socket,
                              &(struct metrics_sources){ .engine = h->engine, .counters = h->counters, .map = h->map,
                                                         .hooks = &h->hooks });
    h->reload_signal = event_new(h->loop, h->signals, EV_READ | EV_PERSIST, on_reload_signal, h);
    h->minute = event_new(h->loop, -1, EV_PERSIST, on_minute, h);
    if (event_add(h->reload_signal, NULL) != 0 || event_add(h->minute, &(struct timeval){ .tv_sec = 60 }) != 0)
        mem_lack("an ear for SIGUSR1");
    thread_start(&h->loop_thread, "doors", loop_body, h);
}

static bool open_rooms(struct house *h, const char *config_path, struct fault *why)
{
    const struct settings *set = &h->config->settings;
    struct ruleset *rules;
    struct lookup *lookup;

    log_start();
    if (!dns_open(set, &lookup, why))
        return false;
    log_info("danelawd " PACKAGE_VERSION " starts with %zu connectors", ruleset_count(h->config->rules));
    h->store = store_open(set);
    h->policies = policies_open(h->store, set->sts.entries, (int64_t)clock_wall());
    h->counters = counters_new(set->http.labels);
    h->holds = holds_open(h->store, HOLDS_MOST, (int64_t)clock_wall());
    h->trace = trace_open(h->store, set->store.trace_days, set->store.trace_rows);
    h->steward = steward_new(config_path, h->config, h->store);
    rules = steward_rules(h->steward);
    h->engine = engine_open(set, lookup, &(struct engine_memory){ .policies = h->policies, .holds = h->holds, .trace = h->trace,
                                                           .counters = h->counters },
                            rules);
    ruleset_unref(rules);
    ruleset_unref(take(h->config->rules));      /* the steward's from here on, so that a reload can let them go */
    engine_tables(h->engine, false);            /* until the steward has seen to them */
    steward_start(h->steward, h->engine);
    engine_on_turn(h->engine, (struct road_hook){ .turned = steward_turn, .self = h->steward });
    open_doors(h);
    return true;
}

/* The doors stop first, so that nobody asks any more; what still waits is let go by the engine. */
static void close_rooms(struct house *h)
{
    const struct settings *set = &h->config->settings;

    event_base_loopexit(h->loop, NULL);         /* not loopbreak: that is forgotten if the loop has yet to begin */
    pthread_join(h->loop_thread, NULL);
    engine_stop(h->engine);                     /* its watch calls on the steward */
    steward_stop(h->steward);
    milter_close();
    engine_close(h->engine);
    metrics_close(h->metrics);
    control_close(h->control);                  /* its clerk reads from the store */
    trace_close(h->trace);
    holds_close(h->holds);
    policies_close(h->policies);
    counters_free(h->counters);
    store_close(h->store);
    steward_free(h->steward);
    socketmap_close(h->map);
    event_free(h->reload_signal);
    event_free(h->minute);
    event_base_free(h->loop);
    if (listen_path(set->maps.socket) != NULL)
        unlink(listen_path(set->maps.socket));
    unlink(listen_path(set->control.socket));
    if (*set->pid_file != '\0')
        unlink(set->pid_file);
}

static int serve(struct house *h, const struct orders *orders)
{
    struct fault why = { "" };
    bool served;

    if (!settle_in(h, orders, &why) || !open_rooms(h, orders->config_path, &why)) {
        log_error("%s", why.text);
        if (!orders->foreground)
            fprintf(stderr, "danelawd: %s\n", why.text);
        return EXIT_FAILED;
    }
    process_ready();
    served = milter_serve(h->engine);
    log_info("danelawd stops");
    process_end_within(STOP_SECONDS);
    close_rooms(h);
    return served ? EXIT_GOOD : EXIT_FAILED;
}

/* The file may be tested before the accounts are made, so that a missing one is no fault of its; but a start would fail. */
static void hint_at_accounts(const char *path, const struct settings *set)
{
    const char *const groups[] = { set->milter.socket_group, set->maps.socket_group, set->control.socket_group };
    struct identity who;
    struct fault why;
    gid_t group;
    size_t i;

    if (!process_identity(set, &who, &why))
        fprintf(stderr, "%s: hint: %s\n", path, why.text);
    for (i = 0; i < COUNT_OF(groups); i++) {
        if (!process_group(groups[i], &group, &why))
            fprintf(stderr, "%s: hint: socket_group: %s\n", path, why.text);
    }
}

int main(int argc, char **argv)
{
    struct house house = { .map_socket = -1, .control_socket = -1, .http_socket = -1 };
    char full_path[4096];
    struct orders orders;
    int code;

    process_begin();
    return_large_blocks();
    feed_libraries();
    if (!read_orders(argc, argv, &orders, &code))
        return code;
    if (!read_config(&orders, &house.config))
        return EXIT_CONFIG;
    if (orders.test) {
        hint_at_accounts(orders.config_path, &house.config->settings);
        config_free(house.config);
        return EXIT_GOOD;
    }
    if (realpath(orders.config_path, full_path) != NULL)
        orders.config_path = full_path;         /* we leave the folder, and want to read it again */
    open_log(&orders, &house.config->settings);
    code = serve(&house, &orders);
    log_stop();
    config_free(house.config);
    return code;
}
