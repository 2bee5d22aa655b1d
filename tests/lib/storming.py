"""A storm: mail by many sessions to all kinds of partner, whatever the weather.

Storm draws letters from a seed and posts them as mail hosts do: who is refused for now comes again.  The daemon's part
is in weather.py, and what became of each letter is reckoning.py's business.
"""

import dataclasses
import heapq
import random
import re
import smtplib
import threading
import time

import connectors
import letters
import sts_table
import table
from lab import CLIENT, Client, new_message

# What a kind of partner may come to.
SAFE = "safe"                   # arrives, authenticated
FREE = "free"                   # arrives
HELD = "held"                   # stays where it is: refused for now, or in the queue
SPENT = "spent"                 # its hold ends in the storm: refused for good, or returned
SWUNG = "swung"                 # as HELD, but while an administrator lets it go it may arrive
DENIED = "denied"               # the partner itself says no


@dataclasses.dataclass(frozen=True)
class Kind:
    name: str
    rule: str
    domains: tuple
    weight: int
    connector: dict = None      # what its partners' connectors say; None: nobody names them
    ways: tuple = ()            # empty: all
    local: str = "u{}"


STS = {"smtp_dane": "opportunistic", "mta_sts": "mandatory"}
STRICT = {"smtp_dane": "mandatory"}
LAX = {"smtp_dane": "opportunistic"}
SHORT = {"hold": 1}             # times the storm's own, which many outlive
LONGER = {"hold": 4}            # which only mail that can't be delivered would
QUIET = ("smtp (queue client)", "submission", "sendmail")       # ways on which nobody is refused
KINDS = (
    Kind("mandatory, with DANE", SAFE, ("good311.example", "good301.example", "rollover.example", "dualstack.example",
                                        "firsttlsa.example", "deadmx.example"), 26, STRICT),
    Kind("mandatory, with DANE, short hold", SAFE, ("good201.example",), 4, {**STRICT, **LONGER}, QUIET),
    Kind("mandatory, with MTA-STS", SAFE, ("stsexact.example", "stswild.example", "ststwomx.example"), 8, STS),
    Kind("opportunistic, with DANE", FREE, ("good312.example", "good310.example"), 10, LAX),
    Kind("opportunistic, without", FREE, ("hostunsigned.example", "plaintext.example", "insecuremx.example"), 12, LAX),
    Kind("named by nobody", FREE, ("unsignedtlsa.example", "good211.example"), 14),
    Kind("local", FREE, ("sender.example",), 10, local="bo+{}"),
    Kind("mandatory, none or forged", HELD, ("notlsa.example", "bogus.example"), 4, STRICT),
    Kind("mandatory, no policy", HELD, ("stsabsent.example",), 2, STS),
    Kind("mandatory, none or forged, short hold", SPENT, ("unsigned.example", "expired.example", "mxservfail.example"), 4,
         {**STRICT, **SHORT}),
    Kind("mandatory, wrong certificate or none, short hold", SPENT, ("mismatch.example", "nostarttls.example"), 3,
         {**STRICT, **SHORT}),
    Kind("mandatory, bad policy or host, short hold", SPENT, ("stsother.example", "ststesting.example",
                                                              "stsselfsigned.example"), 3, {**STS, **SHORT}),
    Kind("mandatory, let go at times", SWUNG, ("cnameunsigned.example",), 2, STRICT),
    Kind("nobody by that name", DENIED, ("good311.example", "good312.example"), 1, None, local="nobody"),
)
WAYS = {"smtp": 45, "smtp (queue client)": 12, "submission": 18, "sendmail": 15, "local alias": 5, "virtual alias": 5}
SESSIONS = {"smtp": (25, CLIENT, None), "smtp (queue client)": (25, letters.QUEUE_CLIENT, None),
            "submission": (587, CLIENT, "al"), "local alias": (25, CLIENT, None), "virtual alias": (25, CLIENT, None)}
REASON = re.compile(r"^\d\.\d\.\d (\S+?): ")


def partner_of(domain):
    return table.BY_DOMAIN.get(domain) or sts_table.BY_DOMAIN.get(domain)


def rules(hold, more=0):
    """The storm's connectors, each named as its partner; `more` of them are there to make a reload differ."""
    found = []
    for kind in KINDS:
        if kind.connector is not None:
            says = {key: f"{value * hold}s" if key == "hold" else value for key, value in kind.connector.items()}
            found += [connectors.connector(domain, domain, **says) for domain in kind.domains]
    return found + [connectors.nothing(f"n{n}.example", tls="encrypt") for n in range(more)]


# --- letters

@dataclasses.dataclass
class Letter:
    """A message to one of its recipients."""
    number: str                 # the message's
    kind: Kind
    asked: str                  # the recipient as the client says it
    to: str                     # where it ends up
    told: str = None            # taken, refused (for good), put off (refused for now until the client gave up)
    reply: str = ""
    tries: int = 0
    refused_at: float = None    # first
    told_at: float = None

    @property
    def domain(self):
        return self.to.rpartition("@")[2]


@dataclasses.dataclass
class Parcel:
    """A message with those recipients for whom nobody has taken it yet."""
    number: str
    text: str
    way: str
    open: list
    fresh: bool = True          # nobody has tried


class Desk:
    """What is to be sent, and when."""

    def __init__(self, parcels, seconds):
        """They come in one after the other, in so many seconds or more."""
        now = time.monotonic()
        self.lock = threading.Condition()
        self.heap = [(now + n * seconds / len(parcels), n, parcel) for n, parcel in enumerate(parcels)]
        self.count = len(parcels)               # numbers for the heap
        self.away = 0                           # parcels that somebody is sending
        self.fresh = len(parcels)               # parcels that nobody has sent yet

    def take(self, most):
        """Parcels of one way that are due; none where all is done."""
        with self.lock:
            while True:
                if not self.heap and not self.away:
                    return []
                wait = self.heap[0][0] - time.monotonic() if self.heap else 1
                if wait <= 0:
                    return self._due_locked(most)
                self.lock.wait(min(wait, 1))

    def _due_locked(self, most):
        found, now = [], time.monotonic()
        while self.heap and len(found) < most and self.heap[0][0] <= now \
                and (not found or self.heap[0][2].way == found[0].way):
            found.append(heapq.heappop(self.heap)[2])
            self.fresh -= found[-1].fresh
            found[-1].fresh = False
        self.away += len(found)
        return found

    def back(self, parcel, due):
        """due: when it is to be tried again; None: never."""
        with self.lock:
            self.away -= 1
            if due is not None:
                heapq.heappush(self.heap, (due, self.count, parcel))
                self.count += 1
            self.lock.notify_all()


class Storm:
    """All letters of a storm, and the clients that send them."""

    def __init__(self, lab, messages, seed, hold, clients=12):
        self.lab, self.hold, self.clients = lab, hold, clients
        self.random = random.Random(f"letters {seed}")
        self.letters, self.parcels = [], []
        self.lock = threading.Lock()
        self.broken, self.strange, self.put_off = [], [], {}    # sessions; replies; how often for which reason
        for n in range(messages):
            self._draw(n)
        self.desk = None
        self.patience = None                    # when clients give up what is still refused
        self.began = self.all_sent = None

    def _draw(self, n):
        draw = self.random
        kinds = [draw.choices(KINDS, [k.weight for k in KINDS])[0]]
        ways = {w: p for w, p in WAYS.items() if (not kinds[0].ways or w in kinds[0].ways)
                and ("alias" not in w or kinds[0].domains[0] in table.BY_DOMAIN and kinds[0].rule != DENIED)}
        way = draw.choices(list(ways), ways.values())[0]
        if "alias" not in way and draw.random() < 0.12:
            kinds += self._company(kinds[0], way)
        number, text = new_message(f"storm {n}")
        parcel = Parcel(number, text, way, [self._letter(number, kind, way, n) for kind in kinds])
        self.parcels.append(parcel)
        self.letters += parcel.open

    def _company(self, first, way):
        """Other recipients; of those who keep a message in the queue no more than one kind, or a sweep leaves both."""
        waiting = {HELD, SPENT, SWUNG}
        able = [k for k in KINDS if k is not first and (not k.ways or way in k.ways) and k.rule != DENIED
                and not (first.rule in waiting and k.rule in waiting)]
        chosen = []
        for kind in self.random.sample(able, self.random.randint(1, 3)):
            if kind.rule not in waiting or not any(c.rule in waiting for c in chosen):
                chosen.append(kind)
        return chosen

    def _letter(self, number, kind, way, n):
        domain = self.random.choice(kind.domains)
        asked = to = f"{kind.local.format(n)}@{domain}"
        if "alias" in way:
            short = way.split()[0].replace("local", "alias")
            asked, to = f"{short}-{table.BY_DOMAIN[domain].name}@sender.example", f"by-{short}@{domain}"
        return Letter(number, kind, asked, to)

    # --- clients

    def start(self, seconds):
        """All letters are sent in so many seconds, or more."""
        self.desk = Desk(self.parcels, seconds)
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self._client, args=(n,)) for n in range(self.clients)]
        for thread in self.threads:
            thread.start()

    def wait_for_first_round(self):
        while self.desk.fresh > 0:
            time.sleep(0.1)
        self.all_sent = time.monotonic()

    def finish(self, seconds):
        """Clients go on for so long at most, then give up what they have."""
        self.patience = time.monotonic() + seconds
        for thread in self.threads:
            thread.join()

    def _client(self, number):
        draw = random.Random(f"client {number}")
        while parcels := self.desk.take(draw.choice((1, 1, 2, 4, 8, 16))):
            if parcels[0].way == "sendmail":
                for parcel in parcels:
                    status, said = self.lab.postfix.inject(letters.SENDER, [x.asked for x in parcel.open], parcel.text,
                                                           user="nobody")
                    self._told(parcel, {x.asked: (250 if status == 0 else 451, said) for x in parcel.open}, draw)
                continue
            self._session(parcels, draw)

    def _session(self, parcels, draw):
        left = list(parcels)
        try:
            port, source, login = SESSIONS[parcels[0].way]
            with Client(port, source, login, timeout=300) as client:
                while left:
                    replies, _ = client.send(letters.SENDER, [x.asked for x in left[0].open], left[0].text)
                    self._told(left.pop(0), replies, draw)
        except (OSError, smtplib.SMTPException) as fault:
            with self.lock:
                self.broken.append(f"{parcels[0].way}: {fault!r}")
            for parcel in left:
                self.desk.back(parcel, time.monotonic() + 1)

    def _told(self, parcel, replies, draw):
        """What the host said of each recipient; those refused for now are tried again later."""
        now = time.monotonic()
        for letter in list(parcel.open):
            code, letter.reply = replies[letter.asked]
            letter.tries += 1
            if code >= 400:
                letter.refused_at = letter.refused_at or now
                self._note(code, letter)
            if code == 250:
                letter.told = "taken"
            elif code >= 500:
                letter.told = "refused"
            elif self._gives_up(letter, now):
                letter.told = "put off"
            if letter.told is not None:
                letter.told_at = now
                parcel.open.remove(letter)
        due = min((self._again(letter, now, draw) for letter in parcel.open), default=None)
        self.desk.back(parcel, due)

    def _note(self, code, letter):
        reason = REASON.match(letter.reply)
        with self.lock:
            if reason is None:
                self.strange.append(f"{letter.asked}: {code} {letter.reply}")
            elif code < 500:
                self.put_off[reason[1]] = self.put_off.get(reason[1], 0) + 1

    def _gives_up(self, letter, now):
        """A bounded patience: a partner that nobody ever reaches is given up early."""
        if self.patience is not None and now > self.patience:
            return True
        return letter.kind.rule in (HELD, SWUNG) and letter.tries >= 4

    def _again(self, letter, now, draw):
        """Left alone for a quarter of its hold a clock begins anew."""
        if letter.kind.rule == SPENT:
            return now + self.hold / 15
        return now + draw.uniform(0.5, 2) * min(letter.tries, 5)
