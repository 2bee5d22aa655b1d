"""Ways to write an address: each finds the right connector, or none."""

import connectors
import letters
from lab import CLIENT
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


@chapter
def address_spellings(lab, book):
    """wide letters, accents of their own, an ideographic full stop: Postfix resolves them, and its table has none of them"""
    lab.rules([connectors.mandatory(BAD), connectors.mandatory(GOOD), connectors.mandatory("xn--mller-kva.example")])
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
