"""Calls of the C library that fail: at the daemon's start, while mail flows, at a reload, at its end."""

import collections
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import connectors
import letters
import luck
import socketmap
import sts
from daemon import BUILD, CONF, CONTROL, STORE
from lab import wait_until
from trial import chapter, expect, expect_safe

GOOD, BAD, ASKED, OTHER = "good311.example", "unsigned.example", "good301.example", "notlsa.example"
VISITED, BY_POLICY = "firsttlsa.example", "stsexact.example"
RULES = [connectors.mandatory(BAD), connectors.mandatory(GOOD), connectors.opportunistic(ASKED)]
SWEEP = os.environ.get("UNLUCKY_SWEEP")         # "all", or how many calls of each kind are tried
NOTIFY = "/run/lab/notify.sock"
PATIENCE = 60
LETHAL = "libconfig|libunbound|libgmp|libhogweed"       # they don't ask whether they got memory, or abort


class Herald:
    """Hears what sd_notify(3) tells."""

    def __init__(self):
        if os.path.exists(NOTIFY):
            os.unlink(NOTIFY)
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(NOTIFY)
        os.chmod(NOTIFY, 0o777)
        self.ear.setblocking(False)

    def forget(self):
        while self.heard():
            pass

    def heard(self, seconds=0.0):
        if not select.select([self.ear], [], [], seconds)[0]:
            return b""
        return self.ear.recv(1000)


def ask_control(verb, **more):
    """The control socket's answer: the exit code and the items before it."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(PATIENCE)
        wire.connect(CONTROL)
        wire.sendall(json.dumps({"verb": verb, **more}).encode() + b"\n")
        lines = [json.loads(line) for line in wire.makefile("rb")]
    return lines[-1]["exit"], lines[:-1]


def greet_milter(lab):
    """Negotiates as an MTA does; what the filter answers with."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(PATIENCE)
        wire.connect(lab.danelawd.sockets + "/milter.sock")
        wire.sendall(struct.pack("!IcIII", 13, b"O", 6, 0x1ff, 0x1fffff))
        return wire.recv(5)[4:]


def check_serving(lab, book_text):
    """All doors answer; the table is there, or its absence is told."""
    expect(greet_milter(lab) == b"O", book_text, "the milter does not answer")
    with socketmap.Map() as wire:
        expect(wire.ask("explain", f"u@{BAD}").startswith("OK "), book_text, "the map does not answer")
    code, items = ask_control("status")
    expect(code in (0, 1, 75) and items, book_text, f"status: {code} {items}")
    return items[0]


def died_in_library(said):
    """The call that failed was one of a library that goes on without, or aborts."""
    stack = said.rpartition("unlucky: kind ")[2].splitlines()
    frames = [line for line in stack[1:] if not re.match(r"\S*(unlucky\.so|libc\.so|libgnutls)", line)]
    return bool(frames) and frames[0].startswith(("/lib", "/usr/lib")) and re.search(LETHAL, frames[0]) is not None


class Starts:
    """Starts under bad luck, and what became of them."""

    def __init__(self, lab, bad_luck):
        self.lab, self.luck, self.herald = lab, bad_luck, Herald()
        self.outcomes = collections.Counter()
        lab.danelawd.environment = {**bad_luck.environment(), "NOTIFY_SOCKET": NOTIFY}

    def begin(self):
        self.lab.danelawd.kill()
        self.herald.forget()
        shutil.rmtree(STORE + "/postfix", ignore_errors=True)
        self.mark = os.path.getsize(self.lab.danelawd.log) if os.path.exists(self.lab.danelawd.log) else 0
        self.lab.danelawd.launch()

    def said(self):
        with open(self.lab.danelawd.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.mark)
            return log.read()

    def become(self):
        """True: it says that it is ready; False: it ended."""
        process, deadline = self.lab.danelawd.process, time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if b"READY=1" in self.herald.heard(0.01):
                return True
            if process.poll() is not None:
                return False
        expect(False, "neither ready nor ended", self.said())

    def judge(self, what):
        """One start, whatever its luck: works, or ends with a word."""
        if not self.become():
            return self.judge_end(what)
        status = self.settle(what)
        self.luck.mend()
        if status is None:
            return self.judge_end(what)
        check_serving(self.lab, what)
        expect("it is kept as" not in self.said(), what, "a good store is moved aside", self.said())
        if status["tables"]["current"]:
            expect(self.table() == self.wanted, what, "the table is not what it should be", self.table())
            self.outcomes["works"] += 1
        else:
            expect(self.table() in (self.wanted, None), what, "half a table", self.table())
            self.outcomes["works, and says what ails the table"] += 1

    def settle(self, what):
        """What it says of itself once it has tried to write its table; None: it ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                code, items = ask_control("status")
            except (OSError, IndexError, ValueError):
                items = []
            if items and (items[0]["tables"]["current"] or items[0]["tables"]["why"]):
                return items[0]
            if self.lab.danelawd.process.poll() is not None:
                return None
            time.sleep(0.02)
        expect(False, what, "the table is neither written nor given up", items, self.said())

    @staticmethod
    def table():
        try:
            with open(STORE + "/postfix/transport", encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def judge_end(self, what):
        code, said = self.lab.danelawd.process.returncode, self.said()
        if code < 0 and "the process ends" in said:
            self.outcomes["gave up, and said so"] += 1
        elif code < 0 and died_in_library(said):
            self.outcomes["died inside a library"] += 1
        else:
            expect("danelawd" in said, what, f"ended with {code} and no word")
            expect(code in (1, 78), what, f"ended with {code}", said)
            self.outcomes["said why"] += 1


def count_calls(starts, kinds):
    """How many calls of each kind a lucky start makes until it is ready."""
    for kind in kinds:
        starts.luck.order(kind, stacks=kind == "memory")
    starts.begin()
    expect(starts.become(), starts.said())
    expect(starts.settle("a lucky start")["tables"]["current"], starts.said())
    starts.wanted = starts.table()
    counts = {kind: starts.luck.calls(kind) for kind in kinds}
    starts.luck.mend()
    return counts


def chosen(count, most):
    """All calls, or some: the first, the last, and evenly between."""
    if count <= most:
        return range(1, count + 1)
    return sorted({1 + round(step * (count - 1) / (most - 1)) for step in range(most)})


def most(short):
    """How many calls of each kind are tried."""
    return short if SWEEP is None else 10**9 if SWEEP == "all" else int(SWEEP)


def wanted_kinds():
    """The sanitizer's memory is its own."""
    kinds = (os.environ.get("UNLUCKY_KINDS") or " ".join(luck.KINDS)).split()
    return [kind for kind in kinds if kind != "memory" or not luck.sanitized()]


@chapter
def unlucky_start(lab, book):
    """the daemon's start, one call failing"""
    lab.danelawd.kill()
    lab.danelawd.configure(RULES + [connectors.mandatory("*.example", name="wild")])
    bad_luck = luck.Luck()
    kinds = wanted_kinds()
    starts = Starts(lab, bad_luck)
    counts = count_calls(starts, kinds)
    print("  " + ", ".join(f"{kind} {count}" for kind, count in counts.items()))
    for kind in kinds:
        for at in chosen(counts[kind], most(3)):
            with book.test(f"{kind}, call {at} of {counts[kind]}"):
                bad_luck.tell(kind == "memory")
                bad_luck.order(kind, at=at, stacks=kind == "memory")
                starts.begin()
                starts.judge(f"{kind} {at}")
    bad_luck.mend()
    lab.danelawd.kill()
    lab.danelawd.environment = {}
    print("  " + ", ".join(f"{count} {what}" for what, count in starts.outcomes.items()))


# --- the command

COMMANDS = [("check", GOOD), ("setup", "postfix"), ("status",), ("tables", "--check")]
FAIR_ENDS = {0, 1, 69, 75, 78}


def command(lab, bad_luck, verb):
    return subprocess.run([BUILD + "/danelaw", "-c", CONF, *verb], capture_output=True, text=True, timeout=2 * PATIENCE,
                          check=False, env={**os.environ, **bad_luck.environment()})


@chapter
def unlucky_command(lab, book):
    """the command, one call failing"""
    lab.danelawd.environment = {}
    lab.rules(RULES)
    wait_until(lambda: lab.danelawd.cli("status").returncode == 0, 60, "the daemon to be well")
    bad_luck, ends = luck.Luck(), collections.Counter()
    for verb in COMMANDS:
        with book.test(f"danelaw {' '.join(verb)}: says why, and ends with a meaning"):
            for kind in wanted_kinds():
                bad_luck.order(kind, stacks=kind == "memory")
            expect(command(lab, bad_luck, verb).returncode == 0, "a lucky one fails")
            counts = {kind: bad_luck.calls(kind) for kind in wanted_kinds()}
            bad_luck.mend()
            for kind, at in [(kind, at) for kind in counts for at in chosen(counts[kind], most(2))]:
                bad_luck.tell(kind == "memory")
                bad_luck.order(kind, at=at, stacks=kind == "memory")
                done = command(lab, bad_luck, verb)
                bad_luck.mend()
                fair = done.returncode in FAIR_ENDS and (done.returncode == 0 or done.stdout + done.stderr != "")
                gave_up = done.returncode < 0 and "the process ends" in done.stderr
                expect(fair or gave_up or died_in_library(done.stderr), f"{kind} {at}: exit {done.returncode}", done.stdout,
                       done.stderr)
                ends[done.returncode] += 1
    print(f"  exit codes {dict(ends)}")


# --- while mail flows

DESCRIPTORS = [errno.EMFILE, errno.ENFILE]
TROUBLES = {
    "memory": {"memory": None},
    "descriptors": {"open": DESCRIPTORS, "socket": DESCRIPTORS, "accept": DESCRIPTORS, "channel": DESCRIPTORS},
    "the disk": {kind: None for kind in ("read", "write", "sync", "truncate", "rename")},
    # Not "watch" as well: where epoll_ctl(2) fails for libunbound's own pipe it never looks there again, and finds nothing out
    # until the daemon is started anew. The sweep of the start has it.
    "the network": {kind: None for kind in ("connect", "receive", "send")},
    "signals": {kind: [errno.EINTR] for kind in ("wait", "receive", "send", "read", "write", "talk", "connect", "open")},
    "threads and programs": {kind: None for kind in ("thread", "program", "map", "talk")},
}
WAYS = [letters.by_smtp, letters.by_queue_client, letters.by_sendmail]
VERBS = [("status",), ("cache", "flush"), ("cache", "flush", "--sts"), ("held",), ("reload",), ("connectors",), ("tables",),
         ("trace", "--limit", "5"), ("cache",), ("connectors", "show", f"strict {GOOD}"),
         ("mode", f"strict {BAD}", "--dane", "mandatory", "--permanent"), ("audit",)]
CHANCES = {"memory": 0.002, "thread": 0.5, "program": 0.5, "connect": 0.5, "socket": 0.3, "truncate": 0.5}
LINES_MOST = 60                 # of complaint, however many calls fail meanwhile


class Manager:
    """Starts the daemon again wherever it ends, as a service manager does."""

    def __init__(self, lab):
        self.lab, self.stop, self.restarts, self.ends = lab, threading.Event(), 0, []
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while not self.stop.wait(0.1):
            code = self.lab.danelawd.process.poll()
            if code is not None:
                self.ends.append(code)
                self.restarts += 1
                self.lab.danelawd.launch()

    def end(self):
        self.stop.set()
        self.thread.join()


class Trouble:
    """One kind of bad luck while mail flows, and what came of it."""

    def __init__(self, lab, bad_luck, kinds, seed):
        self.lab, self.luck, self.kinds, self.seed = lab, bad_luck, kinds, seed
        self.answers = collections.Counter()
        self.mark = os.path.getsize(lab.danelawd.log)

    def begin(self):
        self.luck.below(STORE)
        for number, (kind, errors) in enumerate(self.kinds.items()):
            self.luck.order(kind, errors, chance=CHANCES.get(kind, 0.15), seed=self.seed + number)

    def bad_days(self):
        """Letters by all ways to everybody, and all verbs, while calls fail; the letters."""
        self.begin()
        jobs = [(way, f"r{turn}@{domain}") for turn in range(2) for way in WAYS for domain in (BAD, GOOD, ASKED, OTHER)]
        verbs = threading.Thread(target=self._ask_all)
        verbs.start()
        sent = letters.post(self.lab, jobs, workers=8)
        verbs.join()
        free = [letter for letter in sent if letter.recipient.endswith(OTHER)]
        silent = letters.settle(self.lab, free)
        expect(not silent and all(letter.fate(self.lab) == "delivered" for letter in free), "other mail does not flow",
               *(letter.story(self.lab) for letter in free if letter.fate(self.lab) != "delivered"))
        self.failures = {kind: self.luck.failed(kind) for kind in self.kinds}
        self.luck.mend()
        return sent

    def _ask_all(self):
        for verb in VERBS:
            self.answers[self.lab.danelawd.cli(*verb).returncode] += 1

    def complaints(self):
        with open(self.lab.danelawd.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.mark)
            return [line for line in log if re.match(r"danelawd: (error|warning)", line)]


def recovered(lab):
    """It answers, finds nothing wrong with its tables or its store, and knows its partners' state."""
    if not lab.danelawd.running() or not lab.danelawd.ready():
        return False
    status = lab.danelawd.ask("status")
    try:
        mapped = socketmap.ask("postfix-tls", ASKED)
    except OSError:
        return False
    return mapped == "OK dane-only" and bool(status) and status[0]["tables"]["current"] and status[0]["store"]["good"] \
        and letters.by_smtp(lab, f"check@{BAD}").code == 451 and letters.by_smtp(lab, f"check@{GOOD}").code == 250


def check_letters(lab, sent):
    for letter in sent:
        expect_safe(lab, letter) if letter.recipient.endswith((BAD, GOOD)) else None
        expect(not letter.recipient.endswith(BAD) or not letter.copies(lab), "LEAK", lambda: letter.story(lab))
    due = [letter for letter in sent if letter.code == 250 and not letter.recipient.endswith(BAD)]

    def arrived():
        lab.mta.flush()
        time.sleep(0.3)
        return all(letter.copies(lab) for letter in due)
    try:
        wait_until(arrived, 120, "what was accepted to arrive")
    except TimeoutError:
        expect(False, "LOST", *(letter.story(lab) for letter in due if not letter.copies(lab)))
    for letter in due:
        expect_safe(lab, letter) if letter.recipient.endswith(GOOD) else None
        expect(len(letter.copies(lab)) == 1, "twice", lambda: letter.story(lab))


@chapter
def unlucky_mail(lab, book):
    """calls that fail while mail flows: nothing leaks, nothing is lost, other mail flows, and it is over when they work again"""
    bad_luck = luck.Luck()
    lab.danelawd.kill()
    lab.danelawd.environment = bad_luck.environment()
    lab.rules(RULES + [{**RULES[1], "name": "visited", "recipients": [VISITED], "probe": "watch"},
                       connectors.connector("by policy", BY_POLICY, mta_sts="mandatory")], sts=sts.settings(lab))
    wait_until(lambda: recovered(lab), 60, "the partners' states")
    manager = Manager(lab)
    try:
        for number, (name, kinds) in enumerate(TROUBLES.items()):
            if (name == "memory" and luck.sanitized()) or name not in (os.environ.get("UNLUCKY_TROUBLES") or name):
                continue
            one_trouble(lab, book, bad_luck, name, Trouble(lab, bad_luck, kinds, 100 * number), manager)
    finally:
        bad_luck.mend()
        manager.end()
    with book.test("an orderly end after all that, and no sanitizer complains"):
        status = lab.danelawd.stop()
        expect(status == 0, f"exit status {status}", lab.danelawd.tail())
        said = lab.danelawd.about("Sanitizer", "runtime error", limit=40)
        expect(not said, *said)
    lab.danelawd.environment = {}


def one_trouble(lab, book, bad_luck, name, trouble, manager):
    before, descriptors = manager.restarts, count_descriptors(lab)
    with book.test(f"{name}: other mail flows, everybody answers"):
        sent = trouble.bad_days()
        expect(set(trouble.answers) <= {0, 1, 69, 75}, trouble.answers)
    bad_luck.mend()
    with book.test(f"{name}: over as soon as the calls work again"):
        try:
            wait_until(lambda: recovered(lab), 240, "recovery")     # libunbound remembers for a minute what it could not prove
        except TimeoutError:
            expect(False, "not over", socketmap.ask("postfix-tls", ASKED), lab.danelawd.ask("status"), lab.danelawd.tail(40))
    with book.test(f"{name}: no letter left without authentication, none is lost, none came twice"):
        check_letters(lab, sent)
    with book.test(f"{name}: loud, but no flood"):
        complaints = trouble.complaints()
        expect(len(complaints) <= LINES_MOST, len(complaints), *complaints[:LINES_MOST])
    with book.test(f"{name}: no descriptor is left open"):
        if manager.restarts == before:
            wait_until(lambda: count_descriptors(lab) <= descriptors + 8, 60, "descriptors to be closed")
    print(f"  {name}: {sum(trouble.failures.values())} calls failed ({trouble.failures}), {manager.restarts - before} restarts "
          f"{manager.ends[before:]}, {len(complaints)} complaints, verbs' exit codes {dict(trouble.answers)}")


def count_descriptors(lab):
    return len(os.listdir(f"/proc/{lab.danelawd.process.pid}/fd"))
