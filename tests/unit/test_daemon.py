#!/usr/bin/env python3
"""The real danelawd, tried by its doors: a milter client, a map client, signals, and a small signed world of DNS.

usage: test_daemon.py [NAME...]     builddir (preset: .) says where milter/danelawd is; NAME picks tests
"""

import base64
import collections
import grp
import hashlib
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

# libmilter is not built for the thread sanitizer, and leaves its signal thread to the end of the process.
SUPPRESSIONS = "race:libmilter\nmutex:libmilter\nthread:libmilter\nrace:cxa_at_exit_wrapper\n"
DANELAWD = os.path.abspath(os.path.join(os.environ.get("builddir") or ".", "milter", "danelawd"))
USER = "nobody"
PATIENT, HASTY = 30, 2             # budgets, in seconds: where evidence is to come, and where none does
DNS_TIMEOUT = 5                     # of the resolver; it ends the wait for dead DNS where no budget does
LONG = 60                           # no machine is so slow
SANITIZERS = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:")


# --- DNS: one signed zone, the root, that holds everything; `plain.` is an insecure delegation below it

A, NS, SOA, MX, TLSA, RRSIG, NSEC, DNSKEY, DS, OPT = 1, 2, 6, 15, 52, 46, 47, 48, 43, 41


def prime(bits):
    while True:
        n = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if n % 65537 == 1 or any(n % p == 0 for p in (3, 5, 7, 11, 13, 17, 19, 23)):
            continue
        d, s = n - 1, 0
        while d % 2 == 0:
            d, s = d // 2, s + 1
        for _ in range(16):
            x = pow(random.randrange(2, n - 1), d, n)
            if x in (1, n - 1):
                continue
            if not any((x := x * x % n) == n - 1 for _ in range(s - 1)):
                break
        else:
            return n


def wire(name):
    labels = [label for label in name.lower().split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


class Key:
    """RSASHA256 (RFC 5702), which needs nothing but pow()."""

    def __init__(self):
        p, q = prime(512), prime(512)
        self.n, self.d = p * q, pow(65537, -1, (p - 1) * (q - 1))
        public = b"\x03" + (65537).to_bytes(3, "big") + self.n.to_bytes(128, "big")
        self.rdata = struct.pack("!HBB", 257, 3, 8) + public
        total = sum(b << 8 if i % 2 == 0 else b for i, b in enumerate(self.rdata))
        self.tag = (total + (total >> 16)) & 0xffff
        self.anchor = ". IN DNSKEY 257 3 8 " + base64.b64encode(public).decode()

    def sign(self, name, kind, ttl, rdatas):
        now = int(time.time())
        labels = len([x for x in name.split(".") if x])
        head = struct.pack("!HBBIIIH", kind, 8, labels, ttl, now + 86400, now - 86400, self.tag) + b"\0"
        body = b"".join(wire(name) + struct.pack("!HHIH", kind, 1, ttl, len(r)) + r for r in sorted(rdatas))
        digest = hashlib.sha256(head + body).digest()
        info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
        padded = b"\0\1" + b"\xff" * (128 - 3 - len(info)) + b"\0" + info
        return head + pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(128, "big")


def bitmap(kinds):
    windows = collections.defaultdict(lambda: bytearray(32))
    for kind in kinds:
        windows[kind >> 8][(kind & 255) >> 3] |= 0x80 >> (kind & 7)
    return b"".join(bytes([w]) + bytes([len(bits)]) + bits for w, bits in sorted(
        (w, bytes(b).rstrip(b"\0")) for w, b in windows.items()))


class World:
    """Answers on a loopback port; what it does not know does not exist, and is proven not to."""

    def __init__(self):
        self.key, self.lock = Key(), threading.Lock()
        self.records = collections.defaultdict(dict)
        self.silent, self.failing, self.asked, self.signed = set(), set(), collections.Counter(), {}
        self.soa = wire("ns.root") + wire("root.root") + struct.pack("!IIIII", 1, 3600, 600, 86400, 60)
        self.records["."] = {NS: [wire("ns.root")], SOA: [self.soa], DNSKEY: [self.key.rdata]}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def partner(self, domain, good):
        host = "mx." + domain
        self.records[domain][MX] = [struct.pack("!H", 10) + wire(host)]
        self.records[host][A] = [bytes([192, 0, 2, 1])]
        if good:
            self.records["_25._tcp." + host][TLSA] = [bytes([3, 1, 1]) + hashlib.sha256(host.encode()).digest()]

    def is_in(self, names, name):
        return any(name == n or name.endswith("." + n) for n in names)

    def rrset(self, name, kind, rdatas, ttl=300, plain=False):
        out = [wire(name) + struct.pack("!HHIH", kind, 1, ttl, len(r)) + r for r in rdatas]
        if not plain:
            key = (name, kind, tuple(rdatas))
            if key not in self.signed:
                self.signed[key] = self.key.sign(name, kind, ttl, rdatas)
            sig = self.signed[key]
            out.append(wire(name) + struct.pack("!HHIH", RRSIG, 1, ttl, len(sig)) + sig)
        return out

    def denial(self, name, plain):
        if plain:
            return self.rrset("plain", SOA, [self.soa], plain=True)
        kinds = list(self.records.get(name, {})) + [RRSIG, NSEC] + ([NS] if name == "plain" else [])
        return self.rrset(".", SOA, [self.soa]) + self.rrset(name, NSEC, [b"\1\0" + wire(name) + bitmap(kinds)])

    def answer(self, packet):
        number, = struct.unpack("!H", packet[:2])
        at, labels = 12, []
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1").lower())
            at += 1 + packet[at]
        name = ".".join(labels) or "."
        kind, = struct.unpack("!H", packet[at + 1:at + 3])
        question = packet[12:at + 5]
        with self.lock:
            self.asked[name] += 1
            silent, failing = self.is_in(self.silent, name), self.is_in(self.failing, name)
        if silent:
            return None
        plain = name.endswith(".plain") or (name == "plain" and kind != DS)
        found = self.records.get(name, {}).get(kind)
        answers = self.rrset(name, kind, found, plain=plain) if found and not failing else []
        authority = [] if found or failing else self.denial(name, plain)
        flags = 0x8180 | (2 if failing else 0)
        extra = b"\0" + struct.pack("!HHIH", OPT, 4096, 0x8000, 0)
        head = struct.pack("!HHHHHH", number, flags, 1, len(answers), len(authority), 1)
        return head + question + b"".join(answers + authority) + extra

    def serve(self):
        while True:
            packet, where = self.socket.recvfrom(4096)
            try:
                reply = self.answer(packet)
            except Exception:
                traceback.print_exc()
                continue
            if reply is not None:
                self.socket.sendto(reply, where)


# --- doors

class Milter:
    """One SMTP session as the MTA tells a milter of it."""

    def __init__(self, path, timeout=LONG):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.send(b"O", struct.pack("!III", 6, 0x1ff, 0x1fffff))
        command, data = self.receive()
        assert command == b"O", command
        self.version, self.actions, self.steps = struct.unpack("!III", data[:12])

    def send(self, command, data=b""):
        self.socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the milter hung up")
            data += more
        return data

    def receive(self):
        length, = struct.unpack("!I", self.exactly(4))
        data = self.exactly(length)
        return data[:1], data[1:]

    def ask(self, command, data=b"", **macros):
        """Returns the reply: "continue", "accept", "tempfail", or the text of a reply code."""
        if macros:
            words = b"".join((k if len(k) == 1 else "{" + k + "}").encode() + b"\0" + str(v).encode() + b"\0"
                             for k, v in macros.items())
            self.send(b"D", command + words)
        self.send(command, data)
        while True:
            code, rest = self.receive()
            if code != b"p":
                break
        if code == b"y":
            return rest.rstrip(b"\0").decode()
        return {b"c": "continue", b"a": "accept", b"t": "tempfail", b"r": "reject", b"d": "discard"}.get(code, code)

    def connect(self, host="client.example", address="192.0.2.55", port=4242, **macros):
        if address is None:
            return self.ask(b"C", host.encode() + b"\0U", **macros)
        family = b"6" if ":" in address else b"4"
        return self.ask(b"C", host.encode() + b"\0" + family + struct.pack("!H", port) + address.encode() + b"\0", **macros)

    def mail(self, sender="<al@home.example>", **macros):
        return self.ask(b"M", sender.encode() + b"\0", **macros)

    def rcpt(self, to, mailer="smtp", addr=True, **macros):
        if mailer is not None:
            macros["rcpt_mailer"] = mailer
        if addr:
            macros["rcpt_addr"] = to.strip("<>").rstrip(".")
        return self.ask(b"R", ("<" + to.strip("<>") + ">").encode() + b"\0", **macros)

    def header(self, name, value):
        return self.ask(b"L", name.encode() + b"\0" + value.encode() + b"\0")

    def end(self):
        """End of message; returns the changes, in order, and the verdict."""
        self.send(b"E")
        changes = []
        while True:
            code, rest = self.receive()
            if code == b"h":
                changes.append(("add",) + tuple(rest.decode().split("\0")[:2]))
            elif code == b"m":
                changes.append(("change", struct.unpack("!I", rest[:4])[0]) + tuple(rest[4:].decode().split("\0")[:2]))
            elif code != b"p":
                return changes, code

    def abort(self):
        self.send(b"A")

    def quit(self):
        try:
            self.send(b"Q")
        except OSError:
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.quit()


def netstring(words):
    data = words.encode()
    return str(len(data)).encode() + b":" + data + b","


def ask_map(path, words, timeout=LONG):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(path)
        s.sendall(netstring(words))
        data = b""
        while not data.endswith(b","):
            more = s.recv(4096)
            if not more:
                return None
            data += more
    return data[data.index(b":") + 1:-1].decode()


# --- the daemon

CONNECTORS = """
  { name = "Bank"; recipients = [ "good.example", "bare.example", "dead.example", "*.dead.example", "x.plain" ];
    smtp_dane = "mandatory"; mta_sts = "none"; },
  { name = "100%s %n B\\xc3\\xa4nk"; recipients = [ "percent.example" ]; smtp_dane = "mandatory"; mta_sts = "none"; },
  { name = "Queue"; recipients = [ "queue.example" ]; smtp_dane = "mandatory"; mta_sts = "none"; on_hold = "queue"; },
  { name = "Tempfail"; recipients = [ "tempfail.example" ]; smtp_dane = "mandatory"; mta_sts = "none"; on_hold = "tempfail"; },
  { name = "Friend"; recipients = [ "friend.example", "fails.example", "sleepy.example" ]; smtp_dane = "opportunistic";
    mta_sts = "none"; tls = "encrypt"; },
  { name = "Somebody"; recipients = [ "boss@mixed.example" ]; smtp_dane = "mandatory"; mta_sts = "none"; },
  { name = "Scoped"; recipients = [ "scoped.example" ]; senders = [ "al@home.example" ]; smtp_dane = "mandatory";
    mta_sts = "none"; }"""


def make_world():
    w = World()
    for d in ("good.example", "friend.example"):
        w.partner(d, True)
    for d in ("bare.example", "percent.example", "queue.example", "tempfail.example", "mixed.example", "scoped.example",
              "stranger.example", "x.plain"):
        w.partner(d, False)
    w.silent.update(("dead.example", "sleepy.example"))
    w.failing.update(("fails.example", "failing-stranger.example"))
    return w


def wait_for(what, seconds=LONG):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    return what()


class Daemon:
    def __init__(self, world, tag=False, connectors=CONNECTORS, milter="", http="", budget=PATIENT, **top):
        self.world, self.process, self.budget = world, None, budget
        self.root = tempfile.mkdtemp(prefix="danelaw-daemon-")
        os.chmod(self.root, 0o755)
        self.run = os.path.join(self.root, "run")
        self.config = os.path.join(self.root, "danelaw.conf")
        self.milter_path, self.map_path = (os.path.join(self.run, n + ".sock") for n in ("milter", "map"))
        self.control_path = os.path.join(self.run, "control.sock")
        self.log_path = os.path.join(self.root, "log")
        self.settings = {"tag": "true" if tag else "false", "milter": milter, "http": http, "top": top}
        self.write(connectors)

    def write(self, connectors=CONNECTORS, extra=""):
        top = "".join(f'{k} = "{v}";\n' for k, v in {"user": USER, **self.settings["top"]}.items())
        text = f"""{top}{extra}
milter = {{ socket = "unix:{self.milter_path}"; budget = {self.budget}; tag = {self.settings["tag"]};
            queue_clients = [ "10.0.0.0/8", "2001:db8::/32" ]; {self.settings["milter"]} }};
maps = {{ socket = "unix:{self.map_path}"; budget = {self.budget}; }};
control = {{ socket = "unix:{self.control_path}"; }};
http = {{ listen = "{self.settings["http"]}"; }};
resolver = {{ forward = [ "127.0.0.1@{self.world.port}" ]; trust_anchor = [ "{self.world.key.anchor}" ]; timeout = "{DNS_TIMEOUT}s"; }};
store = {{ directory = "{self.root}/store"; }};
log = {{ target = "stderr"; }};
connectors = ({connectors}
);
"""
        with open(self.config + ".new", "wb") as out:
            out.write(text.encode().replace(b"\\xc3\\xa4", b"\xc3\xa4"))
        os.rename(self.config + ".new", self.config)

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("latin-1")

    def spawn(self, *more, env=None, wrapped=(), **how):
        hushed = os.path.join(self.root, "suppressions")
        with open(hushed, "w", encoding="ascii") as file:
            file.write(SUPPRESSIONS)
        env = {**(env or os.environ), "TSAN_OPTIONS": f"suppressions={hushed} " + os.environ.get("TSAN_OPTIONS", "")}
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen([*wrapped, DANELAWD, "-c", self.config, *more], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, env=env, **how)
        PROCESSES.append(process)
        return process

    def start(self, **how):
        self.process = self.spawn("-f", **how)
        assert wait_for(lambda: self.process.poll() is not None or self.answers()), "not ready"
        assert self.process.poll() is None, self.log()
        return self

    def answers(self):
        try:
            with Milter(self.milter_path, 2):
                return "proven" in self.log()
        except OSError:
            return False

    def session(self, **connect):
        m = Milter(self.milter_path)
        assert m.connect(**connect) == "continue"
        return m

    def stop(self, number=signal.SIGTERM, patience=LONG):
        """Returns the exit status and how long it took."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(patience)
        return code, time.monotonic() - start

    def done(self):
        """The end of a test: stops what still runs; a sanitizer's word is a failure."""
        if self.process is not None and self.process.poll() is None:
            code, _ = self.stop()
            assert code == 0, f"exit status {code}: {self.log()[-3000:]}"
        words = self.log() if os.path.exists(self.log_path) else ""
        assert not any(s in words for s in SANITIZERS), words[-6000:]
        shutil.rmtree(self.root, ignore_errors=True)


def full_message(m, to, sender="<al@home.example>", headers=(), **rcpt):
    m.mail(sender)
    replies = [m.rcpt(t, **rcpt) for t in to]
    for name, value in headers:
        m.header(name, value)
    return replies, m.end()[0]


def expect(got, wanted):
    assert got == wanted, f"got {got!r}, expected {wanted!r}"


def expect_start(got, wanted):
    assert isinstance(got, str) and got.startswith(wanted), f"got {got!r}, expected it to start with {wanted!r}"


# --- tests; those with a parameter share one daemon

def a_good_partner_is_accepted(d):
    with d.session() as m:
        expect(m.mail(), "continue")
        expect(m.rcpt("bo@good.example"), "continue")
        expect(m.rcpt("bo@friend.example"), "continue")
        expect(m.rcpt("bo@stranger.example"), "continue")


def a_held_recipient_is_refused_with_a_reason_and_others_go_on(d):
    with d.session() as m:
        m.mail()
        expect(m.rcpt("bo@good.example"), "continue")
        expect(m.rcpt("bo@bare.example"), '451 4.7.5 dane-required: bare.example publishes no usable DANE records, '
                                          'and the connector "Bank" requires them')
        expect(m.rcpt("bo@good.example"), "continue")
        expect_start(m.rcpt("bo@x.plain"), "451 4.7.5 dane-required: ")


def the_address_of_the_macro_counts_and_without_it_the_argument(d):
    with d.session() as m:
        m.mail()
        expect_start(m.ask(b"R", b"<@good.example:bo@good.example>\0", rcpt_addr="bo@bare.example", rcpt_mailer="smtp"), "451 4.7.5 ")
        m.abort()
    with d.session() as m:
        m.mail()
        expect_start(m.ask(b"R", b"<bo@BARE.Example.>\0"), "451 4.7.5 dane-required: bare.example")


def a_percent_in_a_connectors_name_is_doubled(d):
    with d.session() as m:
        m.mail()
        reply = m.rcpt("bo@percent.example")
        expect_start(reply, "451 4.7.5 dane-required: percent.example")
        assert 'connector "100%%s %%n B??nk" requires' in reply, reply      # doubled on the wire; the MTA makes it one
        assert all(32 <= ord(c) < 127 for c in reply) and len(reply) <= 420, reply


def comes_within_the_budget(ask):
    """Asks for one dead domain after the other until an answer comes in time; on a busy machine some are late."""
    begin = time.monotonic()
    for number in range(1000):
        start = time.monotonic()
        ask(f"t{number}.dead.example")
        took = time.monotonic() - start
        if took < HASTY + 0.5:
            return
        assert start - begin < LONG, took


def dead_dns_is_a_temporary_reply_within_the_budget(d):
    def ask(name):
        with d.session() as m:          # a message has one budget
            m.mail()
            expect_start(m.rcpt("bo@milter-" + name), "451 4.4.3 dns-temp: ")
    comes_within_the_budget(ask)


def the_map_has_a_budget_too(d):
    comes_within_the_budget(lambda name: expect_start(ask_map(d.map_path, "postfix-tls map-" + name), "TEMP "))


def only_outbound_mailers_are_judged(d):
    with d.session() as m:
        m.mail()
        for mailer in ("local", "lmtp", "virtual", "error", "relay"):
            expect(m.rcpt("bo@bare.example", mailer=mailer), "continue")
        for mailer in ("smtp", "esmtp", "smtp8", "dsmtp", "danelaw", "danelaw-dane", "danelaw-sts"):
            expect_start(m.rcpt("bo@bare.example", mailer=mailer), "451 4.7.5 ")
    with d.session() as m:          # macros of a recipient do not outlive it
        m.mail()
        expect_start(m.ask(b"R", b"<bo@bare.example>\0"), "451 4.7.5 ")


def mail_that_came_by_no_smtp_session_is_never_refused(d):
    with d.session(host="localhost", address="127.0.0.1", port=0) as m:
        m.mail()
        for to in ("bo@bare.example", "bo@tempfail.example", "bo@dead.example"):
            expect(m.rcpt(to, mailer=None), "continue")
    with d.session(host="localhost", address="127.0.0.1", port=0) as m:
        m.mail()
        expect_start(m.rcpt("bo@bare.example", mailer="smtp"), "451 4.7.5 ")     # there is a mailer: an SMTP session
    with d.session(host="localhost", address="127.0.0.1", port=25001) as m:
        m.mail()
        expect_start(m.rcpt("bo@bare.example", mailer=None), "451 4.7.5 ")


def clients_that_queue_are_accepted(d):
    for address, refused in (("10.1.2.3", False), ("2001:db8::5", False), ("::ffff:10.1.2.3", False),
                             ("192.0.2.1", True), ("2001:db9::5", True), ("11.0.0.1", True)):
        with d.session(address=address) as m:
            m.mail()
            reply = m.rcpt("bo@bare.example")
            assert (reply != "continue") == refused, (address, reply)
            expect_start(m.rcpt("bo@tempfail.example"), "451 ")                  # its connector says so
            expect(m.rcpt("bo@queue.example"), "continue")


def clients_that_authenticated_are_accepted(d):
    for macros in ({"auth_authen": "al"}, {"auth_type": "PLAIN"}):
        with d.session() as m:
            m.mail(**macros)
            expect(m.rcpt("bo@bare.example"), "continue")
            expect_start(m.rcpt("bo@tempfail.example"), "451 ")
    with d.session() as m:
        m.mail(auth_authen="")
        expect_start(m.rcpt("bo@bare.example"), "451 ")


def on_hold_queue_accepts_and_tempfail_refuses(d):
    with d.session() as m:
        m.mail()
        expect(m.rcpt("bo@queue.example"), "continue")
        expect_start(m.rcpt("bo@tempfail.example"), "451 4.7.5 ")


def default_is_never_refused(d):
    for _ in range(2):
        with d.session() as m:
            m.mail()
            expect(m.rcpt("bo@failing-stranger.example"), "continue")
            expect(m.rcpt("bo@[192.0.2.77]"), "continue")
            expect(m.rcpt("postmaster"), "continue")
        time.sleep(1)


def an_opportunistic_partner_never_waits_and_is_held_once_the_failure_is_known(d):
    with d.session() as m:
        m.mail()
        start = time.monotonic()
        expect(m.rcpt("bo@sleepy.example"), "continue")
        assert time.monotonic() - start < DNS_TIMEOUT - 1
        m.rcpt("bo@fails.example")
    def held():
        with d.session() as m:
            m.mail()
            return m.rcpt("bo@fails.example") != "continue"
    assert wait_for(held)
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@fails.example"), "451 4.4.3 dns-temp: ")


def a_senders_scope_counts(d):
    with d.session() as m:
        m.mail("<al@home.example>")
        expect_start(m.rcpt("bo@scoped.example"), "451 4.7.5 ")
        m.abort()
        m.mail("<AL@HOME.example>")
        expect_start(m.rcpt("bo@scoped.example"), "451 4.7.5 ")
        m.abort()
        m.mail("<eve@home.example>")
        expect(m.rcpt("bo@scoped.example"), "continue")
        m.abort()
        m.mail("<>")
        expect(m.rcpt("bo@scoped.example"), "continue")
        m.abort()
        m.mail("<eve@home.example>", mail_addr="al@home.example")
        expect_start(m.rcpt("bo@scoped.example"), "451 4.7.5 ")


def one_address_of_a_domain_may_have_rules_of_its_own(d):
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("Boss@mixed.example"), "451 4.7.5 ")
        expect(m.rcpt("bo@mixed.example"), "continue")


def without_tags_headers_are_not_asked_for(d):
    with d.session() as m:
        assert m.steps & 0x20, "header callbacks are negotiated"        # SMFIP_NOHDRS
        assert m.steps & 0x10 and m.steps & 0x40, "EOH or body callbacks are negotiated"
        expect(m.actions & 0x1ff, 0)
        replies, changes = full_message(m, ["bo@good.example"])
        expect((replies, changes), (["continue"], []))


def the_log_has_one_line_for_each_decision(d):
    with d.session() as m:
        m.mail()
        m.rcpt("line@good.example", i="4fQz1x0")
        m.rcpt("line@bare.example", i="4fQz1x0")
    def lines():
        return [x for x in d.log().splitlines() if "to=<line@" in x]
    wait_for(lambda: len(lines()) >= 2)
    expect([x.rpartition(" took=")[0] for x in lines()], [
        'danelawd: 4fQz1x0: to=<line@good.example> from=<al@home.example> connector="Bank" dane=usable sts=absent '
        'verdict=deliver reason=- route=dane-mandatory policy=dane-only',
        'danelawd: 4fQz1x0: to=<line@bare.example> from=<al@home.example> connector="Bank" dane=absent sts=absent '
        'verdict=hold reason=dane-required route=dane-mandatory policy=-'])


def garbage_at_the_milters_door_harms_nobody(d):
    for words in (b"", b"\0\0\0\0", b"\xff\xff\xff\xffO", b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\1R", os.urandom(200)):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(d.milter_path)
            s.sendall(words)
    with d.session() as m:          # a session that breaks off in the middle
        m.mail()
        m.send(b"R", b"<bo@dead.example>\0")
    a_good_partner_is_accepted(d)


def the_map_answers(d):
    expect(ask_map(d.map_path, "postfix-tls good.example"), "OK dane-only")
    expect(ask_map(d.map_path, "postfix-tls friend.example"), "OK dane-only")
    expect(ask_map(d.map_path, "postfix-tls stranger.example"), "NOTFOUND ")
    expect_start(ask_map(d.map_path, "postfix-mandatory good.example"), "TEMP ")    # its mail is on another road
    expect_start(ask_map(d.map_path, "postfix-mandatory stranger.example"), "TEMP ")
    expect_start(ask_map(d.map_path, "nonsense good.example"), "TEMP ")


def a_message_never_waits_longer_than_the_budget(d):
    """A thousand recipients whose DNS never answers, in one message, with two hundred sessions beside it."""
    took, wrong, lock = [], [], threading.Lock()
    with d.session() as m:              # what the neighbours want to know is known
        m.mail()
        assert wait_for(lambda: m.rcpt("bo@good.example") == "continue")
        m.abort()
        assert wait_for(lambda: (m.abort(), m.mail(), m.rcpt("bo@bare.example"))[2].startswith("451 4.7.5 "))

    def neighbour(number):
        begin = time.monotonic()
        try:
            with d.session() as m:
                m.mail()
                replies = [m.rcpt(f"bo{number}@good.example"), m.rcpt(f"bo{number}@bare.example")]
            good = replies[0] == "continue" and replies[1].startswith("451 4.7.5 ")
        except (OSError, AssertionError) as fault:
            good, replies = False, fault
        with lock:
            took.append(time.monotonic() - begin)
            if not good:
                wrong.append(replies)

    neighbours = [threading.Timer(0.2 + n * 0.007, neighbour, args=(n,)) for n in range(200)]
    with d.session() as m:
        m.mail()
        for n in neighbours:
            n.start()
        begin = time.monotonic()
        for number in range(1000):
            expect_start(m.rcpt(f"bo@n{number}.dead.example"), "451 4.4.3 dns-temp: ")
        total = time.monotonic() - begin
    for n in neighbours:
        n.join()
    assert not wrong, wrong[:3]
    print(f"#   1000 dead recipients: {total:.2f} s; 200 sessions: worst {max(took):.2f} s", flush=True)
    assert total <= 10 * HASTY, total           # each of the thousand alone may wait so long


def five_hundred_sessions_come_and_go(d):
    wrong = []

    def visit():
        for _ in range(10):
            try:
                with d.session() as m:
                    replies, _ = full_message(m, ["bo@good.example", "bo@stranger.example", "bo@bare.example"])
                if [r[:3] for r in replies] != ["con", "con", "451"]:
                    wrong.append(replies)
            except (OSError, AssertionError) as fault:
                wrong.append(fault)

    visitors = [threading.Thread(target=visit) for _ in range(50)]
    for v in visitors:
        v.start()
    for v in visitors:
        v.join()
    assert not wrong, wrong[:3]


def a_reload_takes_new_rules_and_sessions_keep_theirs(d):
    old = d.session()
    old.mail()
    d.write('{ name = "Changed"; recipients = [ "new.example", "stranger.example" ]; smtp_dane = "mandatory"; mta_sts = "none"; }')
    count = d.log().count("reload: ")
    d.process.send_signal(signal.SIGUSR1)
    assert wait_for(lambda: d.log().count("reload: 1 connectors in force") == 1), d.log()[-500:]
    expect_start(old.rcpt("bo@bare.example"), "451 4.7.5 ")
    expect(old.rcpt("bo@stranger.example"), "continue")
    old.quit()
    with d.session() as m:
        m.mail()
        expect(m.rcpt("bo@bare.example"), "continue")
        expect_start(m.rcpt("bo@stranger.example"), "451 4.7.5 ")
    d.write("{ name = \"Changed\"; recipients = [ \"bare.example\" ]; smtp_dane = \"mandatry\"; }")
    d.process.send_signal(signal.SIGUSR1)
    assert wait_for(lambda: "mandatry" in d.log().partition("old rules stay")[2]), d.log()[-500:]
    with d.session() as m:
        m.mail()
        expect(m.rcpt("bo@bare.example"), "continue")
        expect_start(m.rcpt("bo@stranger.example"), "451 4.7.5 ")
    d.write()
    d.process.send_signal(signal.SIGUSR1)
    assert wait_for(lambda: d.log().count("connectors in force") == count + 2), d.log()[-500:]
    for _ in range(20):             # a storm of signals is one reload or several, and no harm
        d.process.send_signal(signal.SIGUSR1)
    a_held_recipient_is_refused_with_a_reason_and_others_go_on(d)


def sockets_have_the_permissions_of_the_configuration(d):
    for path in (d.milter_path, d.map_path, d.control_path):
        expect(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        if os.geteuid() == 0:
                    expect(os.stat(path).st_uid, pwd.getpwnam(USER).pw_uid)


SHARED = [a_good_partner_is_accepted, a_held_recipient_is_refused_with_a_reason_and_others_go_on,
          the_address_of_the_macro_counts_and_without_it_the_argument, a_percent_in_a_connectors_name_is_doubled,
          only_outbound_mailers_are_judged, mail_that_came_by_no_smtp_session_is_never_refused, clients_that_queue_are_accepted,
          clients_that_authenticated_are_accepted, on_hold_queue_accepts_and_tempfail_refuses, default_is_never_refused,
          an_opportunistic_partner_never_waits_and_is_held_once_the_failure_is_known, a_senders_scope_counts,
          one_address_of_a_domain_may_have_rules_of_its_own, without_tags_headers_are_not_asked_for,
          the_log_has_one_line_for_each_decision, garbage_at_the_milters_door_harms_nobody, the_map_answers,
          five_hundred_sessions_come_and_go, sockets_have_the_permissions_of_the_configuration,
          a_reload_takes_new_rules_and_sessions_keep_theirs]

# these share one whose budget is over soon
IN_HASTE = [dead_dns_is_a_temporary_reply_within_the_budget, the_map_has_a_budget_too,
            a_message_never_waits_longer_than_the_budget]


# --- tests with daemons of their own

def term_ends_it_cleanly(world):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        d = Daemon(world).start()
        with d.session() as m:
            m.mail()
            expect(m.rcpt("bo@good.example"), "continue")
        code, took = d.stop(number)
        expect(code, 0)
        assert took < LONG / 2, took
        for path in (d.milter_path, d.map_path, d.control_path):
            assert not os.path.exists(path), path
        d.done()


def term_in_the_rush_hour_ends_it_cleanly(world):
    """Sessions ask, wait for dead DNS and break off while the daemon ends."""
    d = Daemon(world, budget=HASTY).start()
    stop = threading.Event()

    def rush(number):
        while not stop.is_set():
            try:
                with Milter(d.milter_path, 10) as m:
                    m.connect()
                    m.mail()
                    while not stop.is_set():
                        m.rcpt(f"bo@good.example" if number % 4 else f"bo@q{random.random()}.dead.example")
                        if random.random() < 0.05:
                            break
            except OSError:
                time.sleep(0.01)

    def query():
        while not stop.is_set():
            try:
                ask_map(d.map_path, f"postfix-tls m{random.random()}.dead.example", 5)
            except OSError:
                time.sleep(0.01)

    threads = [threading.Thread(target=rush, args=(n,)) for n in range(24)] + [threading.Thread(target=query) for _ in range(4)]
    for t in threads:
        t.start()
    time.sleep(1)
    try:
        code, took = d.stop()
    finally:                        # libmilter may unlock a mutex that it has destroyed, and wait for ever; the daemon doesn't
        stop.set()
        for t in threads:
            t.join()
    expect(code, 0)
    assert took < LONG / 2, took
    d.done()


def tags_name_the_road_that_all_recipients_share(world):
    d = Daemon(world, tag=True).start()
    tag = "X-Danelaw-Route"
    with d.session() as m:
        assert not m.steps & 0x20 and m.actions & 0x11 == 0x11, (m.steps, m.actions)
        m.mail()
        expect(m.rcpt("bo@good.example"), "continue")
        expect(m.header("Subject", "x"), "continue")
        expect(m.end()[0], [("add", tag, "dane-mandatory")])
        cases = (
            (["bo@good.example", "al@good.example"], [("add", tag, "dane-mandatory")]),
            (["bo@friend.example"], [("add", tag, "opportunistic")]),
            (["bo@stranger.example"], []),
            (["bo@good.example", "bo@friend.example"], []),
            (["bo@good.example", "bo@stranger.example"], []),
            (["bo@stranger.example", "bo@good.example"], []),
            (["bo@good.example", "bo@bare.example"], [("add", tag, "dane-mandatory")]),     # the second was refused
        )
        for to, wanted in cases:
            expect(full_message(m, to)[1], wanted)
        expect(full_message(m, ["bo@good.example"], mailer="local")[1], [])
        m.mail()
        m.rcpt("bo@good.example")
        m.rcpt("bo@home.example", mailer="local")
        expect(m.end()[0], [])
        m.mail()
        m.ask(b"R", b"<bo%good.example@home.example>\0", rcpt_addr="bo@good.example", rcpt_mailer="smtp")
        expect(m.end()[0], [])                                  # Postfix would take the tag's road to home.example
        m.mail("<eve@home.example>")                            # outside the scope, but the table can't see that
        m.rcpt("bo@scoped.example")
        expect(m.end()[0], [("add", tag, "opportunistic")])
        forged = [(tag, "opportunistic"), ("Subject", "x"), (tag.lower(), "a"), ("X-DANELAW-ROUTE", "")]
        expect(full_message(m, ["bo@good.example"], headers=forged)[1],
               [("change", 3, tag, ""), ("change", 2, tag, ""), ("change", 1, tag, ""), ("add", tag, "dane-mandatory")])
        expect(full_message(m, ["bo@stranger.example"], headers=forged[:2])[1], [("change", 1, tag, "")])
        expect(full_message(m, ["bo@stranger.example"])[1], [])                 # nothing is left of the last message
        m.mail()
        m.rcpt("bo@friend.example")
        m.header(tag, "forged")
        m.abort()
        expect(full_message(m, ["bo@good.example"])[1], [("add", tag, "dane-mandatory")])
    with d.session(host="localhost", address="127.0.0.1", port=0) as m:
        expect(full_message(m, ["bo@bare.example"], mailer=None), (["continue"], [("add", tag, "dane-mandatory")]))
    d.done()


def a_second_instance_waits_and_neither_loses_its_sockets(world):
    d = Daemon(world).start()
    first, second = d.process, d.spawn("-f")
    try:
        assert wait_for(lambda: "waiting for another danelawd" in d.log()), d.log()
        expect(ask_map(d.map_path, "postfix-tls good.example"), "OK dane-only")
        a_good_partner_is_accepted(d)
        first.terminate()
        expect(first.wait(LONG), 0)
        d.process = second
        assert wait_for(lambda: d.log().count("proven") >= 2), d.log()
        for _ in range(3):
            a_good_partner_is_accepted(d)
            expect(ask_map(d.map_path, "postfix-tls good.example"), "OK dane-only")
            assert os.path.exists(d.control_path)
            time.sleep(0.5)
    finally:
        first.kill()
        if d.process is not second:
            second.kill()
    d.done()


def a_lock_that_was_taken_away_is_made_anew(world):
    """Else two would hold locks on two files of one name, and take each other's sockets."""
    d = Daemon(world).start()
    first, second = d.process, d.spawn("-f")
    assert wait_for(lambda: "waiting for another danelawd" in d.log()), d.log()
    os.unlink(d.control_path + ".lock")
    first.terminate()
    expect(first.wait(LONG), 0)
    d.process = second
    assert wait_for(lambda: d.log().count("proven") >= 2), d.log()
    third = d.spawn("-f")
    assert wait_for(lambda: d.log().count("waiting for another danelawd") >= 2), d.log()
    third.terminate()
    assert third.wait(LONG) != 0
    a_good_partner_is_accepted(d)
    expect(ask_map(d.map_path, "postfix-tls good.example"), "OK dane-only")
    d.done()


def after_a_kill_it_starts_again_on_the_same_sockets(world):
    d = Daemon(world).start()
    d.process.kill()
    d.process.wait()
    d.process = d.spawn("-f")
    assert wait_for(lambda: d.answers() and d.log().count("proven") >= 2), d.log()
    a_good_partner_is_accepted(d)
    d.done()


def testing_a_configuration_says_good_or_each_fault(world):
    d = Daemon(world)

    def test():
        done = subprocess.run([DANELAWD, "-t", "-c", d.config], capture_output=True, text=True, timeout=LONG, check=False)
        return done.returncode, done.stdout + done.stderr
    code, words = test()
    expect(code, 0)
    d.write('{ name = "A"; recipients = [ "a.example" ]; smtp_dane = "mandatry"; },\n'
            '{ name = "B"; recipients = [ "b..example" ]; },\n { name = "C"; recipients = [ "c.example" ]; tsl = "may"; }')
    code, words = test()
    expect(code, 78)
    faults = [x for x in words.splitlines() if x.startswith(d.config + ":")]
    assert len(faults) >= 3, words
    for number, (name, word) in enumerate((("A", "mandatry"), ("B", "b..example"), ("C", "tsl"))):
        assert any(f'connector "{name}"' in f and word in f for f in faults), (number, words)
    with open(d.config, "w", encoding="ascii") as file:
        file.write("milter = {")
    expect(test()[0], 78)
    os.unlink(d.config)
    expect(test()[0], 78)
    expect(subprocess.run([DANELAWD, "-x"], capture_output=True, timeout=LONG, check=False).returncode, 64)
    expect(subprocess.run([DANELAWD, "-h"], capture_output=True, timeout=LONG, check=False).returncode, 0)
    d.done()


def it_does_not_start_with_a_faulty_configuration(world):
    d = Daemon(world)
    d.write('{ name = "A"; recipients = [ "a.example" ]; smtp_dane = "mandatry"; }')
    expect(d.spawn("-f").wait(LONG), 78)
    assert "mandatry" in d.log()
    d.done()


def it_does_not_start_where_a_file_is_in_a_sockets_place(world):
    for which in ("milter_path", "map_path", "control_path"):
        for kind in ("file", "link", "stale link", "folder", "fifo"):
            d = Daemon(world)
            os.mkdir(d.run, 0o755)
            path, other = getattr(d, which), os.path.join(d.root, "precious")
            target = other if kind == "link" else path
            if kind in ("file", "link"):
                with open(target, "w", encoding="ascii") as file:
                    file.write("precious\n")
            if kind == "stale link":
                with socket.socket(socket.AF_UNIX) as stale:
                    stale.bind(other)
            if kind == "folder":
                os.mkdir(path)
            if kind == "fifo":
                os.mkfifo(path)
            if "link" in kind:
                os.symlink(other, path)
            before = os.lstat(path)
            code = d.spawn("-f").wait(LONG)
            assert code not in (0, None) and code > 0, (which, kind, code)
            assert path in d.log(), d.log()
            expect(os.lstat(path).st_ino, before.st_ino)
            if kind in ("file", "link"):
                with open(target, encoding="ascii") as file:
                    expect(file.read(), "precious\n")
            if kind == "stale link":
                assert stat.S_ISSOCK(os.lstat(other).st_mode)
            d.done()


def the_pid_file_names_it_and_goes_with_it(world):
    d = Daemon(world)
    d.settings["top"]["pid_file"] = os.path.join(d.run, "danelawd.pid")
    d.write()
    d.start()
    with open(os.path.join(d.run, "danelawd.pid"), encoding="ascii") as file:
        expect(file.read(), f"{d.process.pid}\n")
    d.stop()
    assert not os.path.exists(os.path.join(d.run, "danelawd.pid"))
    d.done()


def in_the_background_it_returns_when_it_is_ready(world):
    d = Daemon(world)
    pid_path = os.path.join(d.run, "danelawd.pid")
    d.settings["top"]["pid_file"] = pid_path
    d.write()
    expect(d.spawn().wait(LONG), 0)
    with open(pid_path, encoding="ascii") as file:
        pid = int(file.read())
    try:
        with d.session() as m:                                  # at once: no waiting here
            expect(m.mail(), "continue")
        expect_start(ask_map(d.map_path, "postfix-tls nonsense..example"), "TEMP ")
    finally:
        os.kill(pid, signal.SIGTERM)
    assert wait_for(lambda: not os.path.exists(f"/proc/{pid}") or state_of(pid) == "Z"), "does not end"
    assert not os.path.exists(d.map_path)
    os.mkdir(os.path.join(d.root, "x"))
    with open(d.milter_path, "w", encoding="ascii") as file:
        file.write("precious\n")
    code = d.spawn().wait(LONG)
    assert code != 0 and d.milter_path in d.log(), (code, d.log())
    d.done()


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def the_service_manager_hears_that_it_is_ready(world):
    d = Daemon(world)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        path = os.path.join(d.root, "notify")
        ear.bind(path)
        os.chmod(path, 0o777)
        ear.settimeout(LONG)
        d.process = d.spawn("-f", env={**os.environ, "NOTIFY_SOCKET": path})
        expect(ear.recv(100), b"READY=1")
        with d.session() as m:
            expect(m.mail(), "continue")
    d.done()


def sockets_get_the_mode_and_group_that_are_asked_for(world):
    group = "daemon" if os.geteuid() == 0 else grp.getgrgid(os.getegid()).gr_name
    d = Daemon(world, milter=f'socket_mode = "0600"; socket_group = "{group}";').start()
    seen = os.stat(d.milter_path)
    expect(stat.S_IMODE(seen.st_mode), 0o600)
    expect(grp.getgrgid(seen.st_gid).gr_name, group)
    d.done()
    d = Daemon(world, milter='socket_group = "no-such-group";')
    code = d.spawn("-f").wait(LONG)
    assert code != 0 and "no-such-group" in d.log(), (code, d.log())
    d.done()


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.split(":", 1) for line in file.read().splitlines())


def expect_no_privileges(pid, bounds=0):
    status, account = status_of(pid), pwd.getpwnam(USER)
    expect(status["Uid"].split(), [str(account.pw_uid)] * 4)
    expect(status["Gid"].split(), [str(account.pw_gid)] * 4)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        expect((kind, int(status[kind], 16)), (kind, 0))
    if bounds is not None:
        expect(int(status["CapBnd"], 16), bounds)
    expect(status["NoNewPrivs"].strip(), "1")


def it_runs_without_privileges(world):
    if os.geteuid() != 0:
        return "not root"
    d = Daemon(world).start()
    expect_no_privileges(d.process.pid)
    expect(status_of(d.process.pid)["Groups"].split(), [str(g) for g in os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid)])
    d.done()
    d = Daemon(world, user="root")
    assert d.spawn("-f").wait(LONG) != 0
    assert "is root" in d.log(), d.log()
    d.done()
    return None


def hold_clocks(d):
    with sqlite3.connect(os.path.join(d.root, "store", "danelaw.db")) as db:
        return db.execute("SELECT count(*) FROM holds").fetchone()[0]


def what_hangs_at_the_end_is_cut_off_and_no_state_lost(world):
    """A program of the MTA that does not come back, for example."""
    d = Daemon(world)
    with open(os.path.join(d.root, "sleeper"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n>$0.runs\nexec sleep 100\n")
    os.chmod(file.name, 0o755)
    with open(file.name + ".runs", "w", encoding="ascii") as runs, open(d.root + "/sendmail.cf", "w", encoding="ascii") as out:
        out.write("V10/Berkeley\nCwlocalhost\n")
        os.chmod(runs.name, 0o666)
    os.utime(runs.name, (0, 0))
    d.write(extra=f'tables = {{ mta = "sendmail"; config_dir = "{d.root}"; postmap = "{file.name}"; }};')
    d.start()
    assert wait_for(lambda: os.stat(runs.name).st_mtime > 0), d.log()
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@tempfail.example"), "451 ")
    code, took = d.stop()
    expect(code, 1)
    assert took < LONG, took
    assert "ending at once" in d.log(), d.log()
    expect(hold_clocks(d), 1)
    d.write()
    d.start()
    assert wait_for(lambda: "1 hold clocks go on" in d.log()), d.log()
    d.done()


def sanitized(kind):
    with open(DANELAWD, "rb") as file:
        return f"__{kind}_init".encode() in file.read()


def a_plain_user_starts_it_and_it_keeps_nothing_more(world):
    """Whatever its caller had: capabilities of his gift, or root behind it."""
    if os.geteuid() != 0:
        return "not root"
    account = pwd.getpwnam(USER)
    everybody = ["setpriv", f"--regid={account.pw_gid}", "--clear-groups"]
    for wrapped in (everybody + [f"--reuid={account.pw_uid}"],
                    everybody + [f"--reuid={account.pw_uid}", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"],
                    everybody + [f"--euid={account.pw_uid}"]):
        if "--euid" in wrapped[-1] and sanitized("tsan"):       # it heeds no suppressions in a set-user-ID program
            continue
        d = Daemon(world)
        for folder in (d.run, os.path.join(d.root, "store")):
            os.mkdir(folder, 0o755)
            os.chown(folder, account.pw_uid, account.pw_gid)
        d.start(wrapped=wrapped)
        expect_no_privileges(d.process.pid, bounds=None)
        expect(status_of(d.process.pid)["Groups"].split(), [])
        a_good_partner_is_accepted(d)
        d.done()
    return None


# What a program that the daemon runs can do, had somebody taken the daemon over.
BURGLAR = """#!/usr/bin/python3
import ctypes, json, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def attempt(do):
    try:
        return str(do())
    except OSError as fault:
        return fault.strerror
def capset():
    head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(0xffffffff, 0xffffffff, 0, 0, 0, 0)
    if libc.capset(head, sets) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
said = {"setuid": attempt(lambda: os.setuid(0)), "seteuid": attempt(lambda: os.seteuid(0)),
        "setgid": attempt(lambda: os.setgid(0)), "setgroups": attempt(lambda: os.setgroups([0])), "capset": attempt(capset),
        "look": attempt(lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)),
        "id": subprocess.run(["@ROOT@/id", "-u"], capture_output=True, text=True).stdout.strip(),
        "groups": os.getgroups(), "open": sorted(int(x) for x in os.listdir("/proc/self/fd"))}
with open("@ROOT@/said/new", "w") as out:
    json.dump(said, out)
os.rename("@ROOT@/said/new", "@ROOT@/said/all")
raise SystemExit(1)
"""


def it_cannot_get_privileges_back(world):
    if os.geteuid() != 0:
        return "not root"
    d = Daemon(world)
    os.mkdir(os.path.join(d.root, "said"))
    os.chmod(os.path.join(d.root, "said"), 0o777)
    shutil.copy("/usr/bin/id", os.path.join(d.root, "id"))
    os.chmod(os.path.join(d.root, "id"), 0o4755)
    if os.statvfs(d.root).f_flag & os.ST_NOSUID == 0:           # the trap itself works
        account = pwd.getpwnam(USER)
        tried = subprocess.run(["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups",
                                d.root + "/id", "-u"], capture_output=True, text=True, check=False)
        expect(tried.stdout, "0\n")
    with open(os.path.join(d.root, "burglar"), "w", encoding="ascii") as file:
        file.write(BURGLAR.replace("@ROOT@", d.root))
    os.chmod(file.name, 0o755)
    with open(os.path.join(d.root, "sendmail.cf"), "w", encoding="ascii") as out:
        out.write("V10/Berkeley\nCwlocalhost\n")
    d.write(extra=f'tables = {{ mta = "sendmail"; config_dir = "{d.root}"; postmap = "{file.name}"; }};')
    d.start()
    assert wait_for(lambda: os.path.exists(d.root + "/said/all")), d.log()
    with open(d.root + "/said/all", encoding="ascii") as file:
        said = json.load(file)
    denied = "Operation not permitted"
    for what in ("setuid", "seteuid", "setgid", "setgroups", "capset"):
        expect((what, said[what]), (what, denied))
    expect(said["look"], "Permission denied")
    expect(said["id"], str(pwd.getpwnam(USER).pw_uid))
    assert 0 not in said["groups"] and [x for x in said["open"] if x > 3] == [], said      # 3: the list itself
    d.done()
    return None


def link_of(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:           # gone by now
        return None


def what_the_caller_left_open_is_closed(world):
    d = Daemon(world)
    secret = os.open(os.path.join(d.root, "secret"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        d.start(pass_fds=(secret,))
        held = {link for n in os.listdir(f"/proc/{d.process.pid}/fd") if (link := link_of(f"/proc/{d.process.pid}/fd/{n}"))}
    finally:
        os.close(secret)
    assert not any("secret" in name for name in held), held
    d.done()


def its_callers_umask_shuts_nobody_out_nor_in(world):
    for mask in (0o077, 0):
        d = Daemon(world)
        d.start(umask=mask)
        expect(stat.S_IMODE(os.stat(d.run).st_mode), 0o755)
        sockets_have_the_permissions_of_the_configuration(d)
        d.done()


def a_libmilter_that_never_ends_delays_the_end_and_no_more(world):
    """It was seen to wait for ever for a mutex that it had destroyed."""
    d = Daemon(world)
    source, library = os.path.join(d.root, "lingers.c"), os.path.join(d.root, "lingers.so")
    with open(source, "w", encoding="ascii") as file:
        file.write("#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <unistd.h>\nint smfi_main(void);\n"
                   "int smfi_main(void)\n{\n    ((int (*)(void))dlsym(RTLD_NEXT, \"smfi_main\"))();\n"
                   "    for (;;)\n        pause();\n}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    d.start(env={**os.environ, "LD_PRELOAD": library,
                 "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@tempfail.example"), "451 ")
    code, took = d.stop()
    expect(code, 0)
    assert took < LONG, took
    assert "left behind" in d.log(), d.log()
    for path in (d.milter_path, d.map_path, d.control_path):
        assert not os.path.exists(path), path
    expect(hold_clocks(d), 1)
    d.done()


def a_resolver_that_can_not_prove_is_loud_and_holds_the_mandatory(world):
    other = Key()
    d = Daemon(world)
    real, world.key = world.key, other                          # the configuration gets an anchor that fits nothing
    try:
        d.write()
    finally:
        world.key = real
    d.process = d.spawn("-f")
    assert wait_for(lambda: "error: resolver:" in d.log()), d.log()
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@good.example"), "451 4.4.3 dns-temp: ")
        expect(m.rcpt("bo@friend.example"), "continue")
        expect(m.rcpt("bo@stranger.example"), "continue")
    expect(ask_map(d.map_path, "postfix-tls friend.example"), "OK encrypt")
    expect_start(ask_map(d.map_path, "postfix-mandatory good.example"), "TEMP ")
    d.done()


def get(address, path):
    """The status and the body."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=LONG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as fault:
        return fault.code, fault.read().decode()


def metrics_and_health_are_served_and_a_taken_port_stops_nobody(world):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    d = Daemon(world, http=address).start()
    assert wait_for(lambda: get(address, "/healthz") == (200, "ok\n")), get(address, "/healthz")
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@bare.example"), "451 ")
        assert wait_for(lambda: "\ndanelaw_milter_sessions 1\n" in get(address, "/metrics")[1]), get(address, "/metrics")
        status, page = get(address, "/metrics")
        expect(status, 200)
    assert 'where="rcpt",verdict="hold",reason="dane-required"} 1\n' in page, page
    expect(get(address, "/nothing")[0], 404)
    other = Daemon(world, http=address).start()
    assert wait_for(lambda: "warning: http: " in other.log() and "in use" in other.log()), other.log()
    a_good_partner_is_accepted(other)
    other.done()
    expect(get(address, "/healthz"), (200, "ok\n"))
    d.done()


ALONE = [term_ends_it_cleanly, term_in_the_rush_hour_ends_it_cleanly, tags_name_the_road_that_all_recipients_share,
         a_second_instance_waits_and_neither_loses_its_sockets, after_a_kill_it_starts_again_on_the_same_sockets,
         a_lock_that_was_taken_away_is_made_anew,
         testing_a_configuration_says_good_or_each_fault, it_does_not_start_with_a_faulty_configuration,
         it_does_not_start_where_a_file_is_in_a_sockets_place, the_pid_file_names_it_and_goes_with_it,
         in_the_background_it_returns_when_it_is_ready, the_service_manager_hears_that_it_is_ready,
         sockets_get_the_mode_and_group_that_are_asked_for, it_runs_without_privileges,
         a_plain_user_starts_it_and_it_keeps_nothing_more, it_cannot_get_privileges_back, what_the_caller_left_open_is_closed,
         its_callers_umask_shuts_nobody_out_nor_in, a_libmilter_that_never_ends_delays_the_end_and_no_more,
         what_hangs_at_the_end_is_cut_off_and_no_state_lost,
         a_resolver_that_can_not_prove_is_loud_and_holds_the_mandatory,
         metrics_and_health_are_served_and_a_taken_port_stops_nobody]

PROCESSES = []                      # all that were started


class Score:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, test, *arguments):
        begin = time.monotonic()
        keep = [p for p in PROCESSES if p.poll() is None]
        try:
            skipped = test(*arguments)
        except Exception as fault:
            self.failed += 1
            frame = traceback.extract_tb(fault.__traceback__)[-1]
            print(f"FAIL {test.__name__}: {fault} (line {frame.lineno})", flush=True)
            if os.environ.get("VERBOSE"):
                traceback.print_exc()
            for p in PROCESSES:
                if p not in keep and p.poll() is None:
                    p.kill()
            return
        if skipped:
            self.skipped += 1
            print(f"skip {test.__name__}: {skipped}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {test.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)


def main(names):
    if not os.access(DANELAWD, os.X_OK):
        print(f"{DANELAWD} is not built")
        return 77
    score, world = Score(), make_world()
    for tests, budget in ((SHARED, PATIENT), (IN_HASTE, HASTY)):
        shared = [t for t in tests if not names or t.__name__ in names]
        if not shared:
            continue
        daemon = Daemon(world, budget=budget).start()
        for test in shared:
            score.run(test, daemon)

        def the_shared_daemon_ends_cleanly(daemon=daemon):
            daemon.done()
        score.run(the_shared_daemon_ends_cleanly)
    for test in ALONE:
        if not names or test.__name__ in names:
            score.run(test, world)
    print(f"{score.passed} passed, {score.failed} failed, {score.skipped} skipped")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
