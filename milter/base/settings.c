#include "base/settings.h"

#define AT(field) offsetof(struct settings, field)
#define SOCKET(name) "unix:" RUNSTATEDIR "/danelaw/" name
#define DAY (24 * 60 * 60)

static const struct setting top[] = {
    { "user", SETTING_TEXT, AT(user), "danelaw", "the user that the daemon becomes after start" },
    { "group", SETTING_TEXT, AT(group), "", "its group; empty: the user's own" },
    { "pid_file", SETTING_TEXT, AT(pid_file), "", "where the process id is written; empty: nowhere" },
    { "connectors_dir", SETTING_TEXT, AT(connectors_dir), "", "a folder of *.conf files with connectors, read in name order" },
    { NULL },
};

static const struct setting milter[] = {
    { "socket", SETTING_TEXT, AT(milter.socket), SOCKET("milter.sock"), "where the MTA reaches the milter" },
    { "socket_mode", SETTING_MODE, AT(milter.socket_mode), "0660", "permissions of that socket" },
    { "socket_group", SETTING_TEXT, AT(milter.socket_group), "", "its group; empty: the daemon's" },
    { "budget", SETTING_DURATION, AT(milter.budget), "3s", "how long a mandatory recipient may wait for evidence",
      .least = 1, .most = 60 },
    { "mailers", SETTING_LIST, AT(milter.mailers), "smtp esmtp smtp8 dsmtp", "transports of the MTA that carry mail out" },
    { "queue_clients", SETTING_LIST, AT(milter.queue_clients), "127.0.0.0/8 ::1", "clients that see mail queued, not refused" },
    { "clients", SETTING_NUMBER, AT(milter.clients), "4096", "sessions at once; others are told to come again", .least = 1,
      .most = 100000 },
    { "recipients", SETTING_NUMBER, AT(milter.recipients), "10000", "recipients of one message; the others need another",
      .least = 1, .most = 1000000 },
    { "tag", SETTING_FLAG, AT(milter.tag), "false", "add X-Danelaw-Route headers, for connectors with senders" },
    { NULL },
};

static const struct setting maps[] = {
    { "socket", SETTING_TEXT, AT(maps.socket), SOCKET("map.sock"), "where the MTA asks its tables" },
    { "socket_mode", SETTING_MODE, AT(maps.socket_mode), "0660", "permissions of that socket" },
    { "socket_group", SETTING_TEXT, AT(maps.socket_group), "", "its group; empty: the daemon's" },
    { "budget", SETTING_DURATION, AT(maps.budget), "4s", "how long a question may wait for its answer", .least = 1, .most = 60 },
    { "clients", SETTING_NUMBER, AT(maps.clients), "4096", "connections at once", .least = 1, .most = 100000 },
    { NULL },
};

static const struct setting control[] = {
    { "socket", SETTING_TEXT, AT(control.socket), SOCKET("control.sock"), "where danelaw(1) reaches the daemon" },
    { "socket_group", SETTING_TEXT, AT(control.socket_group), "", "who may look; changes are for root and the daemon's user" },
    { NULL },
};

static const struct setting http[] = {
    { "listen", SETTING_TEXT, AT(http.listen), "127.0.0.1:9469", "metrics and health; empty: off" },
    { "labels", SETTING_NUMBER, AT(http.labels), "1000", "connectors with counts of their own; the others share one", .least = 1,
      .most = 10000 },
    { NULL },
};

static const struct setting resolver[] = {
    { "trust_anchor_file", SETTING_TEXT, AT(resolver.trust_anchor_file), "", "the root's trust anchor; empty: the system's" },
    { "trust_anchor", SETTING_LIST, AT(resolver.trust_anchor), "", "trust anchors as DS or DNSKEY records" },
    { "forward", SETTING_LIST, AT(resolver.forward), "", "resolvers to ask, as \"127.0.0.1@5353\"; empty: full recursion" },
    { "root_hints", SETTING_TEXT, AT(resolver.root_hints), "", "a file with the root's name servers; empty: built in" },
    { "timeout", SETTING_DURATION, AT(resolver.timeout), "5s", "one evaluation of a destination", .least = 1, .most = 60 },
    { "cache", SETTING_SIZE, AT(resolver.cache), "64M", "memory for what DNS has said", .least = 1024 * 1024 },
    { "entries", SETTING_NUMBER, AT(resolver.entries), "65536", "destinations whose evidence is kept", .least = 100,
      .most = 10 * 1000 * 1000 },
    { "tlsa_records", SETTING_NUMBER, AT(resolver.tlsa_records), "16", "TLSA records of one host that count", .least = 1,
      .most = 64 },
    { "when_broken", SETTING_WORD, AT(resolver.when_broken), "hold-mandatory", "what waits while the resolver can't validate",
      .words = "hold-mandatory hold-all" },
    { NULL },
};

static const struct setting sts[] = {
    { "ca_file", SETTING_TEXT, AT(sts.ca_file), "", "certificate authorities for policy hosts" },
    { "port", SETTING_NUMBER, AT(sts.port), "443", "port of policy hosts", .least = 1, .most = 65535 },
    { "timeout", SETTING_DURATION, AT(sts.timeout), "60s", "one policy fetch", .least = 1, .most = 600 },
    { "entries", SETTING_NUMBER, AT(sts.entries), "10000", "policies kept", .least = 1 },
    { "body", SETTING_SIZE, AT(sts.body), "64K", "the largest policy that is read", .least = 1024, .most = 1024 * 1024 },
    { NULL },
};

static const struct setting probe[] = {
    { "interval", SETTING_DURATION, AT(probe.interval), "15m", "time between visits", .least = 10, .most = DAY },
    { "concurrency", SETTING_NUMBER, AT(probe.concurrency), "8", "visits at once", .least = 1, .most = 256 },
    { "timeout", SETTING_DURATION, AT(probe.timeout), "30s", "one visit", .least = 1, .most = 600 },
    { "helo", SETTING_TEXT, AT(probe.helo), "", "EHLO name; empty: the host's" },
    { "bind", SETTING_TEXT, AT(probe.bind), "", "source address" },
    { NULL },
};

static const struct setting store[] = {
    { "directory", SETTING_TEXT, AT(store.directory), LOCALSTATEDIR "/lib/danelaw", "state and generated tables" },
    { "trace_days", SETTING_NUMBER, AT(store.trace_days), "30", "how many days decisions are kept; 0: none is", .most = 3650 },
    { "trace_rows", SETTING_NUMBER, AT(store.trace_rows), "10000000", "how many decisions are kept; the oldest go", .least = 1,
      .most = 1000 * 1000 * 1000 },
    { NULL },
};

static const struct setting logging[] = {
    { "target", SETTING_WORD, AT(log.target), "syslog", "where the log goes", .words = "syslog stderr" },
    { "facility", SETTING_WORD, AT(log.facility), "mail", "syslog facility",
      .words = "mail daemon user local0 local1 local2 local3 local4 local5 local6 local7" },
    { "level", SETTING_WORD, AT(log.level), "info", "how much is said", .words = "error warning info debug" },
    { NULL },
};

static const struct setting tables[] = {
    { "mta", SETTING_WORD, AT(tables.mta), "none", "the MTA whose tables are written", .words = "none postfix sendmail" },
    { "type", SETTING_TEXT, AT(tables.type), "", "table type; empty: Postfix's default_database_type, or hash for Sendmail" },
    { "config_dir", SETTING_TEXT, AT(tables.config_dir), "", "the MTA's configuration folder; empty: its own default" },
    { "postmap", SETTING_TEXT, AT(tables.postmap), "", "path of postmap(1), beside which postconf(1) is, or of makemap(8)" },
    { NULL },
};

const struct setting_group settings_groups[] = {
    { "", top },       { "milter", milter },     { "maps", maps },   { "control", control },
    { "http", http },  { "resolver", resolver }, { "sts", sts },     { "probe", probe },
    { "store", store }, { "log", logging },      { "tables", tables }, { NULL, NULL },
};

enum { UNBOUND_SHARE = 32, UNBOUND_LEAST = 512 * 1024 };

uint64_t settings_unbound_cache(const struct settings *set)
{
    uint64_t share = set->resolver.cache / UNBOUND_SHARE;

    return share < UNBOUND_LEAST ? UNBOUND_LEAST : share;
}
