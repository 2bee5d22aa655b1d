"""Sendmail: every way in, while danelawd is well, killed, stopped or blind: nothing leaks, nothing is lost."""

import signal

import connectors
import letters
from lab import new_message, wait_until
from trial import expect, expect_fate, expect_safe, sendmail_chapter

GOOD, BAD = "good311.example", "unsigned.example"       # both mandatory
LAX, OTHER = "hostunsigned.example", "notlsa.example"   # opportunistic; named by no connector
DOMAINS = (GOOD, BAD, LAX, OTHER)
CONNECTORS = [connectors.mandatory(GOOD), connectors.mandatory(BAD), connectors.opportunistic(LAX)]
SILENT = "127.0.54.254"                                 # a resolver that never answers


# --- settling

def settle(lab, sent, seconds=60):
    """As letters.settle, but Sendmail puts mail aside without a word where a look-up fails at reception."""
    left = letters.settle(lab, sent, 2)
    lab.mta.push(left)                  # from the submission queue to the MTA's
    left = letters.settle(lab, left, 1)
    lab.mta.rouse(left)                 # and on
    return letters.settle(lab, left, seconds)


# --- ways in that only Sendmail has

def by_am(lab, recipient, sender=letters.SENDER):
    """Into the MTA's queue, past every door at which a milter stands."""
    number, message = new_message(sender=sender)
    status, said = lab.mta.inject(sender, [recipient], message, options=["-Am"])
    return letters.Letter("sendmail -Am", sender, recipient, number, 250 if status == 0 else 451, said)


def by_forward(lab, recipient):
    return _by_file(lab, "user", recipient, ".forward")


def by_include(lab, recipient):
    return _by_file(lab, "list", recipient, ":include:")


def _by_file(lab, kind, recipient, way):
    name = f"{kind}{DOMAINS.index(recipient.rpartition('@')[2]) + 1}"
    lab.mta.forward(name, recipient)
    letter = letters.by_smtp(lab, f"{name}@sender.example", way=way)
    letter.recipient = recipient
    return letter


WAYS = {"smtp": letters.by_smtp, "smtp (queue client)": letters.by_queue_client, "sendmail": letters.by_sendmail,
        "sendmail -Am": by_am, "local alias": letters.by_local_alias, "virtual alias": letters.by_virtual_alias,
        ".forward": by_forward, ":include:": by_include, "bounce": letters.by_bounce}


def post_everywhere(lab):
    """Letters by all ways to all four kinds of partner, and local mail."""
    jobs = [(way, f"u@{domain}") for domain in DOMAINS for way in WAYS.values()]
    local = [(letters.by_smtp, "bo@sender.example"), (letters.by_sendmail, "bo@sender.example"), (by_am, "bo@sender.example")]
    sent = letters.post(lab, jobs + local, workers=48)
    settle(lab, sent)
    return sent[:-3], sent[-3:]


def try_all_ways(lab, book, state, good=("delivered",), dead=False):
    """A filter with F=T, while it is dead, lets nothing in by SMTP, and so by most ways; what is in goes on."""
    sent, local = post_everywhere(lab)
    to = {d: [letter for letter in sent if letter.recipient.endswith("@" + d)] for d in DOMAINS}
    shut = ("delivered", "refused", "held") if dead and "F=T" in lab.mta.source else ("delivered",)
    for letter in to[GOOD]:
        with book.test(f"{state}, {letter.way} to a good mandatory partner: authenticated or not at all"):
            expect_safe(lab, letter)
            expect_fate(lab, letter, good)
    for letter in to[BAD]:
        with book.test(f"{state}, {letter.way} to a mandatory partner without DANE: refused or held"):
            expect_fate(lab, letter, ("held", "refused"))
            expect(not letter.copies(lab), "LEAK", lambda: letter.story(lab))
    for letter in to[LAX]:
        with book.test(f"{state}, {letter.way} to an opportunistic partner: delivered"):
            expect_fate(lab, letter, "delivered" if letter.way == "sendmail -Am" else shut)
    for letter in to[OTHER]:
        with book.test(f"{state}, {letter.way} to somebody else: delivered"):
            expect_fate(lab, letter, "delivered" if letter.way == "sendmail -Am" else shut)
    for letter in local:
        with book.test(f"{state}, local mail by {letter.way}: delivered"):
            expect_fate(lab, letter, "delivered" if letter.way == "sendmail -Am" else shut)
            if letter.fate(lab) == "delivered":
                wait_until(lambda: letter.number in lab.mta.mailbox("bo"), 10, "it to lie in the mailbox")
    to["local"] = local
    return to


def nothing_lost(lab, book, state, to):
    """All is well again: what was accepted arrives, or is still in the queue."""
    accepted = [x for domain in (GOOD, LAX, OTHER) for x in to[domain] if x.code < 400]
    with book.test(f"{state}, afterwards: all that was accepted has arrived"):
        def arrived():
            push_all(lab)
            return all(x.copies(lab) for x in accepted)
        wait_until(arrived, 60, "the rest to arrive")
        for letter in to[GOOD]:
            expect_safe(lab, letter)
    with book.test(f"{state}, afterwards: the mandatory partner's mail is still queued"):
        queued = [r for directory in lab.mta.QUEUES for _, recipients, _ in lab.mta.queue(directory) for r in recipients]
        missing = [x for x in to[BAD] if x.code < 400 and x.recipient not in queued]
        expect(not missing, *[lambda x=x: x.story(lab) for x in missing])
        expect(not any(x.copies(lab) for x in to[BAD]), "LEAK")


def push_all(lab):
    lab.mta.flush_client()
    lab.mta.flush()


@sendmail_chapter
def sendmail_ways_well(lab, book):
    """all ways in while danelawd is well"""
    lab.rules(CONNECTORS)
    nothing_lost(lab, book, "well", try_all_ways(lab, book, "well"))


@sendmail_chapter
def sendmail_ways_killed(lab, book):
    """all ways in while danelawd is killed (-9)"""
    lab.rules(CONNECTORS)
    lab.danelawd.kill()
    to = try_all_ways(lab, book, "killed", ("held", "refused"), dead=True)
    lab.danelawd.start()
    nothing_lost(lab, book, "killed", to)


@sendmail_chapter
def sendmail_ways_stopped(lab, book):
    """all ways in while danelawd hangs (SIGSTOP)"""
    lab.rules(CONNECTORS)
    lab.danelawd.signal(signal.SIGSTOP)
    try:
        to = try_all_ways(lab, book, "stopped", ("held", "refused"), dead=True)
    finally:
        lab.danelawd.signal(signal.SIGCONT)
    nothing_lost(lab, book, "stopped", to)


@sendmail_chapter
def sendmail_ways_blind(lab, book):
    """all ways in while danelawd's resolver is dead"""
    lab.zones.faults[SILENT] = [["*", "*", "drop"]]
    lab.write_faults()
    lab.rules(CONNECTORS, resolver={"forward": [SILENT + "@53"], "root_hints": None})
    wait_until(lambda: lab.danelawd.ask("status")[0]["resolver"]["proven"] is False, 20, "the self-check to fail")
    to = try_all_ways(lab, book, "blind", ("held", "refused"))
    lab.rules_keep_queue(CONNECTORS)
    nothing_lost(lab, book, "blind", to)
