#include "loading.h"

#include <string.h>

/* Connectors, defaults and routes as the configuration has them. */

static void a_connector_is_read_whole(void **state)
{
    struct configuration *c = load_good(
        "routes = { mine = { transport = \"own\"; tls = \"secure\"; tls_match = [ \"MX.Example.\" ]; }; };\n"
        "connectors = (\n  { name = \"A\"; comment = \"why\"; recipients = [ \"A.Example.\", \"*.a.example\", \"Jo@B.example\" ];\n"
        "    senders = [ \"<>\", \"us.example\" ]; smart_hosts = [ \"[GW.example]:587\", \"gw2.example\" ]; smtp_dane = \"mandatory\";\n"
        "    mta_sts = \"none\"; tls = \"secure\"; tls_match = [ \"Gw.example\" ]; route = \"mine\"; on_hold = \"queue\"; } );\n"
        "milter = { tag = true; };\n");
    const struct connector *a = ruleset_at(c->rules, 0);
    char text[NEXT_HOP_TEXT_SIZE];

    (void)state;
    assert_string_equal(a->file, "danelaw.conf");
    assert_int_equal(a->line, 3);
    assert_int_equal(a->recipient_count, 3);
    assert_string_equal(a->recipients[0].domain, "a.example");
    assert_int_equal(a->recipients[1].kind, PATTERN_BELOW);
    assert_string_equal(a->recipients[2].local, "jo");
    assert_int_equal(a->senders[0].kind, PATTERN_NULL_SENDER);
    assert_string_equal(next_hop_print(&a->smart_hosts[0], text), "[gw.example]:587");
    assert_string_equal(next_hop_print(&a->smart_hosts[1], text), "gw2.example");
    assert_int_equal(a->smtp_dane, MODE_MANDATORY);
    assert_int_equal(a->mta_sts, MODE_NONE);
    assert_int_equal(a->tls, TLS_SECURE);
    assert_string_equal(a->tls_match[0], "gw.example");
    assert_string_equal(a->route->transport, "own");
    assert_string_equal(a->route->tls_match[0], "mx.example");
    assert_int_equal(a->on_hold, ON_HOLD_QUEUE);
    assert_ptr_equal(found(c, "JO@b.EXAMPLE", "x@us.example"), a);
    config_free(c);
}

static void a_setting_left_out_comes_from_defaults_else_from_the_preset(void **state)
{
    struct configuration *c = load_good(
        "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; },\n"
        "  { name = \"B\"; recipients = [ \"b.example\" ]; mta_sts = \"opportunistic\"; tls = \"may\"; comment = \"own\"; },\n"
        "  { name = \"C\"; recipients = [ \"c.example\" ]; tls = \"secure\"; smtp_dane = \"mandatory\"; } );\n"
        "defaults = { mta_sts = \"none\"; tls = \"verify\"; tls_match = [ \"mx.example\" ]; comment = \"all\"; };\n");
    const struct connector *a = ruleset_named(c->rules, "A"), *b = ruleset_named(c->rules, "B"),
                           *e = ruleset_named(c->rules, "C"), *rest = ruleset_default(c->rules);

    (void)state;
    assert_int_equal(a->mta_sts, MODE_NONE);
    assert_int_equal(a->smtp_dane, MODE_OPPORTUNISTIC);
    assert_int_equal(a->tls, TLS_VERIFY);
    assert_string_equal(a->tls_match[0], "mx.example");
    assert_string_equal(a->route->name, "opportunistic");
    assert_int_equal(b->mta_sts, MODE_OPPORTUNISTIC);
    assert_int_equal(b->tls, TLS_MAY);
    assert_int_equal(b->tls_match_count, 0);
    assert_int_equal(e->tls, TLS_SECURE);
    assert_int_equal(e->tls_match_count, 1);
    assert_string_equal(e->route->name, "dane-mandatory");
    assert_int_equal(rest->mta_sts, MODE_NONE);
    assert_int_equal(rest->tls, TLS_VERIFY);
    assert_ptr_equal(found(c, "x@elsewhere.example", ""), rest);
    config_free(c);
}

static void defaults_take_no_setting_of_one_connector(void **state)
{
    (void)state;
    load_bad("defaults = { name = \"x\"; recipients = [ \"a\" ];\nsmart_hosts = [ ]; enabled = true; senders = [ ];\n"
             "smtp_dnae = \"none\"; };\n",
             "danelaw.conf:1: defaults.name: is each connector's own, never a default; remove it\n"
             "danelaw.conf:1: defaults.recipients: is each connector's own, never a default; remove it\n"
             "danelaw.conf:2: defaults.smart_hosts: is each connector's own, never a default; remove it\n"
             "danelaw.conf:2: defaults.enabled: is each connector's own, never a default; remove it\n"
             "danelaw.conf:2: defaults.senders: is each connector's own, never a default; remove it\n"
             "danelaw.conf:3: defaults.smtp_dnae: unknown setting; did you mean \"smtp_dane\"?\n");
}

static void a_name_is_there_alone_and_printable(void **state)
{
    char text[400], name[140];

    (void)state;
    load_bad("connectors = (\n{ recipients = [ \"a.example\" ]; },\n{ name = \"\"; recipients = [ \"b.example\" ]; },\n"
             "{ name = \"a\\\"b\"; recipients = [ \"c.example\" ]; },\n{ name = \"a\\x01\"; recipients = [ \"d.example\" ]; },\n"
             "{ name = \"(default)\"; recipients = [ \"e.example\" ]; },\n{ name = \"\xff\"; recipients = [ \"f.example\" ]; },\n"
             "{ name = \"X\"; recipients = [ \"g.example\" ]; enabled = false; },\n{\nname = \"X\"; recipients = [ \"h.example\" ]; },\n"
             "\"Y\" );\n",
             "danelaw.conf:2: connector 1: name: is missing; write name = \"...\", unlike every other connector's\n"
             "danelaw.conf:3: connector 2: name: is empty; write name = \"...\", unlike every other connector's\n"
             "danelaw.conf:4: connector 3: name: has a quote or a control character; remove it\n"
             "danelaw.conf:5: connector 4: name: has a quote or a control character; remove it\n"
             "danelaw.conf:6: connector \"(default)\": name: \"(default)\" is what rules all mail without a connector; write "
             "another name\n"
             "danelaw.conf:7: connector \"\xff\": name: is not UTF-8\n"
             "danelaw.conf:10: connector \"X\": name: the connector at danelaw.conf:8 has the same name; write another one\n"
             "danelaw.conf:11: connector 9: is a text; write a group, { name = \"...\"; recipients = [ \"...\" ]; }\n");
    memset(name, 'n', 129);
    name[128] = '\0';
    snprintf(text, sizeof(text), "connectors = ( { name = \"%s\"; recipients = [ \"a.example\" ]; } );", name);
    config_free(load_good(text));
    name[128] = 'n', name[129] = '\0';
    snprintf(text, sizeof(text), "connectors = ( { name = \"%s\"; recipients = [ \"a.example\" ]; } );", name);
    load_bad(text, "danelaw.conf:1: connector 1: name: is too long; write at most 128 characters\n");
}

static void a_pattern_that_means_something_else_is_corrected(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"@a.example\",\n\".a.example\",\n\"*a.example\",\n\"*@a.example\",\n"
             "\"<>\",\n\"\",\n\"[192.0.2.1]\",\n\"x@192.0.2.1\",\n\"a..example\",\n\"\\\"a b\\\"@a.example\",\n\"a..b@a.example\",\n"
             "\"a@b@a.example\",\n\"\xff@a.example\",\n\"x@\" ];\nsenders = [ ]; },\n{ name = \"B\"; recipients = [ ]; } );\n",
             "danelaw.conf:1: connector \"A\": recipients: \"@a.example\": without a local part write the domain alone, \"a.example\"\n"
             "danelaw.conf:2: connector \"A\": recipients: \".a.example\": for every subdomain write \"*.a.example\"\n"
             "danelaw.conf:3: connector \"A\": recipients: \"*a.example\": a * stands alone or first, as in \"*\" and "
             "\"*.d.example\"\n"
             "danelaw.conf:4: connector \"A\": recipients: \"*@a.example\": a local part takes no *; write the domain alone for "
             "everyone in it\n"
             "danelaw.conf:5: connector \"A\": recipients: \"<>\": <> is a sender, never a recipient; it may stand in senders\n"
             "danelaw.conf:6: connector \"A\": recipients: \"\": write \"d.example\", \"*.d.example\", \"user@d.example\" or \"*\"\n"
             "danelaw.conf:7: connector \"A\": recipients: \"[192.0.2.1]\": address literals have no rules of their own; only "
             "\"*\" covers them\n"
             "danelaw.conf:8: connector \"A\": recipients: \"x@192.0.2.1\": address literals have no rules of their own; only "
             "\"*\" covers them\n"
             "danelaw.conf:9: connector \"A\": recipients: \"a..example\": empty label in a domain name\n"
             "danelaw.conf:10: connector \"A\": recipients: \"\"a b\"@a.example\": the local part can't have blanks, quotes or "
             "any of ()<>[]:;@\\,\n"
             "danelaw.conf:11: connector \"A\": recipients: \"a..b@a.example\": a dot in a local part stands between other "
             "characters\n"
             "danelaw.conf:12: connector \"A\": recipients: \"a@b@a.example\": the local part can't have blanks, quotes or any of "
             "()<>[]:;@\\,\n"
             "danelaw.conf:13: connector \"A\": recipients: \"\xff@a.example\": the local part is not UTF-8\n"
             "danelaw.conf:14: connector \"A\": recipients: \"x@\": a domain name has 1 to 253 characters\n"
             "danelaw.conf:15: connector \"A\": senders: is empty, so that no mail would match; remove it for mail of every "
             "sender\n"
             "danelaw.conf:16: connector \"B\": recipients: is empty; write [ \"d.example\" ], or [ \"*\" ] for everyone\n");
}

static void an_internationalized_recipient_is_found_in_both_spellings(void **state)
{
    struct configuration *c = load_good("connectors = ( { name = \"B\xc3\xbc" "cher\"; recipients = [ \"B\xc3\xbc" "cher.example\", "
                                        "\"*.xn--bcher-kva.example\", \"J\xc3\xb6rg@x.example\" ]; } );");
    const struct connector *b = ruleset_at(c->rules, 0);

    (void)state;
    assert_string_equal(b->recipients[0].domain, "xn--bcher-kva.example");
    assert_string_equal(b->recipients[1].domain, "xn--bcher-kva.example");
    assert_string_equal(b->recipients[2].local, "j\xc3\xb6rg");
    assert_ptr_equal(found(c, "a@xn--bcher-kva.example", ""), b);
    assert_ptr_equal(found(c, "a@b\xc3\xbc" "cher.example", ""), b);
    assert_ptr_equal(found(c, "J\xc3\xb6RG@x.example", ""), b);
    config_free(c);
}

static void twins_are_a_fault_that_names_both(void **state)
{
    (void)state;
    load_bad("connectors = (\n{ name = \"A\"; recipients = [ \"a.example\", \"A.example.\" ]; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\",\n \"a.example\" ]; },\n"
             "{ name = \"C\"; recipients = [ \"t.example\" ]; senders = [ \"x.example\", \"y@x.example\" ]; },\n"
             "{ name = \"D\"; recipients = [ \"t.example\" ]; senders = [ \"Y@x.example\", \"x.example\" ]; },\n"
             "{ name = \"E\"; recipients = [ \"e.example\" ]; senders = [ \"x.example\", \"x.example\" ]; } );\n",
             "danelaw.conf:2: connector \"A\": recipients: \"a.example\" stands here twice; remove one\n"
             "danelaw.conf:4: connector \"B\": recipients: \"a.example\" is also in the connector \"A\" (danelaw.conf:2) for the "
             "same senders, so that one of the two could never act; remove it from one, or give them different senders\n"
             "danelaw.conf:6: connector \"D\": recipients: \"t.example\" is also in the connector \"C\" (danelaw.conf:5) for the same "
             "senders, so that one of the two could never act; remove it from one, or give them different senders\n"
             "danelaw.conf:7: connector \"E\": senders: \"x.example\" stands here twice; remove one\n");
}

static void those_that_can_be_told_apart_are_no_twins(void **state)
{
    struct configuration *c = load_good(
        "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; },\n"
        "{ name = \"B\"; recipients = [ \"a.example\" ]; senders = [ \"x.example\" ]; },\n"
        "{ name = \"C\"; recipients = [ \"a.example\" ]; senders = [ \"x.example\", \"<>\" ]; },\n"
        "{ name = \"D\"; recipients = [ \"*.a.example\", \"me@a.example\" ]; },\n"
        "{ name = \"E\"; recipients = [ \"a.example\", \"me@a.example\" ]; enabled = false; } );");

    (void)state;
    assert_int_equal(ruleset_count(c->rules), 4);
    assert_null(ruleset_named(c->rules, "E"));
    assert_string_equal(found(c, "z@a.example", "q@x.example")->name, "B");
    assert_string_equal(found(c, "z@a.example", "")->name, "C");
    assert_string_equal(found(c, "ME@a.example", "")->name, "D");
    config_free(c);
}

static void a_disabled_connector_is_checked_all_the_same(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; enabled = false; recipients = [ \"a.example\", \"a.example\",\n\"b c\" ]; } );",
             "danelaw.conf:2: connector \"A\": recipients: \"b c\": a domain name has letters, digits, hyphens and dots only\n"
             "danelaw.conf:1: connector \"A\": recipients: \"a.example\" stands here twice; remove one\n");
}

static void smart_hosts_are_checked(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\n"
             "smart_hosts = [ \"[192.0.2.1]\",\n\"192.0.2.1\",\n\"[gw.example\",\n\"[gw.example]\",\n\"[GW.example.]:25\" ]; } );\n",
             "danelaw.conf:2: connector \"A\": smart_hosts: \"[192.0.2.1]\" is an address: neither DANE nor MTA-STS can ever judge "
             "it, and a mandatory connector would hold all mail; write the host's name\n"
             "danelaw.conf:3: connector \"A\": smart_hosts: \"192.0.2.1\": write an address in brackets, \"[192.0.2.1]\"\n"
             "danelaw.conf:4: connector \"A\": smart_hosts: \"[gw.example\": write a host without MX look-up as \"[host]\" or "
             "\"[host]:port\"\n"
             "danelaw.conf:6: connector \"A\": smart_hosts: \"[gw.example]\" stands here twice; remove one\n");
    config_free(load_good("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smart_hosts = [ \"[192.0.2.1]\" ]; } );"));
}

static void names_to_match_are_names_and_are_matched(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; tls = \"encrypt\";\ntls_match = [ \"mx.example\" ]; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\" ]; tls = \"secure\"; tls_match = [ \".b.example\",\n\"*.b.example\",\n"
             "\"hostname\",\n\"192.0.2.1\" ]; },\n{ name = \"C\"; recipients = [ \"c.example\" ]; tls = \"dane-only\"; } );\n",
             "danelaw.conf:2: connector \"A\": tls_match: names are only matched with tls = \"verify\" or \"secure\"; set one, or "
             "remove tls_match\n"
             "danelaw.conf:3: connector \"B\": tls_match: \".b.example\": a leading dot would match names at any depth below; "
             "write each host name\n"
             "danelaw.conf:4: connector \"B\": tls_match: \"*.b.example\": names are matched as they are; write each host name\n"
             "danelaw.conf:5: connector \"B\": tls_match: \"hostname\": this is a word of Postfix, not a name; write the host name\n"
             "danelaw.conf:6: connector \"B\": tls_match: \"192.0.2.1\": certificates are matched by name only; write the host "
             "name\n"
             "danelaw.conf:7: connector \"C\": tls: \"dane-only\" is not known; write \"site\", \"may\", \"encrypt\", \"verify\" or "
             "\"secure\"\n");
    load_hinted("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ];\ntls = \"secure\"; } );",
                "danelaw.conf:2: connector \"A\": tls: without tls_match the certificate must bear the name of the next hop, as few "
                "MX hosts' do; set tls_match to the partner's host names\n");
}

/* --- routes --- */

static void routes_are_checked(void **state)
{
    (void)state;
    load_bad("routes = { a = { tls = \"dane\"; };\nb = { transport = \"smtp:x\"; };\nc = { transport = \"c\"; next_hop = \"[h]:x\";\n"
             "tls_match = [ \"h\" ]; };\nd = \"smtp\";\ne = { transprot = \"x\"; }; f* = { transport = \"f\"; }; };\n",
             "danelaw.conf:1: routes.a.transport: is missing; write the name of the MTA's transport, transport = \"...\"\n"
             "danelaw.conf:2: routes.b.transport: is no transport; write its name alone, without colon and next hop\n"
             "danelaw.conf:3: routes.c.next_hop: \"[h]:x\": a port is a number from 1 to 65535\n"
             "danelaw.conf:4: routes.c.tls_match: names are only matched with tls = \"verify\" or \"secure\"; set one, or remove "
             "tls_match\n"
             "danelaw.conf:5: routes.d: is a text; write a group, NAME = { transport = \"...\"; };\n"
             "danelaw.conf:6: routes.e.transprot: unknown setting; did you mean \"transport\"?\n"
             "danelaw.conf:6: routes.f*: the name of a route has at most 64 letters, digits, hyphens and underscores\n");
}

static void a_mandatory_connectors_road_is_strong_by_itself(void **state)
{
    (void)state;
    load_bad("routes = { weak = { transport = \"smtp\"; tls = \"encrypt\"; };\nsecure = { transport = \"s\"; tls = \"secure\"; };\n"
             "sts-mandatory = { transport = \"s\"; tls = \"secure\"; }; };\n"
             "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\nroute = \"weak\"; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\" ]; smtp_dane = \"mandatory\"; route = \"secure\"; },\n"
             "{ name = \"C\"; recipients = [ \"c.example\" ]; route = \"week\"; },\n"
             "{ name = \"D\"; recipients = [ \"d.example\" ]; route = \"secure\"; } );\n",
             "danelaw.conf:3: routes.sts-mandatory.tls: mandatory connectors rely on this route; write tls = \"dane-only\", or "
             "\"secure\" with tls_match\n"
             "danelaw.conf:5: connector \"A\": route: \"weak\" authenticates nobody by itself, so that mail would leave "
             "unprotected while the daemon is down; take one with tls = \"dane-only\", or \"secure\" with tls_match, and a "
             "transport other than \"danelaw\"\n"
             "danelaw.conf:6: connector \"B\": route: \"secure\" authenticates nobody by itself, so that mail would leave "
             "unprotected while the daemon is down; take one with tls = \"dane-only\", or \"secure\" with tls_match, and a "
             "transport other than \"danelaw\"\n"
             "danelaw.conf:7: connector \"C\": route: \"week\" is not in routes; did you mean \"weak\"?\n");
}

/* The map answers for the relay as for any stranger: by (default). */
static void a_mandatory_connector_is_not_left_to_the_opportunistic_transport(void **state)
{
    (void)state;
    load_bad("routes = { r = { transport = \"danelaw\"; tls = \"dane-only\"; next_hop = \"[relay.example]\"; }; };\n"
             "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\nroute = \"r\"; } );\n",
             "danelaw.conf:3: connector \"A\": route: \"r\" authenticates nobody by itself, so that mail would leave "
             "unprotected while the daemon is down; take one with tls = \"dane-only\", or \"secure\" with tls_match, and a "
             "transport other than \"danelaw\"\n");
}

static void a_road_that_asks_the_daemon_has_no_next_hop_of_its_own(void **state)
{
    (void)state;
    load_bad("routes = { r = { transport = \"danelaw\"; next_hop = \"[relay.example]\"; }; };\n"
             "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; tls = \"encrypt\";\nroute = \"r\"; } );\n",
             "danelaw.conf:3: connector \"A\": route: \"r\" leads to a next hop of its own by a transport that asks the "
             "daemon, which could not tell whose mail it is; write the next hop as smart_hosts of the connector\n");
}

static void a_route_replaces_the_built_in_one(void **state)
{
    struct configuration *c = load_good(
        "routes = { dane-mandatory = { transport = \"own-dane\"; tls = \"dane-only\"; }; };\n"
        "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; } );");

    (void)state;
    assert_int_equal(ruleset_route_count(c->rules), 3);
    assert_string_equal(ruleset_at(c->rules, 0)->route->transport, "own-dane");
    assert_string_equal(ruleset_route(c->rules, "sts-mandatory")->tls_match[0], "nothing.danelaw.invalid");
    config_free(c);
}

static void two_next_hops_are_one_too_many(void **state)
{
    (void)state;
    load_bad("routes = { r = { transport = \"r\"; next_hop = \"[a.example], [b.example]:587\"; }; };\nconnectors = (\n{ name = \"A\";\n"
             "recipients = [ \"a.example\" ]; route = \"r\";\nsmart_hosts = [ \"gw.example\" ]; } );",
             "danelaw.conf:5: connector \"A\": smart_hosts: the route \"r\" has a next hop of its own; remove one of the two\n");
}

/* --- MTA-STS, and fallbacks --- */

static void mandatory_sts_takes_the_road_that_asks_for_it(void **state)
{
    struct configuration *c = load(
        "connectors = ( { name = \"S\"; recipients = [ \"s.example\" ]; mta_sts = \"mandatory\"; },\n"
        "{ name = \"B\"; recipients = [ \"b.example\" ]; smtp_dane = \"mandatory\"; mta_sts = \"mandatory\"; require = \"any\"; },\n"
        "{ name = \"D\"; recipients = [ \"d.example\" ]; smtp_dane = \"mandatory\"; route = \"sts-mandatory\"; },\n"
        "{ name = \"X\"; recipients = [ \"x.example\" ]; mta_sts = \"mandatory\";\nroute = \"dane-mandatory\"; } );", "",
        "danelaw.conf:5: connector \"X\": route: \"dane-mandatory\" enforces DANE alone: mail without it waits there whatever the "
        "MTA-STS policy says, and a policy that is lost meanwhile goes unnoticed; \"sts-mandatory\" asks for both\n");
    const struct connector *b = ruleset_named(c->rules, "B");

    (void)state;
    assert_string_equal(ruleset_named(c->rules, "S")->route->name, "sts-mandatory");
    assert_int_equal(ruleset_named(c->rules, "S")->mta_sts, MODE_MANDATORY);
    assert_int_equal(ruleset_named(c->rules, "S")->require, REQUIRE_ALL);
    assert_string_equal(b->route->name, "sts-mandatory");
    assert_int_equal(b->require, REQUIRE_ANY);
    assert_string_equal(ruleset_named(c->rules, "D")->route->name, "sts-mandatory");
    assert_string_equal(ruleset_named(c->rules, "X")->route->name, "dane-mandatory");
    config_free(c);
}

static void any_of_one_requirement_is_a_fault(void **state)
{
    (void)state;
    load_bad("connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\nrequire = \"any\"; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\" ]; mta_sts = \"mandatory\"; require = \"any\"; } );",
             "danelaw.conf:2: connector \"A\": require: \"any\" lets one of two requirements suffice, and only matters where "
             "smtp_dane and mta_sts are both \"mandatory\"; make them so, or remove require\n"
             "danelaw.conf:3: connector \"B\": require: \"any\" lets one of two requirements suffice, and only matters where "
             "smtp_dane and mta_sts are both \"mandatory\"; make them so, or remove require\n");
    config_free(load_good("defaults = { require = \"any\"; };\n"
                          "connectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; } );"));
}

static const char spare_routes[] =
    "routes = { site = { transport = \"own\"; }; verify = { transport = \"own\"; tls = \"verify\"; next_hop = \"relay.example\"; };"
    "  hosts = { transport = \"own\"; tls = \"verify\"; next_hop = \"[a.example], [b.example]:587\"; };"
    "  mixed = { transport = \"own\"; tls = \"verify\"; next_hop = \"[a.example], b.example\"; };"
    "  address = { transport = \"own\"; tls = \"verify\"; next_hop = \"[192.0.2.1]\"; };"
    "  anybody = { transport = \"own\"; tls = \"secure\"; next_hop = \"[a.example]\"; };"
    "  named = { transport = \"own\"; tls = \"secure\"; tls_match = [ \"a.example\" ]; };"
    "  dane = { transport = \"own\"; tls = \"dane-only\"; };"
    "  asked = { transport = \"danelaw\"; tls = \"secure\"; tls_match = [ \"a.example\" ]; next_hop = \"[a.example]\"; };"
    "  asked-sts = { transport = \"danelaw-sts\"; tls = \"secure\"; tls_match = [ \"x.invalid\" ]; next_hop = \"[a.example]\"; };"
    " };\n";

/* Loads connectors behind the routes; theirs are the lines from 2 on. */
static struct configuration *load_spare(const char *connectors, const char *faults, const char *hints)
{
    char text[4096];

    snprintf(text, sizeof(text), "%sconnectors = ( %s );", spare_routes, connectors);
    return load(text, faults, hints);
}

static void a_fallback_is_there_with_its_switch(void **state)
{
    struct configuration *c = load_spare(
        "{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; fallback = \"hosts\"; fallback_after = \"1h\"; },"
        "{ name = \"B\"; recipients = [ \"b.example\" ]; smtp_dane = \"mandatory\"; fallback = \"hosts\"; },"
        "{ name = \"C\"; recipients = [ \"c.example\" ]; }", "", "");
    const struct connector *a = ruleset_named(c->rules, "A"), *b = ruleset_named(c->rules, "B");

    (void)state;
    assert_string_equal(a->fallback->name, "hosts");
    assert_int_equal(a->fallback_after, 3600);
    assert_int_equal(b->fallback_after, 15 * 60);
    assert_false(connector_on_fallback(a));
    assert_ptr_equal(connector_road(a), a->route);
    atomic_store(a->on_fallback, true);
    assert_ptr_equal(connector_road(a), a->fallback);
    assert_false(connector_on_fallback(b));         /* each has its own */
    assert_null(ruleset_named(c->rules, "C")->fallback);
    assert_null(ruleset_named(c->rules, "C")->on_fallback);
    config_free(c);
}

static void a_fallback_by_default_is_everyones_but_the_defaults_own(void **state)
{
    struct configuration *c = load_good(
        "routes = { r = { transport = \"own\"; tls = \"dane-only\"; next_hop = \"[r.example]\"; }; };\n"
        "defaults = { fallback = \"r\"; fallback_after = 90; };\nconnectors = (\n"
        "{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; },\n"
        "{ name = \"B\"; recipients = [ \"b.example\" ]; fallback = \"\"; } );");

    (void)state;
    assert_string_equal(ruleset_named(c->rules, "A")->fallback->name, "r");
    assert_int_equal(ruleset_named(c->rules, "A")->fallback_after, 90);
    assert_null(ruleset_named(c->rules, "B")->fallback);
    assert_null(ruleset_default(c->rules)->fallback);
    assert_null(ruleset_default(c->rules)->on_fallback);
    config_free(c);
    load_bad("defaults = {\nfallback = \"oportunistic\"; };\nconnectors = ( { name = \"A\"; recipients = [ \"a.example\" ]; } );",
             "danelaw.conf:2: defaults.fallback: \"oportunistic\" is not in routes; did you mean \"opportunistic\"?\n");
}

#define WEAK(line, name, route) \
    "danelaw.conf:" line ": connector \"" name "\": fallback: \"" route "\" is weaker than what the connector demands; take a route " \
    "with tls = \"dane-only\", \"secure\" with tls_match, or \"verify\" and next_hop = \"[host]\", or allow it by " \
    "fallback_weak = true\n"

static void mandatory_mail_falls_back_to_strong_roads_only(void **state)
{
    static const char *const weak[] = { "site", "verify", "mixed", "address", "anybody", "asked" };
    static const char *const strong[] = { "hosts", "named", "dane", "asked-sts" };
    static const char *const modes[] = { "smtp_dane", "mta_sts" };
    char text[400], fault[600];
    size_t i, j;

    (void)state;
    for (j = 0; j < COUNT_OF(modes); j++) {
        for (i = 0; i < COUNT_OF(weak); i++) {
            snprintf(text, sizeof(text), "{ name = \"A\"; recipients = [ \"a.example\" ]; %s = \"mandatory\";\nfallback = \"%s\"; }",
                     modes[j], weak[i]);
            snprintf(fault, sizeof(fault), WEAK("3", "A", "%s"), weak[i]);
            load_spare(text, fault, "");
            snprintf(text, sizeof(text), "{ name = \"A\"; recipients = [ \"a.example\" ]; %s = \"mandatory\";"
                     " fallback = \"%s\"; fallback_weak = true; }", modes[j], weak[i]);
            config_free(load_spare(text, "", ""));
        }
        for (i = 0; i < COUNT_OF(strong); i++) {
            snprintf(text, sizeof(text), "{ name = \"A\"; recipients = [ \"a.example\" ]; %s = \"mandatory\"; fallback = \"%s\"; }",
                     modes[j], strong[i]);
            config_free(load_spare(text, "", ""));
        }
    }
    config_free(load_spare("{ name = \"A\"; recipients = [ \"a.example\" ]; fallback = \"site\"; }", "", ""));
    load_bad("routes = { site = { transport = \"own\"; }; }; defaults = { fallback = \"site\"; };\nconnectors = (\n"
             "{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; },\n"
             "{ name = \"B\"; recipients = [ \"b.example\" ]; } );", WEAK("3", "A", "site"));
}

#define SAME_WAY(name, route) \
    "danelaw.conf:2: connector \"" name "\": fallback: \"" route "\" leads the same way as the connector's own route, so that " \
    "nothing would change; take another one, or write fallback = \"\"\n"
#define HELD_AS_WELL(name, route) \
    "danelaw.conf:2: connector \"" name "\": fallback: on \"" route "\" mail would be held for the same reason; take a route with a " \
    "next_hop or a transport of its own, or write fallback = \"\"\n"

static void a_fallback_that_changes_nothing_is_a_fault(void **state)
{
    (void)state;
    load_spare("{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; fallback = \"dane-mandatory\"; },"
               "{ name = \"B\"; recipients = [ \"b.example\" ]; fallback = \"opportunistic\"; },"
               "{ name = \"C\"; recipients = [ \"c.example\" ]; smtp_dane = \"mandatory\"; route = \"named\"; fallback = \"dane\"; }",
               SAME_WAY("A", "dane-mandatory") SAME_WAY("B", "opportunistic") SAME_WAY("C", "dane"), "");
    load_spare("{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\"; fallback = \"sts-mandatory\"; },"
               "{ name = \"B\"; recipients = [ \"b.example\" ]; mta_sts = \"mandatory\"; fallback = \"opportunistic\";"
               "  fallback_weak = true; },"
               "{ name = \"C\"; recipients = [ \"c.example\" ]; fallback = \"sts-mandatory\"; },"
               "{ name = \"D\"; recipients = [ \"d.example\" ]; smtp_dane = \"mandatory\"; mta_sts = \"mandatory\"; require = \"any\";"
               "  fallback = \"dane-mandatory\"; }",
               HELD_AS_WELL("A", "sts-mandatory") HELD_AS_WELL("B", "opportunistic") HELD_AS_WELL("C", "sts-mandatory")
               HELD_AS_WELL("D", "dane-mandatory"), "");
    config_free(load_spare("{ name = \"A\"; recipients = [ \"a.example\" ]; mta_sts = \"mandatory\"; fallback = \"dane-mandatory\"; },"
                           "{ name = \"B\"; recipients = [ \"b.example\" ]; smtp_dane = \"mandatory\"; mta_sts = \"mandatory\";"
                           "  fallback = \"dane-mandatory\"; }", "", ""));
}

static void a_fallback_that_may_surprise_is_pointed_out(void **state)
{
    (void)state;
    config_free(load_spare(
        "\n{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"none\"; mta_sts = \"none\"; fallback = \"named\"; },\n"
        "{ name = \"B\"; recipients = [ \"b.example\" ]; senders = [ \"x.example\" ]; fallback = \"named\"; },\n"
        "{ name = \"C\"; recipients = [ \"c.example\" ]; smart_hosts = [ \"gw.example\" ]; smtp_dane = \"mandatory\";\n"
        "fallback = \"dane-mandatory\"; },\n"
        "{ name = \"D\"; recipients = [ \"d.example\" ];\nfallback_after = \"1h\";\nfallback_weak = true; },\n"
        "{ name = \"E\"; recipients = [ \"*\" ];\nfallback = \"named\"; }", "",
        "danelaw.conf:3: connector \"A\": fallback: is never taken: without DANE and MTA-STS the connector holds nothing\n"
        "danelaw.conf:4: connector \"B\": fallback: is never taken: the transport table can't see senders; set milter.tag = true\n"
        "danelaw.conf:6: connector \"C\": fallback: leads past the smart hosts, to the recipient's own domain; set next_hop in the "
        "route if another way is meant\n"
        "danelaw.conf:8: connector \"D\": fallback_after: does nothing without a fallback; name one, or remove it\n"
        "danelaw.conf:9: connector \"D\": fallback_weak: does nothing without a fallback; name one, or remove it\n"
        "danelaw.conf:10: connector \"E\": recipients: \"*\" is never written to the table; set default_transport as `danelaw "
        "setup postfix` prints it\n"
        "danelaw.conf:11: connector \"E\": fallback: is not taken for \"*\", which is never written to the table; name the "
        "domains\n"));
}

/* --- hints --- */

static void what_the_table_cannot_do_is_said(void **state)
{
    (void)state;
    load_hinted("connectors = (\n{ name = \"A\"; recipients = [ \"a.example\" ]; smtp_dane = \"mandatory\";\nsenders = [ \"x.example\" ]; },\n"
                "{ name = \"B\";\nrecipients = [ \"*\" ]; } );",
                "danelaw.conf:3: connector \"A\": senders: the transport table can't see senders: mail of every sender to these "
                "recipients travels the mandatory road; set milter.tag = true to loosen that for the others\n"
                "danelaw.conf:5: connector \"B\": recipients: \"*\" is never written to the table; set default_transport as "
                "`danelaw setup postfix` prints it\n");
    load_hinted("defaults = {\nsmtp_dane = \"mandatory\"; };",
                "danelaw.conf:2: defaults.smtp_dane: destinations without a connector are judged by this too, but only named "
                "connectors are enforced\n");
}

static void subdomains_without_their_domain_are_pointed_out(void **state)
{
    (void)state;
    load_hinted("connectors = ( { name = \"A\"; recipients = [ \"*.a.example\",\n\"*.b.example\", \"*.c.d.example\" ]; },\n"
                "{ name = \"B\"; recipients = [ \"b.example\", \"*.d.example\", \"d.example\" ]; } );",
                "danelaw.conf:1: connector \"A\": recipients: \"*.a.example\" does not cover a.example itself, and no other "
                "connector does; add \"a.example\" if it is meant\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connector_is_read_whole),
        TEST(a_setting_left_out_comes_from_defaults_else_from_the_preset),
        TEST(defaults_take_no_setting_of_one_connector),
        TEST(a_name_is_there_alone_and_printable),
        TEST(a_pattern_that_means_something_else_is_corrected),
        TEST(an_internationalized_recipient_is_found_in_both_spellings),
        TEST(twins_are_a_fault_that_names_both),
        TEST(those_that_can_be_told_apart_are_no_twins),
        TEST(a_disabled_connector_is_checked_all_the_same),
        TEST(smart_hosts_are_checked),
        TEST(names_to_match_are_names_and_are_matched),
        TEST(routes_are_checked),
        TEST(a_mandatory_connectors_road_is_strong_by_itself),
        TEST(a_mandatory_connector_is_not_left_to_the_opportunistic_transport),
        TEST(a_road_that_asks_the_daemon_has_no_next_hop_of_its_own),
        TEST(a_route_replaces_the_built_in_one),
        TEST(two_next_hops_are_one_too_many),
        TEST(mandatory_sts_takes_the_road_that_asks_for_it),
        TEST(any_of_one_requirement_is_a_fault),
        TEST(a_fallback_is_there_with_its_switch),
        TEST(a_fallback_by_default_is_everyones_but_the_defaults_own),
        TEST(mandatory_mail_falls_back_to_strong_roads_only),
        TEST(a_fallback_that_changes_nothing_is_a_fault),
        TEST(a_fallback_that_may_surprise_is_pointed_out),
        TEST(what_the_table_cannot_do_is_said),
        TEST(subdomains_without_their_domain_are_pointed_out),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
