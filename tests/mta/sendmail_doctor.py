"""danelaw doctor sendmail: silent on a good set-up, as m4 makes it of Debian's files, and never silent on a way past it."""

import contextlib
import os
import re

import connectors
from daemon import STORE
from sendmail import CONFIG
from sendmail import RULES as HERE
from trial import expect, sendmail_chapter

GOOD, USER, NAMED = "good301.example", "boss@notlsa.example", "good311.example"
RULES = [connectors.mandatory(GOOD), connectors.mandatory("*.wildnsec3.example"), connectors.mandatory(USER),
         connectors.opportunistic(NAMED)]


def findings(lab, *more):
    done = lab.danelawd.cli("--json", "doctor", "sendmail", *more)
    found = lab.danelawd.ask("doctor", "sendmail", *more)
    expect(done.returncode == (1 if found else 0), f"exit {done.returncode}", done.stdout, done.stderr)
    return found


def expect_found(lab, severity, where, what, fix=""):
    found = findings(lab)
    right = [f for f in found if f["severity"] == severity and where in f["where"] and what in f["what"] and fix in f["fix"]]
    expect(right, f"no {severity} at {where}: {what}", *found)


def expect_silence(lab):
    found = findings(lab)
    expect(not found, "not silent", *found)


class Site:
    """sendmail.mc as the lab has it, to be changed."""

    def __init__(self, lab):
        self.lab = lab
        self.printed = lab.danelawd.cli("setup", "sendmail").stdout

    @contextlib.contextmanager
    def changed(self, above="", below="", take=None, give=""):
        """With lines before and behind those of danelaw setup, or with another text in the place of one of theirs."""
        expect(take is None or take in self.printed, f"setup doesn't print {take}", self.printed)
        text = self.printed if take is None else self.printed.replace(take, give)
        try:
            self._write(above, f"{text}\n{below}")
            yield
        finally:
            self._write("", self.printed)

    def _write(self, above, below):
        below = re.sub(r"include\(`[^']*/([^/']+\.m4)'\)", rf"include(`{HERE}/\1')", below)
        self.lab.mta.configure(above=above, below=below)

    @staticmethod
    @contextlib.contextmanager
    def file(name, take, give):
        """A file below CONFIG with another text in the place of one of its own."""
        path = f"{CONFIG}/{name}"
        with open(path, encoding="utf-8") as file:
            before = file.read()
        expect(take in before, f"{take} is not in {name}")
        try:
            with open(path, "w", encoding="utf-8") as out:
                out.write(before.replace(take, give))
            yield
        finally:
            with open(path, "w", encoding="utf-8") as out:
                out.write(before)


FILTER, INCLUDE, MAP = "INPUT_MAIL_FILTER(", "include(", "DANELAW_MANDATORY_MAP"
# Texts that setup prints, others in their place, and what is found: severity, where, what, a part of the fix.
PRINTED = (
    ("F=T, ", "", "hold", "sendmail.cf:", "without F=T", "F=T"),
    ("F=T, ", "F=R, ", "hold", "sendmail.cf:", "refused for good", "F=T"),
    ("R:20s", "R:3s", "hold", "sendmail.cf:", "waits 3s", "R:20s"),
    ("S=local:", "S=local:/other", "hold", "sendmail.cf:", "not danelawd's milter socket", FILTER),
    (FILTER, "MAIL_FILTER(", "hold", "sendmail.cf:", "not among InputMailFilters", FILTER),
    (FILTER, "dnl " + FILTER, "hold", "sendmail.mc", "danelawd is no filter", FILTER),
    ("`DANELAW_MAP_SOCKET', `local:", "`DANELAW_MAP_SOCKET', `local:/other", "hold", "sendmail.cf:",
     "not danelawd's map socket", "DANELAW_MAP_SOCKET"),
    (MAP + "', `", MAP + "', `/other", "leak", "sendmail.cf:", "not the map that danelawd writes", MAP),
    (INCLUDE, "LOCAL_TLS_RCPT\nR$*\t$@ OK\n" + INCLUDE, "leak", "sendmail.cf:", "ends Local_tls_rcpt", "behind"),
    (INCLUDE, "dnl " + INCLUDE, "leak", "sendmail.mc", "no map \"danelaw\"", INCLUDE),
    (INCLUDE, "dnl " + INCLUDE, "leak", "sendmail.mc", "no map \"danelaw_mandatory\"", INCLUDE),
    (INCLUDE, "dnl " + INCLUDE, "leak", "sendmail.mc", "doesn't ask where mail goes", INCLUDE),
    (INCLUDE, "dnl " + INCLUDE, "leak", "sendmail.mc", "doesn't ask at the gate", INCLUDE),
    (INCLUDE, "dnl " + INCLUDE, "leak", "sendmail.mc", "the ruleset DanelawKind", INCLUDE),
    (INCLUDE, "dnl " + INCLUDE, "hold", "sendmail.mc", "no mailer danesmtp", INCLUDE),
)
# Lines of the site's own, above and behind those of setup.
LINES = (
    ("define(`DANELAW_TIMEOUT', `3')dnl", "", "hold", "sendmail.cf:", "waits 3s", "DANELAW_TIMEOUT"),
    ("define(`DANELAW_MAILERS', `esmtp')dnl", "", "hold", "class {DanelawMailers}", "danesmtp", ""),
    (f"LOCAL_RULE_0\nR$* < @ {GOOD} . > $*\t$#esmtp $@ [192.0.2.1] $: $1 < @ {GOOD} > $2", "", "leak", "sendmail.cf:",
     "comes before Danelaw's", "behind"),
    ("", "MAILER_DEFINITIONS\nMdanesmtp, P=/bin/cat, F=lsDFM, A=cat", "leak", "sendmail.cf:", "no SMTP over the network",
     INCLUDE),
    ("", "define(`confCERT_FINGERPRINT_ALGORITHM', `md5')dnl", "hold", "sendmail.cf:", "told by md5", "sha256"),
    ("", "define(`confTLS_FALLBACK_TO_CLEAR', `true')dnl", "hint", "sendmail.cf:", "in the clear", "false"),
    ("", "define(`confFALLBACK_MX', `spare.example')dnl", "hint", "sendmail.cf:", "spare.example", "confFALLBACK_MX"),
    ("", "define(`confFALLBACK_SMARTHOST', `spare.example')dnl", "hint", "sendmail.cf:", "spare.example", "SMARTHOST"),
    ("", "define(`SMART_HOST', `smart.example')dnl", "hint", "sendmail.cf:", "smart.example, but", "smart_hosts"),
    ("", "define(`SMART_HOST', `smart.example')dnl", "hint", "sendmail.cf:", "smart.example, and waits", "smart_hosts"),
    ("", "define(`confTO_QUEUERETURN', `1h')dnl", "hold", "sendmail.cf:", "after 1h", "confTO_QUEUERETURN"),
    ("", "define(`confTO_QUEUERETURN_URGENT', `1h')dnl", "hold", "sendmail.cf:", "after 1h", "confTO_QUEUERETURN"),
    ("", "CLIENT_OPTIONS(`Family=inet, M=S')dnl", "hold", "sendmail.cf:", "never encrypts", "CLIENT_OPTIONS"),
    ("", "DAEMON_OPTIONS(`Name=own, Port=2525, InputMailFilters=none')dnl", "hold", "sendmail.cf:",
     "this door has filters of its own", "InputMailFilters="),
    ("", f"VIRTUSER_DOMAIN(`{GOOD}')dnl", "hint", "class {VirtHost}", GOOD, ""),
    ("", "RELAY_DOMAIN(`a.wildnsec3.example')dnl", "leak", "class R", "a.wildnsec3.example", "recipients"),
    ("", "LOCAL_CONFIG\nO NoSuchOption=1", "hold", "sendmail.cf:", "does not take this line", "sendmail.mc"),
)
# What somebody did to sendmail.cf by hand.
BY_HAND = (
    ("$: $>DanelawRoad $1", "$: $1", "leak", "sendmail.mc", "doesn't ask where mail goes"),
    ("R<mandatory> <$*>\t$@ <mandatory>", "R<mandatory> <$*>\t$@ <none>", "leak", "sendmail.cf:", "of DanelawKind is not"),
    ("$: $>ParseLocal $1", "$: $1", "leak", "sendmail.mc", "doesn't call ParseLocal"),
    ("socket -f -t ", "socket -t ", "hold", "sendmail.cf:", "without -f"),
    ("socket -f -t -q ", "socket -f -t ", "leak", "sendmail.cf:", "without -q"),
    ("hash -t -T<TMPF> ", "hash -o -T<TMPF> ", "leak", "sendmail.cf:", "with -o"),
    ("hash -t -T<TMPF> ", "hash -t ", "leak", "sendmail.cf:", "without -T<TMPF>"),
)
# Lines of the site's own that do no harm.
HARMLESS = (
    ("", ""),
    ("LOCAL_RULE_0\nR$* < @ elsewhere.example . > $*\t$#esmtp $@ [192.0.2.1] $: $1 < @ elsewhere.example > $2", ""),
    ("", "LOCAL_RULE_0\nR$* < @ $+ . > $*\t$#esmtp $@ $2 $: $1 < @ $2 > $3"),
    ("FEATURE(`tls_session_features')dnl", ""),
    ("", "RELAY_DOMAIN(`elsewhere.example')dnl"),
    ("", "define(`confTO_QUEUERETURN', `24h')dnl"),
    ("", "define(`confMCI_CACHE_SIZE', `0')dnl"),
)


@sendmail_chapter
def sendmail_doctor_silent(lab, book):
    """a good set-up is silent"""
    lab.rules(RULES)
    site = Site(lab)
    for above, below in HARMLESS:
        with book.test(f"silent with {(above + below) or 'what setup prints'}".replace("\n", " ")[:100]):
            with site.changed(above=above, below=below):
                expect_silence(lab)
    with book.test("--config-dir"):
        expect(findings(lab, "--config-dir", CONFIG) == [], "not silent")
        done = lab.danelawd.cli("doctor", "sendmail", "--config-dir", "/nowhere")
        expect(done.returncode == 75 and "/nowhere/sendmail.cf" in done.stderr, done.stdout, done.stderr)


@sendmail_chapter
def sendmail_doctor_mc(lab, book):
    """what sendmail.mc can do against it is found"""
    lab.rules(RULES)
    site = Site(lab)
    for take, give, severity, where, what, fix in PRINTED:
        with book.test(f"{severity}: {give or take}: {what}".replace("\n", " ")), site.changed(take=take, give=give):
            expect_found(lab, severity, where, what, fix)
    for above, below, severity, where, what, fix in LINES:
        name = (above + below).replace("\n", " ")[:60]
        with book.test(f"{severity}: {name}: {what}"), site.changed(above=above, below=below):
            expect_found(lab, severity, where, what, fix)
    for take, give, severity, where, what in BY_HAND:
        with book.test(f"{severity}: by hand: {what}"), site.file("sendmail.cf", take, give):
            expect_found(lab, severity, where, what)
    with book.test("silent again"):
        expect_silence(lab)


@sendmail_chapter
def sendmail_doctor_around(lab, book):
    """what stands around sendmail.cf is looked at, too"""
    lab.rules(RULES)
    site = Site(lab)
    entries = [f"{domain}\tesmtp:[192.0.2.1]" for domain in (GOOD, NAMED, "elsewhere.example")]
    with book.test("mailertable's entries for partners"), written(lab, "mailertable", entries):
        expect_found(lab, "hint", "sendmail.cf:", f"count no longer, and mail goes to the partner's own hosts: {GOOD}")
        expect_found(lab, "hint", "sendmail.cf:", f"with the partner's own hosts: {NAMED}", "smart_hosts")
        expect(len(findings(lab)) == 2, "and more", *findings(lab))
    for entry in ("Try_TLS:\tNO", f"Try_TLS:{GOOD}\tNO", f"Clt_Features:{NAMED}\tS"):
        with book.test(f"access: {entry}"), written(lab, "access", ["Connect:127\tRELAY", entry]):
            expect_found(lab, "hold", "sendmail.cf:", "tries no TLS", "access")
    with book.test("a partner among this host's own names"), site.file("local-host-names", "sender.example",
                                                                       f"sender.example\n{GOOD}"):
        expect_found(lab, "hint", "class w", GOOD)
    with book.test("submit.cf that hands mail to another host"), site.file("submit.cf", "D{MTAHost}[127.0.0.1]",
                                                                           "D{MTAHost}[192.0.2.1]"):
        expect_found(lab, "leak", "submit.cf:", "past this host's Sendmail", "msp")
    with book.test("a socket's folder that others may write to"), mode(lab.danelawd.sockets, 0o775):
        expect_found(lab, "hold", "milter.socket", "writable for others", "chmod")
    lab.danelawd.stop()                     # it would put the index back at once
    with book.test("an index that is gone"), gone(f"{STORE}/sendmail/mandatory.db"):
        expect_found(lab, "hold", "sendmail/mandatory", "without it all mail for other domains waits", "danelaw tables")
    with book.test("a daemon that is gone"):
        expect_found(lab, "hold", "maps.socket", "nobody listens", "start danelawd")
        lab.danelawd.start()
    with book.test("a daemon that writes no map"):
        lab.danelawd.configure(RULES, tables={"mta": "none"})
        expect_found(lab, "leak", "tables.mta", "it is \"none\"", "sendmail")
    lab.rules(RULES)
    with book.test("silent again"):
        expect_silence(lab)


@contextlib.contextmanager
def written(lab, name, lines):
    """A map of the site's with these entries alone."""
    with open(f"{CONFIG}/{name}", encoding="utf-8") as file:
        before = file.read().splitlines()
    try:
        lab.mta.write(name, lines, "hash")
        yield
    finally:
        lab.mta.write(name, before, "hash")


@contextlib.contextmanager
def mode(path, bits):
    before = os.stat(path).st_mode & 0o7777
    os.chmod(path, bits)
    try:
        yield
    finally:
        os.chmod(path, before)


@contextlib.contextmanager
def gone(path):
    os.rename(path, path + ".away")
    try:
        yield
    finally:
        os.rename(path + ".away", path)
