"""Calls of the C library that fail: at the daemon's start, while mail flows, at a reload, at its end."""

import collections
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import time

import connectors
import daemon
import luck
import socketmap
from daemon import CONTROL, STORE
from lab import wait_until
from trial import chapter, expect

GOOD, BAD, OTHER = "good311.example", "unsigned.example", "notlsa.example"
RULES = [connectors.mandatory(BAD), connectors.mandatory(GOOD)]
SWEEP = os.environ.get("UNLUCKY_SWEEP")         # "all", or how many calls of each kind are tried
NOTIFY = "/run/lab/notify.sock"
PATIENCE = 60


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
        words = [line for line in said.splitlines() if not line.startswith("unlucky:")]
        expect(words, what, f"ended with {code} and no word")
        if code == -signal.SIGABRT:
            expect("the process ends" in said, what, "aborted", said)
            self.outcomes["gave up"] += 1
        else:
            expect(code in (1, 78), what, f"ended with {code}", said)
            self.outcomes["said why"] += 1


def count_calls(starts, kinds):
    """How many calls of each kind a lucky start makes until it is ready."""
    for kind in kinds:
        starts.luck.order(kind)
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


@chapter
def unlucky_start(lab, book):
    """the daemon's start, one call failing"""
    lab.danelawd.kill()
    lab.danelawd.configure(RULES)
    bad_luck = luck.Luck()
    kinds = [kind for kind in luck.KINDS if kind != "memory" or not luck.sanitized()]
    starts = Starts(lab, bad_luck)
    counts = count_calls(starts, kinds)
    print("  " + ", ".join(f"{kind} {count}" for kind, count in counts.items()))
    for kind in kinds:
        with book.test(f"{kind}: each failing call"):
            for at in chosen(counts[kind], 10 if SWEEP is None else 10**9 if SWEEP == "all" else int(SWEEP)):
                bad_luck.order(kind, at=at)
                starts.begin()
                starts.judge(f"{kind} {at}")
    bad_luck.mend()
    print("  " + ", ".join(f"{count} {what}" for what, count in starts.outcomes.items()))
