"""Which connector a recipient finds, seen from outside: users, wildcards, smart hosts, senders, IDN."""

import connectors
import letters
from lab import Client, new_message, wait_until
from sites import site
from trial import Skip, chapter, expect, expect_fate, expect_safe

STRICT, LAX_ROAD, OWN_WAY = "postfix/danelaw-dane", "postfix/danelaw/", "postfix/smtp"


def expect_road(lab, letter, road):
    service = letter.events(lab)[-1].service + "/"
    expect(service.startswith(road), f"by {service}, wanted {road}", lambda: letter.story(lab))


def refused(lab, letter, reason="dane-required"):
    expect(letter.code == 451 and reason in letter.reply, f"wanted 451 {reason}", lambda: letter.story(lab))


def post(lab, *jobs):
    sent = letters.insist(lab, letters.post(lab, list(jobs)))
    letters.settle(lab, sent)
    return sent


@chapter
def one_user(lab, book):
    """only user@d is mandatory, beside a lax connector for d"""
    for kind, road in ((connectors.nothing, OWN_WAY), (connectors.opportunistic, LAX_ROAD)):
        lab.rules([connectors.mandatory("boss@notlsa.example"), kind("notlsa.example")])
        sent = post(lab, (letters.by_smtp, "boss@notlsa.example"), (letters.by_smtp, "Boss@NotLSA.example"),
                    (letters.by_sendmail, "boss@notlsa.example"),
                    (letters.by_submission, "BOSS@notlsa.example"),
                    (letters.by_smtp, "clerk@notlsa.example"), (letters.by_sendmail, "clerk@notlsa.example"),
                    (letters.by_smtp, "bosses@notlsa.example"), (letters.by_smtp, '"boss"@notlsa.example'),
                    (letters.by_smtp, "@hosted.example:boss@notlsa.example"))
        with book.test(f"beside {kind.__name__}: the user's mail is refused or held"):
            for letter in (sent[0], sent[1], sent[7], sent[8]):
                refused(lab, letter)
            for letter in sent[2:4]:
                expect_fate(lab, letter, "held")
                expect_road(lab, letter, STRICT)
        with book.test(f"beside {kind.__name__}: the others' mail flows"):
            for letter in sent[4:7]:
                expect_fate(lab, letter, "delivered")
                expect_road(lab, letter, road)
        with book.test(f"beside {kind.__name__}: one message to both"):
            number, message = new_message()
            with Client(source=letters.QUEUE_CLIENT) as client:
                client.send(letters.SENDER, ["boss@notlsa.example", "clerk@notlsa.example"], message)
            both = [letters.Letter("smtp", letters.SENDER, r, number) for r in ("boss@notlsa.example",
                                                                               "clerk@notlsa.example")]
            letters.settle(lab, both)
            expect_fate(lab, both[0], "held")
            expect_fate(lab, both[1], "delivered")
    with book.test("the same with danelawd killed: held, and the rest waits or flows"):
        lab.danelawd.kill()
        sent = post(lab, *[(way, "boss@notlsa.example") for way in (letters.by_smtp, letters.by_sendmail)])
        for letter in sent:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")


@chapter
def one_exception(lab, book):
    """only user@d is lax, inside a mandatory d, on sites that split extensions off and others"""
    ways = (letters.by_smtp, letters.by_sendmail)
    users = ("clerk@notlsa.example", "Clerk@NOTLSA.example", "boss@notlsa.example", "clerk+x@notlsa.example")
    for kind in (connectors.nothing, connectors.opportunistic):
        with site(lab, "recipient_delimiter ="):
            lab.rules([connectors.mandatory("notlsa.example"), kind("clerk@notlsa.example")])
            sent = post(lab, *[(way, user) for user in users for way in ways])
            with book.test(f"{kind.__name__} for one: that user's mail flows"):
                for letter in sent[:4]:
                    expect_fate(lab, letter, "delivered")
            with book.test(f"{kind.__name__} for one: all others' is refused or held"):
                expect_none_leaves(lab, sent[4:])
        mark = len(lab.danelawd.lines())
        lab.rules([connectors.mandatory("notlsa.example"), kind("clerk@notlsa.example")])
        sent = post(lab, *[(way, user) for user in users for way in ways])
        with book.test(f"{kind.__name__} for one, with extensions: the exception opens no way for clerk+x"):
            expect_none_leaves(lab, sent[4:])
        with book.test(f"{kind.__name__} for one, with extensions: where it can't be kept, the log says so"):
            if any(letter.copies(lab) for letter in sent[:4]):
                raise Skip("the exception is kept")
            said = "\n".join(lab.danelawd.lines()[mark:])
            expect("clerk@notlsa.example" in said and "recipient_delimiter" in said, said)


def expect_none_leaves(lab, sent):
    for letter in sent:
        expect_fate(lab, letter, "refused" if letter.way == "smtp" else "held")
        expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))


@chapter
def wildcards(lab, book):
    """*.d and * beside exact names and local domains"""
    lab.rules([connectors.mandatory("*.example"), connectors.nothing("notlsa.example"),
               connectors.opportunistic("*.wildnsec3.example")])
    sent = post(lab, (letters.by_smtp, "u@unsigned.example"), (letters.by_sendmail, "u@unsigned.example"),
                (letters.by_smtp, "u@good311.example"), (letters.by_smtp, "u@notlsa.example"),
                (letters.by_smtp, "u@deep.down.wildnsec3.example"), (letters.by_smtp, "bo@sender.example"),
                (letters.by_sendmail, "bo@sender.example"), (letters.by_virtual_alias, "x@unsigned.example"))
    with book.test("*.example: mail without DANE is refused or held"):
        refused(lab, sent[0])
        for letter in (sent[1], sent[7]):
            expect_fate(lab, letter, "held")
            expect_road(lab, letter, STRICT)
    with book.test("*.example: mail with DANE is delivered authenticated"):
        expect_fate(lab, sent[2], "delivered")
        expect_safe(lab, sent[2])
    with book.test("an exact name beats the wildcard"):
        expect_fate(lab, sent[3], "delivered")
    with book.test("a longer wildcard beats a shorter"):
        expect_fate(lab, sent[4], "delivered")
        expect_road(lab, sent[4], LAX_ROAD)
    with book.test("local mail under a wildcard flows"):
        for letter in sent[5:7]:
            expect_fate(lab, letter, "delivered")
    with book.test("*.example with danelawd killed: held, or authenticated; local mail flows"):
        lab.danelawd.kill()
        sent = post(lab, (letters.by_smtp, "u@unsigned.example"), (letters.by_sendmail, "u@good311.example"),
                    (letters.by_smtp, "bo@sender.example"))
        expect_fate(lab, sent[0], "held")
        expect(not sent[0].copies(lab), "LEAK")
        expect_fate(lab, sent[1], "delivered")
        expect_safe(lab, sent[1])
        expect_fate(lab, sent[2], "delivered")
    lab.rules([connectors.mandatory("*.wildnsec3.example")])
    with book.test("*.d does not cover d itself"):
        sent = post(lab, (letters.by_smtp, "u@any.wildnsec3.example"))
        expect_fate(lab, sent[0], "delivered")
        expect_road(lab, sent[0], STRICT)
        match = lab.danelawd.ask("connectors", "match", "u@wildnsec3.example")
        expect(match and match[0]["name"] == "(default)", match)


@chapter
def everyone(lab, book):
    """"*" is mandatory: the default road is strict"""
    lab.rules([connectors.mandatory("*"), connectors.nothing("notlsa.example")])
    jobs = [(way, f"u@{d}") for d in ("good311.example", "unsigned.example", "notlsa.example")
            for way in (letters.by_smtp, letters.by_sendmail)]
    jobs += [(letters.by_smtp, "bo@sender.example"), (letters.by_virtual_alias, "x@unsigned.example"),
             (letters.by_queue_client, "u@[127.1.0.1]")]
    sent = post(lab, *jobs)
    with book.test("*: DANE partners get their mail authenticated"):
        for letter in sent[:2]:
            expect_fate(lab, letter, "delivered")
            expect_safe(lab, letter)
    with book.test("*: all others' mail is refused or held, address literals too"):
        refused(lab, sent[2])
        for letter in (sent[3], sent[7], sent[8]):
            expect_fate(lab, letter, "held")
            expect_road(lab, letter, STRICT)
            expect(not letter.copies(lab), "LEAK")
    with book.test("*: an exception flows, local mail too"):
        for letter in sent[4:7]:
            expect_fate(lab, letter, "delivered")
    with book.test("* with danelawd killed: the same, but that exceptions may wait"):
        lab.danelawd.kill()
        sent = post(lab, *jobs)
        for letter in sent[:2]:
            expect_safe(lab, letter)
            expect_fate(lab, letter, "delivered")
        for letter in (sent[2], sent[3], sent[7], sent[8]):
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")
        expect_fate(lab, sent[6], "delivered")


@chapter
def all_destinations(lab, book):
    """setup postfix --all: every destination is judged"""
    lab.rules([connectors.mandatory("good301.example")])
    lab.roads("--all")
    names = ("good311", "unsigned", "bogus", "mismatch")
    sent = post(lab, *[(letters.by_smtp, f"u@{name}.example") for name in names])
    with book.test("--all: DANE where it is offered, plain TLS elsewhere, never past a broken one"):
        for letter in sent[:4]:
            expect_road(lab, letter, LAX_ROAD)
        expect_fate(lab, sent[0], "delivered")
        expect(sent[0].events(lab)[-1].tls == "Verified", lambda: sent[0].story(lab))
        expect_fate(lab, sent[1], "delivered")
        for letter in sent[2:4]:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")
    with book.test("--all with danelawd killed: outbound mail waits, local mail flows, all arrives in the end"):
        lab.danelawd.kill()
        late = post(lab, (letters.by_smtp, "late@unsigned.example"), (letters.by_smtp, "bo@sender.example"))
        expect_fate(lab, late[0], "held")
        expect_fate(lab, late[1], "delivered")
        lab.danelawd.start()
        lab.postfix.flush()
        wait_until(lambda: late[0].copies(lab), 30, "the late letter")


@chapter
def smart_hosts(lab, book):
    """a smart host shared by two connectors"""
    lab.rules([connectors.mandatory("unsigned.example", smart_hosts=["[mx.good311.example]"]),
               connectors.nothing("notlsa.example", smart_hosts=["[mx.good311.example]"]),
               connectors.mandatory("pkixonly.example", smart_hosts=["[mx.plaintext.example]"]),
               connectors.nothing("hostunsigned.example", smart_hosts=["[mx.plaintext.example]"]),
               connectors.mandatory("wronglength.example",
                                    smart_hosts=["[mx1.deadmx.example]", "[mx.good301.example]"])])
    sent = post(lab, (letters.by_smtp, "u@unsigned.example"), (letters.by_sendmail, "u@unsigned.example"),
                (letters.by_smtp, "u@notlsa.example"),
                (letters.by_smtp, "u@pkixonly.example"), (letters.by_sendmail, "u@pkixonly.example"),
                (letters.by_smtp, "u@hostunsigned.example"), (letters.by_smtp, "u@wronglength.example"))
    with book.test("mandatory by a smart host with DANE: delivered authenticated"):
        for letter in sent[:2]:
            expect_fate(lab, letter, "delivered")
            expect_road(lab, letter, STRICT)
            expect(letter.events(lab)[-1].tls == "Verified", letter.story(lab))
            expect({c["host"] for c in letter.copies(lab)} == {"mx.good311.example"}, letter.story(lab))
    with book.test("its neighbour that asks for nothing: delivered there, too"):
        expect_fate(lab, sent[2], "delivered")
        expect({c["host"] for c in sent[2].copies(lab)} == {"mx.good311.example"}, sent[2].story(lab))
    with book.test("mandatory by a smart host without DANE: refused or held"):
        refused(lab, sent[3])
        expect_fate(lab, sent[4], "held")
        expect(not sent[4].copies(lab), "LEAK")
    with book.test("its neighbour that asks for nothing: flows, in clear"):
        expect_fate(lab, sent[5], "delivered")
        expect({c["host"] for c in sent[5].copies(lab)} == {"mx.plaintext.example"}, sent[5].story(lab))
    with book.test("a list of smart hosts: the next one where the first is dead"):
        expect_fate(lab, sent[6], "delivered")
        expect({c["host"] for c in sent[6].copies(lab)} == {"mx.good301.example"}, sent[6].story(lab))
        expect(sent[6].events(lab)[-1].tls == "Verified", sent[6].story(lab))
    with book.test("smart hosts with danelawd killed: authenticated, or held"):
        lab.danelawd.kill()
        sent = post(lab, (letters.by_smtp, "u@unsigned.example"), (letters.by_smtp, "u@pkixonly.example"))
        expect_fate(lab, sent[0], "delivered")
        expect(sent[0].events(lab)[-1].tls == "Verified", sent[0].story(lab))
        expect_fate(lab, sent[1], "held")
        expect(not sent[1].copies(lab), "LEAK")


@chapter
def senders(lab, book):
    """a connector for some senders only, with the tag for the others"""
    scoped = connectors.mandatory("notlsa.example", senders=["boss@sender.example"])
    lab.rules([scoped, connectors.opportunistic("hostunsigned.example")], milter={"tag": True})
    boss, clerk = "boss@sender.example", "clerk@sender.example"
    ways = (letters.by_smtp, letters.by_queue_client, letters.by_sendmail)
    sent = post(lab, *[(way, "u@notlsa.example", boss) for way in ways],
                *[(way, "u@notlsa.example", clerk) for way in (letters.by_smtp, letters.by_submission)],
                (letters.by_smtp, "u@hostunsigned.example", boss))
    with book.test("tag: the scoped sender's mail is refused or held"):
        refused(lab, sent[0])
        for letter in sent[1:3]:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")
    with book.test("tag: other senders' mail flows"):
        for letter in sent[3:5]:
            expect_fate(lab, letter, "delivered")
    with book.test("tag: an opportunistic partner's mail flows"):
        expect_fate(lab, sent[5], "delivered")
    with book.test("tag: the partner never sees it"):
        expect(all(c["route"] is None for letter in sent for c in letter.copies(lab)), "X-Danelaw-Route left")
    with book.test("tag: a header the client sent changes nothing"):
        number, message = new_message(sender=boss)
        forged = "X-Danelaw-Route: opportunistic\n" + message
        with Client(source=letters.QUEUE_CLIENT) as client:
            client.send(boss, ["u@notlsa.example"], forged)
        status, _ = lab.postfix.inject(boss, ["u@notlsa.example"], forged.replace(number, number + "2"))
        both = [letters.Letter("smtp", boss, "u@notlsa.example", n) for n in (number, number + "2")]
        letters.settle(lab, both)
        for letter in both:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")
    with book.test("tag lost (requeue): what waits stays on the strict road"):
        lab.postfix.requeue()
        expect(not any(letter.copies(lab) for letter in sent[:3]), "LEAK")
    with book.test("danelawd killed: the strict road for every sender"):
        lab.danelawd.kill()
        late = post(lab, *[(letters.by_smtp, "u@notlsa.example", sender) for sender in (clerk, boss)])
        for letter in late:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")


@chapter
def international(lab, book):
    """U-label and A-label recipients, in connectors of either spelling"""
    spellings = ("bücher.example", "müller.example"), ("xn--bcher-kva.example", "xn--mller-kva.example")
    for good, bad in spellings:
        lab.rules([connectors.mandatory(good), connectors.mandatory(bad)])
        international_mail(lab, book, good, bad)


def international_mail(lab, book, good, bad):
    """Domains that are not in ASCII take the road that asks danelawd."""
    for domain in ("bücher.example", "xn--bcher-kva.example", "BÜCHER.example"):
        with book.test(f"connector {good}: mail to u@{domain} is delivered authenticated"):
            for letter in post(lab, *_both(domain)):
                expect_fate(lab, letter, "delivered")
                expect_road(lab, letter, STRICT if domain.isascii() else LAX_ROAD)
                expect(letter.events(lab)[-1].tls == "Verified", lambda x=letter: x.story(lab))
    for domain in ("müller.example", "xn--mller-kva.example", "MÜLLER.example"):
        with book.test(f"connector {bad}: mail to u@{domain} is refused or held"):
            by_smtp, by_sendmail = post(lab, *_both(domain))
            expect_fate(lab, by_smtp, ("refused", "held"))
            expect_fate(lab, by_sendmail, "held")
            expect(not by_smtp.copies(lab) and not by_sendmail.copies(lab), "LEAK")
    with book.test("danelawd killed: held all the same"):
        lab.danelawd.kill()
        for letter in post(lab, *_both("müller.example")):
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK")


def _both(domain):
    options = () if domain.isascii() else (["SMTPUTF8"],)
    extra = (letters.SENDER, letters.CLIENT, 25, None, "smtp", *options)
    return (letters.by_smtp, f"u@{domain}", *extra), (letters.by_sendmail, f"u@{domain}")
