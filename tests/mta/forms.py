"""Ways to write an address: each finds the right connector, or none."""

import contextlib
import re

import connectors
import letters
from lab import CLIENT
from namespace import run
from trial import chapter, expect, expect_fate

BAD, GOOD, OTHER = "unsigned.example", "good311.example", "notlsa.example"

# what the client says; where Postfix sends it; whether that is the mandatory partner
FORMS = (
    (f"u@{BAD}", f"u@{BAD}", True),
    ("User+Ext@UNSIGNED.Example", "User+Ext@UNSIGNED.Example", True),
    (f"@{OTHER}:u@{BAD}", f"u@{BAD}", True),
    (f"@{BAD}:u@{OTHER}", f"u@{OTHER}", False),
    (f"u%{BAD}@sender.example", f"u@{BAD}", True),
    (f"{BAD}!u@sender.example", f"u@{BAD}", True),
    (f"u@{BAD}.", f"u@{BAD}", True),
    (f'"a b"@{BAD}', f'"a b"@{BAD}', True),
    (f'"u"@{BAD}', f"u@{BAD}", True),
    (f"u%{OTHER}@{BAD}", f"u%{OTHER}@{BAD}", True),
    (f"u@sub.{OTHER}", f"u@sub.{OTHER}", None),
    ("u@[127.1.0.1]", "u@[127.1.0.1]", False),
)


@chapter
def address_forms(lab, book):
    """source route, percent hack, bang path, trailing dot, case, extension, quotes, literal"""
    lab.rules([connectors.mandatory(BAD), connectors.mandatory(GOOD)])
    for said, meant, strict in FORMS:
        if strict is None:
            continue
        by_smtp = letters.insist(lab, [letters.by_smtp(lab, said)])[0]
        by_queue = letters.by_queue_client(lab, said)
        by_queue.recipient = meant
        letters.settle(lab, [by_queue])
        if strict:
            with book.test(f"RCPT TO:<{said}>: refused, or held"):
                expect(by_smtp.code == 451 and "dane-required" in by_smtp.reply, by_smtp.story(lab))
                expect_fate(lab, by_queue, "held")
                expect("danelaw-dane" in by_queue.events(lab)[-1].service, by_queue.story(lab))
                expect(not by_queue.copies(lab), "LEAK")
        else:
            with book.test(f"RCPT TO:<{said}>: flows"):
                expect(by_smtp.code == 250, by_smtp.story(lab))
                expect_fate(lab, by_queue, "delivered")
    with book.test("SMTPUTF8 local part: refused, or held"):
        letter = letters.by_smtp(lab, f"jürgen@{BAD}", options=["SMTPUTF8"])
        expect(letter.code == 451 and "dane-required" in letter.reply, letter.story(lab))
        letter = letters.by_sendmail(lab, f"jürgen@{BAD}")
        letters.settle(lab, [letter])
        expect_fate(lab, letter, "held")


SPELLINGS = ("u@\uff55nsigned.example", "u@unsigned\u3002example", "u@unsi\u00adgned.example", "u@mu\u0308ller.example",
             "u@\uff47ood311.example")
MEANT = ("u@müller.example", "u@MÜLLER.example")


def by_every_way(lab, said):
    """Those that don't pass the mail filter, too."""
    return [letters.by_smtp(lab, said, options=["SMTPUTF8"]),
            letters.by_smtp(lab, said, source=letters.QUEUE_CLIENT, options=["SMTPUTF8"]), letters.by_sendmail(lab, said)]


@contextlib.contextmanager
def without_spellings(lab):
    """A Postfix that leads no domain on our road for being written in other letters."""
    maps = run("postconf", "-h", "transport_maps").strip()
    lab.postfix.set("transport_maps = " + re.sub(r", regexp:\{\{/\[.*?\}\}", "", maps))
    lab.postfix.reload()
    try:
        yield
    finally:
        lab.postfix.set("transport_maps = " + maps)
        lab.postfix.reload()


@chapter
def address_spellings(lab, book):
    """wide letters, accents of their own, an ideographic full stop: nothing leaks, danelawd up and killed"""
    lab.rules([connectors.mandatory(BAD), connectors.mandatory(GOOD), connectors.mandatory("xn--mller-kva.example")])
    for alive in (True, False):
        state = "danelawd " + ("up" if alive else "killed")
        if not alive:
            lab.danelawd.kill()
        sent = [letter for said in SPELLINGS + MEANT for letter in by_every_way(lab, said)]
        letters.settle(lab, sent)
        with book.test("partners without DANE in other letters: refused or held, " + state):
            for letter in [x for x in sent if "ood311" not in x.recipient]:
                expect_fate(lab, letter, ("refused", "held"))
                expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
        with book.test("a partner with DANE in other letters: authenticated or not at all, " + state):
            for letter in [x for x in sent if "ood311" in x.recipient]:
                expect_fate(lab, letter, ("refused", "delivered") if alive else ("refused", "held"))
                expect(all(e.tls == "Verified" for e in letter.events(lab) if e.status == "sent"), letter.story(lab))
        with book.test("other mail in UTF-8 flows, " + state):
            sent = [letter for said in (f"jürgen@{OTHER}", f"jürgen@{GOOD}") for letter in by_every_way(lab, said)]
            letters.settle(lab, sent)
            for letter in sent:
                expect_fate(lab, letter, "delivered")
    lab.danelawd.start()


@chapter
def spellings_without_road(lab, book):
    """no road for domains in other letters: the doctor says so, the mail filter refuses what the table has not"""
    lab.rules([connectors.mandatory(BAD), connectors.mandatory(GOOD), connectors.mandatory("xn--mller-kva.example")])
    with without_spellings(lab):
        with book.test("doctor: a leak"):
            found = lab.danelawd.ask("doctor", "postfix")
            expect([f["severity"] for f in found if "/[^!-~][^@]*" in f["fix"]] == ["leak"], *found)
        refused_spellings(lab, book)


def refused_spellings(lab, book):
    for said in SPELLINGS:
        for who, source in (("a mail host", CLIENT), ("a queue client", letters.QUEUE_CLIENT)):
            with book.test(f"{who} says {ascii(said)}: refused"):
                letter = letters.by_smtp(lab, said, source=source, options=["SMTPUTF8"])
                expect(letter.code == 451, letter.story(lab))
                expect(not letter.copies(lab), "LEAK")
    for said in MEANT:
        with book.test(f"<{ascii(said)}> is held"):
            letter = letters.by_smtp(lab, said, source=letters.QUEUE_CLIENT, options=["SMTPUTF8"])
            letters.settle(lab, [letter])
            expect_fate(lab, letter, "held")
