"""Sendmail: the rules, with a map server that fails in every way."""

import contextlib
import itertools
import os
import uuid

import fakemap
import letters
import sendmail_ways
from lab import Client, can_connect, new_message, wait_until
from trial import expect, expect_fate, sendmail_chapter

STRICT, BELOW, LAX, ROAD, OTHER = "good301.example", "any.wildnsec3.example", "unsigned.example", "hosted.example", "notlsa.example"
NO_ANSWER = "internal: danelawd does not answer"
REASON = "dane-required: good301.example publishes no usable DANE records"

FAILURES = {
    "TEMP": "TEMP not now", "PERM": "PERM no", "NOTFOUND": "NOTFOUND ", "a word nobody knows": "PERHAPS yes",
    "OK and a blank": "OK ", "nothing (it hangs up)": fakemap.HANG_UP, "nothing (it is silent)": fakemap.SILENCE,
    "no netstring": b"hello\n", "a length without a colon": b"7OK pass,", "no comma": b"7:OK pass;",
    "more than it says": b"9:OK pass,", "too much": b"99999999:OK pass,", "a colon": b":OK pass,",
    "another word": "OK passed", "pass and more": "OK pass x", "pass in brackets": "OK <pass>",
}
NO_ROADS = {"a mailer of its own": "OK discard:x", "a mailer nobody has": "OK nosuch:x", "no host": "OK danesmtp:"}
TWISTED = {
    "1000 words": "OK dane-required: " + "word " * 1000, "1000 dots": "OK dane-required: " + "a." * 1000,
    "a word of 300 octets": "OK " + 300 * "x", "an open quote": 'OK pass"', "an open bracket": "OK pass <",
    "Sendmail's own marks": "OK \x80\x81\x85pass",
}


@contextlib.contextmanager
def fake(lab, timeout=5, early=False):
    """The fake map server at work, with one recipient of each kind."""
    lab.danelawd.stop()
    lab.mta.empty_queue()
    server = fakemap.FakeMap()
    server.listen()
    fakemap.write_table(mandatory=[STRICT, ".wildnsec3.example"], named=[LAX], road=[ROAD])
    if lab.mta.apply(fakemap.lines(timeout, early)):
        lab.mta.restart()
        wait_until(lambda: can_connect("127.0.0.1", 25), 20, "Sendmail to listen")
    try:
        yield server
    finally:
        server.close(remove=True)


def post(lab, *domains):
    sent = letters.post(lab, [(letters.by_queue_client, f"bo@{d}") for d in domains])
    sendmail_ways.settle(lab, sent)
    return sent


def expect_waiting(lab, letter, words=""):
    """Held in the queue or refused for now; the reason can be read."""
    expect_fate(lab, letter, ("held", "refused"))
    expect(letter.code in (250, 421, 451), letter.story(lab))
    expect(not letter.copies(lab), "LEAK", lambda: letter.story(lab))
    log = lab.mta.log.about(*lab.mta.log.queue_ids(letter.number)) if letter.code == 250 else [letter.reply]
    expect(any(words in line for line in log), f"nobody says {words!r}", lambda: letter.story(lab))


@sendmail_chapter
def sendmail_map_fails(lab, book):
    """a map server that fails: mandatory mail waits, other mail goes its way"""
    with fake(lab, timeout=1) as server:
        for what, answer in FAILURES.items():
            server.well()
            server.answers["gate"] = answer
            with book.test(f"gate answers {what}: only mandatory recipients wait"):
                first, below, lax, road, other = post(lab, STRICT, BELOW, LAX, ROAD, OTHER)
                for letter in (first, below):
                    expect_waiting(lab, letter, "4.7.5 " + NO_ANSWER)
                for letter in (lax, road, other):
                    expect_fate(lab, letter, "delivered")
            server.answers = {"route": answer, "gate": "OK pass"}
            with book.test(f"route answers {what}: only mandatory recipients wait"):
                first, lax, road, other = post(lab, STRICT, LAX, ROAD, OTHER)
                expect_waiting(lab, first)
                for letter in (lax, other):
                    expect_fate(lab, letter, "delivered")
                expect_fate(lab, road, ("delivered", "refused"))        # Sendmail itself refuses, where it may complain
            lab.mta.empty_queue()
        for what, answer in NO_ROADS.items():
            server.answers["route"] = answer
            with book.test(f"route answers with {what}: mandatory mail waits"):
                letter, other = post(lab, STRICT, OTHER)
                expect_waiting(lab, letter, NO_ANSWER)
                expect_fate(lab, other, "delivered")


@sendmail_chapter
def sendmail_map_lies(lab, book):
    """answers that no rule can take: nothing leaks"""
    with fake(lab) as server:
        for what, answer in TWISTED.items():
            server.well()
            server.answers["gate"] = answer
            with book.test(f"gate answers {what}: mandatory mail waits"):
                letter, other = post(lab, STRICT, OTHER)
                expect_waiting(lab, letter)
                expect_fate(lab, other, "delivered")
            server.answers = {"route": answer, "gate": "OK tlsa-invalid: no"}
            with book.test(f"route answers {what}: nothing leaves"):
                letter = post(lab, STRICT)[0]
                expect(not letter.copies(lab) and letter.fate(lab) != "bounced", letter.story(lab))
        server.answers = {"route": b"2:OK,", "gate": b"2:OK,"}
        with book.test("a bare OK, at which Sendmail's process dies: mandatory mail waits, the daemon lives"):
            letter, other = post(lab, STRICT, OTHER)
            expect(not letter.copies(lab), letter.story(lab))
            expect_fate(lab, other, "delivered")


@sendmail_chapter
def sendmail_map_away(lab, book):
    """no map server: refused, no socket, no table; back again, all goes on"""
    with fake(lab) as server:
        for what, remove in (("nobody listens", False), ("no socket", True)):
            server.close(remove)
            with book.test(f"{what}: only mandatory recipients wait"):
                first, lax, road, other, local = post(lab, STRICT, LAX, ROAD, OTHER, "sender.example")
                expect_waiting(lab, first, NO_ANSWER)
                for letter in (lax, road, other, local):
                    expect_fate(lab, letter, "delivered")
            server.listen()
            with book.test(f"{what}, then somebody: it goes"):
                expect_fate(lab, post(lab, STRICT)[0], "delivered")
        os.unlink(fakemap.TABLE + ".db")
        with book.test("no table: everybody is asked about, and goes"):
            for letter in post(lab, STRICT, OTHER, "sender.example"):
                expect_fate(lab, letter, "delivered")
        server.answers = {"route": "OK pass", "gate": "OK " + REASON}
        with book.test("no table, and the gate refuses: it waits"):
            first, local = post(lab, STRICT, "sender.example")
            expect_waiting(lab, first, REASON)
            expect_fate(lab, local, "delivered")
        server.close(remove=True)
        with book.test("neither table nor map server: everything but local mail waits"):
            first, other, local = post(lab, STRICT, OTHER, "sender.example")
            for letter in (first, other):
                expect_waiting(lab, letter, NO_ANSWER)
            expect_fate(lab, local, "delivered")
        server.answers = {"route": "OK pass", "gate": "OK pass"}
        server.listen()
        fakemap.write_table(mandatory=[STRICT], named=[LAX], road=[ROAD])
        with book.test("the table is back: all goes on"):
            for letter in post(lab, STRICT, OTHER):
                expect_fate(lab, letter, "delivered")


@sendmail_chapter
def sendmail_words(lab, book):
    """what the daemon says, in log, mailq and DSN"""
    with fake(lab) as server:
        server.answers["gate"] = "OK " + REASON
        with book.test("a refusal: 451 4.7.5 and the reason, in log and mailq"):
            letter, lax = post(lab, STRICT, LAX)
            expect_waiting(lab, letter, "stat=Deferred: 451 4.7.5 " + REASON)
            expect_waiting(lab, lax, "reject=451 4.7.5 " + REASON)
            expect(lab.mta.mailq().count(REASON[:40]) == 2, lab.mta.mailq())
        with book.test("again in a queue run: the same"):
            lab.mta.flush()
            expect(lab.mta.mailq().count(REASON[:40]) == 2, lab.mta.mailq())
        server.answers["gate"] = "OK bounce " + REASON
        with book.test("bounce: 550 5.7.5 and the reason, in the DSN"):
            before = len(lab.mta.mailbox("al"))
            lab.mta.flush()
            expect_fate(lab, letter, "bounced")
            dsn = lab.mta.mailbox("al")[before:]
            expect(f"550 5.7.5 <bo@{STRICT}>... {REASON}" in dsn and "Action: failed" in dsn, dsn)
        server.answers = {"route": "OK error:5.7.5:550 " + REASON, "gate": "OK pass"}
        with book.test("error:5.7.5 from route: refused for good at RCPT"):
            letter = letters.by_smtp(lab, f"u@{STRICT}")
            expect(letter.code == 550 and letter.reply == f"5.7.5 <u@{STRICT}>... {REASON}", letter.story(lab))
        server.answers["route"] = "OK error:4.4.3:451 dns-temp: wait"
        with book.test("error:4.4.3 from route: not now"):
            letter = letters.by_smtp(lab, f"u@{STRICT}")
            expect(letter.code == 451 and letter.reply == "4.4.3 dns-temp: wait", letter.story(lab))
        for road in ("danesmtp:[mx.good311.example]", f"danesmtp:{STRICT}", "esmtp:[nobody.example]:[mx.good311.example]"):
            server.answers["route"] = "OK " + road
            with book.test(f"the road {road}: taken"):
                letter = post(lab, STRICT)[0]
                expect_fate(lab, letter, "delivered")
                host = "mx.good301.example" if STRICT in road else "mx.good311.example"
                expect(letter.copies(lab)[0]["host"] == host, letter.story(lab))
                expect(letter.events(lab)[-1].service == "sm-mta/" + road.partition(":")[0], letter.story(lab))
        server.well()
        with book.test("what it is asked: recipient, sender, queue id, connection"):
            server.asked.clear()
            letter = post(lab, STRICT)[0]
            gates = [q for q in server.asked if q.startswith("gate")]
            start = f"gate<bo@{STRICT}><al@sender.example><{sorted(lab.mta.log.queue_ids(letter.number))[0]}>"
            expect(len(gates) == 1 and gates[0].startswith(start) and "<mx.good301.example><127.1." in gates[0], gates)


def post_one(lab, *recipients):
    """One message to all of them."""
    number, message = new_message()
    with Client(source=letters.QUEUE_CLIENT) as client:
        replies, _ = client.send(letters.SENDER, list(recipients), message)
    expect(all(code == 250 for code, _ in replies.values()), replies)
    sent = [letters.Letter("smtp", letters.SENDER, r, number) for r in recipients]
    sendmail_ways.settle(lab, sent)
    return sent


@sendmail_chapter
def sendmail_early(lab, book):
    """the second file: recipients of all connectors are asked about before MAIL FROM"""
    with fake(lab, early=True) as server:
        server.answers["gate"] = "OK " + REASON
        with book.test("an opportunistic recipient waits beside one that does not exist, with its reason"):
            bounced, waiting = post_one(lab, "nobody@good201.example", f"u@{LAX}")
            expect_fate(lab, bounced, "bounced")
            expect_waiting(lab, waiting, "stat=Deferred: 451 4.7.5 " + REASON)
        server.well()
        with book.test("pass: it goes"):
            for letter in post(lab, STRICT, LAX, ROAD, OTHER):
                expect_fate(lab, letter, "delivered")
        server.answers["gate"] = "TEMP"
        with book.test("no answer: it goes, and the mandatory one waits"):
            strict, lax = post(lab, STRICT, LAX)
            expect_waiting(lab, strict, NO_ANSWER)
            expect_fate(lab, lax, "delivered")


def bounce(lab, recipient, nobody="nobody-here@sender.example", options=()):
    """Sendmail itself returns a message to the recipient, in the process in which it failed."""
    sender = f"b{uuid.uuid4().hex}-{recipient}"
    number, message = new_message(sender=sender)
    lab.mta.inject(sender, [nobody], message, options=["-Am", *options])
    letter = letters.Letter("bounce", "", sender, number)
    sendmail_ways.settle(lab, [letter])
    return letter


def bounce_in_queue_run(lab, recipient):
    return bounce(lab, recipient, "nobody@good201.example", ["-odq"])


@sendmail_chapter
def sendmail_company(lab, book):
    """a message with several recipients: each has its own fate"""
    with fake(lab) as server:
        for what, answer in (("holds", "OK " + REASON), ("fails", b"hello\n")):
            server.answers["gate"] = answer
            with book.test(f"gate {what}, and another recipient does not exist: one bounces, one waits"):
                bounced, waiting = post_one(lab, "nobody@good201.example", f"u@{STRICT}")
                expect_fate(lab, bounced, "bounced")
                expect_waiting(lab, waiting)
        server.answers["gate"] = "OK " + REASON
        for domain, way in itertools.product((STRICT, LAX), (bounce, bounce_in_queue_run)):
            with book.test(f"{way.__name__}, made by Sendmail itself, and the gate holds it for {domain}: it waits"):
                letter = way(lab, f"u@{domain}")
                expect(not letter.copies(lab) and letter.fate(lab) != "bounced", letter.story(lab))
                expect([e for e in lab.mta.queue() if letter.recipient in e[1]], "not in the queue", letter.story(lab))
        lab.mta.empty_queue()
        with book.test("strange local parts: nothing leaks"):
            for local in ('"a(b"', '"<"', '"a b"', "a\\(b", '"a@b"', "x+y", "a%b.example", "!a", '"\\""'):
                letter = letters.by_queue_client(lab, f"{local}@{STRICT}")
                expect(not letter.copies(lab), "LEAK", letter.story(lab))
            sendmail_ways.push_all(lab)
            leaked = [e for e in lab.partners.read() if e["host"] == "mx.good301.example" and
                      any("(" in r or "<" in r or " " in r or "%" in r for r in e["recipients"])]
            expect(not leaked, leaked)


@sendmail_chapter
def sendmail_try_tls(lab, book):
    """a host that the site's access map wants no TLS with"""
    relay = ["Connect:127\tRELAY", "Connect:localhost\tRELAY"]
    with fake(lab) as server:
        server.answers["gate"] = "OK " + REASON
        lab.mta.write("access", [*relay, "Try_TLS:mx.good301.example\tNO"], "hash")
        try:
            waiting = post(lab, STRICT)[0]
            with book.test("mandatory mail waits, also in queue runs, and is not returned"):
                expect_waiting(lab, waiting, REASON[:40])
                for _ in range(2):
                    sendmail_ways.push_all(lab)
                    expect_waiting(lab, waiting)
                expect([e for e in lab.mta.queue() if waiting.recipient in e[1]], waiting.story(lab))
        finally:
            lab.mta.write("access", relay, "hash")
