"""Sites as they are: settings of their own, other socket kinds, no chroot."""

import contextlib
import shutil

import connectors
import letters
from postfix import CONFIG, SPOOL, look_old
from trial import chapter, expect, expect_fate, expect_safe

GOOD, BAD, LAX, OTHER = "good311.example", "unsigned.example", "notlsa.example", "hostunsigned.example"
RULES = [connectors.mandatory(GOOD), connectors.mandatory(BAD), connectors.mandatory("*.wildnsec3.example"),
         connectors.mandatory("*.plaintext.example"), connectors.opportunistic(LAX)]

# Each is legitimate, and each would let mail past a road that does not shut it out.
OWN_WAYS = {
    "fallback relay": "smtp_fallback_relay = [mx.plaintext.example]",
    "lax policy table": "smtp_tls_policy_maps = inline:{{unsigned.example=none} {good311.example=none}}",
    "obsolete policy table": "smtp_tls_per_site = inline:{{unsigned.example=NONE} {good311.example=NONE}}",
    "no DNSSEC, hosts file": "smtp_dns_support_level = enabled\nsmtp_host_lookup = native, dns",
    "connection cache": "smtp_connection_cache_destinations = unsigned.example good311.example\n"
                        "smtp_tls_connection_reuse = yes",
    "relay host": "relayhost = [mx.plaintext.example]",
    "sender's relay host": "sender_dependent_relayhost_maps = "
                           "inline:{{al@sender.example=[mx.plaintext.example]}}",
    "sender's transport": "sender_dependent_default_transport_maps = inline:{{al@sender.example=smtp:}}",
    "own transport table": "transport_maps = inline:{{unsigned.example=smtp:} {good311.example=smtp:}}",
    "TLS off": "smtp_tls_security_level = none\nsmtp_tls_mandatory_protocols = TLSv1",
    "other delimiter": "recipient_delimiter = -",
    "rewriting": "canonical_maps = inline:{{old@old.example=u@unsigned.example}}\n"
                 "canonical_classes = envelope_recipient, header_recipient",
}


@contextlib.contextmanager
def site(lab, lines, master=()):
    """The machine's configuration before Danelaw, with these lines."""
    for name in ("main.cf", "master.cf"):
        shutil.copy(f"{CONFIG}/{name}.pristine", f"{CONFIG}/{name}.kept")
    with open(f"{CONFIG}/main.cf.pristine", "a", encoding="ascii") as out:
        out.write(lines + "\n")
    if master:
        lab.postfix.pristine()
        lab.postfix.edit_master(*master)
        shutil.copy(f"{CONFIG}/master.cf", f"{CONFIG}/master.cf.pristine")
    try:
        yield
    finally:
        for name in ("main.cf", "master.cf"):
            shutil.copy(f"{CONFIG}/{name}.kept", f"{CONFIG}/{name}.pristine")
        lab.postfix.pristine()


def expect_all_well(lab, extra=()):
    """Mandatory mail is authenticated or not at all, by SMTP and by sendmail(1); all other mail flows."""
    jobs = [(way, f"u@{d}") for d in (GOOD, BAD, "any.wildnsec3.example", "sub.plaintext.example", LAX)
            for way in (letters.by_smtp, letters.by_sendmail)]
    jobs += [(letters.by_smtp, "bo@sender.example"), *extra]
    sent = letters.insist(lab, letters.post(lab, jobs))
    letters.settle(lab, sent)
    for letter in sent[0:2] + sent[4:6]:
        expect_safe(lab, letter)
        expect_fate(lab, letter, "delivered")
    for letter in sent[2:4] + sent[6:8]:
        expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    expect_fate(lab, sent[2], "refused")
    expect_fate(lab, sent[3], "held")
    for letter in sent[8:11]:
        expect_fate(lab, letter, "delivered")
    return sent[11:]


@chapter
def own_ways(lab, book):
    """settings of the site that must not lead past the roads"""
    for name, lines in OWN_WAYS.items():
        with site(lab, lines), book.test(f"{name}: mandatory mail is authenticated or not at all, the rest flows"):
            lab.rules(RULES)
            expect_all_well(lab)


@chapter
def parents_match(lab, book):
    """transport_maps in parent_domain_matches_subdomains: no table can mean just one domain, so none is written"""
    lab.rules([connectors.mandatory(BAD)])
    with site(lab, "parent_domain_matches_subdomains = transport_maps relay_domains"):
        lab.postfix.pristine()
        lab.danelawd.configure(RULES)
        lab.danelawd.cli("reload")
        with book.test("danelaw status, tables --check and the log name the setting"):
            tables = lab.danelawd.ask("status")[0]["tables"]
            expect(tables["current"] is False and "parent_domain_matches_subdomains" in tables["why"], tables)
            done = lab.danelawd.cli("tables", "--check")
            expect(done.returncode != 0 and "parent_domain_matches_subdomains" in done.stdout + done.stderr, done)
            expect(lab.danelawd.about("parent_domain_matches_subdomains"), lab.danelawd.tail())
        with book.test("the old table stays"):
            lab.roads()
            letter = letters.by_sendmail(lab, f"u@{BAD}")
            letters.settle(lab, [letter])
            expect_fate(lab, letter, "held")


@chapter
def relay_host(lab, book):
    """a site with a relay host: named partners are reached directly, others by the relay host"""
    with site(lab, "relayhost = [mx.plaintext.example]"):
        lab.rules(RULES)
        sent = letters.post(lab, [(letters.by_smtp, f"u@{d}") for d in (GOOD, LAX, OTHER)])
        letters.settle(lab, sent)
        hosts = [{c["host"] for c in letter.copies(lab)} for letter in sent]
        with book.test("mandatory and opportunistic partners: by their own MX"):
            expect(hosts[:2] == [{"mx.good311.example"}, {"mx.notlsa.example"}], hosts)
        with book.test("others: by the relay host"):
            expect(hosts[2] == {"mx.plaintext.example"}, hosts)


@chapter
def other_sockets(lab, book):
    """sockets of other kinds and in other places, with and without chroot"""
    with book.test("inet sockets"):
        lab.rules(RULES, milter={"socket": "inet:8890@127.0.0.1", "socket_group": None},
                  maps={"socket": "inet:8891@127.0.0.1", "socket_group": None})
        expect_all_well(lab)
    with book.test("unchrooted smtpd and smtp"), site(lab, "", ("smtp/inet", "smtp/unix", "submission/inet")):
        lab.rules(RULES)
        expect_all_well(lab)
    with book.test("sockets that a chrooted Postfix can't see: setup says so"):
        outside = "unix:/run/lab/milter.sock"
        lab.danelawd.configure(RULES, milter={"socket": outside})
        printed = lab.danelawd.cli("setup", "postfix").stdout
        expect("chroot" in printed or "queue" in printed, printed)
    with book.test("sockets by a path with the queue directory's other name (local:)"):
        lab.rules(RULES, milter={"socket": f"local:{SPOOL}/danelaw/milter.sock"},
                  maps={"socket": f"local:{SPOOL}/danelaw/map.sock"})
        expect_all_well(lab)
    look_old(CONFIG + "/main.cf")
