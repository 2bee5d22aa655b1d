"""danelaw doctor: silent on a good set-up, and never silent on a way past it."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading

import connectors
import daemon
from lab import wait_until
from namespace import ROOT, run
from postfix import CONFIG, SPOOL, look_old
from trial import chapter, expect

GOOD, STS, USER = "good311.example", "good301.example", "boss@notlsa.example"
RULES = [connectors.mandatory(GOOD), connectors.mandatory("*.wildnsec3.example"), connectors.mandatory(USER),
         connectors.connector("sts", STS, smtp_dane="none", mta_sts="mandatory"),
         connectors.opportunistic("hostunsigned.example")]
ROADS = ("danelaw-dane", "danelaw-sts", "danelaw")
MILTER = "unix:danelaw/milter.sock"


@contextlib.contextmanager
def kept(*paths):
    """The files as they are, again afterwards."""
    before = {}
    for path in paths:
        with open(path, "rb") as file:
            before[path] = file.read(), os.stat(path)
    try:
        yield
    finally:
        for path, (content, seen) in before.items():
            with open(path, "wb") as out:
                out.write(content)
            os.chown(path, seen.st_uid, seen.st_gid)
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@contextlib.contextmanager
def changed(main=(), services=(), commands=()):
    """main.cf with other lines, master.cf with other options (`service/type/name=value`), after postconf's commands."""
    with kept(CONFIG + "/main.cf", CONFIG + "/master.cf"):
        if main:
            run("postconf", "-e", *main)
        if services:
            run("postconf", "-Pe", *services)
        for command in commands:
            run("postconf", *command)
        for name in ("main.cf", "master.cf"):
            look_old(f"{CONFIG}/{name}")
        yield


def rules(lab, connectors_):
    """The daemon and Postfix on these, and the table that goes with them."""
    lab.rules(connectors_)
    wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 20, "the table")


def findings(lab, *more):
    done = lab.danelawd.cli("--json", "doctor", "postfix", *more)
    found = lab.danelawd.ask("doctor", "postfix", *more)
    expect(done.returncode == (1 if found else 0), f"exit {done.returncode}", done.stdout, done.stderr)
    return found


def expect_found(lab, severity, where, fix=""):
    found = findings(lab)
    right = [f for f in found if f["severity"] == severity and where in f["where"] and fix in f["fix"]]
    expect(right, f"no {severity} at {where} with {fix}", *found)


def current(name):
    return run("postconf", "-h", name).strip()


# What each road says, another value, and how bad that is.
OPTIONS = (
    ("syslog_name", "postfix/smtp", "hint"), ("smtp_fallback_relay", "[mx.plaintext.example]", "leak"),
    ("smtp_dns_support_level", "enabled", "hold"), ("smtp_host_lookup", "native", "hold"),
    ("smtp_connection_cache_on_demand", "yes", "leak"), ("smtp_tls_connection_reuse", "yes", "leak"),
    ("smtp_tls_mandatory_protocols", "!SSLv2,!SSLv3", "leak"), ("smtp_tls_security_level", "may", "leak"),
    ("smtp_tls_policy_maps", "inline:{{a.example=may}}", "leak"),
)
# What only one road says.
OWN_OPTIONS = (
    ("danelaw-dane", "smtp_tls_per_site", "inline:{{a.example=NONE}}", "leak"),
    ("danelaw-sts", "smtp_tls_secure_cert_match", "nexthop", "leak"),
    ("danelaw", "smtp_tls_dane_insecure_mx_policy", "may", "hint"),
    ("danelaw-sts", "smtp_tls_policy_maps", "socketmap:unix:danelaw/map.sock:postfix-tls", "leak"),
    ("danelaw", "smtp_tls_policy_maps", "socketmap:unix:danelaw/other.sock:postfix-tls", "leak"),
    ("danelaw-dane", "smtp_tls_policy_maps", "socketmap:unix:danelaw/map.sock:postfix-tls", "leak"),
)
# main.cf, and what is found: severity, where, a part of the fix.
MAIN = (
    ("transport_maps = ", "leak", "main.cf: transport_maps", "/postfix/transport"),
    ("smtpd_milters = ", "hold", "main.cf: smtpd_milters", "default_action=accept"),
    ("smtpd_milters = { %s, default_action=tempfail }" % MILTER, "hold", "smtpd_milters", "default_action=accept"),
    ("smtpd_milters = { %s, default_action=reject }" % MILTER, "hold", "smtpd_milters", "default_action=accept"),
    ("smtpd_milters = " + MILTER, "hold", "smtpd_milters", "default_action=accept"),
    ("smtpd_milters = { %s, default_action=accept, command_timeout=2s }" % MILTER, "hold", "smtpd_milters", "command_timeout"),
    ("non_smtpd_milters = " + MILTER, "hold", "non_smtpd_milters", "take"),
    ("milter_protocol = 4", "hold", "milter_protocol", "6"),
    ("milter_rcpt_macros = i", "hint", "milter_rcpt_macros", "{rcpt_mailer}"),
    ("receive_override_options = no_milters", "hold", "receive_override_options", "no_milters"),
    ("content_filter = smtp:[mx.plaintext.example]", "leak", "content_filter", ""),
    ("content_filter = scan:[127.0.0.1]:10024", "hint", "content_filter", "content_filter="),
    ("smtpd_proxy_filter = mx.plaintext.example:25", "leak", "smtpd_proxy_filter", ""),
    ("header_checks = regexp:{{/^Subject: out/ FILTER smtp:[mx.plaintext.example]}}", "leak", "header_checks", "FILTER"),
    ("body_checks = regexp:{{/out/ filter smtp:}}", "leak", "body_checks", "FILTER"),
    ("mime_header_checks = regexp:{{/^X/ FILTER smtp:}}", "leak", "mime_header_checks", "FILTER"),
    ("nested_header_checks = regexp:{{/^X/ FILTER smtp:}}", "leak", "nested_header_checks", "FILTER"),
    ("milter_header_checks = regexp:{{/^X-Spam/ FILTER smtp:[mx.plaintext.example]}}", "leak", "milter_header_checks", "FILTER"),
    ("milter_header_checks = regexp:{{/^X-Danelaw-Route: x/ HOLD} {/^X-Spam/ FILTER smtp:[mx.plaintext.example]}}", "leak",
     "milter_header_checks", "FILTER"),
    ("milter_header_checks = regexp:{{/^X-Danelaw-Route: dane-mandatory$$/ FILTER smtp:}}", "hint", "milter_header_checks",
     "milter.tag"),
    ("smtpd_recipient_restrictions = check_recipient_access inline:{{good311.example=FILTER smtp:}}", "leak",
     "smtpd_recipient_restrictions", "FILTER"),
    ("smtpd_client_restrictions = check_client_access static:{REDIRECT spy@sender.example}", "hint",
     "smtpd_client_restrictions", "REDIRECT"),
    ("maximal_queue_lifetime = 6h", "hold", "maximal_queue_lifetime", "2d"),
    ("bounce_queue_lifetime = 6h", "hint", "bounce_queue_lifetime", "2d"),
    ("soft_bounce = yes", "hold", "soft_bounce", "no"),
    ("defer_transports = danelaw-sts", "hold", "defer_transports", "danelaw-sts"),
    ("master_service_disable = danelaw-dane.unix", "hold", "master_service_disable", "danelaw-dane"),
    ("parent_domain_matches_subdomains = transport_maps", "leak", "parent_domain_matches_subdomains", "transport_maps"),
    ("relay_domains = a.wildnsec3.example", "leak", "relay_domains", "recipients"),
    ("smtpd_hard_error_limit = 5", "hint", "smtpd_hard_error_limit", "20"),
    ("multi_instance_directories = /etc/postfix-out", "hint", "multi_instance_directories", "--config-dir"),
    ("smtp_delivery_status_filter = regexp:{{/^4/ 5.7.5}}", "hold", "smtp_delivery_status_filter", "="),
    ("smtp_connection_cache_destinations = good301.example", "leak", "danelaw-sts: -o smtp_connection_cache_destinations", ""),
    ("smtp_tls_wrappermode = yes", "hold", "smtp_tls_wrappermode", "no"),
    ("smtp_discard_ehlo_keywords = starttls", "hold", "smtp_discard_ehlo_keywords", ""),
    ("ignore_mx_lookup_error = yes", "hint", "ignore_mx_lookup_error", "no"),
    ("disable_dns_lookups = yes", "hint", "disable_dns_lookups", "no"),
    ("smtp_tls_CAfile = /nonexistent", "hold", "smtp_tls_CAfile", "smtp_tls_CAfile = "),
    ("smtp_tls_CAfile = ", "hold", "smtp_tls_CAfile", "smtp_tls_CAfile = "),
    ("address_verify_transport_maps = inline:{{a.example=smtp:}}", "hint", "address_verify_transport_maps", "$transport_maps"),
)
# Tables before ours and behind it.
BEFORE = ("inline:{{good311.example=smtp:}}", "inline:{{boss@notlsa.example=smtp:[mx.plaintext.example]}}",
          "inline:{{.wildnsec3.example=smtp:}}", "regexp:{{/@good311[.]example$$/ smtp:}}", "static:smtp:",
          "inline:{{anyone@good311.example=:}}")
BEHIND = ("regexp:{{/^ceo@good311[.]example$$/ smtp:}}", "inline:{{clerk@good311.example=smtp:}}", "inline:{{a.wildnsec3.example=smtp:}}",
          "inline:{{.a.wildnsec3.example=smtp:}}", "regexp:{{/@good311[.]example$$/ smtp:}}", "static:smtp:")
HARMLESS = ("inline:{{a.wildnsec3.example=lmtp:unix:private/lmtp}}", "inline:{{other.example=smtp:}}", "inline:{{*=smtp:}}", "regexp:{{/@other[.]example$$/ smtp:}}",
            "inline:{{good311.example=danelaw-dane:}}", "inline:{{a.wildnsec3.example=error:5.1.1 closed}}")


@chapter
def doctor(lab, book):
    """danelaw doctor postfix: silent on a good set-up, finds every way past it"""
    rules(lab, RULES)
    with book.test("what danelaw setup postfix prints: nothing found, exit 0"):
        done = lab.danelawd.cli("doctor", "postfix")
        expect(done.returncode == 0 and done.stdout == "nothing found\n", done.stdout, done.stderr)
        expect(findings(lab) == [], findings(lab))
    with book.test("doctor postfix --config-dir D looks there"):
        shutil.copytree(CONFIG, ROOT + "/other", symlinks=True, dirs_exist_ok=True)
        shutil.copy(CONFIG + "/main.cf.pristine", ROOT + "/other/main.cf")
        look_old(ROOT + "/other/main.cf")
        found = findings(lab, "--config-dir", ROOT + "/other")
        expect([f for f in found if f["where"] == "main.cf: transport_maps"], *found)
        expect(lab.danelawd.cli("doctor", "postfix", "--config-dir", "/nonexistent").returncode == 75)
    with book.test("a page for people: severity, where, what, what to write instead"):
        with changed(["soft_bounce = yes"]):
            said = lab.danelawd.cli("doctor", "postfix").stdout
            expect(said.startswith("hold  main.cf: soft_bounce\n  what ") and "  instead       soft_bounce = no\n" in said
                   and said.endswith("\n1 hold\n"), said)
    with book.test("a pattern that only speaks of FILTER, and checks that do other things, are no finding"):
        with changed(["header_checks = regexp:{{/^X-Note: no FILTER today/ REJECT} {/^Subject: x/ HOLD}}",
                      "smtpd_client_restrictions = check_client_access inline:{{a.example=REJECT}}"]):
            expect(findings(lab) == [], *findings(lab))
    for line, severity, where, fix in MAIN:
        with book.test(f"{line}: {severity}"), changed([line]):
            expect_found(lab, severity, where, fix)


@chapter
def doctor_roads(lab, book):
    """danelaw doctor postfix: every line of every road, altered and missing"""
    rules(lab, RULES)
    for road in ROADS:
        for name, value, severity in (*OPTIONS, *((n, v, s) for r, n, v, s in OWN_OPTIONS if r == road)):
            with book.test(f"{road}: -o {name}={value}: {severity}"), changed(services=[f"{road}/unix/{name}={value}"]):
                expect_found(lab, severity, f"master.cf: {road}: -o {name}", f"-o {name}=")
        for name in [line.split("/")[2].split(" ")[0] for line in run("postconf", "-P").splitlines()
                     if line.startswith(road + "/")]:
            with book.test(f"{road}: no line -o {name}"), changed(commands=[["-PX", f"{road}/unix/{name}"]]):
                found = findings(lab)
                expect([f for f in found if f["where"] == f"master.cf: {road}: -o {name}" and name in f["fix"]], *found)
        with book.test(f"{road} is missing"), changed(commands=[["-MX", f"{road}/unix"]]):
            expect_found(lab, "hold", f"master.cf: {road}", f"{road} unix - - y - - smtp")
        with book.test(f"{road} runs another program"), changed(commands=[["-Fe", f"{road}/unix/command=lmtp"]]):
            expect_found(lab, "leak", f"master.cf: {road}", f"{road} unix - - y - - smtp")
    with book.test("no -o smtp_fallback_relay while main.cf has a fallback relay: leak"):
        with changed(["smtp_fallback_relay = [mx.plaintext.example]"],
                     commands=[["-PX", "danelaw-dane/unix/smtp_fallback_relay"]]):
            expect_found(lab, "leak", "danelaw-dane: -o smtp_fallback_relay", "-o smtp_fallback_relay=")
    with book.test("what main.cf says beside the roads' own lines is no finding"):
        with changed(["smtp_fallback_relay = [mx.plaintext.example]", "smtp_tls_policy_maps = inline:{{a.example=none}}",
                      "smtp_tls_security_level = none", "smtp_host_lookup = native", "relayhost = [mx.plaintext.example]",
                      "smtp_tls_mandatory_protocols = TLSv1", "smtp_connection_cache_on_demand = yes"]):
            expect(findings(lab) == [], *findings(lab))
    with book.test("stricter protocols, and a socket by its whole path without a chroot, are no finding"):
        with changed(services=["danelaw-dane/unix/smtp_tls_mandatory_protocols=>=TLSv1.3",
                               f"danelaw-sts/unix/smtp_tls_policy_maps=socketmap:unix:{SPOOL}/danelaw/map.sock:postfix-mandatory"],
                     commands=[["-Fe", "danelaw-sts/unix/chroot=n"]]):
            expect(findings(lab) == [], *findings(lab))
    with book.test("a chrooted road with the socket's whole path: hold"):
        with changed(services=[f"danelaw-sts/unix/smtp_tls_policy_maps=socketmap:unix:{SPOOL}/danelaw/map.sock:"
                               "postfix-mandatory"]):
            expect_found(lab, "hold", "master.cf: danelaw-sts", "danelaw-sts unix - - n - - smtp")


@chapter
def doctor_tables(lab, book):
    """danelaw doctor postfix: the generated table, and tables that win over it"""
    rules(lab, RULES)
    ours = current("transport_maps")
    for table in BEFORE:
        with book.test(f"transport_maps = {table}, OURS: leak"), changed([f"transport_maps = {table}, {ours}"]):
            expect_found(lab, "leak", "main.cf: transport_maps", "take")
    for table in BEHIND:
        with book.test(f"transport_maps = OURS, {table}: leak"), changed([f"transport_maps = {ours}, {table}"]):
            expect_found(lab, "leak", "main.cf: transport_maps", "take")
    for table in HARMLESS:
        for maps in (f"{table}, {ours}", f"{ours}, {table}"):
            with book.test(f"transport_maps = {maps}: no finding"), changed([f"transport_maps = {maps}"]):
                expect(findings(lab) == [], *findings(lab))
    with book.test("patterns for addresses of a mandatory connector that can't be told: hint"):
        with changed([f"transport_maps = {ours}, regexp:{{{{/^(ceo|cfo)@good311[.]example$$/ smtp:}}}}"]):
            expect_found(lab, "hint", "main.cf: transport_maps", "regexp")
    with book.test("an indexed table with a whole address, behind ours: leak"):
        lab.postfix.write_table("routes", ["clerk@good311.example smtp:", "other.example smtp:"])
        with changed([f"transport_maps = {ours}, $default_database_type:{CONFIG}/routes"]):
            expect_found(lab, "leak", "main.cf: transport_maps", "routes")
    with book.test("a table that can't be listed: hint"):
        with changed([f"transport_maps = {ours}, unionmap:{{inline:{{a.example=smtp:}}}}"]):
            expect_found(lab, "hint", "main.cf: transport_maps", "unionmap")
    with book.test("a table of the wrong type: leak"):
        with changed(["transport_maps = texthash:" + ours.partition(":")[2]]):
            expect_found(lab, "leak", "main.cf: transport_maps", "transport_maps = " + ours)
    with book.test("trivial-rewrite with transport_maps of its own: leak"):
        with changed(services=["rewrite/unix/transport_maps="]):
            expect_found(lab, "leak", "master.cf: rewrite/unix: -o transport_maps", "transport_maps = " + ours)
    with book.test("a service with a content filter of its own: leak"):
        with changed(services=["submission/inet/content_filter=smtp:[mx.plaintext.example]"]):
            expect_found(lab, "leak", "master.cf: submission/inet: -o content_filter")
    with book.test("a submission service without the milter: hold"), changed(services=["submission/inet/smtpd_milters="]):
        expect_found(lab, "hold", "master.cf: submission/inet: -o smtpd_milters", MILTER)
    with book.test("a connector that the daemon has not heard of: leak"):
        lab.danelawd.configure([*RULES, connectors.mandatory("unsigned.example")])
        found = findings(lab)
        expect([f for f in found if "unsigned.example" in f["what"] and "danelaw reload" in f["fix"]], *found)
        expect([f for f in found if "other rules" in f["what"]], *found)
    with book.test("a mode overridden for a while is no reason to doubt the table"):
        rules(lab, RULES)
        done = lab.danelawd.cli("mode", "strict " + GOOD, "--dane", "opportunistic", "--for", "1h")
        expect(done.returncode == 0, done)
        wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 20, "the table")
        expect(findings(lab) == [], *findings(lab))
        lab.danelawd.cli("mode", "strict " + GOOD, "--clear")
        wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 20, "the table")
    path = ours.partition(":")[2].partition(",")[0]
    lab.danelawd.kill()                     # it would mend what follows
    with book.test("the table's text is not what the connectors ask for: leak"), kept(path):
        with open(path, "a", encoding="ascii") as out:
            out.write("x.example\tsmtp:\n")
        expect_found(lab, "leak", path, "danelaw tables")
    with book.test("the table's index is not what its text says: leak"), kept(path, path + ".db"):
        shutil.copy2(path, path + ".text")
        with open(path, "w", encoding="ascii") as out:
            out.write("other.example\tsmtp:\n")
        run("postmap", ours.partition(",")[0])
        shutil.move(path + ".text", path)
        expect_found(lab, "leak", path, "danelaw tables")
    with book.test("the table is missing: leak"), kept(path, path + ".db"):
        os.unlink(path + ".db")
        expect_found(lab, "leak", path, "danelaw tables")
        expect_found(lab, "hold", path, "danelaw tables")
    with book.test("another table is missing: hold"), changed([f"transport_maps = {ours}, hash:{CONFIG}/nothing"]):
        expect_found(lab, "hold", "main.cf: transport_maps", f"postmap hash:{CONFIG}/nothing")
    with book.test("tables.mta is none: leak"):
        lab.danelawd.configure(RULES, tables={"mta": "none"})
        expect_found(lab, "leak", "danelaw.conf: tables.mta", "postfix")
    lab.danelawd.configure(RULES)


@chapter
def doctor_everyone(lab, book):
    """danelaw doctor postfix: a mandatory connector for everyone"""
    rules(lab, [connectors.mandatory("*")])
    with book.test("what danelaw setup postfix prints: nothing found"):
        expect(current("default_transport") == "danelaw-dane", current("default_transport"))
        expect(findings(lab) == [], *findings(lab))
    for line, severity in (("default_transport = smtp", "leak"), ("relayhost = [mx.plaintext.example]", "hint"),
                           ("sender_dependent_default_transport_maps = inline:{{al@sender.example=smtp:}}", "leak"),
                           ("sender_dependent_relayhost_maps = inline:{{al@sender.example=[mx.plaintext.example]}}", "hint")):
        with book.test(f"{line}: {severity}"), changed([line]):
            expect_found(lab, severity, "main.cf: " + line.partition(" =")[0])
    with book.test("an opportunistic connector for everyone, another default_transport: hint"):
        rules(lab, [connectors.opportunistic("*")])
        with changed(["default_transport = smtp"]):
            expect_found(lab, "hint", "main.cf: default_transport", "default_transport = danelaw")
        rules(lab, [connectors.mandatory("*")])
    with book.test("an entry for * in a table: leak"):
        with changed([f"transport_maps = {current('transport_maps')}, inline:{{{{*=smtp:}}}}"]):
            expect_found(lab, "leak", "main.cf: transport_maps", "*")


@chapter
def doctor_tag(lab, book):
    """danelaw doctor postfix: milter.tag"""
    virtual = current("virtual_alias_maps")
    lab.rules(RULES, milter={"tag": True})
    with changed(["virtual_alias_maps ="]):
        with book.test("what danelaw setup postfix prints: nothing found"):
            expect(findings(lab) == [], *findings(lab))
        for line, severity in (("always_bcc = archive@sender.example", "hint"), (f"virtual_alias_maps = {virtual}", "hint"),
                               ("recipient_bcc_maps = inline:{{a@a.example=b@b.example}}", "hint"),
                               ("sender_bcc_maps = inline:{{a@a.example=b@b.example}}", "hint"),
                               ("content_filter = scan:[127.0.0.1]:10024", "hint"),
                               ("default_filter_nexthop = [mx.plaintext.example]", "leak"),
                               ("milter_header_checks =", "hold"),
                               ("milter_header_checks = regexp:{{/^X-Danelaw-Route: / FILTER smtp:}}", "leak")):
            with book.test(f"{line}: {severity}"), changed([line]):
                expect_found(lab, severity, "main.cf: " + line.partition(" =")[0])
        with book.test("another milter after Danelaw's: hint"):
            with changed([f"smtpd_milters = {current('smtpd_milters')}, inet:127.0.0.1:8999"]):
                expect_found(lab, "hint", "main.cf: smtpd_milters", MILTER)


@chapter
def doctor_world(lab, book):
    """danelaw doctor postfix: sockets, resolvers, users"""
    rules(lab, RULES)
    chroot = SPOOL + "/etc/resolv.conf"
    for text, severity in (("nameserver 192.0.2.1\n", "leak"), ("nameserver 127.0.0.9\n", "hold")):
        with book.test(f"the chroot's resolver is {text.split()[1]}: {severity}"), kept(chroot):
            with open(chroot, "w", encoding="ascii") as out:
                out.write(text)
            expect_found(lab, severity, chroot, "nameserver 127.0.0.1")
    with book.test("a resolver that does not validate: hold"), kept(chroot):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.9", 53))
            with open(chroot, "w", encoding="ascii") as out:
                out.write("nameserver 127.0.0.9\n")
            with answering(server):
                found = findings(lab)
        expect([f for f in found if f["where"] == chroot and "validate" in f["what"]], *found)
    with book.test("the chroot has no resolv.conf: hold"), kept(chroot):
        os.unlink(chroot)
        expect_found(lab, "hold", chroot, "cp /etc/resolv.conf")
    sock = SPOOL + "/danelaw/map.sock"
    with book.test("a socket that Postfix's user may not open: hold"):
        mode = os.stat(sock).st_mode & 0o777
        os.chmod(sock, 0o600)
        try:
            expect_found(lab, "hold", "danelaw.conf: maps.socket", 'maps.socket_group = "postfix"')
        finally:
            os.chmod(sock, mode)
    with book.test("a folder that Postfix's user may not enter: hold"):
        os.chmod(SPOOL + "/danelaw", 0o700)
        try:
            expect_found(lab, "hold", "danelaw.conf: milter.socket", SPOOL + "/danelaw")
        finally:
            os.chmod(SPOOL + "/danelaw", 0o750)
    with book.test("a milter socket that a chrooted smtpd can't see: hold"):
        with changed([f"smtpd_milters = {{ unix:{SPOOL}/danelaw/milter.sock, default_action=accept }}"]):
            expect_found(lab, "hold", "main.cf: smtpd_milters", "danelaw/milter.sock")
    with book.test("a user with an address of its own, laxer than the domain's, and a delimiter: hint"):
        rules(lab, [*RULES, connectors.opportunistic("clerk@" + GOOD)])
        expect_found(lab, "hint", "main.cf: recipient_delimiter")
    with book.test("connectors in test mode ask for nothing"):
        rules(lab, [connectors.mandatory("other.example", test_mode=True, hold="7d")])
        with changed([f"transport_maps = inline:{{{{other.example=smtp:}}}}, {current('transport_maps')}",
                      "maximal_queue_lifetime = 1h"]):
            expect(findings(lab) == [], *findings(lab))
        rules(lab, RULES)
    with book.test("danelawd is down: hold for both sockets"):
        lab.danelawd.kill()
        found = [f["where"] for f in findings(lab) if f["severity"] == "hold"]
        expect(found == ["danelaw.conf: milter.socket", "danelaw.conf: maps.socket"], found)
    with book.test("somebody who may not read all of it: exit 75"):
        done = subprocess.run([daemon.BUILD + "/danelaw", "-c", daemon.CONF, "doctor", "postfix"], capture_output=True,
                              text=True, check=False, user="daemon", group="daemon", extra_groups=[])
        expect(done.returncode == 75 and "can't be read" in done.stderr, done)
    with book.test("a bad configuration: exit 78"):
        expect(lab.danelawd.cli("doctor", "postfix", conf="/nonexistent").returncode == 78)


@contextlib.contextmanager
def answering(server):
    """A name server that answers each question by itself, without the AD bit."""
    def serve():
        while True:
            try:
                question, client = server.recvfrom(512)
            except OSError:
                return
            if question == b"stop":
                return
            server.sendto(question[:2] + b"\x81\x80" + question[4:], client)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"stop", server.getsockname())
        thread.join()
