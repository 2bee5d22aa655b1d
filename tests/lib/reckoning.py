"""What became of a storm's letters, counted from both ends: what clients were told, what partners got, what is queued,
and what came back to the sender."""

import collections
import contextlib
import dataclasses
import email
import email.utils
import mailbox
import os
import re
import sqlite3
import time

import daemon
import letters
from postfix import MAILBOX
from storming import DENIED, FREE, HELD, KINDS, SAFE, SPENT, SWUNG, partner_of

IN_FLIGHT = 30                          # seconds after which a mode has reached deliveries under way
FATES = ("authenticated", "delivered", "held", "put off", "bounced", "refused")
FAULTS = ("lost", "twice", "two fates", "unauthenticated", "without a reason", "wrong fate")
WANTED = {SAFE: ("authenticated",), FREE: ("authenticated", "delivered"), HELD: ("held", "put off"),
          SPENT: ("bounced", "refused"), SWUNG: ("held", "put off", "authenticated", "delivered"), DENIED: ("bounced",)}
# A copy may have been kept although its sender heard nothing of it: RFC 1047, and no matter of Danelaw's.
UNHEARD = re.compile(r"(lost connection|timed out|timeout).* (end of data|sending message body)", re.I)
DECISION = re.compile(rb"^(?:.* )?\S+: to=<.*> from=<.*> connector=.* verdict=", re.M)


@dataclasses.dataclass
class Found:
    """All that is known of a letter."""
    copies: list = dataclasses.field(default_factory=list)      # the partners' records; a local one is {}
    queued: list = dataclasses.field(default_factory=list)      # reasons to wait
    returned: list = dataclasses.field(default_factory=list)    # (reason, seconds after its arrival), in DSNs
    events: list = dataclasses.field(default_factory=list)      # the MTA's words


class Ends:
    """The other end of every letter, read anew by look()."""

    def __init__(self, lab, storm):
        self.lab, self.known = lab, {(x.number, x.to.lower()): x for x in storm.letters}
        self.strangers = []             # mail of the storm that nobody sent to that recipient

    def look(self):
        """{(number, recipient): Found}"""
        found = {key: Found() for key in self.known}
        numbers = {number for number, _ in self.known}
        self.strangers = []

        def at(number, to, what):
            if (number, to.lower()) in found:
                return found[number, to.lower()]
            if number in numbers:
                self.strangers.append(f"{what}: {number} for {to}")
            return Found()
        self._queue(at)                 # first: what leaves it meanwhile is found at its other end
        for entry in self.lab.partners.read():
            for to in entry["recipients"]:
                at(entry["id"], to, f"copy at {entry['host']}").copies.append(entry)
        for number, to, why, age in returned("al"):
            at(number, to, "returned").returned.append((why, age))
        for number, to in kept("bo"):
            at(number, to, "local").copies.append({})
        for number, to, event in self._events():
            if (number, to.lower()) in found:           # an alias is no recipient
                found[number, to.lower()].events.append(event)
        return found

    def _numbers(self):
        """{queue id: message}"""
        self.lab.postfix.log.read()
        with self.lab.postfix.log.lock:
            return {q: number for number, ids in self.lab.postfix.log.by_id.items() for q in ids}

    def _queue(self, at):
        queue = self.lab.postfix.queue()
        numbers = self._numbers()
        for message in queue:
            for recipient in message["recipients"]:
                at(numbers.get(message["queue_id"]), recipient["address"], "queued").queued.append(
                    recipient.get("delay_reason", ""))

    def _events(self):
        numbers = self._numbers()
        with self.lab.postfix.log.lock:
            return [(numbers[e.queue_id], e.to, e) for e in self.lab.postfix.log.deliveries if e.queue_id in numbers]


def returned(name):
    """(number, recipient, reason, age) of each recipient of each DSN in a mailbox."""
    for message in messages(name):
        if message.get_content_type() != "multipart/report":
            continue
        blocks, original = [], ""
        for part in message.get_payload():
            kind = part.get_content_type()
            if kind == "message/delivery-status":
                blocks = part.get_payload()
            elif kind == "message/rfc822":
                original = part.get_payload()[0]["Message-ID"]
            elif kind == "text/rfc822-headers":
                original = email.message_from_string(part.get_payload())["Message-ID"]
        age = seconds_of(message["Date"]) - seconds_of(next(b["Arrival-Date"] for b in blocks if b["Arrival-Date"]))
        for block in blocks:
            if block["Final-Recipient"]:
                yield original, block["Final-Recipient"].partition(";")[2].strip(), block["Diagnostic-Code"] or "", age


def seconds_of(date):
    return email.utils.parsedate_to_datetime(date).timestamp()


def kept(name):
    """(number, recipient) of each letter in a mailbox."""
    for message in messages(name):
        yield message["Message-ID"], message["X-Original-To"] or ""


def messages(name):
    with contextlib.closing(mailbox.mbox(f"{MAILBOX}/{name}", create=True)) as box:
        yield from box


# --- one letter

def fate(letter, found):
    """Its one fate, or "lost", "twice" or "two fates"."""
    ends = [found.copies, found.queued, found.returned]
    if letter.told in ("refused", "put off"):
        return "two fates" if any(ends) else letter.told
    if sum(map(bool, ends)) > 1:
        return "two fates"
    if not any(ends):
        return "lost"
    if max(map(len, ends)) > 1:
        return "twice"
    if found.copies:
        return "authenticated" if authenticated(letter, found) else "delivered"
    return "held" if found.queued else "bounced"


def authenticated(letter, found):
    """Both ends say so: Postfix verified the host, and the host is the partner's."""
    sent = [e for e in found.events if e.status == "sent"]
    return bool(sent) and all(e.tls == "Verified" for e in sent) and all(
        copy.get("tls") and copy["host"] in hosts(letter) for copy in found.copies)


def hosts(letter):
    partner = partner_of(letter.domain)
    if getattr(partner, "fates", None):
        return [partner.host(h) for h in partner.fates["mandatory"].at]
    return partner.authentic


def leaks(letter, found, windows):
    """Copies that were not to leave like this."""
    rule = letter.kind.rule
    if rule == SAFE:
        return [] if authenticated(letter, found) else found.copies
    if rule == SWUNG:
        return [c for c in found.copies if not any(a <= c["time"] <= b + IN_FLIGHT for a, b in windows)]
    return found.copies if rule in (HELD, SPENT, DENIED) else []


def unexplained(letter, found):
    """No reason is given for what did not arrive."""
    if letter.told in ("refused", "put off"):
        return not letter.reply
    return not all(found.queued) or not all(why for why, _ in found.returned)


def unheard(found):
    """Its copies are of Postfix's own making: it heard no answer at the end of the message, and sent it once more."""
    attempts = collections.defaultdict(list)
    for event in found.events:
        attempts[event.queue_id].append(event)
    return any(UNHEARD.search(e.text) for events in attempts.values() for e in events[:-1])


# --- all of them

class Reckoning:
    """The table of a storm."""

    def __init__(self, lab, storm, weather):
        self.lab, self.storm, self.weather = lab, storm, weather
        self.ends = Ends(lab, storm)
        self.found = {}
        self.rows = {}                  # kind's name -> Counter of fates
        self.faults = collections.defaultdict(list)             # of FAULTS -> stories
        self.own_copies = 0             # twice, by SMTP's own nature

    def settle(self, seconds):
        """Flushes and sweeps until every letter has come to its end, or for so long nothing more has; what is held has been
        tried with danelawd up."""
        left, since, flushed = len(self.storm.letters) + 1, time.monotonic(), 0.0
        while left > 0 and time.monotonic() < since + seconds:
            if time.monotonic() > flushed + 8:
                self.lab.postfix.flush()
                self.lab.danelawd.cli("sweep")
                flushed = time.monotonic()
            time.sleep(1)
            self.found = self.ends.look()
            before, left = left, sum(map(self._under_way, self.storm.letters))
            if left < before:
                since = time.monotonic()

    def _under_way(self, letter):
        found = self._of(letter)
        if letter.told != "taken":
            return False
        if found.queued and letter.kind.rule in (HELD, SWUNG):
            return not all(found.queued)
        return fate(letter, found) not in WANTED[letter.kind.rule]

    def _of(self, letter):
        return self.found[letter.number, letter.to.lower()]

    def count(self):
        for letter in self.storm.letters:
            found = self._of(letter)
            end = fate(letter, found)
            self.rows.setdefault(letter.kind.name, collections.Counter())[end] += 1
            if end == "twice" and unheard(found):
                self.own_copies += 1
                continue
            for fault in self._faults(letter, found, end):
                self.faults[fault].append(self.story(letter))

    def _faults(self, letter, found, end):
        if end in ("lost", "twice", "two fates"):
            yield end
        elif end not in WANTED[letter.kind.rule]:
            yield "wrong fate"
        if leaks(letter, found, self.weather.windows):
            yield "unauthenticated"
        if unexplained(letter, found):
            yield "without a reason"

    def story(self, letter):
        found = self._of(letter)
        lines = [f"{letter.kind.name}: {letter.number} to {letter.to}: {letter.told} {letter.reply} (try {letter.tries})"]
        lines += [f"  copy {c}" for c in found.copies] + [f"  queued: {why}" for why in found.queued]
        lines += [f"  returned: {why}" for why in found.returned]
        words = [letter.number.strip("<>")] + sorted({e.queue_id for e in found.events})
        lines += ["  " + line for line in self.lab.postfix.log.about(*words, limit=12)]
        return "\n".join(lines + ["  " + line for line in self.lab.danelawd.about(*words, f"to=<{letter.to}>", limit=8)])

    def table(self):
        """Lines for a person."""
        columns = [*FATES, "lost", "twice", "two fates"]
        lines = [f"{'recipients':52}" + "".join(f"{c:>14}" for c in columns)]
        for name in (kind.name for kind in KINDS if kind.name in self.rows):
            lines.append(f"{name:52}" + "".join(f"{self.rows[name][c]:>14}" for c in columns))
        total = sum(self.rows.values(), collections.Counter())
        return lines + [f"{'in all':52}" + "".join(f"{total[c]:>14}" for c in columns)]

    def waited(self):
        """[(letter, seconds until it was refused for good or returned)], of those that a hold ends."""
        found = [(x, x.told_at - x.refused_at) for x in self.storm.letters if x.told == "refused"]
        return found + [(x, age) for x in self.storm.letters if x.kind.rule == SPENT for _, age in self._of(x).returned]

    def too_early(self):
        """Given up before the hold was over; DSNs know whole seconds."""
        return [self.story(x) for x, seconds in self.waited() if seconds < self.storm.hold - 2]


# --- the database

def trace_of(log, lives):
    """[(decisions in the log, rows in the trace)] of each life that is over; reads the file beside the daemon."""
    uri = f"file:{daemon.STORE}/danelaw.db?mode=ro"
    found = []
    with open(log, "rb") as file, contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
        for life in lives:
            file.seek(life.log_from)
            said = len(DECISION.findall(file.read(life.log_to - life.log_from)))
            rows = store.execute("SELECT count(*) FROM trace WHERE at >= ? AND at < ?",
                                 (int(life.began * 1e6), int(life.ended * 1e6))).fetchone()[0]
            found.append((said, rows))
    return found


def integrity():
    with contextlib.closing(sqlite3.connect(f"file:{daemon.STORE}/danelaw.db?mode=ro", uri=True)) as store:
        return [row[0] for row in store.execute("PRAGMA integrity_check")]


def set_aside():
    """Databases that danelawd found broken."""
    found = os.listdir(daemon.STORE) if os.path.isdir(daemon.STORE) else []
    return [name for name in found if ".corrupt-" in name]
