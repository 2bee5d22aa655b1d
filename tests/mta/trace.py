"""The trace: every decision can be found, and a store in trouble costs rows, never mail."""

import glob
import os
import subprocess

import connectors
import letters
from daemon import BUILD, CONF, STORE
from lab import wait_until
from trial import chapter, expect, expect_fate

GOOD, BAD, LAX = "good311.example", "unsigned.example", "notlsa.example"
RULES = [connectors.mandatory(GOOD), connectors.mandatory(BAD), connectors.opportunistic(LAX)]
KEYS = ["time", "where", "queue_id", "from", "to", "connector", "shadow", "dane", "sts", "verdict", "reason", "route",
        "policy", "took_ms"]


def rows(lab, *options):
    return lab.danelawd.ask("trace", *options)


def until_rows(lab, *options, least=1):
    """The rows, once they are written."""
    return wait_until(lambda: (lambda found: found if len(found) >= least else None)(rows(lab, *options)), 10,
                      f"trace {' '.join(options)}")


def until_status(lab, good):
    def asked():
        done = lab.danelawd.ask("status")[0]["store"]
        return done if done["good"] is good else None
    return wait_until(asked, 30, f"a store that is {'good' if good else 'failing'}")


def expect_mail(lab, user):
    """What is decided, and that it is decided at once."""
    sent = letters.insist(lab, letters.post(lab, [(letters.by_smtp, f"{user}@{GOOD}"), (letters.by_smtp, f"{user}@{BAD}"),
                                                  (letters.by_smtp, f"{user}@{LAX}")]))
    letters.settle(lab, sent)
    for letter, fate in zip(sent, ("delivered", "refused", "delivered")):
        expect_fate(lab, letter, fate)


def fresh(lab, **groups):
    """A daemon that remembers nothing."""
    lab.danelawd.stop()
    for path in glob.glob(STORE + "/*danelaw.db*"):
        os.unlink(path)
    lab.rules(RULES, **groups)


@chapter
def trace(lab, book):
    """every decision is found again by what is known of the mail, with the daemon and without"""
    fresh(lab)
    expect_mail(lab, "tom")
    with book.test("by recipient, whatever its case: all keys, in the documented order"):
        found = until_rows(lab, "--to", f"tom@{GOOD.upper()}")
        expect([list(row) for row in found] == [KEYS] * len(found), found)
        row = found[0]
        expect(row["where"] == "rcpt" and row["connector"] == f"strict {GOOD}" and row["dane"] == "usable" and
               row["verdict"] == "deliver" and row["policy"] == "dane-only" and row["route"] == "dane-mandatory" and
               row["reason"] is None and row["shadow"] is False and row["queue_id"], row)
    with book.test("by queue id: the decisions of the message, as in the log"):
        found = until_rows(lab, "--queue-id", row["queue_id"])
        expect([r["to"] for r in found] == [f"tom@{GOOD}"], found)
        line = lab.danelawd.about(f"{row['queue_id']}: to=<tom@{GOOD}>")[-1]
        expect(all(word in line for word in (f"connector=\"{row['connector']}\"", f"dane={row['dane']}",
                                             f"verdict={row['verdict']}", f"took={row['took_ms']}")), line, row)
    with book.test("by connector, domain and verdict"):
        for options in (("--connector", f"strict {BAD}"), ("--domain", BAD), ("--verdict", "hold"),
                        ("--verdict", "hold", "--domain", BAD.upper(), "--connector", f"strict {BAD}")):
            found = until_rows(lab, *options)
            expect({r["to"] for r in found if r["where"] == "rcpt"} == {f"tom@{BAD}"}, options, found)
            expect(found[0]["reason"] == "dane-required", found)
    with book.test("a table's answers are there under the next hop"):
        found = until_rows(lab, "--domain", LAX)
        expect({"rcpt", "map"} <= {r["where"] for r in found}, found)
    with book.test("newest first; --limit and --since count"):
        for _ in range(3):
            expect_mail(lab, "tim")
        found = until_rows(lab, "--to", f"tim@{GOOD}", least=3)
        expect([r["time"] for r in found] == sorted((r["time"] for r in found), reverse=True), found)
        expect(rows(lab, "--to", f"tim@{GOOD}", "--limit", "2") == found[:2], found)
        expect(rows(lab, "--to", f"tim@{GOOD}", "--since", "1h") == found, found)
    for words, status in (("--to nobody@never.example", 1), ("--queue-id none", 1), ("--verdict maybe", 2), ("--since x", 2),
                          ("--limit 0", 2), ("--domain a..b", 2), ("--to bad@", 2), ("extra", 2), ("--since 7d", 0)):
        with book.test(f"danelaw trace {words}: exit {status}"):
            done = lab.danelawd.cli("trace", *words.split())
            expect(done.returncode == status, f"exit {done.returncode}", done.stdout, done.stderr)
    with book.test("the table for people has a row for each"):
        printed = lab.danelawd.cli("trace", "--to", f"tom@{BAD}").stdout.splitlines()
        expect(printed[0].startswith("TIME") and len(printed) == 2 and "hold dane-required" in printed[1], printed)
    lab.danelawd.kill()
    with book.test("with the daemon killed: the same from the file, with a remark"):
        expect(rows(lab, "--to", f"tim@{GOOD}") == found, found)
        done = lab.danelawd.cli("trace", "--to", f"tom@{BAD}")
        expect(done.returncode == 0 and "past the daemon" in done.stderr, done)
        expect(lab.danelawd.cli("trace", "--to", "nobody@never.example").returncode == 1)
        owners = {os.stat(path).st_uid for path in glob.glob(STORE + "/danelaw.db*")}
        expect(owners == {os.stat(STORE).st_uid}, owners)
    with book.test("with the daemon killed, a user who may not read the file is told"):
        done = subprocess.run(["setpriv", "--reuid=65533", "--clear-groups", "--regid=65533",
                               BUILD + "/danelaw", "-c", CONF, "trace"],
                              capture_output=True, text=True, check=False)
        expect(done.returncode not in (0, 1) and done.stderr.count("\n") <= 3, done)
    lab.danelawd.start()
    with book.test("and the daemon goes on where it was"):
        expect_mail(lab, "ann")
        until_rows(lab, "--to", f"ann@{GOOD}")
        expect(lab.danelawd.cli("status").returncode == 0)


@chapter
def message_rows(lab, book):
    """where messages are tagged, a row for the road of each as a whole"""
    fresh(lab, milter={"tag": True})
    sent = letters.insist(lab, letters.post(lab, [(letters.by_smtp, f"u@{GOOD}"), (letters.by_smtp, "bo@sender.example")]))
    letters.settle(lab, sent)
    with book.test("one for the message with a road, none for local mail"):
        queue_id = until_rows(lab, "--to", f"u@{GOOD}")[0]["queue_id"]
        found = [r for r in until_rows(lab, "--queue-id", queue_id, least=2) if r["where"] == "eom"]
        expect(len(found) == 1 and found[0]["route"] == "dane-mandatory" and found[0]["to"] is None and
               found[0]["connector"] is None and found[0]["from"] == letters.SENDER and found[0]["verdict"] == "deliver", found)
        expect(len([r for r in rows(lab) if r["where"] == "eom"]) == 1, rows(lab))
        expect(lab.danelawd.about(f"{queue_id}: to=- from=<{letters.SENDER}>"), lab.danelawd.tail())


def mounted(lab, size):
    lab.danelawd.stop()
    os.makedirs(STORE, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", STORE], check=True)
    lab.rules(RULES)


def unmounted(lab):
    lab.danelawd.stop()
    subprocess.run(["umount", "-l", STORE], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            pass


@chapter
def store_trouble(lab, book):
    """the store's disk is full, read-only, or loses its file: decisions go on, loudly, and all recovers by itself"""
    mounted(lab, "16m")
    expect_mail(lab, "first")
    until_rows(lab, "--to", f"first@{GOOD}")
    mark = len(lab.danelawd.lines())
    fill(STORE + "/filler")
    with book.test("a full disk: mail is judged as before, rows are dropped and counted, the log says it once"):
        for name in ("second", "third"):
            expect_mail(lab, name)
        def dropping():
            expect_mail(lab, "more")
            return lab.danelawd.ask("status")[0]["store"]["trace"]["dropped"]
        wait_until(dropping, 30, "rows that are dropped")
        said = [line for line in lab.danelawd.lines()[mark:]
                if "not traced until there is room" in line or "running on from memory" in line]
        expect(1 <= len(said) <= 2, said)
        expect(lab.danelawd.cli("status").returncode == 1)
    os.unlink(STORE + "/filler")
    with book.test("with room again: status is good, decisions are traced"):
        until_status(lab, True)
        def traced():
            expect_mail(lab, "fourth")
            return rows(lab, "--to", f"fourth@{GOOD}")
        wait_until(traced, 30, "rows again")
        expect(lab.danelawd.cli("status").returncode == 0)
    lab.danelawd.stop()
    subprocess.run(["mount", "-o", "remount,ro", STORE], check=True)
    lab.danelawd.start(prepare=False)
    with book.test("a read-only disk at start: status says so with exit 1; mail and the trace of before are there"):
        expect_mail(lab, "fifth")
        expect(lab.danelawd.cli("status").returncode == 1)
        expect(rows(lab, "--to", f"fourth@{GOOD}"))
    subprocess.run(["mount", "-o", "remount,rw", STORE], check=True)
    with book.test("writable again: all is written again"):
        until_status(lab, True)
        expect_mail(lab, "sixth")
        until_rows(lab, "--to", f"sixth@{GOOD}")
    for what, harm in (("overwritten", lambda path: subprocess.run(
            ["dd", "if=/dev/urandom", f"of={path}", "bs=4096", "count=64", "conv=notrunc", "status=none"], check=True)),
                       ("removed", os.unlink)):
        with book.test(f"the file is {what} while the daemon runs: a new one is made, mail flows meanwhile"):
            for path in glob.glob(STORE + "/danelaw.db*"):
                if what == "removed" or path.endswith("/danelaw.db"):
                    harm(path)
            def renewed(name=what):
                expect_mail(lab, name)
                return rows(lab, "--to", f"{name}@{GOOD}")
            wait_until(renewed, 40, "rows in a new file")
            expect(lab.danelawd.running() and lab.danelawd.cli("status").returncode == 0, lab.danelawd.tail())
            until_rows(lab, "--to", f"{what}@{GOOD}")
    with book.test("a file that is garbage at start is put aside"):
        lab.danelawd.stop()
        with open(STORE + "/danelaw.db", "wb") as out:
            out.write(b"garbage " * 1000)
        lab.danelawd.start()
        expect_mail(lab, "last")
        until_rows(lab, "--to", f"last@{GOOD}")
        expect(glob.glob(STORE + "/danelaw.db.corrupt-*"), os.listdir(STORE))
    unmounted(lab)
    lab.rules(RULES)
