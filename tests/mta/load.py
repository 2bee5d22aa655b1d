"""Much at once, and a partner whose DNS never answers."""

import os
import statistics
import threading
import time

import connectors
import letters
from lab import Client, new_message, wait_until
from trial import Skip, chapter, expect

BUDGET = 3.0
PATIENT = 20.0                          # for hundreds of sessions on a busy machine; one after the other would take minutes
HEALTHY, STRICT_BAD, UNNAMED = "good311.example", "unsigned.example", "notlsa.example"
HANGING = "dnssilent.example"
CONNECTORS = [connectors.mandatory(HEALTHY), connectors.mandatory("good301.example"),
              connectors.mandatory(STRICT_BAD), connectors.mandatory("*." + HANGING),
              connectors.opportunistic("*.plaintext.example")]


def warm_up(lab, *domains):
    """Waits until the states of these partners are known."""
    letters.insist(lab, letters.post(lab, [(letters.by_smtp, f"u@{domain}") for domain in domains]))


@chapter
def thousand_recipients(lab, book):
    """1000 recipients in one message"""
    lab.rules(CONNECTORS)
    warm_up(lab, HEALTHY, "good301.example")
    domains = [HEALTHY] * 4 + ["good301.example"] * 2 + [STRICT_BAD] + [UNNAMED] * 3
    recipients = [f"u{n}@{domains[n % len(domains)]}" for n in range(1000)]
    number, message = new_message()
    with book.test("1000 recipients: each has its own answer"):
        started = time.monotonic()
        with Client() as client:
            replies, queue_id = client.send(letters.SENDER, recipients, message)
        took = time.monotonic() - started
        wrong = [(r, replies[r]) for r in recipients if (replies[r][0] == 451) != r.endswith(STRICT_BAD)]
        expect(not wrong, f"{len(wrong)} wrong answers", *wrong[:5])
        expect(took < 180, f"took {took:.1f} s")
    with book.test("1000 recipients: all accepted ones get it, authenticated where mandatory"):
        wanted = {r for r in recipients if not r.endswith(STRICT_BAD)}

        def arrived():
            return {r for e in lab.partners.got(number) for r in e["recipients"]} >= wanted
        wait_until(arrived, 60, "all copies")
        fates = lab.postfix.log.fates(number)
        strict = [d for d in fates if d.to.endswith(HEALTHY) or d.to.endswith("good301.example")]
        expect(all(d.tls == "Verified" and "danelaw-dane" in d.service for d in strict), *strict[:5])


class Crowd:
    """Sessions that all start together; each notes how long the reply to RCPT took."""

    def __init__(self):
        self.threads, self.done, self.faults = [], {}, []
        self.gate, self.lock = threading.Event(), threading.Lock()

    def add(self, kind, count, recipient, rounds=1):
        for number in range(count):
            thread = threading.Thread(target=self._session, args=(kind, recipient, number, rounds))
            thread.start()
            self.threads.append(thread)
        return self

    def run(self):
        self.gate.set()
        for thread in self.threads:
            thread.join()
        return self

    def _session(self, kind, recipient, number, rounds):
        try:
            with Client(source=f"127.0.98.{number % 250 + 1}", timeout=120) as client:
                self.gate.wait()
                for turn in range(rounds):
                    self._letter(client, kind, recipient(number * rounds + turn))
        except OSError as fault:
            with self.lock:
                self.faults.append(f"{kind} {number}: {fault!r}")

    def _letter(self, client, kind, recipient):
        client.smtp.mail(letters.SENDER)
        started = time.monotonic()
        code, text = client.smtp.rcpt(recipient)
        took = time.monotonic() - started
        if code == 250:
            client.smtp.data(new_message()[1])
        else:
            client.smtp.rset()
        with self.lock:
            self.done.setdefault(kind, []).append((took, code, text.decode("utf-8", "replace")))

    def times(self, kind):
        return sorted(took for took, _, _ in self.done[kind])

    def median(self, kind):
        return statistics.median(self.times(kind))

    def slowest(self, kind):
        return self.times(kind)[-1]

    def only(self, kind, code, word=""):
        wrong = [d for d in self.done.get(kind, []) if d[1] != code or word not in d[2]]
        expect(not self.faults, *self.faults[:5])
        expect(kind in self.done and not wrong, f"{kind}: {len(wrong)} wrong", *wrong[:5])


@chapter
def many_sessions(lab, book):
    """200 sessions at once"""
    lab.rules(CONNECTORS)
    warm_up(lab, HEALTHY, STRICT_BAD)
    crowd = Crowd()
    crowd.add("healthy", 120, lambda n: f"h{n}@{HEALTHY}")
    crowd.add("refused", 40, lambda n: f"b{n}@{STRICT_BAD}")
    crowd.add("unnamed", 40, lambda n: f"o{n}@{UNNAMED}")
    crowd.run()
    with book.test("200 sessions: each has the right answer"):
        crowd.only("healthy", 250)
        crowd.only("refused", 451, "dane-required")
        crowd.only("unnamed", 250)
    with book.test("200 sessions: none waits for long"):
        worst = max(crowd.slowest(kind) for kind in crowd.done)
        expect(worst < PATIENT, f"{worst:.2f} s")
    with book.test("200 sessions: all mail arrives"):
        wanted = {f"h{n}@{HEALTHY}" for n in range(120)} | {f"o{n}@{UNNAMED}" for n in range(40)}
        wait_until(lambda: {r for e in lab.partners.read() for r in e["recipients"]} >= wanted, 60,
                   "160 letters")


MANY = [connectors.nothing(f"n{n}.example", tls="encrypt") for n in range(100_000)]
SWAPPED = "notlsa.example"              # takes STRICT_BAD's place in the new rules


class Mixture:
    """Sessions that go on while the rules change; each notes by which rules it was answered."""

    def __init__(self, count):
        self.stop, self.lock, self.answers, self.faults = threading.Event(), threading.Lock(), [], []
        self.threads = [threading.Thread(target=self._session, args=(n,)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def _session(self, number):
        seen = set()
        try:
            with Client(source=f"127.0.98.{number % 250 + 1}", timeout=120) as client:
                while not self.stop.is_set() or not seen:
                    client.smtp.mail(letters.SENDER)
                    seen.add(tuple(client.smtp.rcpt(f"m{number}@{domain}")[0] for domain in (STRICT_BAD, SWAPPED)))
                    client.smtp.rset()
                    time.sleep(0.2)
        except OSError as fault:
            with self.lock:
                self.faults.append(f"session {number}: {fault!r}")
        with self.lock:
            self.answers.append(seen)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@chapter
def reload_of_many(lab, book):
    """reload with 100,000 connectors while 200 sessions run"""
    old, new = {(451, 250)}, {(250, 451)}
    lab.rules([connectors.mandatory(STRICT_BAD), connectors.mandatory(HEALTHY)])
    wait_until(lambda: letters.by_smtp(lab, f"u@{STRICT_BAD}").code == 451, 30, "the partner's state")
    crowd = Mixture(200)
    lab.danelawd.configure(MANY + [connectors.mandatory(SWAPPED), connectors.mandatory(HEALTHY)])
    done = lab.danelawd.cli("reload")
    wait_until(lambda: letters.by_smtp(lab, f"u@{SWAPPED}").code == 451, 30, "the new rules")
    late = Mixture(20)
    late.end()
    crowd.end()
    with book.test("reload with 100,000 connectors: done, none of 200 sessions is refused"):
        expect(done.returncode == 0, done.stdout, done.stderr)
        expect(not crowd.faults and not late.faults, *(crowd.faults + late.faults)[:5])
    with book.test("each session has its rules to its end, those that come later have the new ones"):
        mixed = [seen for seen in crowd.answers if seen not in (old, new)]
        expect(len(crowd.answers) == 200 and not mixed, f"{len(mixed)} mixed", *mixed[:5])
        expect(old in crowd.answers and all(seen == new for seen in late.answers), *late.answers[:5])
    with book.test("the table has all of them"):
        done = lab.danelawd.cli("tables", "--check")
        expect(done.returncode == 0, done.stdout, done.stderr)
    lab.rules(CONNECTORS)


@chapter
def silent_partner(lab, book):
    """partners whose DNS never answers hold nobody else up"""
    lab.rules(CONNECTORS)
    warm_up(lab, HEALTHY, UNNAMED)
    alone, crowd = Crowd(), Crowd()
    crowd.add("hanging", 60, lambda n: f"u@n{n}.{HANGING}")
    for each in (alone, crowd):
        each.add("healthy", 30, lambda n: f"c{n}@{HEALTHY}", 3)
        each.add("unnamed", 30, lambda n: f"c{n}@{UNNAMED}", 3)
        each.run()
    with book.test("60 sessions to partners whose DNS hangs: dns-temp, all within their budget"):
        crowd.only("hanging", 451, "dns-temp")
        expect(crowd.slowest("hanging") < PATIENT, f"{crowd.slowest('hanging'):.2f} s")
    for kind in ("healthy", "unnamed"):
        with book.test(f"meanwhile, {kind}: not held up"):
            crowd.only(kind, 250)
            expect(crowd.median(kind) < 2 * alone.median(kind) + BUDGET / 2 and crowd.slowest(kind) < PATIENT,
                   f"median {crowd.median(kind):.3f} s, alone {alone.median(kind):.3f} s, "
                   f"slowest {crowd.slowest(kind):.2f} s, alone {alone.slowest(kind):.2f} s")


@chapter
def bounded(lab, book):
    """nothing a stranger sends makes the daemon grow without end"""
    lab.rules(CONNECTORS)
    process = f"/proc/{lab.danelawd.process.pid}"
    with book.test("2000 names never seen before: memory and descriptors stay bounded"):
        with open(process + "/maps", encoding="ascii", errors="replace") as maps:
            if "libasan" in maps.read():
                raise Skip("built with a sanitizer")
        before = resident(process)
        crowd = Crowd().add("strangers", 40, lambda n: f"u@x{n}.plaintext.example", 50).run()
        crowd.only("strangers", 250)
        wait_until(lambda: len(os.listdir(process + "/fd")) < 300, 30, "descriptors to be closed")
        expect(resident(process) < before + 150_000, f"{before} KiB before, {resident(process)} KiB after")
        lab.postfix.empty_queue()


def resident(process):
    with open(process + "/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
