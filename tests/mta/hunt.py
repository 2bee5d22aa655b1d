"""The leak hunt: each way in, to each kind of partner, while one thing after the other fails.

    hunt(lab, book, failures, kit, seed) -> Tally

A combination is way x failure x partner.  For each failure the world is set up once; the failure begins; letters go by
all ways to all partners at the same time; what must not wait is waited for while it lasts; it ends, and what was
accepted must arrive where it may, and be held or returned with a reason where it may not.

A kit is the half of the hunt that knows one MTA (hunt_postfix, hunt_sendmail), a module with
    NAME                        "postfix" or "sendmail"
    WAYS                        {name: function(lab, recipient, sender) -> letters.Letter}
    MIXED                       {name: function(lab, recipients, sender) -> [letters.Letter]}: one message to all of them
    prepare(lab, partners)      once, before the first failure
    set_up(lab, connectors, groups)     the MTA and danelawd with these; an empty queue
    returned(lab, letter)       whether its sender got it back, where the log says nothing of that
    waiting(lab)                {(queue id, recipient in lower case)} of all that waits in a queue
    rouse(lab, letters)         about every two seconds while a failure lasts: for an MTA that needs to be told
    push(lab, letters)          the same when all is well again: another attempt, now
    vouched(lab, delivery)      whether this delivery to a partner with a requirement went over a road that vouches for it
    may_wait(failure, letter)   whether the MTA may shut out or hold unrelated mail while this failure lasts
    fits(way, partner)          whether there is such a way to this partner
    RETURNED                    the names of ways whose mail may be returned to its sender, whomever it is for
"""

import collections
import dataclasses
import itertools
import random
import time
import unicodedata

import connectors
import hunt_table_failures          # noqa: F401 (they add themselves)
import letters
from hunt_dns_failures import HELPERS
from hunt_failures import FAILURES
from trial import expect

# What becomes of a partner's mail: SAFE authenticated or not at all, and it arrives once all is well; NEVER no copy ever;
# WAITS it may wait for danelawd, and arrives once all is well; FREE it is delivered whatever fails; MAY only not be lost.
SAFE, NEVER, WAITS, FREE, MAY = "safe", "never", "waits", "free", "may"
BOSS = "boss@sender.example"
STRICT_STS = {"smtp_dane": "opportunistic", "mta_sts": "mandatory"}
LASTS, AFTERWARDS = 90, 150             # seconds, on a machine that does much else


@dataclasses.dataclass(frozen=True)
class Partner:
    """Whom the letters go to."""
    name: str
    domain: str
    rule: str
    connector: dict = None
    hosts: tuple = ()                   # for SAFE: those that may get the mail
    sender: str = letters.SENDER
    by_map: bool = False                # the road asks danelawd at each attempt


def mandatory(domain, **more):
    return connectors.mandatory(domain, **more)


PARTNERS = (
    Partner("good", "good311.example", SAFE, mandatory("good311.example"), ("mx.good311.example",)),
    Partner("hunted", "hunted.example", SAFE, mandatory("hunted.example"), ("mx.hunted.example",)),
    Partner("partial", "firsttlsa.example", SAFE, mandatory("firsttlsa.example"), ("mx1.firsttlsa.example",)),
    Partner("no DANE", "unsigned.example", NEVER, mandatory("unsigned.example")),
    Partner("bogus", "bogus.example", NEVER, mandatory("bogus.example")),
    Partner("wrong certificate", "mismatch.example", NEVER, mandatory("mismatch.example")),
    Partner("STS", "kept.example", SAFE, connectors.connector("STS", "kept.example", **STRICT_STS),
            ("mx.kept.example",), by_map=True),
    Partner("STS, wrong certificate", "keptbad.example", NEVER,
            connectors.connector("bad STS", "keptbad.example", **STRICT_STS), by_map=True),
    Partner("smart host", "pkixonly.example", SAFE,
            mandatory("pkixonly.example", smart_hosts=["[mx.good301.example]"]), ("mx.good301.example",)),
    Partner("smart host, no DANE", "wronglength.example", NEVER,
            mandatory("wronglength.example", smart_hosts=["[mx.plaintext.example]"])),
    Partner("scoped", "notlsa.example", NEVER, mandatory("notlsa.example", senders=[BOSS]), sender=BOSS),
    Partner("scoped, another sender", "notlsa.example", NEVER),
    Partner("opportunistic", "hostunsigned.example", WAITS, connectors.opportunistic("hostunsigned.example"),
            by_map=True),
    Partner("nobody's", "plaintext.example", FREE),
    Partner("local", "sender.example", FREE),
)
CONNECTORS = [p.connector for p in PARTNERS if p.connector is not None]
BY_DOMAIN = {p.domain: p for p in reversed(PARTNERS)}       # the first that has the domain


@dataclasses.dataclass
class Shot:
    """A letter of the hunt."""
    partner: Partner
    way: str
    letter: letters.Letter
    returned: bool = False              # it may be returned to its sender, whomever it is for

    @property
    def rule(self):
        """A connector with senders says nothing of other senders' mail, which may also fare as strictly."""
        scope = (BY_DOMAIN[self.partner.domain].connector or {}).get("senders")
        return MAY if self.returned or scope and self.letter.sender not in scope else self.partner.rule

    @property
    def accepted(self):
        return self.letter.code < 400


@dataclasses.dataclass
class Tally:
    combinations: int = 0
    unauthenticated: int = 0
    lost: int = 0
    twice: int = 0
    disturbed: int = 0

    def __add__(self, other):
        return Tally(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def __str__(self):
        return (f"{self.unauthenticated} unauthenticated, {self.lost} lost, {self.twice} twice, "
                f"{self.disturbed} disturbed")


class Ledger:
    """The partners' records, found by recipient."""

    def __init__(self, lab):
        self.lab, self.seen, self.start = lab, 0, len(lab.partners.read())
        self.by_recipient = collections.defaultdict(list)

    def read(self):
        entries = self.lab.partners.read()
        for entry in entries[self.seen:]:
            for recipient in entry["recipients"]:
                self.by_recipient[recipient.lower()].append(entry)
        self.seen = len(entries)

    def copies(self, letter):
        """Where the letter is local: one for each time that it lies in the mailbox."""
        if letter.recipient.endswith("@sender.example"):
            return [letter.number] * self.lab.mta.mailbox("bo").count(letter.number)
        return [e for e in self.by_recipient[letter.recipient.lower()]
                if letter.way == "bounce" or e["id"] == letter.number]

    def since(self):
        return self.lab.partners.read()[self.start:]


class Hunt:
    """One failure, from its beginning to its end."""

    def __init__(self, lab, failure, kit, partners, ways, mixed):
        self.lab, self.failure, self.kit = lab, failure, kit
        self.partners, self.ways, self.mixed = partners, ways, mixed
        self.ledger = Ledger(lab)
        self.shots = []
        self.times = [time.monotonic()]
        self.mark = len(lab.danelawd.lines())

    def run(self):
        self.kit.set_up(self.lab, CONNECTORS, self.failure.groups(self.lab))
        self.failure.warm(self.lab, [p for p in self.partners if p.connector is not None])
        self.failure.begin(self.lab)
        self.lap()
        try:
            self.shoot()
            self.lap()
            self.watch()
            self.lap()
            undisturbed = [s for s in self.shots if s.rule == FREE and not self.kit.may_wait(self.failure, s.letter)]
            disturbed = [s for s in undisturbed if not self.copies(s)]
        finally:
            self.failure.end(self.lab)
        self.bring_home()
        self.lap()
        return disturbed

    def lap(self):
        self.times.append(time.monotonic())

    # --- while it lasts

    def shoot(self):
        """All letters at once, in an order of the failure's own luck."""
        numbers = itertools.count(1)
        jobs = [(p, name, way) for p in self.partners for name, way in self.ways.items() if self.kit.fits(name, p)]
        self.failure.rng.shuffle(jobs)
        del jobs[len(jobs) // self.failure.share:]

        def one(_, job):
            partner, name, way = job
            letter = way(self.lab, address(partner, next(numbers)), partner.sender)
            return [Shot(partner, name, letter, name in self.kit.RETURNED)]

        def all_at_once(_, job):
            name, way = job
            alike = [p for p in self.partners if p.sender == letters.SENDER]
            sent = way(self.lab, [address(p, next(numbers)) for p in alike], letters.SENDER)
            return [Shot(p, name, letter) for p, letter in zip(alike, sent)]
        work = [(one, job) for job in jobs] + [(all_at_once, job) for job in self.mixed.items()]
        self.shots = [shot for shots in letters.post(self.lab, work, workers=96) for shot in shots]

    def watch(self):
        """Until what is free has arrived and all else has met a fate, as far as the failure lets it."""
        started = time.monotonic()
        while True:
            self.ledger.read()
            late = [s for s in self.shots if s.accepted and s.rule == FREE and not self.copies(s)
                    and not self.kit.may_wait(self.failure, s.letter)]
            open_shots = [s for s in self.shots if s.letter.fate(self.lab) is None]
            waited = time.monotonic() - started
            if not late and (not open_shots or waited > self.failure.patience) or waited > LASTS:
                return
            self.kit.rouse(self.lab, [s.letter for s in late + open_shots])
            time.sleep(0.5)

    # --- when it is over

    def bring_home(self):
        deadline, pushed = time.monotonic() + AFTERWARDS, 0.0
        while self.stuck() and time.monotonic() < deadline:
            if time.monotonic() - pushed > 2:
                self.kit.push(self.lab, [s.letter for s in self.stuck()])
                pushed = time.monotonic()
            time.sleep(0.3)
            self.ledger.read()

    def copies(self, shot):
        return self.ledger.copies(shot.letter)

    def stuck(self):
        """Accepted, and not where it belongs, though nothing fails any more."""
        return [s for s in self.shots if s.accepted and s.rule in (SAFE, WAITS, FREE) and not self.copies(s)
                and s.way not in self.failure.drops
                and not (s.partner.name in self.failure.returns and s.letter.fate(self.lab) == "bounced")]

    def unauthenticated(self):
        """Told by the partners' side, then by the MTA's."""
        found = [f"{entry['id']} to {recipient} at {entry['host']} tls={entry['tls']}"
                 for entry in self.ledger.since() for recipient in entry["recipients"] if self.is_leak(entry, recipient)]
        for shot in self.shots:
            if shot.partner.rule == SAFE and self.partner_counts(shot.partner) \
                    and not self.impostor_decides(shot.letter.recipient):
                found += [shot.letter.story(self.lab) for event in shot.letter.events(self.lab)
                          if event.status == "sent" and not self.kit.vouched(self.lab, event)]
        return found

    def partner_counts(self, partner):
        return partner.name not in self.failure.exempt

    def impostor_decides(self, recipient):
        """Domains that are not in ASCII take the road that asks the map."""
        return bool(self.failure.exempt) and not recipient.isascii()

    def is_leak(self, entry, recipient):
        partner = BY_DOMAIN.get(unicodedata.normalize("NFKC", recipient.rpartition("@")[2]).lower().rstrip("."))
        if partner is None or not self.partner_counts(partner):
            return False
        if self.impostor_decides(recipient):
            return False
        if partner.rule == NEVER:
            scope = partner.connector.get("senders")
            return scope is None or entry["sender"] in scope
        return partner.rule == SAFE and (entry["host"] not in partner.hosts
                                         or entry["tls"] not in ("TLSv1.2", "TLSv1.3"))

    def lost(self):
        """Accepted, and neither delivered, nor in a queue, nor returned."""
        waiting, found = self.kit.waiting(self.lab), []
        for shot in self.shots:
            letter = shot.letter
            if not shot.accepted or self.copies(shot) or letter.fate(self.lab) == "bounced" or shot.way in self.failure.drops:
                continue
            if self.kit.returned(self.lab, letter):
                continue
            ids = {e.queue_id for e in letter.events(self.lab)} | self.lab.mta.log.queue_ids(letter.number)
            if not any(i in ids and (r == letter.recipient.lower() or letter.way == "bounce") for i, r in waiting):
                found.append(shot)
        return found

    def twice(self):
        return [s for s in self.shots if len(self.copies(s)) > 1]


def address(partner, number):
    return "bo@sender.example" if partner.rule == FREE and partner.connector is None \
        and partner.domain == "sender.example" else f"u{number}@{partner.domain}"


def hunt(lab, book, failures, kit, seed, partners=PARTNERS, ways=None, mixed=None):
    """Each failure by name."""
    ways, mixed = kit.WAYS if ways is None else ways, kit.MIXED if mixed is None else mixed
    kit.prepare(lab, partners)
    tally = Tally()
    for name in failures:
        failure = FAILURES[name](random.Random(f"{seed} {name}"))
        tally += hunt_one(lab, book, Hunt(lab, failure, kit, partners, ways, mixed))
    for process in HELPERS:
        lab.kill(process)
    return tally


def hunt_one(lab, book, chase):
    name = chase.failure.name
    disturbed = chase.run()
    found = {"unauthenticated": chase.unauthenticated(), "lost": chase.lost(), "twice": chase.twice(),
             "disturbed": disturbed}
    stuck = [s for s in chase.stuck() if s not in found["lost"]]
    for what, finds in found.items():
        with book.test(f"{name} ({chase.failure.what}): none {what}"):
            tell(lab, finds, what)
    with book.test(f"{name}, afterwards: what may go has gone"):
        tell(lab, stuck, "still waiting")
    with book.test(f"{name}, afterwards: danelawd lives, and no sanitizer has complained"):
        said = [line for line in lab.danelawd.lines()[chase.mark:] if "Sanitizer" in line or "runtime error" in line]
        expect(lab.danelawd.running() and not said, lab.danelawd.tail(), *said[:20])
    tally = Tally(len(chase.shots), *(len(finds) for finds in found.values()))
    laps = " + ".join(f"{b - a:.0f}" for a, b in itertools.pairwise(chase.times))      # set up, sent, watched, brought home
    print(f"  {name}: {tally.combinations} combinations: {tally} ({laps} s)", flush=True)
    return tally


def tell(lab, finds, what):
    expect(not finds, f"{len(finds)} {what}",
           *(f"{f.partner.name}, {f.way}: {f.letter.story(lab)}" if isinstance(f, Shot) else f for f in finds[:5]))
