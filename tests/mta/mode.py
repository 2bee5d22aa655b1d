"""An administrator's overrides: at once, for as long as asked, and no longer."""

import contextlib
import json
import os
import shutil
import subprocess
import time

import connectors
import daemon
import letters
import wallclock
from lab import wait_until
from trial import chapter, expect, expect_fate

STRICT, LAX = "unsigned.example", "hostunsigned.example"        # neither has DANE
RULES = [connectors.mandatory(STRICT, name="Strict"), connectors.opportunistic(LAX, name="Lax")]
TABLE, DATABASE = daemon.STORE + "/postfix/transport", daemon.STORE + "/danelaw.db"
IN_FORCE = 12.5                         # Postfix looks at its tables every 10 s, rounded up


def line_of(domain):
    with open(TABLE, encoding="utf-8") as file:
        return dict(line.split() for line in file if not line.startswith("#")).get(domain)


def shown(lab, name):
    return lab.danelawd.ask("connectors", "show", name)[0]


def audit(lab):
    return [(e["action"], e["connector"], e["by"]) for e in lab.danelawd.ask("audit")]


def mode(lab, *argv, exit=0):
    done = lab.danelawd.cli("mode", *argv)
    expect(done.returncode == exit, f"mode {' '.join(argv)}: exit {done.returncode}", done.stdout, done.stderr)
    return done


def post(lab, domain):
    letter = letters.by_sendmail(lab, "u@" + domain, user=None)
    letters.settle(lab, [letter])
    return letter


def attempt(lab):
    """Postfix remembers the last recipient for 30 s, so that there is always another one."""
    lab.postfix.inject(letters.SENDER, ["bo@sender.example"], "Subject: another\n\n")
    lab.postfix.flush()


def arrives(lab, letter, seconds=60):
    deadline = time.monotonic() + seconds
    while not letter.copies(lab) and time.monotonic() < deadline:
        attempt(lab)
        time.sleep(0.5)
    expect(letter.copies(lab), "did not arrive", letter.story(lab))


def stays(lab, letter):
    """Another attempt, and it is held again."""
    before = len(letter.events(lab))
    attempt(lab)
    wait_until(lambda: len(letter.events(lab)) > before, 30, "another attempt")
    expect_fate(lab, letter, "held")
    expect(not letter.copies(lab), "LEAK", letter.story(lab))


@contextlib.contextmanager
def locked_store(lab):
    """danelawd may read its store, but not write it."""
    lab.danelawd.stop()
    owner = os.stat(DATABASE)
    shutil.chown(DATABASE, "root", "root")
    os.chmod(DATABASE, 0o644)
    lab.danelawd.start()
    try:
        yield
    finally:
        os.chown(DATABASE, owner.st_uid, owner.st_gid)
        os.chmod(DATABASE, 0o600)


def fresh(lab):
    lab.rules(RULES)
    for name in ("Strict", "Lax"):
        lab.danelawd.cli("mode", name, "--clear")


@chapter
def mode_weaker(lab, book):
    """a mandatory partner is let go for a while"""
    fresh(lab)
    letter = post(lab, STRICT)
    with book.test("held to begin with"):
        expect_fate(lab, letter, "held")
        expect(line_of(STRICT) == "danelaw-dane:", line_of(STRICT))
    with book.test("a weaker mode needs --for or --permanent: exit 2, and nothing changes"):
        done = mode(lab, "Strict", "--dane", "opportunistic", exit=2)
        expect("--for" in done.stderr and shown(lab, "Strict")["override"] is None, done.stderr)
    with book.test("--for 40s: in force at once, the table has it"):
        set_at = time.monotonic()
        mode(lab, "Strict", "--dane", "opportunistic", "--for", "40s")
        found = shown(lab, "Strict")
        expect(found["smtp_dane"] == "opportunistic" and found["route"] == "opportunistic", found)
        expect(found["override"]["smtp_dane"] == "opportunistic" and found["override"]["mta_sts"] is None, found)
        expect(found["override"]["by"].startswith("root") and found["override"]["until"].endswith("Z"), found)
        expect(line_of(STRICT) == "danelaw:", line_of(STRICT))
        expect(lab.danelawd.cli("tables", "--check").returncode == 0, "tables --check does not agree")
        expect(lab.danelawd.cli("check", STRICT).returncode == 0, "danelaw check goes by the configured mode")
    with book.test("delivered at the next attempt"):
        arrives(lab, letter)
    with book.test("danelawd is killed: mail is held"):
        lab.danelawd.kill()
        late = post(lab, STRICT)
        expect_fate(lab, late, "held")
        expect(not late.copies(lab), "LEAK", late.story(lab))
    with book.test("without danelawd: tables --check knows of the override, tables keeps it, audit is read"):
        expect(lab.danelawd.cli("tables", "--check").returncode == 0, "tables --check does not agree")
        expect(lab.danelawd.cli("tables").returncode == 0 and line_of(STRICT) == "danelaw:", line_of(STRICT))
        expect(("mode set", "Strict", "root") in audit(lab), audit(lab))
    with book.test("danelawd starts: still in force"):
        lab.danelawd.start()
        expect(shown(lab, "Strict")["override"] is not None, shown(lab, "Strict"))
        arrives(lab, late)
    with book.test("a reload does not end it"):
        done = lab.danelawd.cli("reload")
        expect(done.returncode == 0 and "asks for less than its configuration" in done.stdout + done.stderr, done.stdout,
               done.stderr, lab.danelawd.tail())
        expect(line_of(STRICT) == "danelaw:" and shown(lab, "Strict")["override"] is not None, line_of(STRICT))
    with book.test("it ends: the table has it, mail is held again"):
        wait_until(lambda: line_of(STRICT) == "danelaw-dane:", 60, "the end")
        expect(time.monotonic() > set_at + 39, "too early")
        expect(shown(lab, "Strict")["override"] is None, shown(lab, "Strict"))
        time.sleep(IN_FORCE)
        expect_fate(lab, post(lab, STRICT), "held")
    with book.test("the audit has it all, newest first"):
        entries = audit(lab)
        expect(entries[0] == ("mode expired", "Strict", "danelawd"), entries)
        expect(entries[1][0] == "reload" and ("mode set", "Strict", "root") in entries, entries)


@chapter
def mode_clock(lab, book):
    """a clock that is set back keeps no weaker mode in force for longer than anybody may ask for"""
    fresh(lab)
    wallclock.begin(lab)
    lab.danelawd.stop()
    lab.danelawd.start()
    with book.test("a clock a day behind: the mode stays"):
        mode(lab, "Strict", "--dane", "opportunistic", "--for", "1h")
        wallclock.put(-86400)
        time.sleep(3)
        expect(shown(lab, "Strict")["override"] is not None, audit(lab))
    with book.test("a month behind: it ends, as the audit says"):
        wallclock.put(-30 * 86400)
        wait_until(lambda: shown(lab, "Strict")["override"] is None, 30, "the override to end")
        wait_until(lambda: ("mode expired", "Strict") in [entry[:2] for entry in audit(lab)], 30, "the audit")
        wait_until(lambda: line_of(STRICT) == "danelaw-dane:", 30, "the table to follow")
    wallclock.end(lab)
    lab.danelawd.stop()
    lab.danelawd.start()


@chapter
def mode_none(lab, book):
    """partners whose certificate or STARTTLS is wrong are let go by --dane none"""
    lab.rules([connectors.mandatory("mismatch.example", "nostarttls.example", name="Wrong")])
    waiting = [post(lab, domain) for domain in ("mismatch.example", "nostarttls.example")]
    with book.test("held to begin with, and by --dane opportunistic, since DANE is offered"):
        for letter in waiting:
            expect_fate(lab, letter, "held")
        mode(lab, "Wrong", "--dane", "opportunistic", "--for", "10m")
        time.sleep(IN_FORCE)
        for letter in waiting:
            stays(lab, letter)
    with book.test("--dane none lets both go"):
        mode(lab, "Wrong", "--dane", "none", "--for", "10m")
        for letter in waiting:
            arrives(lab, letter)
    with book.test("--clear: held again"):
        mode(lab, "Wrong", "--clear")
        time.sleep(IN_FORCE)
        expect_fate(lab, post(lab, "mismatch.example"), "held")


@chapter
def mode_stronger(lab, book):
    """an opportunistic partner is held to DANE"""
    fresh(lab)
    with book.test("delivered to begin with"):
        first = post(lab, LAX)
        arrives(lab, first)
    with book.test("--dane mandatory, permanent without being told so"):
        mode(lab, "Lax", "--dane", "mandatory")
        found = shown(lab, "Lax")
        expect(found["override"]["until"] is None and found["smtp_dane"] == "mandatory", found)
        expect(line_of(LAX) == "danelaw-dane:", line_of(LAX))
        lab.postfix.reload()
        letter = post(lab, LAX)
        expect_fate(lab, letter, "held")
        expect(not letter.copies(lab), "LEAK", letter.story(lab))
    with book.test("a second override takes the place of the first as a whole"):
        mode(lab, "Lax", "--sts", "none", "--for", "1h")
        found = shown(lab, "Lax")
        expect(found["smtp_dane"] == "opportunistic" and found["mta_sts"] == "none", found)
        mode(lab, "Lax", "--dane", "mandatory")
    with book.test("after kill -9 it is in force, and mail stays held meanwhile"):
        lab.danelawd.kill()
        stays(lab, letter)
        lab.danelawd.start()
        expect(line_of(LAX) == "danelaw-dane:" and shown(lab, "Lax")["override"] is not None, line_of(LAX))
        stays(lab, letter)
    with book.test("the store is broken at start: loud, and the stricter table stays"):
        lab.danelawd.kill()
        for name in os.listdir(daemon.STORE):
            if name.startswith("danelaw.db-"):
                os.unlink(f"{daemon.STORE}/{name}")
        with open(DATABASE, "r+b") as file:
            file.write(b"nonsense" * 64)
        lab.danelawd.start()
        wait_until(lambda: lab.danelawd.ask("status")[0]["tables"]["why"], 20, "danelaw status to say so")
        expect(line_of(LAX) == "danelaw-dane:", line_of(LAX))
        expect("danelaw tables" in lab.danelawd.ask("status")[0]["tables"]["why"], lab.danelawd.ask("status"))
        stays(lab, letter)
    with book.test("... also after another restart"):
        lab.danelawd.kill()
        lab.danelawd.start()
        wait_until(lambda: lab.danelawd.ask("status")[0]["tables"]["why"], 20, "danelaw status to say so")
        expect(line_of(LAX) == "danelaw-dane:", line_of(LAX))
    with book.test("... and if another connector is overridden, which says nothing about this one"):
        done = mode(lab, "Strict", "--dane", "opportunistic", "--for", "1h", exit=1)
        expect("danelaw tables" in done.stderr, done.stderr)
        expect(line_of(LAX) == "danelaw-dane:" and line_of(STRICT) == "danelaw-dane:", line_of(LAX), line_of(STRICT))
        mode(lab, "Strict", "--clear", exit=1)
        expect(line_of(LAX) == "danelaw-dane:", line_of(LAX))
        stays(lab, letter)
    with book.test("... and for danelaw setup, which says so"):
        done = lab.danelawd.cli("setup", "postfix")
        expect(line_of(LAX) == "danelaw-dane:" and "danelaw tables" in done.stderr, line_of(LAX), done.stderr)
    with book.test("... until somebody says danelaw tables"):
        expect(lab.danelawd.cli("tables").returncode == 0, lab.danelawd.tail())
        expect(line_of(LAX) == "danelaw:", line_of(LAX))
        arrives(lab, letter)
    with book.test("the store is taken away while danelawd is dead: loud, and the stricter table stays"):
        mode(lab, "Lax", "--dane", "mandatory")
        lab.postfix.reload()                # so that Postfix sees the table at once
        late = post(lab, LAX)
        lab.danelawd.kill()
        for name in os.listdir(daemon.STORE):
            if name.startswith("danelaw.db"):
                os.rename(f"{daemon.STORE}/{name}", f"{daemon.STORE}/away-{name}")
        done = lab.danelawd.cli("tables", "--check")
        expect(done.returncode != 0 and "taken away" in done.stderr, done.stdout, done.stderr)
        lab.danelawd.start()
        wait_until(lambda: lab.danelawd.ask("status")[0]["tables"]["why"], 20, "danelaw status to say so")
        expect(line_of(LAX) == "danelaw-dane:", line_of(LAX))
        expect("danelaw.db is gone" in lab.danelawd.tail(), lab.danelawd.tail())
        stays(lab, late)
    with book.test("... until somebody says danelaw reload"):
        expect(lab.danelawd.cli("reload").returncode == 0, lab.danelawd.tail())
        expect(line_of(LAX) == "danelaw:", line_of(LAX))
        arrives(lab, late)
    with book.test("--permanent and --clear"):
        mode(lab, "Strict", "--dane", "opportunistic", "--permanent")
        expect(shown(lab, "Strict")["override"]["until"] is None and line_of(STRICT) == "danelaw:", line_of(STRICT))
        mode(lab, "Strict", "--clear")
        expect(shown(lab, "Strict")["override"] is None and line_of(STRICT) == "danelaw-dane:", line_of(STRICT))
    with book.test("what the configuration says anyway ends an override"):
        mode(lab, "Strict", "--dane", "none", "--for", "1h")
        mode(lab, "Strict", "--dane", "mandatory")
        expect(shown(lab, "Strict")["override"] is None, shown(lab, "Strict"))


@chapter
def mode_everyone(lab, book):
    """a connector for everyone, whose road is in main.cf"""
    lab.rules([connectors.mandatory("*", name="All")])
    with book.test("a weaker mode says what main.cf keeps from it"):
        done = mode(lab, "All", "--dane", "opportunistic", "--for", "1h")
        expect("default_transport = danelaw" in done.stderr, done.stderr)
        letter = post(lab, STRICT)
        expect_fate(lab, letter, "held")
        expect(not letter.copies(lab), "LEAK")
    with book.test("with that line it is delivered; without the override it is held, whatever main.cf says"):
        lab.postfix.set("default_transport=danelaw")
        lab.postfix.reload()
        arrives(lab, letter)
        expect("default_transport" not in mode(lab, "All", "--clear").stderr, "nothing stays behind now")
        late = post(lab, STRICT)
        expect_fate(lab, late, "held")
        expect(not late.copies(lab), "LEAK", late.story(lab))


@chapter
def mode_refused(lab, book):
    """who may, and what can't be"""
    fresh(lab)
    for argv, status, word in ((("Stritc", "--dane", "none", "--for", "1h"), 1, '"Strict"'),
                               (("(default)", "--dane", "none", "--for", "1h"), 1, "can't be overridden"),
                               (("Strict", "--dane", "none", "--for", "8d"), 2, "7d"),
                               (("Strict", "--dane", "lax", "--for", "1h"), 2, "opportunistic"),
                               (("Strict", "--dane", "none", "--for", "1h", "--permanent"), 2, "exclude"),
                               (("Strict", "--clear", "--permanent"), 2, "--clear")):
        with book.test(f"mode {' '.join(argv)}: exit {status}"):
            done = mode(lab, *argv, exit=status)
            expect(word in done.stderr, done.stdout, done.stderr)
    with book.test("readers may look, and change nothing"):
        os.chmod(daemon.CONTROL, 0o666)
        script = ("import json, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                  "s.sendall(sys.argv[2].encode() + b'\\n')\nprint(s.makefile().read())")
        def ask(**request):
            done = subprocess.run(["python3", "-c", script, daemon.CONTROL, json.dumps(request)], user="postfix",
                                  capture_output=True, text=True, check=True, cwd="/")
            return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        answer = ask(verb="mode", name="Strict", dane="none", **{"for": 60})
        expect(answer[-1]["exit"] == 1 and "root" in answer[-1]["error"], answer)
        expect(ask(verb="tables")[-1]["exit"] == 1, "a reader wrote the tables")
        expect(ask(verb="audit")[-1]["exit"] == 0, "a reader may not see the audit")
        expect(ask(verb="tables", check=True)[-1]["exit"] == 0, "a reader may not check the tables")
        expect(shown(lab, "Strict")["override"] is None, shown(lab, "Strict"))
    with book.test("the audit has who root is by sudo"):
        done = subprocess.run([daemon.BUILD + "/danelaw", "-c", daemon.CONF, "mode", "Strict", "--dane", "none", "--for",
                               "1h"], env={**os.environ, "SUDO_USER": "alice"}, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stderr)
        expect(audit(lab)[0] == ("mode set", "Strict", "root (alice)"), audit(lab)[:3])
        mode(lab, "Strict", "--clear")
    with book.test("the table can't be written: exit 1, in force in the daemon, the old table stays"):
        os.chown(daemon.STORE + "/postfix", 0, 0)
        try:
            done = mode(lab, "Strict", "--dane", "opportunistic", "--for", "1h", exit=1)
            expect("table" in done.stderr and line_of(STRICT) == "danelaw-dane:", done.stderr)
            expect(shown(lab, "Strict")["override"] is not None, shown(lab, "Strict"))
        finally:
            shutil.chown(daemon.STORE + "/postfix", daemon.USER)
        expect(lab.danelawd.cli("tables").returncode == 0 and line_of(STRICT) == "danelaw:", line_of(STRICT))
        mode(lab, "Strict", "--clear")
    with locked_store(lab):
        with book.test("the store can't be written: exit 75, in force all the same"):
            done = mode(lab, "Strict", "--dane", "opportunistic", "--for", "1h", exit=75)
            expect("not kept" in done.stderr and line_of(STRICT) == "danelaw:", done.stderr)
            mode(lab, "Strict", "--clear", exit=75)
            expect(line_of(STRICT) == "danelaw-dane:", line_of(STRICT))
    with book.test("no sanitizer has complained"):
        lab.danelawd.stop()
        said = lab.danelawd.about("Sanitizer", "runtime error", limit=40)
        expect(not said, *said)
