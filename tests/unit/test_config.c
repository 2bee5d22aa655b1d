#include "loading.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

/* What is outside the rules: settings, files, and what libconfig makes of them. */

static void an_empty_file_gives_every_preset(void **state)
{
    struct configuration *c = load_good("");

    (void)state;
    assert_string_equal(c->settings.user, "danelaw");
    assert_string_equal(c->settings.milter.socket, "unix:" RUNSTATEDIR "/danelaw/milter.sock");
    assert_int_equal(c->settings.milter.socket_mode, 0660);
    assert_int_equal(c->settings.milter.budget, 3);
    assert_int_equal(c->settings.maps.clients, 4096);
    assert_int_equal(c->settings.resolver.cache, 64 * 1024 * 1024);
    assert_string_equal(c->settings.resolver.when_broken, "hold-mandatory");
    assert_int_equal(c->settings.milter.queue_clients.count, 2);
    assert_string_equal(c->settings.milter.queue_clients.items[1], "::1");
    assert_int_equal(ruleset_count(c->rules), 0);
    assert_string_equal(ruleset_default(c->rules)->name, "(default)");
    assert_true(ruleset_default(c->rules)->is_default);
    assert_string_equal(ruleset_default(c->rules)->route->transport, "danelaw");
    config_free(c);
}

static void values_are_read_in_every_spelling(void **state)
{
    struct configuration *c = load_good("milter : { budget = \"1m\"; tag = true; socket = \"local:/run/x\"; };\n"
                                        "maps = { budget = 7; socket_mode = \"600\"; };\n"
                                        "resolver = { cache = \"2G\"; forward = ( \"::1@5353\", \"192.0.2.1\" ); };\n"
                                        "log = { level = \"debug\"; };");

    (void)state;
    assert_int_equal(c->settings.milter.budget, 60);
    assert_true(c->settings.milter.tag);
    assert_int_equal(c->settings.maps.budget, 7);
    assert_int_equal(c->settings.maps.socket_mode, 0600);
    assert_true(c->settings.resolver.cache == UINT64_C(2) << 30);
    assert_int_equal(c->settings.resolver.forward.count, 2);
    assert_string_equal(c->settings.resolver.forward.items[0], "::1@5353");
    assert_string_equal(c->settings.log.level, "debug");
    config_free(c);
}

static void all_faults_are_found_at_once_with_their_lines(void **state)
{
    (void)state;
    load_bad("usr = \"x\";\n"
             "milter = {\n"
             "    budgt = 3;\n"
             "    budget = \"90s\";\n"
             "    tag = \"true\";\n"
             "};\n"
             "log = { level = \"chatty\"; };\n"
             "connectors = (\n"
             "    { name = \"A\";\n"
             "      smtp_dane = \"manditory\"; }\n"
             ");\n",
             "danelaw.conf:1: usr: unknown setting; did you mean \"user\"?\n"
             "danelaw.conf:3: milter.budgt: unknown setting; did you mean \"budget\"?\n"
             "danelaw.conf:4: milter.budget: is out of range; write \"1s\" to \"1m\"\n"
             "danelaw.conf:5: milter.tag: is a text; write tag = true or tag = false, without quotes\n"
             "danelaw.conf:7: log.level: \"chatty\" is not known; write \"error\", \"warning\", \"info\" or \"debug\"\n"
             "danelaw.conf:10: connector \"A\": smtp_dane: \"manditory\" is not known; write \"opportunistic\", "
             "\"mandatory\" or \"none\"\n"
             "danelaw.conf:9: connector \"A\": recipients: is missing; write recipients = [ \"d.example\" ], or [ \"*\" ] "
             "for everyone\n");
}

static void a_wrong_kind_is_told_what_to_write(void **state)
{
    (void)state;
    load_bad("user = 5;\nmilter = { mailers = \"smtp\";\nbudget = true;\nbudget2 = 1; };\nmaps = 3;\n"
             "control = { socket_group = [ \"x\" ]; };\nlog = { target = 1; };\nconnectors = { };\n"
             "resolver = { forward = [ 1 ];\ncache = 1.5; };\nstore = \"x\";\n",
             "danelaw.conf:1: user: is a number; write a text, user = \"danelaw\"\n"
             "danelaw.conf:2: milter.mailers: is a text; write a list of texts, mailers = [ \"...\", \"...\" ]\n"
             "danelaw.conf:3: milter.budget: is true or false; write a text, budget = \"3s\"\n"
             "danelaw.conf:4: milter.budget2: unknown setting; did you mean \"budget\"?\n"
             "danelaw.conf:5: maps: is a number; write a group, maps = { socket = ...; };\n"
             "danelaw.conf:6: control.socket_group: is a list; write a text, socket_group = \"...\"\n"
             "danelaw.conf:9: resolver.forward: entry 1 is a number; write a text in quotes\n"
             "danelaw.conf:10: resolver.cache: is a number with a fraction; write a text, cache = \"64M\"\n"
             "danelaw.conf:11: store: is a text; write a group, store = { directory = ...; };\n"
             "danelaw.conf:7: log.target: is a number; write \"syslog\" or \"stderr\"\n"
             "danelaw.conf:8: connectors: is no list of groups; write connectors = ( { ... }, { ... } );\n");
}

static void numbers_durations_sizes_and_modes_are_strict(void **state)
{
    (void)state;
    load_bad("milter = { budget = \"3 s\";\nsocket_mode = 0660; };\nmaps = { budget = \"s\";\nsocket_mode = \"0999\";\n"
             "clients = \"5\"; };\nresolver = { timeout = -1;\ncache = \"64m\"; };\n",
             "danelaw.conf:1: milter.budget: \"3 s\" can't be read; write it as in \"3s\"\n"
             "danelaw.conf:2: milter.socket_mode: is a number; write the permissions in quotes, socket_mode = \"0660\"\n"
             "danelaw.conf:3: maps.budget: \"s\" can't be read; write it as in \"4s\"\n"
             "danelaw.conf:4: maps.socket_mode: \"0999\" can't be read; write it as in \"0660\"\n"
             "danelaw.conf:5: maps.clients: is a text; write a whole number as in clients = 4096\n"
             "danelaw.conf:6: resolver.timeout: is out of range; write \"1s\" to \"1m\"\n"
             "danelaw.conf:7: resolver.cache: \"64m\" can't be read; write it as in \"64M\"\n");
    load_bad("maps = { clients = 4294967300L; };", "danelaw.conf:1: maps.clients: is out of range; write 1 to 100000\n");
}

static void a_setting_outside_its_group_is_sent_home(void **state)
{
    (void)state;
    load_bad("budget = \"3s\";\nsmtp_dane = \"mandatory\";\nconnector = ( );\n",
             "danelaw.conf:1: budget: stands outside its group; write milter = { budget = ...; };\n"
             "danelaw.conf:2: smtp_dane: stands outside its group; write defaults = { smtp_dane = ...; };\n"
             "danelaw.conf:3: connector: unknown setting; did you mean \"connectors\"?\n");
}

static void sockets_are_checked(void **state)
{
    char text[400], path[120];

    (void)state;
    load_bad("milter = { socket = \"/run/x\"; };\nmaps = { socket = \"unix:x\"; };\ncontrol = { socket = \"inet:1@::1\"; };\n",
             "danelaw.conf:1: milter.socket: is no socket; write unix:/PATH, or inet:PORT@HOST\n"
             "danelaw.conf:2: maps.socket: a socket needs a full path; write unix:/PATH\n"
             "danelaw.conf:3: control.socket: takes a socket on this host only; write unix:/PATH\n");
    load_bad("milter = { socket = \"inet:x@y\"; };\nmaps = { socket = \"inet:70000@localhost\"; };\n",
             "danelaw.conf:1: milter.socket: is no socket; write unix:/PATH, or inet:PORT@HOST\n"
             "danelaw.conf:2: maps.socket: is no socket; write unix:/PATH, or inet:PORT@HOST\n");
    load_bad("milter = { socket = \"unix:/a\"; };\nmaps = {\nsocket = \"local:/a\"; };",
             "danelaw.conf:3: maps.socket: milter and maps share a socket; give each its own\n");
    memset(path, 'p', 107);
    path[0] = '/', path[107] = '\0';
    snprintf(text, sizeof(text), "milter = { socket = \"unix:%s\"; };", path);
    config_free(load_good(text));
    snprintf(text, sizeof(text), "milter = { socket = \"unix:%sp\"; };", path);
    load_bad(text, "danelaw.conf:1: milter.socket: a socket's path has 2 to 107 characters\n");
    load_hinted("milter = { socket = \"inet:9999@127.0.0.1\";\nsocket_mode = \"0666\"; };",
                "danelaw.conf:1: milter.socket: while the daemon is down, any user of this host could take the port and "
                "answer in its place; prefer unix:/PATH\n"
                "danelaw.conf:2: milter.socket_mode: any user of this host may use the socket; prefer \"0660\" and "
                "socket_group\n");
}

static void networks_resolvers_and_files_are_checked(void **state)
{
    (void)state;
    load_bad("milter = { queue_clients = [ \"10.0.0.0/8\", \"10.0.0.1/8\",\n\"x\",\n\"2001:db8::/129\" ]; };\n"
             "resolver = { forward = [ \"localhost\", \"1.2.3.4@0\" ];\ntrust_anchor = [ \"20326\" ];\n"
             "root_hints = \"/nonexistent\";\ntrust_anchor_file = \"x\"; };\nconnectors_dir = \"none.d\";\n"
             "store = { directory = \"\"; };\nuser = \"\";\npid_file = \"x\";\n",
             "danelaw.conf:10: user: is empty; write the name of a user without privileges, user = \"danelaw\"\n"
             "danelaw.conf:11: pid_file: is no full path; write one that begins with /\n"
             "danelaw.conf:1: milter.queue_clients: \"10.0.0.1/8\" has bits set behind the prefix of 8; write it as in "
             "\"127.0.0.0/8\" or \"::1\"\n"
             "danelaw.conf:2: milter.queue_clients: \"x\" is no address; write it as in \"127.0.0.0/8\" or \"::1\"\n"
             "danelaw.conf:3: milter.queue_clients: \"2001:db8::/129\" has no prefix length from 0 to 128 behind the slash; "
             "write it as in \"127.0.0.0/8\" or \"::1\"\n"
             "danelaw.conf:4: resolver.forward: \"localhost\" is no resolver; write its address, as in \"127.0.0.1\" or "
             "\"127.0.0.1@5353\"\n"
             "danelaw.conf:4: resolver.forward: \"1.2.3.4@0\" is no resolver; write its address, as in \"127.0.0.1\" or "
             "\"127.0.0.1@5353\"\n"
             "danelaw.conf:5: resolver.trust_anchor: entry 1 is no DS or DNSKEY record; write it as in \". IN DS 20326 8 2 "
             "E0...\"\n"
             "danelaw.conf:6: resolver.root_hints: /nonexistent can't be read: No such file or directory\n"
             "danelaw.conf:7: resolver.trust_anchor_file: is no full path; write one that begins with /\n"
             "danelaw.conf:9: store.directory: is no full path; write one that begins with /\n"
             "danelaw.conf:8: connectors_dir: ./none.d can't be read: No such file or directory\n");
}

static void what_the_daemon_would_refuse_later_is_refused_at_once(void **state)
{
    (void)state;
    load_bad("user = \"root\";\ntables = { mta = \"postfix\"; type = \"texthash\"; };\n",
             "danelaw.conf:1: user: is root, which the daemon refuses to stay; write the name of a user without privileges\n"
             "danelaw.conf:2: tables.type: \"texthash\" can't be changed while Postfix reads it; write \"hash\", \"btree\", "
             "\"lmdb\" or \"cdb\"\n");
}

static void visits_are_a_connectors_own_or_the_defaults(void **state)
{
    struct configuration *c = load_good("defaults = { probe = \"watch\"; };\n"
                                        "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; },\n"
                                        "{ name = \"B\"; recipients = [ \"b.example\" ]; probe = \"require\"; } );");

    (void)state;
    assert_int_equal(ruleset_named(c->rules, "A")->probe, PROBING_WATCH);
    assert_int_equal(ruleset_named(c->rules, "B")->probe, PROBING_REQUIRE);
    config_free(c);
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ];\nprobe = \"on\"; } );\n",
             "danelaw.conf:2: connector \"A\": probe: \"on\" is not known; write \"off\", \"watch\" or \"require\"\n");
}

static void patience_is_a_connectors_own_or_the_defaults(void **state)
{
    struct configuration *c = load_good("defaults = { hold = \"12h\"; };\n"
                                        "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; },\n"
                                        "{ name = \"B\"; recipients = [ \"b.example\" ]; hold = \"4h\"; } );");

    (void)state;
    assert_int_equal(ruleset_named(c->rules, "A")->hold, 12 * 60 * 60);
    assert_int_equal(ruleset_named(c->rules, "B")->hold, 4 * 60 * 60);
    config_free(c);
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; hold = 0; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\" ]; hold = \"31d\"; } );\n",
             "danelaw.conf:1: connector \"A\": hold: is out of range; write \"1s\" to \"30d\"\n"
             "danelaw.conf:2: connector \"B\": hold: is out of range; write \"1s\" to \"30d\"\n");
}

static void a_connector_in_test_mode_is_in_nobodys_way(void **state)
{
    struct configuration *c = load_good("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; },\n"
                                        "{ name = \"Tried\"; recipients = [ \"a.example\", \"*\" ]; smtp_dane = \"mandatory\";\n"
                                        "test_mode = true; },\n"
                                        "{ name = \"Scoped\"; recipients = [ \"b.example\" ]; senders = [ \"home.example\" ];\n"
                                        "smtp_dane = \"mandatory\"; test_mode = true; } );\n");

    (void)state;
    assert_false(ruleset_named(c->rules, "A")->test_mode);
    assert_true(ruleset_named(c->rules, "Tried")->test_mode);
    assert_true(ruleset_named(c->rules, "Scoped")->test_mode);
    config_free(c);
}

static void metrics_are_at_an_address_and_port(void **state)
{
    static const char *const good[] = { "127.0.0.1:9469", "127.8.0.1:1", "[::1]:65535", "localhost:9469", "" };
    static const char *const bad[] = { "9469", ":9469", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x",
                                       "::1:9469", "[127.0.0.1]:9469", "[::1]", "*:9469", "metrics.example:9469",
                                       "127.0.0.1:000009469", "[::1:9469", "[]:9469", "unix:/run/x" };
    static const char *const open[] = { "0.0.0.0:9469", "[::]:9469", "192.0.2.1:9469" };
    char text[200], faults[400];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(good); i++) {
        snprintf(text, sizeof(text), "http = { listen = \"%s\"; };\n", good[i]);
        config_free(load_good(text));
    }
    for (i = 0; i < COUNT_OF(bad); i++) {
        snprintf(text, sizeof(text), "http = { listen = \"%s\"; };\n", bad[i]);
        snprintf(faults, sizeof(faults), "danelaw.conf:1: http.listen: \"%s\" is no address and port; write it as in "
                 "\"127.0.0.1:9469\" or \"[::1]:9469\", or \"\" for none\n", bad[i]);
        load_bad(text, faults);
    }
    for (i = 0; i < COUNT_OF(open); i++) {
        snprintf(text, sizeof(text), "http = { listen = \"%s\"; };\n", open[i]);
        load_hinted(text, "danelaw.conf:1: http.listen: others than this host may see which partners there are, and how "
                          "their mail fares; prefer \"127.0.0.1:9469\", or let a firewall choose who may\n");
    }
}

static void visits_come_from_an_address_and_a_name(void **state)
{
    static const char *const addresses[] = { "192.0.2.1", "2001:db8::1", "" };
    static const char *const no_addresses[] = { "eth0", "192.0.2.1:25", "[2001:db8::1]", "192.0.2", "mail.home.example" };
    static const char *const names[] = { "mail.home.example", "b\303\274cher.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "" };
    static const char *const no_names[] = { "mail home", "[mail.home.example]", "[192.0.2.1]:25", "mail..example" };
    char text[200], faults[400];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(addresses); i++) {
        snprintf(text, sizeof(text), "probe = { bind = \"%s\"; };\n", addresses[i]);
        config_free(load_good(text));
    }
    for (i = 0; i < COUNT_OF(no_addresses); i++) {
        snprintf(text, sizeof(text), "probe = { bind = \"%s\"; };\n", no_addresses[i]);
        snprintf(faults, sizeof(faults), "danelaw.conf:1: probe.bind: \"%s\" is no address; write one of this machine's, as in "
                 "\"192.0.2.1\" or \"2001:db8::1\"\n", no_addresses[i]);
        load_bad(text, faults);
    }
    for (i = 0; i < COUNT_OF(names); i++) {
        snprintf(text, sizeof(text), "probe = { helo = \"%s\"; };\n", names[i]);
        config_free(load_good(text));
    }
    for (i = 0; i < COUNT_OF(no_names); i++) {
        snprintf(text, sizeof(text), "probe = { helo = \"%s\"; };\n", no_names[i]);
        snprintf(faults, sizeof(faults), "danelaw.conf:1: probe.helo: \"%s\" is no host name; write one, as in "
                 "\"mail.home.example\"\n", no_names[i]);
        load_bad(text, faults);
    }
}

static void authorities_for_policy_hosts_are_nobodys_to_change(void **state)
{
    struct configuration *c;
    char text[200], faults[400];

    (void)state;
    put("ca.pem", "");
    snprintf(text, sizeof(text), "sts = { ca_file = \"%s/ca.pem\"; port = 8443; timeout = \"10s\"; entries = 5; };", folder);
    c = load_good(text);
    assert_int_equal(c->settings.sts.port, 8443);
    assert_int_equal(c->settings.sts.timeout, 10);
    assert_int_equal(c->settings.sts.entries, 5);
    assert_non_null(strstr(c->settings.sts.ca_file, "/ca.pem"));
    config_free(c);
    assert_int_equal(chmod("ca.pem", 0666), 0);
    snprintf(faults, sizeof(faults),
             "danelaw.conf:1: sts.ca_file: anybody may write to %s/ca.pem, and so loosen every rule; run chmod o-w on it\n", folder);
    load_bad(text, faults);
    load_bad("sts = { ca_file = \"ca.pem\"; };", "danelaw.conf:1: sts.ca_file: is no full path; write one that begins with /\n");
    load_bad("sts = { ca_file = \"/nonexistent\";\nport = 0;\ntimeout = \"11m\"; };",
             "danelaw.conf:1: sts.ca_file: /nonexistent can't be read: No such file or directory\n"
             "danelaw.conf:2: sts.port: is out of range; write 1 to 65535\n"
             "danelaw.conf:3: sts.timeout: is out of range; write \"1s\" to \"10m\"\n");
}

/* --- files --- */

static void a_file_that_is_none_is_said_once(void **state)
{
    (void)state;
    load_bad(NULL, "danelaw.conf: cannot open: No such file or directory\n");
    assert_int_equal(mkdir("danelaw.conf", 0755), 0);
    load_bad(NULL, "danelaw.conf: is not a regular file\n");
    assert_int_equal(rmdir("danelaw.conf"), 0);
    assert_int_equal(mkfifo("danelaw.conf", 0644), 0);
    load_bad(NULL, "danelaw.conf: is not a regular file\n");
}

/* As a disk that fails: the first octets of our own memory are nobody's. libconfig would end the process. */
static void a_file_that_cannot_be_read_is_said(void **state)
{
    (void)state;
    assert_int_equal(symlink("/proc/self/mem", "danelaw.conf"), 0);
    load_bad(NULL, "danelaw.conf: cannot be read: Input/output error\n");
}

static void a_file_that_anybody_may_write_to_is_refused(void **state)
{
    (void)state;
    put("danelaw.conf", "@include \"part.conf\"\n");
    put("part.conf", "");
    assert_int_equal(chmod("part.conf", 0666), 0);
    load_bad(NULL, "danelaw.conf:1: @include ./part.conf: anybody may write to it, and so loosen every rule; run chmod o-w on it\n");
    assert_int_equal(chmod("part.conf", 0644), 0);
    assert_int_equal(chmod("danelaw.conf", 0646), 0);
    load_bad(NULL, "danelaw.conf: anybody may write to it, and so loosen every rule; run chmod o-w on it\n");
}

static void a_parse_error_names_its_line(void **state)
{
    (void)state;
    load_bad("user = \"x\";\nmilter = {\n  tag = ;\n};\n",
             "danelaw.conf:3: syntax error here or shortly before: a bracket, quote, semicolon or comma is missing or one too "
             "many\n");
    load_bad("user = \"x\";\nuser = \"y\";\n", "danelaw.conf:2: a setting of this name stands here twice; remove one of them\n");
    load_bad("milter = { mailers = [ \"a\",\n 1 ]; };\n",
             "danelaw.conf:2: the entries of a list are of different kinds; write a list of texts, [ \"one\", \"two\" ]\n");
}

static void libconfigs_traps_are_told_apart(void **state)
{
    (void)state;
    load_bad("milter = { mailers = [ \"smtp\",\n ]; };\nconnectors = ( { name = \"A\"; recipients = [ \"a.example\"\n"
             "\"b.example\" ]; },\n);\n",
             "danelaw.conf:1: a comma behind the last entry; remove it\n"
             "danelaw.conf:4: two texts without a comma between them would be taken for one; write a comma\n"
             "danelaw.conf:4: a comma behind the last entry; remove it\n");
    load_bad("user = \"x\";\n/* never\nconnectors = ( );\n",
             "danelaw.conf:2: this comment is never closed, so that the rest of the file would be ignored; close it with */\n");
    load_bad("user = \"x;\ngroup = 1;\n", "danelaw.conf:1: this text is never closed; write the closing \"\n");
    load_bad("maps = { clients = 4294967297; };",
             "danelaw.conf:1: this number is too large to be written plainly; write an L behind it\n");
    load_bad("maps = { clients = 99999999999999999999L; };", "danelaw.conf:1: this number is too large\n");
    load_bad("\xef\xbb\xbfuser = \"x\";", "danelaw.conf:1: the file begins with a byte order mark; save it as UTF-8 without one\n");
}

static void harmless_oddities_are_welcome(void **state)
{
    struct configuration *c = load_good("# a comma, ] and \" in a comment\r\nuser = \"a,\" \"b\"; // \"\r\n"
                                        "/* @include \"no.conf\"\n@include \"no.conf\"\n , ) ** */ group : \"\\\"q\"\r\n"
                                        "pid_file = \"/one \"\n  \"two, ]\";\nmilter = { mailers = []; };\n");

    (void)state;
    assert_string_equal(c->settings.user, "a,b");
    assert_string_equal(c->settings.group, "\"q");
    assert_string_equal(c->settings.pid_file, "/one two, ]");
    config_free(c);
}

static void the_resolvers_own_answers_have_a_small_part_of_the_memory(void **state)
{
    struct settings set = { .resolver = { .cache = 64 << 20 } };

    (void)state;
    assert_int_equal(settings_unbound_cache(&set), 2 << 20);
    set.resolver.cache = 1 << 20;                           /* the least that may be written */
    assert_int_equal(settings_unbound_cache(&set), 1 << 19);
}

static void a_list_entrys_line_is_its_own(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; recipients = [\n  \"a b\",\n  \"c d\"\n  ,\n  \"e f\"\n\n]; } );\n",
             "danelaw.conf:2: connector \"A\": recipients: \"a b\": a domain name has letters, digits, hyphens and dots only\n"
             "danelaw.conf:3: connector \"A\": recipients: \"c d\": a domain name has letters, digits, hyphens and dots only\n"
             "danelaw.conf:5: connector \"A\": recipients: \"e f\": a domain name has letters, digits, hyphens and dots only\n");
}

static void includes_are_relative_to_the_configuration_file(void **state)
{
    struct configuration *c = NULL;
    struct config_report report;
    char path[128];

    (void)state;
    assert_int_equal(mkdir("etc", 0755), 0);
    assert_int_equal(mkdir("etc/sub", 0755), 0);
    put("etc/danelaw.conf", "@include \"sub/a.conf\"\n");
    put("etc/sub/a.conf", "  @include \"sub/b.conf\"\nuser = \"included\";\n");
    put("etc/sub/b.conf", "connectors = (\n{ name = \"A\"; recipients = [ \"a.example\" ]; } );\n");
    assert_int_equal(chdir("/"), 0);
    config_report_init(&report);
    snprintf(path, sizeof(path), "%s/etc/danelaw.conf", folder);
    assert_true(config_load(path, &c, &report));
    assert_string_equal(c->settings.user, "included");
    snprintf(path, sizeof(path), "%s/etc/sub/b.conf", folder);
    assert_string_equal(found(c, "x@a.example", "")->file, path);
    assert_int_equal(found(c, "x@a.example", "")->line, 2);
    config_free(c);
    config_report_done(&report);
}

static void a_bad_include_is_a_fault_of_its_line(void **state)
{
    (void)state;
    assert_int_equal(mkdir("sub", 0755), 0);
    load_bad("\n@include \"none.conf\"\n@include \"sub\"\n@include \"/etc/passwd\"\n",
             "danelaw.conf:2: @include ./none.conf: cannot open: No such file or directory\n"
             "danelaw.conf:3: @include ./sub: is not a regular file\n"
             "danelaw.conf:4: @include takes a path relative to the folder of the configuration file\n");
    load_bad("@include \"a\x1b[31m\"\n", "danelaw.conf:1: @include ./a?[31m: cannot open: No such file or directory\n");
    load_bad("@include \"danelaw.conf\"\n@include \"danelaw.conf\"\n",
             "./danelaw.conf:1: files include each other, or too many deep\n");
    put("part.conf", "user = ;\n");
    load_bad("@include \"part.conf\"\n",
             "./part.conf:1: syntax error here or shortly before: a bracket, quote, semicolon or comma is missing or one too "
             "many\n");
}

static void a_folder_of_connectors_is_read_in_name_order(void **state)
{
    struct configuration *c;

    (void)state;
    assert_int_equal(mkdir("con.d", 0755), 0);
    put("con.d/20-b.conf", "connectors = ( { name = \"third\"; recipients = [ \"c.example\" ]; } );");
    put("con.d/10-a.conf", "connectors = ( { name = \"second\"; recipients = [ \"b.example\" ]; } );");
    put("con.d/.hidden.conf", "garbage");
    put("con.d/README", "garbage");
    c = load_good("connectors_dir = \"con.d\";\nconnectors = ( { name = \"first\"; recipients = [ \"a.example\" ]; } );\n");
    assert_int_equal(ruleset_count(c->rules), 3);
    assert_string_equal(ruleset_at(c->rules, 0)->name, "first");
    assert_string_equal(ruleset_at(c->rules, 1)->name, "second");
    assert_string_equal(ruleset_at(c->rules, 2)->name, "third");
    assert_string_equal(ruleset_at(c->rules, 2)->file, "./con.d/20-b.conf");
    assert_string_equal(c->settings.connectors_dir, "./con.d");
    config_free(c);
}

static void a_file_of_that_folder_holds_connectors_only(void **state)
{
    (void)state;
    assert_int_equal(mkdir("con.d", 0755), 0);
    put("con.d/1.conf", "user = \"x\";\nconnectors = ( );\n");
    put("con.d/2.conf", "\nconnectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; } );");
    put("con.d/3.conf", "connectors = ( {\nname = \"A\"; recipients = [\n\"a.example\" ]; } );");
    put("con.d/4.conf", "");
    load_bad("connectors_dir = \"con.d\";",
             "./con.d/1.conf: a file in connectors_dir holds one setting and no other; write connectors = ( ... );\n"
             "./con.d/3.conf:2: connector \"A\": name: the connector at ./con.d/2.conf:2 has the same name; write another one\n"
             "./con.d/3.conf:3: connector \"A\": recipients: \"a.example\" is also in the connector \"A\" (./con.d/2.conf:2) for "
             "the same senders, so that one of the two could never act; remove it from one, or give them different senders\n"
             "./con.d/4.conf: a file in connectors_dir holds one setting and no other; write connectors = ( ... );\n");
}

/* --- size --- */

enum { MANY = 100000 };

static void write_many(bool faulty)
{
    FILE *file = fopen("danelaw.conf", "w");
    int i;

    assert_non_null(file);
    fputs("connectors = (\n", file);
    for (i = 0; i < MANY; i++)
        fprintf(file, "%s{ name = \"Partner %d\"; recipients = [ \"p%d.example\", \"*.p%d.example\"\n ]; smtp_dane = \"%s\"; }",
                i == 0 ? "" : ",\n", i, i, i, faulty ? "x" : "mandatory");
    fputs("\n);\n", file);
    fclose(file);
}

static void a_hundred_thousand_connectors_load_at_once(void **state)
{
    struct configuration *c;
    clock_t begun;

    (void)state;
    write_many(false);
    begun = clock();
    c = load_good(NULL);
    assert_true(clock() - begun < 20 * CLOCKS_PER_SEC); /* half a second; sanitizers take their time */
    assert_int_equal(ruleset_count(c->rules), MANY);
    assert_string_equal(found(c, "x@a.p77777.example", "")->name, "Partner 77777");
    config_free(c);
}

static void faults_without_end_are_cut_short(void **state)
{
    struct config_report report;
    const char *at;
    size_t lines = 0;

    (void)state;
    write_many(true);
    config_report_init(&report);
    assert_false(config_load("danelaw.conf", NULL, &report));
    for (at = text_words(&report.faults); (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 1001);
    assert_non_null(strstr(text_words(&report.faults),
                           "\ndanelaw.conf: there is more like this; only the first 1000 lines are shown\n"));
    config_report_done(&report);
}

static void only_looking_gives_nothing(void **state)
{
    struct config_report report;

    (void)state;
    put("danelaw.conf", "user = \"x\";");
    config_report_init(&report);
    assert_true(config_load("danelaw.conf", NULL, &report));
    config_report_done(&report);
}

#define SENDMAIL "tables = { mta = \"sendmail\"; };\n"

static void sendmails_roads_are_one_mailer(void **state)
{
    static const char *const names[] = { "dane-mandatory", "sts-mandatory", "opportunistic" };
    struct configuration *c = load_good(SENDMAIL "routes = { relay = { transport = \"esmtp\"; next_hop = \"[relay.example]\"; }; "
                                        "};\nconnectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; "
                                        "smtp_dane = \"mandatory\"; } );");
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(names); i++)
        assert_string_equal(ruleset_route(c->rules, names[i])->transport, "danesmtp");
    assert_string_equal(ruleset_at(c->rules, 0)->route->name, "dane-mandatory");
    config_free(c);
    /* whatever stands first in the file */
    c = load_good("routes = { relay = { transport = \"esmtp\"; }; };\n" SENDMAIL);
    assert_string_equal(ruleset_route(c->rules, "opportunistic")->transport, "danesmtp");
    config_free(c);
    c = load_good("");
    assert_string_equal(ruleset_route(c->rules, "opportunistic")->transport, "danelaw");
    config_free(c);
}

static void sendmail_is_told_what_it_can_do(void **state)
{
    (void)state;
    config_free(load_good("tables = { type = \"btree\"; mta = \"sendmail\"; };"));
    load_bad("tables = { type = \"lmdb\";\nmta = \"sendmail\"; };",
             "danelaw.conf:1: tables.type: \"lmdb\" can't be changed while Sendmail reads it; write \"hash\" or \"btree\"\n");
    load_bad(SENDMAIL "routes = { a = { transport = \"my.mailer\"; };\nb = { transport = \"error\"; }; };",
             "danelaw.conf:2: routes.a.transport: is no mailer that Sendmail's rules can be told of; its name has at most 20 "
             "letters, digits, hyphens and underscores\n"
             "danelaw.conf:3: routes.b.transport: is no mailer that Sendmail's rules can be told of; its name has at most 20 "
             "letters, digits, hyphens and underscores\n");
    load_bad(SENDMAIL "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\n"
             "fallback = \"sts-mandatory\"; },\n{ name = \"B\"; recipients = [ \"b.example\" ]; smtp_dane = \"mandatory\";\n"
             "route = \"opportunistic\"; } );",
             "danelaw.conf:3: connector \"A\": fallback: \"sts-mandatory\" leads the same way as the connector's own route, so that "
             "nothing would change; take another one, or write fallback = \"\"\n"
             "danelaw.conf:5: connector \"B\": route: \"opportunistic\" authenticates nobody by itself, so that mail would leave "
             "unprotected while the daemon is down; take one with tls = \"dane-only\", or \"secure\" with tls_match\n");
}

/* Its rules see senders, and everyone; its mailers have the port. */
static void hints_are_for_the_mta_that_is_there(void **state)
{
    static const char text[] =
        "routes = { relay = { transport = \"esmtp\"; next_hop = \"[relay.example]\"; tls = \"verify\"; }; };\n"
        "connectors = ( { name = \"A\"; recipients = [ \"*\" ]; senders = [ \"home.example\" ];\nsmtp_dane = \"mandatory\"; "
        "fallback = \"relay\"; } );";
    char all[1024];

    (void)state;
    snprintf(all, sizeof(all), SENDMAIL "%s", text);
    config_free(load_good(all));
    load_hinted(SENDMAIL "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ];\nsmart_hosts = [ \"[mx.a.example]\", "
                "\"[mx.a.example]:587\" ];\nsenders = [ \"home.example\" ]; } );",
                "danelaw.conf:3: connector \"A\": smart_hosts: the mailer \"danesmtp\" only knows port 25, so that mail does not go to "
                "[mx.a.example]:587; write a route with a mailer of your own that has the port (A=TCP $h 587)\n");
    load_hinted(SENDMAIL "routes = { relay = { transport = \"submitter\";\nnext_hop = \"[relay.example]:587\"; }; };",
                "danelaw.conf:3: routes.relay.next_hop: \"[relay.example]:587\": Sendmail's mailer carries the port, which is not told: "
                "the mailer must have it (A=TCP $h 587)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_file_gives_every_preset),
        TEST(values_are_read_in_every_spelling),
        TEST(all_faults_are_found_at_once_with_their_lines),
        TEST(a_wrong_kind_is_told_what_to_write),
        TEST(numbers_durations_sizes_and_modes_are_strict),
        TEST(a_setting_outside_its_group_is_sent_home),
        TEST(sockets_are_checked),
        TEST(networks_resolvers_and_files_are_checked),
        TEST(what_the_daemon_would_refuse_later_is_refused_at_once),
        TEST(visits_are_a_connectors_own_or_the_defaults),
        TEST(patience_is_a_connectors_own_or_the_defaults),
        TEST(a_connector_in_test_mode_is_in_nobodys_way),
        TEST(metrics_are_at_an_address_and_port),
        TEST(visits_come_from_an_address_and_a_name),
        TEST(authorities_for_policy_hosts_are_nobodys_to_change),
        TEST(a_file_that_is_none_is_said_once),
        TEST(a_file_that_cannot_be_read_is_said),
        TEST(a_file_that_anybody_may_write_to_is_refused),
        TEST(a_parse_error_names_its_line),
        TEST(libconfigs_traps_are_told_apart),
        TEST(harmless_oddities_are_welcome),
        TEST(the_resolvers_own_answers_have_a_small_part_of_the_memory),
        TEST(a_list_entrys_line_is_its_own),
        TEST(includes_are_relative_to_the_configuration_file),
        TEST(a_bad_include_is_a_fault_of_its_line),
        TEST(a_folder_of_connectors_is_read_in_name_order),
        TEST(a_file_of_that_folder_holds_connectors_only),
        TEST(a_hundred_thousand_connectors_load_at_once),
        TEST(faults_without_end_are_cut_short),
        TEST(only_looking_gives_nothing),
        TEST(sendmails_roads_are_one_mailer),
        TEST(sendmail_is_told_what_it_can_do),
        TEST(hints_are_for_the_mta_that_is_there),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
