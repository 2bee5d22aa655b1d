"""The generated table: in force soon, kept when it cannot be written, loud when it is wrong."""

import contextlib
import os
import pwd
import time

import connectors
import daemon
import letters
from lab import wait_until
from namespace import run
from postfix import CONFIG
from trial import Skip, chapter, expect, expect_fate, expect_safe

BAD, NEW, GOOD = "unsigned.example", "unsignedtlsa.example", "good311.example"
OLD_RULES = [connectors.mandatory(BAD)]
NEW_RULES = OLD_RULES + [connectors.mandatory(NEW)]
TABLE = daemon.STORE + "/postfix"


def health(lab):
    """What danelaw status says of the tables: (current, why not)."""
    tables = lab.danelawd.ask("status")[0]["tables"]
    return tables["current"], tables["why"]


def held_without_danelawd(lab, domain):
    """The table alone must hold the partner's mail."""
    letter = letters.by_sendmail(lab, f"u@{domain}", user=None)
    letters.settle(lab, [letter])
    expect_fate(lab, letter, "held")
    expect("danelaw-dane" in letter.events(lab)[-1].service, letter.story(lab))
    expect(not letter.copies(lab), "LEAK")


def expect_loud(lab, mark, *words):
    """The log says it, "danelaw status" says it, and so does the exit status of "tables --check"."""
    def said_so():
        return any(w in line.lower() for w in words for line in lab.danelawd.lines()[mark:])
    wait_until(said_so, 10, f"the log to have one of {words}")
    current, why = health(lab)
    expect(not current and why, f"danelaw status: current {current}, why {why}")
    done = lab.danelawd.cli("tables", "--check")
    expect(done.returncode != 0, "tables --check says all is well", done.stdout)


def change_that_fails(lab, book, name, rules=NEW_RULES, words=("table", "transport"), **groups):
    """A change that cannot be written: the old table stays, and everybody is told."""
    mark = len(lab.danelawd.lines())
    lab.danelawd.configure(rules, **groups)
    if groups:
        lab.danelawd.kill()
        lab.danelawd.start()
    else:
        lab.danelawd.cli("reload")
    with book.test(f"{name}: loud"):
        wait_until(lambda: health(lab)[0] is False, 10, f"danelaw status to say so ({health(lab)})")
        expect_loud(lab, mark, *words)
    with book.test(f"{name}: the old table stays and holds"):
        lab.postfix.reload()
        held_without_danelawd(lab, BAD)
    with book.test(f"{name}: other mail flows"):
        sent = letters.post(lab, [(letters.by_smtp, r) for r in ("u@notlsa.example", "bo@sender.example")])
        letters.settle(lab, sent)
        for letter in sent:
            expect_fate(lab, letter, "delivered")


def mended(lab, book, name):
    with book.test(f"{name}: mended by danelaw tables"):
        done = lab.danelawd.cli("tables")
        expect(done.returncode == 0, done.stdout, done.stderr)
        expect(lab.danelawd.cli("tables", "--check").returncode == 0, "tables --check")
        wait_until(lambda: health(lab)[0], 10, f"danelaw status to say so ({health(lab)})")
        lab.postfix.reload()
        held_without_danelawd(lab, NEW)


@contextlib.contextmanager
def mounted(path, size):
    owner = pwd.getpwnam(daemon.USER).pw_uid
    run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755,uid={owner}", "tiny", path)
    try:
        yield
    finally:
        run("umount", "-l", path)


@chapter
def table_disk_full(lab, book):
    """the disk is full when the table is to be written"""
    lab.rules(OLD_RULES)
    lab.danelawd.kill()
    os.makedirs(TABLE, exist_ok=True)
    with mounted(TABLE, "128k"):
        lab.rules(OLD_RULES)
        with open(TABLE + "/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        change_that_fails(lab, book, "disk full")
        os.unlink(TABLE + "/filler")
        mended(lab, book, "disk full")
        lab.danelawd.kill()


@chapter
def table_no_postmap(lab, book):
    """postmap is missing"""
    lab.danelawd.kill()
    lab.rules(OLD_RULES)
    change_that_fails(lab, book, "no postmap", tables={"postmap": "/nonexistent/postmap"})
    lab.rules(NEW_RULES)
    mended(lab, book, "no postmap")


@chapter
def table_unreadable_main_cf(lab, book):
    """main.cf can't be read: local domains unknown, so wildcards are refused"""
    lab.rules(OLD_RULES)
    os.chmod(CONFIG + "/main.cf", 0)
    try:
        lab.danelawd.configure(OLD_RULES + [connectors.mandatory("*.example")])
        mark = len(lab.danelawd.lines())
        lab.danelawd.cli("reload")
        with book.test("unreadable main.cf: loud"):
            wait_until(lambda: health(lab)[0] is False, 10, f"danelaw status to say so ({health(lab)})")
            expect_loud(lab, mark, "main.cf", "postconf", "local domain", "mydestination")
        with book.test("unreadable main.cf: the old partner is held, local mail flows"):
            held_without_danelawd(lab, BAD)
            letter = letters.by_smtp(lab, "bo@sender.example")
            letters.settle(lab, [letter])
            expect_fate(lab, letter, "delivered")
    finally:
        os.chmod(CONFIG + "/main.cf", 0o644)
    with book.test("unreadable main.cf: mended by danelaw tables"):
        expect(lab.danelawd.cli("tables").returncode == 0, lab.danelawd.tail())
        lab.postfix.reload()
        held_without_danelawd(lab, NEW)
        letter = letters.by_smtp(lab, "bo@sender.example")
        letters.settle(lab, [letter])
        expect_fate(lab, letter, "delivered")


@chapter
def table_tampered(lab, book):
    """somebody else writes to the table"""
    lab.rules(OLD_RULES)
    index = next(TABLE + "/" + n for n in os.listdir(TABLE) if n.startswith("transport."))
    for what, spoil in (("index gone", lambda: os.unlink(index)),
                        ("index truncated", lambda: os.truncate(index, 0)),
                        ("source changed", lambda: open(TABLE + "/transport", "a").write("x.example :\n"))):
        with book.test(f"{what}: it is written anew by itself"):
            expect(lab.danelawd.cli("tables", "--check").returncode == 0, "not current to begin with")
            spoil()
            wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 60, "the table to be written")
        with book.test(f"{what}, without danelawd: tables --check sees it, tables mends it"):
            lab.danelawd.stop()
            spoil()
            expect(lab.danelawd.cli("tables", "--check").returncode == 1, "not seen")
            expect(lab.danelawd.cli("tables").returncode == 0, lab.danelawd.tail())
            expect(lab.danelawd.cli("tables", "--check").returncode == 0, "not mended")
            lab.danelawd.start()
    with book.test("what root has written, the daemon's user can write anew"):
        lab.rules(NEW_RULES)
        expect(lab.danelawd.cli("tables", "--check").returncode == 0, "not written")
        held_without_danelawd(lab, NEW)


@chapter
def table_in_force(lab, book):
    """a changed table is in force within 10 s, without a reload of Postfix"""
    lab.rules([connectors.nothing(BAD), connectors.mandatory(GOOD)])
    warm = letters.by_smtp(lab, f"u@{BAD}")
    letters.settle(lab, [warm])
    expect_fate(lab, warm, "delivered")
    lab.danelawd.configure([connectors.mandatory(BAD), connectors.mandatory(GOOD)])
    expect(lab.danelawd.cli("reload").returncode == 0, lab.danelawd.tail())
    started = time.monotonic()
    with book.test("mandatory from now on: on the strict road within 10 s"):
        while True:                     # a new recipient each time: Postfix remembers the last for 30 s
            posted = time.monotonic()
            letter = letters.by_sendmail(lab, f"u{time.monotonic_ns()}@{BAD}")
            letters.settle(lab, [letter])
            if "danelaw-dane" in letter.events(lab)[-1].service:
                break
            # Postfix looks at its tables every 10 s, rounded up, while it has something to do.
            expect(posted - started < 12.5, letter.story(lab), *lab.postfix.log.about("has changed"))
            time.sleep(0.3)


@chapter
def table_types(lab, book):
    """every kind of table that Postfix has here"""
    known = run("postconf", "-m").split()
    for kind in ("hash", "btree", "lmdb", "cdb"):
        with book.test(f"tables.type = {kind}"):
            if kind not in known:
                raise Skip("this Postfix has no such tables")
            lab.rules([connectors.mandatory(BAD), connectors.mandatory(GOOD)], tables={"type": kind})
            expect(f"{kind}:{TABLE}/transport" in run("postconf", "-x", "transport_maps"),
                   run("postconf", "transport_maps"))
            held_without_danelawd(lab, BAD)
            letter = letters.by_sendmail(lab, f"u@{GOOD}")
            letters.settle(lab, [letter])
            expect_fate(lab, letter, "delivered")
            expect_safe(lab, letter)
