"""Sendmail: the generated map, with the real makemap and its readers."""

import contextlib
import os
import shutil
import stat
import subprocess

import connectors
import daemon
import letters
import sendmail
from lab import can_connect, wait_until
from namespace import ROOT
from roads import health
from sendmail_ways import settle
from trial import expect, expect_fate, sendmail_chapter

GOOD, BARE, LAX = "good311.example", "notlsa.example", "unsigned.example"
FOLDER = daemon.STORE + "/sendmail"
MAP = FOLDER + "/mandatory"
MAKEMAP = sendmail.OURS + "/makemap"            # ours, that can be told to fail
BROKEN = sendmail.OURS + "/makemap-broken"


def dumped(kind="hash"):
    done = subprocess.run([sendmail.BIN + "/makemap", "-u", kind, MAP], capture_output=True, text=True, check=True)
    return dict(line.split("\t") for line in done.stdout.splitlines())


def post(lab, domain):
    letter = letters.by_queue_client(lab, "u@" + domain)
    settle(lab, [letter])
    return letter


class Reader:
    """A Sendmail that has the map open."""

    def __init__(self):
        self.process = subprocess.Popen(["/usr/sbin/sendmail", "-bt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1)

    def ask(self, key):
        self.process.stdin.write(f"/map danelaw_mandatory {key}\n")
        for line in self.process.stdout:
            if "map_lookup" in line:
                return line.split(" returns ")[1].split()[0] if " returns " in line else None
        raise RuntimeError("sendmail -bt has ended")

    def __enter__(self):
        return self

    def __exit__(self, *how):
        self.process.stdin.close()
        self.process.wait(20)


@contextlib.contextmanager
def failing():
    with open(BROKEN, "w", encoding="ascii"):
        pass
    try:
        yield
    finally:
        os.unlink(BROKEN)


@sendmail_chapter
def sendmail_map(lab, book):
    """the map says of every partner what may become of its mail; running processes follow it"""
    rules = [connectors.mandatory("bank.example", "*.bank.example", "bo@post.example", "xn--bcher-kva.example", name="Strict"),
             connectors.opportunistic(LAX, "in.bank.example", name="Lax"),
             connectors.opportunistic("hosted.example", smart_hosts=["[mx.good311.example]"]),
             connectors.opportunistic("routed.example", route="own"),
             connectors.nothing("idle.example", "idle.bank.example")]
    lab.rules(rules, routes={"own": {"transport": "esmtp"}})
    wanted = {"bank.example": "mandatory", ".bank.example": "mandatory", "bo@post.example": "mandatory",
              "xn--bcher-kva.example": "mandatory", "b\u00fccher.example": "mandatory", LAX: "named",
              "in.bank.example": "named", "idle.bank.example": "named", "hosted.example": "mandatory",
              "routed.example": "road"}
    with book.test("makemap's own dump: each key once, and no other"):
        expect(dumped() == wanted, dumped())
    with book.test("it is the daemon's user's, for everybody to read"):
        for path, mode in ((FOLDER, 0o755), (MAP, 0o644), (MAP + ".db", 0o644)):
            about = os.stat(path)
            expect(stat.S_IMODE(about.st_mode) == mode and about.st_uid != 0, path, oct(about.st_mode), about.st_uid)
        expect(sorted(os.listdir(FOLDER)) == ["mandatory", "mandatory.db"], os.listdir(FOLDER))
    with book.test("tables --check: current"):
        done = lab.danelawd.cli("tables", "--check")
        expect(done.returncode == 0 and "hash:" + MAP in done.stdout, done.stdout, done.stderr)
    with book.test("setup sendmail --all: a word about \"*\""):
        done = lab.danelawd.cli("setup", "sendmail", "--all")
        expect(done.returncode == 0 and "recipients = [ \"*\" ]" in done.stderr, done.stderr)
    with book.test("sweep: nothing for it to do"):
        done = lab.danelawd.cli("sweep")
        expect(done.returncode == 0 and "there is nothing to sweep" in done.stderr, done.stderr)
    with Reader() as reader:
        with book.test("Sendmail as root takes it from the unprivileged user's folder"):
            expect(reader.ask("bank.example") == "mandatory" and reader.ask(".bank.example") == "mandatory")
            expect(reader.ask("other.example") is None and reader.ask(LAX) == "named")
        with book.test("reload: a process that has the old map open finds the new one"):
            lab.rules_keep_queue([connectors.mandatory(LAX)])
            expect(reader.ask(LAX) == "mandatory" and reader.ask("bank.example") is None)
        with book.test("and again, within the same second or not"):
            for turn in range(4):
                lab.rules_keep_queue([connectors.mandatory(f"turn{turn}.example")])
                expect(reader.ask(f"turn{turn}.example") == "mandatory", turn)
        with book.test("an override: no mail goes without the daemon while it runs, nor after it"):
            lab.rules_keep_queue([connectors.mandatory(BARE, name="Bare"), connectors.opportunistic(LAX, name="Lax")])
            lab.danelawd.cli("mode", "Bare", "--dane", "none", "--for", "1h")
            lab.danelawd.cli("mode", "Lax", "--dane", "mandatory")
            expect(reader.ask(BARE) == "mandatory" and reader.ask(LAX) == "mandatory", dumped())
            lab.danelawd.cli("mode", "Bare", "--clear")
            lab.danelawd.cli("mode", "Lax", "--clear")
            expect(reader.ask(BARE) == "mandatory" and reader.ask(LAX) == "named", dumped())


@sendmail_chapter
def sendmail_map_touched(lab, book):
    """whoever touches the map is noticed, and what he did is undone"""
    lab.rules([connectors.mandatory(LAX)])
    old = ROOT + "/old.db"
    shutil.copy2(MAP + ".db", old)
    lab.rules_keep_queue([connectors.mandatory(BARE)])
    cut = "the map is cut off", lambda: os.truncate(MAP + ".db", 4096)
    gone = "the map is gone", lambda: os.unlink(MAP + ".db")
    stale = "an old map is put back", lambda: shutil.copy2(old, MAP + ".db")
    for what, touch in (stale, cut, gone, stale):
        touch()
        with book.test(f"{what}: written anew by itself"):
            wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 60, "the map to be written")
            expect(dumped() == {BARE: "mandatory"}, dumped())


@sendmail_chapter
def sendmail_map_own(lab, book):
    """wildcards leave the site's own domains alone, and are refused where those can't be told"""
    lab.mta.write("relay-domains", ["relayed.sender.example", "192.168.1"])
    try:
        lab.rules([connectors.mandatory("*.sender.example")])
        with book.test("virtual and relayed domains below it: own"):
            found = dumped()
            expect(found[".sender.example"] == "mandatory" and found["virtual.sender.example"] == "own" and
                   found["relayed.sender.example"] == "own" and found[".relayed.sender.example"] == "own", found)
        lab.mta.write("relay-domains", ["more.sender.example"])
        with book.test("tables --check: a change of Sendmail's is seen"):
            expect(lab.danelawd.cli("tables", "--check").returncode == 1)
        with book.test("tables: written anew"):
            done = lab.danelawd.cli("tables")
            expect(done.returncode == 0 and dumped().get("more.sender.example") == "own", done.stderr, dumped())
        lab.mta.write("relay-domains", [BARE])
        lab.rules([connectors.mandatory("*.example")])
        lab.mta.restart()
        wait_until(lambda: can_connect("127.0.0.1", 25), 20, "Sendmail to listen")
        with book.test("what the site relays is accepted and sent, though a wildcard covers it; what it names is not"):
            letter = letters.by_smtp(lab, "u@" + BARE)
            settle(lab, [letter])
            expect_fate(lab, letter, "delivered")
            lab.rules_keep_queue([connectors.mandatory("*.example", BARE)])
            expect_fate(lab, letters.by_smtp(lab, "u@" + BARE), "refused")
        before = dumped()
        os.chmod(sendmail.CONFIG + "/relay-domains", 0o600)
        with book.test("what can't be read: refused, the old map stays"):
            done = lab.danelawd.cli("tables")
            expect(done.returncode == 75 and "connectors for *.domain are refused" in done.stderr, done.stderr)
            expect(dumped() == before and not health(lab)[0], dumped(), health(lab))
    finally:
        os.chmod(sendmail.CONFIG + "/relay-domains", 0o644)
        lab.mta.write("relay-domains", [])


@sendmail_chapter
def sendmail_map_fails_to_be_made(lab, book):
    """a makemap that fails leaves the old map in force, loudly; the daemon mends it by itself"""
    with open(MAKEMAP, "w", encoding="ascii") as out:
        out.write(f"#!/bin/sh\n[ -e {BROKEN} ] && {{ echo 'makemap: the disk is full' >&2; exit 1; }}\n"
                  f"exec {sendmail.BIN}/makemap \"$@\"\n")
    os.chmod(MAKEMAP, 0o755)
    lab.rules([connectors.mandatory(BARE)], tables={"postmap": MAKEMAP})
    before = dumped()
    with failing():
        with book.test("reload: exit 1, the old map stays, healthz says why"):
            lab.danelawd.configure([connectors.mandatory(LAX)], tables={"postmap": MAKEMAP})
            done = lab.danelawd.cli("reload")
            expect(done.returncode == 1 and "the disk is full" in done.stderr + done.stdout, done.stdout, done.stderr)
            expect(dumped() == before, dumped())
            expect(not health(lab)[0] and "the disk is full" in health(lab)[1], health(lab))
            expect(sorted(os.listdir(FOLDER)) == ["mandatory", "mandatory.db"], os.listdir(FOLDER))
    with book.test("mended: written by itself"):
        wait_until(lambda: health(lab)[0], 60, "the map to be written")
        expect(dumped() == {LAX: "mandatory"}, dumped())
    lab.danelawd.kill()
    with book.test("the daemon is dead: what the map names waits, other mail goes"):
        strict, other = post(lab, LAX), post(lab, GOOD)
        expect_fate(lab, strict, ("held", "refused"))
        expect(not strict.copies(lab), "LEAK", strict.story(lab))


@sendmail_chapter
def sendmail_map_btree(lab, book):
    """tables.type btree: setup tells Sendmail, and all is as before"""
    lab.rules([connectors.mandatory(BARE), connectors.mandatory(GOOD)], tables={"type": "btree"})
    with book.test("a btree map is written and read"):
        expect(dumped("btree") == {BARE: "mandatory", GOOD: "mandatory"}, dumped("btree"))
        with Reader() as reader:
            expect(reader.ask(BARE) == "mandatory" and reader.ask(LAX) is None)
    with book.test("mail is judged by it"):
        expect_fate(lab, post(lab, BARE), "held")
        expect_fate(lab, post(lab, GOOD), "delivered")
