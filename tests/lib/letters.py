"""Mail, sent in every way there is, and what became of it."""

import concurrent.futures
import dataclasses
import time
import uuid

import sts_table
import table
from lab import CLIENT, Client, new_message

SENDER = "al@sender.example"
QUEUE_CLIENT = "127.0.0.1"              # milter.queue_clients: its mail is taken, and held in the queue
FATES = {"sent": "delivered", "deferred": "held", "bounced": "bounced", "expired": "bounced"}


@dataclasses.dataclass
class Letter:
    """One message to one recipient, followed to its end."""
    way: str
    sender: str
    recipient: str                      # where it ends up; aliases are expanded already
    number: str                         # its Message-ID
    code: int = 250                     # SMTP's reply, or 250 / 451 for sendmail(1)'s exit status
    reply: str = ""
    took: float = 0.0                   # seconds until the reply to RCPT
    queue_id: str = None
    silent: str = None                  # its fate where the MTA's log says nothing
    logged: str = None                  # what the MTA's log calls the recipient, if something else

    def __str__(self):
        return f"{self.way}: <{self.sender}> to <{self.recipient}>"

    @property
    def partner(self):
        return table.BY_DOMAIN.get(self.recipient.rpartition("@")[2].lower())

    def events(self, lab):
        """The MTA's words about it, oldest first."""
        if self.way == "bounce":
            lab.mta.log.read()
            return [d for d in lab.mta.log.deliveries if d.to.lower() == self.recipient.lower()]
        return lab.mta.log.fates(self.number, self.logged or self.recipient)

    def copies(self, lab):
        """The partners' records of it."""
        if self.way == "bounce":
            wanted = self.recipient.lower()
            return [e for e in lab.partners.read() if wanted in [r.lower() for r in e["recipients"]]]
        return lab.partners.got(self.number, self.recipient)

    def fate(self, lab):
        """delivered, held, bounced or refused; None while nobody knows."""
        if self.code >= 400:
            return "refused"
        events = self.events(lab)
        return FATES.get(events[-1].status) if events else self.silent

    def authenticated(self, lab):
        """True where every copy went over a connection that DANE vouches for."""
        sent = [d for d in self.events(lab) if d.status == "sent"]
        copies = self.copies(lab)
        allowed = self.partner.authentic if self.partner else []
        return (bool(sent) and bool(copies)
                and all(lab.mta.authentic(d) for d in sent)
                and all(c["tls"] and c["host"] in allowed for c in copies))

    def story(self, lab):
        """What an engineer wants to read where the letter had another fate than it should."""
        lines = [f"{self}: {self.code} {self.reply} ({self.took:.2f} s), message-id {self.number}"]
        lines += [f"  copy at {c['host']} tls={c['tls']} sni={c['sni']}" for c in self.copies(lab)]
        words = [self.number.strip("<>")] + sorted({d.queue_id for d in self.events(lab)})
        lines += ["  " + line for line in lab.mta.log.about(*words)]
        words[0] = f"to=<{self.recipient.lower()}>"
        lines += ["  " + line for line in lab.danelawd.about(*words)]
        return "\n".join(lines)


# --- ways in: each returns a Letter

def by_smtp(lab, recipient, sender=SENDER, source=CLIENT, port=25, login=None, way="smtp", options=()):
    number, message = new_message(sender=sender)
    letter = Letter(way, sender, recipient, number)
    try:
        with Client(port, source, login) as client:
            before = time.monotonic()
            replies, letter.queue_id = client.send(sender, [recipient], message, options)
            letter.took = time.monotonic() - before
            letter.code, letter.reply = replies[recipient]
    except OSError as fault:                    # smtplib's complaints are OSErrors, too
        letter.code, letter.reply = 421, repr(fault)
    return letter


def by_queue_client(lab, recipient, sender=SENDER):
    return by_smtp(lab, recipient, sender, QUEUE_CLIENT, way="smtp (queue client)")


def by_submission(lab, recipient, sender=SENDER):
    return by_smtp(lab, recipient, sender, CLIENT, 587, "al", way="submission")


def by_sendmail(lab, recipient, sender=SENDER, user="nobody"):
    number, message = new_message(sender=sender)
    status, said = lab.mta.inject(sender, [recipient], message, user=user)
    return Letter("sendmail", sender, recipient, number, 250 if status == 0 else 451, said)


def by_local_alias(lab, recipient, sender=SENDER):
    return _by_alias(lab, recipient, sender, "alias", "local alias")


def by_virtual_alias(lab, recipient, sender=SENDER):
    return _by_alias(lab, recipient, sender, "virtual", "virtual alias")


def _by_alias(lab, recipient, sender, kind, way):
    """The letter arrives at by-alias@ or by-virtual@ the partner, whatever local part was asked for."""
    partner = {**sts_table.BY_DOMAIN, **table.BY_DOMAIN}[recipient.rpartition("@")[2]]
    letter = by_smtp(lab, f"{kind}-{partner.name}@sender.example", sender, way=way)
    if kind == "virtual" and lab.at_work == "sendmail":
        letter.logged = letter.recipient
    letter.recipient = f"by-{kind}@{partner.domain}"
    return letter


def by_bounce(lab, recipient, sender=""):
    """Mail from the recipient to nobody: Postfix returns it to the recipient."""
    letter = by_sendmail(lab, "nobody-here@sender.example", sender=f"b{uuid.uuid4().hex[:12]}-{recipient}")
    return Letter("bounce", "", letter.sender, letter.number, 250, letter.reply)     # sendmail(8) may tell by its status


WAYS = {"smtp": by_smtp, "smtp (queue client)": by_queue_client, "submission": by_submission,
        "sendmail": by_sendmail, "local alias": by_local_alias, "virtual alias": by_virtual_alias,
        "bounce": by_bounce}


# --- many of them

def post(lab, jobs, workers=24):
    """Sends all at once: jobs is a list of (way function, recipient, more arguments...)."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(lambda job: job[0](lab, *job[1:]), jobs))


def insist(lab, letters, fits=lambda letter: True, word="dns-temp", seconds=60):
    """Tries again, as every mail host does, what was refused with a word that may only mean "not yet"."""
    deadline = time.monotonic() + seconds
    for number, letter in enumerate(letters):
        while letter.way == "smtp" and letter.code == 451 and word in letter.reply and fits(letter) \
                and time.monotonic() < deadline:
            time.sleep(0.5)
            letters[number] = letter = by_smtp(lab, letter.recipient, letter.sender)
    return letters


def settle(lab, letters, seconds=120):
    """Waits until each letter's fate is known; returns those that nobody knows of."""
    deadline = time.monotonic() + seconds
    open_letters = list(letters)
    while open_letters and time.monotonic() < deadline:
        time.sleep(0.1)
        open_letters = [letter for letter in open_letters if letter.fate(lab) is None]
    return open_letters
