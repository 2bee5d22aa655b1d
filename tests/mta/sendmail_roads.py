"""Sendmail: roads, scopes, holds and overrides, with the real danelawd."""

import connectors
import letters
import sts_table
from lab import Client, new_message, wait_until
from sendmail_ways import push_all, settle
from trial import expect, expect_fate, expect_safe, sendmail_chapter

GOOD, BARE = "good311.example", "notlsa.example"
HELD_TEXT = f"dane-required: {BARE} publishes no usable"


def post(lab, *recipients, way=letters.by_queue_client, **more):
    sent = [way(lab, r, **more) for r in recipients]
    settle(lab, sent)
    return sent


def at(lab, letter):
    return {c["host"] for c in letter.copies(lab)}


@sendmail_chapter
def sendmail_spoof(lab, book):
    """a domain whose unsigned MX points at a good partner's host is not that partner"""
    lab.rules([connectors.mandatory(GOOD), connectors.mandatory("insecuremx.example"), connectors.mandatory("hosted.example")])
    number, message = new_message()
    wanted = {f"u@{GOOD}": "delivered", "u@insecuremx.example": "held", "u@hosted.example": "delivered"}
    with Client(source=letters.QUEUE_CLIENT) as client:
        client.send(letters.SENDER, list(wanted), message)
    sent = [letters.Letter("smtp", letters.SENDER, r, number) for r in wanted]
    settle(lab, sent)
    with book.test("one message, three domains with one host: the spoofed one waits, though the connection stands"):
        expect_fate(lab, sent[1], "held")
        expect(not sent[1].copies(lab), "LEAK", sent[1].story(lab))
    with book.test("the others go, at the latest when route has taken the spoofed one out"):
        for queue_id in lab.mta.resting(lab.mta.log.queue_ids(number)):
            lab.mta.age(queue_id, 600)
        push_all(lab)
        for letter in sent:
            expect(bool(letter.copies(lab)) == (wanted[letter.recipient] == "delivered"), letter.story(lab))
    first = [letters.by_queue_client(lab, f"u{n}@{d}") for n in range(3) for d in (GOOD, "insecuremx.example")]
    settle(lab, first)
    with book.test("in queue runs: the same"):
        push_all(lab)
        for letter in first:
            expect_fate(lab, letter, "held" if "insecuremx" in letter.recipient else "delivered")


@sendmail_chapter
def sendmail_smart_hosts(lab, book):
    """smart hosts take the mail; DANE judges them"""
    lab.rules([connectors.mandatory(BARE, smart_hosts=["[mx.good301.example]"]),
               connectors.mandatory("unsigned.example", smart_hosts=["[mx.notlsa.example]"]),
               connectors.mandatory("plaintext.example", smart_hosts=["[mx1.deadmx.example]", "[mx2.deadmx.example]"]),
               connectors.opportunistic("unsignedtlsa.example", smart_hosts=["[mx.good211.example]"])])
    first, second, third, fourth = post(lab, f"u@{BARE}", "u@unsigned.example", "u@plaintext.example", "u@unsignedtlsa.example")
    for letter, host in ((first, "mx.good301.example"), (third, "mx2.deadmx.example"), (fourth, "mx.good211.example")):
        with book.test(f"{letter.recipient}: to its smart host {host}"):
            expect_fate(lab, letter, "delivered")
            expect(at(lab, letter) == {host}, letter.story(lab))
            expect(lab.mta.authentic(letter.events(lab)[-1]), "not by danesmtp", letter.story(lab))
    with book.test("a smart host without DANE: held"):
        expect_fate(lab, second, "held")
        expect(not second.copies(lab), "LEAK", second.story(lab))


@sendmail_chapter
def sendmail_fallback(lab, book):
    """a connector that holds moves to its fallback road, by its mailer; the gate judges that road's host"""
    routes = {name: {"transport": "esmtp", "next_hop": f"[mx.{name}.example]", "tls": "dane-only"} for name in ("good301", "mismatch")}
    lab.rules([connectors.mandatory(BARE, fallback="good301", fallback_after="2s"),
               connectors.mandatory("unsigned.example", fallback="mismatch", fallback_after="2s")], routes=routes)
    good, bad = post(lab, f"u@{BARE}", "u@unsigned.example")

    def try_again(letter):
        lab.mta.push([letter])
        return letter.fate(lab) == "delivered"
    with book.test("first it is held"):
        for letter in (good, bad):
            expect_fate(lab, letter, "held")
    with book.test("then it goes to the spare host by its mailer, authenticated there"):
        wait_until(lambda: try_again(good), 60, "the fallback road")
        expect(at(lab, good) == {"mx.good301.example"}, good.story(lab))
        expect(good.events(lab)[-1].service == "sm-mta/esmtp", good.story(lab))
    with book.test("where the spare host's certificate is wrong, it waits on"):
        fell = wait_until(lambda: try_again(bad) or [e for e in bad.events(lab) if "mx.mismatch.example" in (e.relay or "")], 60,
                          "an attempt at the spare host")
        expect(fell is not True and not bad.copies(lab), "LEAK", bad.story(lab))
        expect_fate(lab, bad, "held")


@sendmail_chapter
def sendmail_senders(lab, book):
    """a connector with senders rules their mail, and no other"""
    lab.rules([connectors.mandatory(BARE, senders=["al@sender.example"]), connectors.mandatory("unsigned.example", senders=["<>"])])
    for way in (letters.by_queue_client, letters.by_sendmail):
        mine, other = post(lab, f"u@{BARE}", way=way) + post(lab, f"u@{BARE}", way=way, sender="bo@sender.example")
        with book.test(f"{mine.way}: mail of the sender is held, mail of another goes"):
            expect_fate(lab, mine, "held")
            expect_fate(lab, other, "delivered")
    plain = post(lab, "u@unsigned.example")[0]
    bounce = letters.by_bounce(lab, "u@unsigned.example")
    settle(lab, [bounce])
    with book.test("the null sender: its bounce is held, other mail goes"):
        expect_fate(lab, plain, "delivered")
        expect(not bounce.copies(lab), "LEAK", bounce.story(lab))


@sendmail_chapter
def sendmail_hold(lab, book):
    """what is held bounces when it has been held long enough, by the queue id's own time"""
    lab.rules([connectors.mandatory(BARE, hold="1h"), connectors.mandatory("mismatch.example", hold="1h")])
    young, old, wrong = post(lab, f"young@{BARE}", f"old@{BARE}", "old@mismatch.example")
    for letter in (young, old, wrong):
        expect_fate(lab, letter, "held")
    boxes = len(lab.mta.mailbox("al"))

    def grow_old(letter, seconds):
        lab.mta.age(sorted(lab.mta.log.queue_ids(letter.number))[0], seconds)
    grow_old(young, 600)
    grow_old(old, 2 * 3600)
    grow_old(wrong, 2 * 3600)
    lab.mta.flush()
    with book.test("ten minutes old: route holds it, and mailq says why"):
        expect(HELD_TEXT in lab.mta.mailq(), lab.mta.mailq())     # mailq ends at 60 letters
        expect(any(f"young@{BARE}" in recipients for _, recipients, _ in lab.mta.queue()), lab.mta.mailq())
    new = lab.mta.mailbox("al")[boxes:]
    with book.test("held for longer than hold: bounced by route, with an honest DSN"):
        expect(f"Final-Recipient: RFC822; old@{BARE}" in new and "Status: 5.7.5" in new, new)
        expect("dane-required: " in new and "Action: failed" in new, new)
    with book.test("the same where only the connection shows it: bounced by the gate"):
        expect("Final-Recipient: RFC822; old@mismatch.example" in new and "tlsa-invalid: " in new, new)
    with book.test("nothing left"):
        for letter in (young, old, wrong):
            expect(not letter.copies(lab), "LEAK", letter.story(lab))


@sendmail_chapter
def sendmail_mode(lab, book):
    """an override lets go what is held, its end holds again; a reload brings rules into force"""
    lab.rules([connectors.mandatory(BARE, name="Bare")])
    letter = post(lab, f"u@{BARE}")[0]
    with book.test("held"):
        expect_fate(lab, letter, "held")
    lab.danelawd.cli("mode", "Bare", "--dane", "opportunistic", "--for", "1h")
    with book.test("mode opportunistic: what was held goes"):
        def gone():
            lab.mta.push([letter])
            return letter.copies(lab)
        wait_until(gone, 30, "the letter to arrive")
    lab.danelawd.cli("mode", "Bare", "--clear")
    with book.test("mode clear: held again"):
        another = post(lab, f"u@{BARE}")[0]
        expect_fate(lab, another, "held")
    lab.rules_keep_queue([connectors.mandatory("unsigned.example")])
    with book.test("reload with other rules: in force, what was held goes"):
        wait_until(lambda: lab.mta.push([another]) or another.copies(lab), 30, "the letter to arrive")
        expect_fate(lab, post(lab, "u@unsigned.example")[0], "held")


@sendmail_chapter
def sendmail_sts(lab, book):
    """MTA-STS: mandatory and opportunistic connectors, policies good and broken"""
    partners = [p for p in sts_table.PARTNERS if p.name not in ("stsdrip",)]
    for mode in ("mandatory", "opportunistic"):
        lab.rules([connectors.connector(p.name, p.domain, **sts_table.MODES[mode]) for p in partners],
                  sts={"ca_file": lab.authority.ca_file, "timeout": "5s"})
        sent = letters.post(lab, [(letters.by_queue_client, f"u@{p.domain}") for p in partners])
        settle(lab, sent)
        for letter, partner in zip(sent, partners):
            fate = partner.fates[mode]
            with book.test(f"{mode} {partner.name}: {fate.outcome}"):
                expect_fate(lab, letter, fate.outcome)
                allowed = {partner.host(h) for h in getattr(fate, "at", ())}
                if fate.outcome == "delivered" and allowed:
                    expect(at(lab, letter) <= allowed, f"LEAK: at {at(lab, letter)}", lambda: letter.story(lab))
                expect(fate.outcome == "delivered" or not letter.copies(lab), "LEAK", lambda: letter.story(lab))


@sendmail_chapter
def sendmail_wildcard(lab, book):
    """a connector for everyone rules everyone, but not this site's own domains"""
    lab.rules([connectors.mandatory("*"), connectors.nothing("unsigned.example")])
    good, bare, free, local = post(lab, f"u@{GOOD}", f"u@{BARE}", "u@unsigned.example", "bo@sender.example")
    with book.test("everyone: authenticated, or held; the exception and local mail go"):
        expect_safe(lab, good)
        for letter, fate in ((good, "delivered"), (bare, "held"), (free, "delivered"), (local, "delivered")):
            expect_fate(lab, letter, fate)


@sendmail_chapter
def sendmail_farm(lab, book):
    """a host that shows another certificate with each connection"""
    lab.rules([connectors.mandatory("farm.example")])
    sent = post(lab, *[f"u{n}@farm.example" for n in range(4)])
    with book.test("each has its TLSA: all mail goes, some perhaps later"):
        def gone():
            lab.mta.push(sent)
            return all(letter.copies(lab) for letter in sent)
        wait_until(gone, 90, "all of it to arrive")
        for letter in sent:
            expect_safe(lab, letter)


@sendmail_chapter
def sendmail_quotes(lab, book):
    """quoted local parts arrive, and cannot be written so that danelawd reads another recipient"""
    lab.rules([connectors.mandatory(GOOD), connectors.mandatory(BARE)])
    senders = ("<al@sender.example>", r'<"\"@elsewhere.example><al"@sender.example>')
    for local in ('"a b"', '"a>b"', '"a<b"', r'"u\""', '"x@y"'):
        for sender in senders:
            with book.test(f"{local} from {sender}: to a good partner, and not to a bare one"):
                good, bare = post_raw(lab, sender, f"<{local}@{GOOD}>"), post_raw(lab, sender, f"<{local}@{BARE}>")
                wait_until(lambda: push_all(lab) or lab.partners.got(good), 30, "the letter to arrive")
                expect({c["host"] for c in lab.partners.got(good)} == {"mx.good311.example"}, lab.partners.got(good))
                expect(not lab.partners.got(bare), "LEAK", lab.partners.got(bare))


def post_raw(lab, sender, recipient):
    """A message with an envelope as it is written here; returns its Message-ID."""
    number, message = new_message()
    with Client(source=letters.QUEUE_CLIENT) as client:
        for command in ("MAIL FROM:" + sender, "RCPT TO:" + recipient):
            code, text = client.smtp.docmd(command)
            expect(code == 250, command, text)
        code, text = client.smtp.data(message)
        expect(code == 250, text)
    return number
