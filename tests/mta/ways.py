"""Every way in, while danelawd is well, killed, stopped or blind: nothing leaks, nothing is lost."""

import signal
import time

import connectors
import letters
import table
from lab import DANELAW_RESOLVER, Client, new_message, wait_until
from trial import Failure, chapter, expect, expect_fate, expect_safe

GOOD, BAD = "good311.example", "unsigned.example"       # both mandatory
LAX, OTHER = "hostunsigned.example", "notlsa.example"   # opportunistic; named by no connector
CONNECTORS = [connectors.mandatory(GOOD), connectors.mandatory(BAD), connectors.opportunistic(LAX)]
SILENT = "127.0.54.254"                                 # a resolver that never answers


def well(lab):
    lab.rules(CONNECTORS)


def killed(lab):
    lab.rules(CONNECTORS)
    lab.danelawd.kill()


def stopped(lab):
    lab.rules(CONNECTORS)
    lab.danelawd.signal(signal.SIGSTOP)


def blind(lab):
    lab.zones.faults[SILENT] = [["*", "*", "drop"]]
    lab.rules(CONNECTORS, resolver={"forward": [SILENT + "@53"], "root_hints": None})


def post_everywhere(lab):
    """Letters by all ways to all four kinds of partner, and local mail, all at the same time."""
    jobs = [(way, f"u@{domain}") for domain in (GOOD, BAD, LAX, OTHER) for way in letters.WAYS.values()]
    local = [(letters.by_smtp, "bo@sender.example"), (letters.by_sendmail, "bo@sender.example")]
    sent = letters.post(lab, jobs + local, workers=32)
    return sent[:-2], sent[-2:]


def try_all_ways(lab, book, state, lax_waits):
    sent, local = post_everywhere(lab)
    to = {d: [letter for letter in sent if letter.recipient.endswith("@" + d)] for d in (GOOD, BAD, LAX, OTHER)}
    expected = to[GOOD] + to[BAD] + to[OTHER] + local + ([] if lax_waits else to[LAX])
    letters.settle(lab, expected, 90)
    for letter in to[GOOD]:
        with book.test(f"{state}, {letter.way} to a good mandatory partner: authenticated or not at all"):
            expect_safe(lab, letter)
            expect_fate(lab, letter, ("delivered", "refused") if state == "blind" and letter.way == "smtp"
                        else "delivered")
    for letter in to[BAD]:
        with book.test(f"{state}, {letter.way} to a mandatory partner without DANE: refused or held"):
            expect_fate(lab, letter, ("held", "refused") if letter.way == "smtp" else "held")
            expect(not letter.copies(lab), "LEAK", lambda: letter.story(lab))
    for letter in to[OTHER]:
        with book.test(f"{state}, {letter.way} to somebody else: delivered"):
            expect_fate(lab, letter, "delivered")
    for letter in local:
        with book.test(f"{state}, local mail by {letter.way}: delivered"):
            expect_fate(lab, letter, "delivered")
            expect(letter.number in lab.postfix.mailbox("bo"), "not in the mailbox")
    if not lax_waits:
        for letter in to[LAX]:
            with book.test(f"{state}, {letter.way} to an opportunistic partner: delivered"):
                expect_fate(lab, letter, "delivered")
    requeue(lab, book, state, [letter for letter in to[BAD] if letter.code < 400])
    return to


def requeue(lab, book, state, held):
    """postsuper -r: everything in the queue starts anew, without the milter."""
    before = {letter.number + letter.recipient: len(letter.events(lab)) for letter in held}
    lab.postfix.requeue()
    deadline = time.monotonic() + 60
    open_letters = held
    while open_letters and time.monotonic() < deadline:
        time.sleep(0.1)
        open_letters = [x for x in held if len(x.events(lab)) <= before[x.number + x.recipient]]
    with book.test(f"{state}, postsuper -r: all is held again, nothing left"):
        expect(not open_letters, "no word about", *[lambda x=x: x.story(lab) for x in open_letters[:3]])
        for letter in held:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))


def nothing_lost(lab, book, state, to):
    """All is well again: what was accepted arrives, or is still in the queue."""
    accepted = [x for domain in (GOOD, LAX) for x in to[domain] if x.code < 400]
    deadline = time.monotonic() + 60
    with book.test(f"{state}, afterwards: all that was accepted has arrived"):
        while any(not x.copies(lab) for x in accepted):
            if time.monotonic() > deadline:
                raise Failure("\n".join(x.story(lab) for x in accepted if not x.copies(lab)))
            lab.postfix.flush()
            time.sleep(2)
        for letter in to[GOOD]:
            expect_safe(lab, letter)
    with book.test(f"{state}, afterwards: the mandatory partner's mail is still queued"):
        queued = {r["address"] for m in lab.postfix.queue() for r in m["recipients"]}
        missing = [x for x in to[BAD] if x.code < 400 and x.recipient not in queued]
        expect(not missing, *[lambda x=x: x.story(lab) for x in missing])
        expect(not any(x.copies(lab) for x in to[BAD]), "LEAK")


@chapter
def ways_well(lab, book):
    """all ways in while danelawd is well"""
    well(lab)
    to = try_all_ways(lab, book, "well", lax_waits=False)
    for letter in to[LAX] + to[GOOD]:
        expect("danelaw" in letter.events(lab)[-1].service, "not on a road", letter.story(lab))
    nothing_lost(lab, book, "well", to)


@chapter
def ways_killed(lab, book):
    """all ways in while danelawd is killed (-9)"""
    killed(lab)
    to = try_all_ways(lab, book, "killed", lax_waits=True)
    lab.danelawd.start()
    nothing_lost(lab, book, "killed", to)


@chapter
def ways_stopped(lab, book):
    """all ways in while danelawd hangs (SIGSTOP)"""
    stopped(lab)
    try:
        to = try_all_ways(lab, book, "stopped", lax_waits=True)
    finally:
        lab.danelawd.signal(signal.SIGCONT)
    nothing_lost(lab, book, "stopped", to)


def wait_until_blind(lab):
    def says_so():
        return lab.danelawd.ask("status")[0]["resolver"]["proven"] is False
    wait_until(says_so, 20, "the self-check to fail")


@chapter
def ways_blind(lab, book):
    """all ways in while danelawd's resolver is dead"""
    blind(lab)
    with book.test("blind: danelaw status says so"):
        wait_until_blind(lab)
        status = lab.danelawd.ask("status")[0]
        expect(status["resolver"]["why"], status)
    to = try_all_ways(lab, book, "blind", lax_waits=False)
    lab.rules_keep_queue(CONNECTORS)
    nothing_lost(lab, book, "blind", to)


@chapter
def blind_and_strict(lab, book):
    """when_broken = hold-all: a dead resolver holds opportunistic mail, too"""
    lab.zones.faults[SILENT] = [["*", "*", "drop"]]
    lab.rules(CONNECTORS,
              resolver={"forward": [SILENT + "@53"], "root_hints": None, "when_broken": "hold-all"})
    wait_until_blind(lab)
    sent = letters.post(lab, [(letters.by_sendmail, f"u@{d}") for d in (BAD, LAX, OTHER)])
    letters.settle(lab, sent)
    with book.test("hold-all: opportunistic mail is held, unnamed mail flows"):
        for letter, fate in zip(sent, ("held", "held", "delivered")):
            expect_fate(lab, letter, fate)


def wait_for_refusal(lab, recipient, seconds):
    def refused():
        letter = letters.by_smtp(lab, recipient)
        return letter if letter.code != 250 else None
    return wait_until(refused, seconds, f"{recipient} to be refused")


@chapter
def resolver_dies(lab, book):
    """danelawd's forwarder dies while it works, and comes back"""
    lab.start_resolver("danelaw-resolver", DANELAW_RESOLVER)
    rules = CONNECTORS + [connectors.mandatory("shortlived.example")]
    forward = {"forward": [DANELAW_RESOLVER + "@53"], "root_hints": None}
    lab.rules(rules, resolver=forward)
    with book.test("forward: evidence comes by a forwarder"):
        jobs = [(letters.by_smtp, f"u@{domain}") for domain in (GOOD, BAD, "shortlived.example")]
        sent = letters.insist(lab, letters.post(lab, jobs))
        letters.settle(lab, sent)
        expect_fate(lab, sent[0], "delivered")
        expect_safe(lab, sent[0])
        expect(sent[1].code == 451 and "dane-required" in sent[1].reply, sent[1].story(lab))
        expect_fate(lab, sent[2], "delivered")
    lab.kill("danelaw-resolver")
    with book.test("forwarder dead: a mandatory partner not seen before is refused, others are not"):
        lab.rules_keep_queue(rules + [connectors.mandatory("good301.example")], resolver=forward)
        sent = letters.post(lab, [(letters.by_smtp, "u@good301.example"), (letters.by_smtp, f"u@{OTHER}")])
        letters.settle(lab, sent)
        expect(sent[0].code == 451 and "dns-temp" in sent[0].reply, sent[0].story(lab))
        expect_fate(lab, sent[1], "delivered")
    with book.test("forwarder dead: no decision rests on evidence that has expired"):
        late = wait_for_refusal(lab, "u@shortlived.example", 45)
        expect(late.code == 451 and "dns-temp" in late.reply, late.story(lab))
        letter = letters.by_smtp(lab, f"u@{GOOD}")
        expect(letter.code == 250, "evidence that still lives is thrown away", letter.story(lab))
    lab.start_resolver("danelaw-resolver", DANELAW_RESOLVER)
    with book.test("forwarder back: the partner is served"):
        wait_until(lambda: letters.by_smtp(lab, "u@good301.example").code == 250, 60, "an acceptance")
    lab.kill("danelaw-resolver")


@chapter
def early_refusal(lab, book):
    """who is refused at RCPT, and who is held in the queue"""
    well(lab)
    partners = {p.name: p for p in table.PARTNERS}
    mixed = [f"u@{BAD}", f"u@{GOOD}", f"u@{partners['hosted'].domain}", "bo@sender.example"]
    with book.test("one message, four recipients: only the mandatory partner without DANE is refused"):
        with Client() as client:
            replies, queue_id = client.send(letters.SENDER, mixed, new_message()[1])
        expect([replies[r][0] for r in mixed] == [451, 250, 250, 250], replies)
        expect("dane-required" in replies[mixed[0]][1] and BAD in replies[mixed[0]][1], replies)
        expect(queue_id is not None, replies)
    for setting, source, code in (("tempfail", letters.QUEUE_CLIENT, 451), ("queue", letters.CLIENT, 250)):
        with book.test(f"on_hold = {setting}: {code} for everybody"):
            lab.rules([connectors.mandatory(BAD, on_hold=setting)])
            letter = letters.insist(lab, [letters.by_smtp(lab, f"u@{BAD}", source=source)])[0]
            expect(letter.code == code, letter.story(lab))
    with book.test("an opportunistic connector refuses, too, once the state is known"):
        lab.rules([connectors.opportunistic("bogus.example")])
        letter = wait_for_refusal(lab, "u@bogus.example", 20)
        expect(letter.reply.startswith("4.7.5 dnssec-invalid: "), letter.story(lab))
