"""The limits on what a stranger can make grow, as Postfix and its clients meet them."""

import contextlib
import smtplib
import sqlite3
import time

import connectors
import daemon
import letters
from lab import Client, new_message, wait_until
from load import Crowd, resident, warm_up
from socketmap import Map
from trial import chapter, expect, expect_fate, expect_safe

GOOD, BAD, LAX = "good311.example", "unsigned.example", "hostunsigned.example"
CONNECTORS = [connectors.mandatory(GOOD), connectors.mandatory(BAD), connectors.opportunistic(LAX)]


def copies_to(lab, number):
    return {r for e in lab.partners.got(number) for r in e["recipients"]}


@chapter
def recipients_limited(lab, book):
    """more recipients than one message may have"""
    lab.rules(CONNECTORS, milter={"recipients": 3})
    warm_up(lab, GOOD)
    names = [f"u{n}@{GOOD}" for n in range(5)]
    number, message = new_message()
    with book.test("milter.recipients: the first are taken, the others are told to wait for another message"):
        with Client() as client:
            replies, _ = client.send(letters.SENDER, [*names, "bo@sender.example"], message)
            expect([replies[n][0] for n in names] == [250] * 3 + [452] * 2, replies)
            expect(all(replies[n][1].startswith("4.5.3 ") and "too many recipients" in replies[n][1] for n in names[3:]), replies)
            expect(replies["bo@sender.example"][0] == 250, replies)
            number_2, message_2 = new_message()
            replies, _ = client.send(letters.SENDER, names[3:], message_2)
            expect([r[0] for r in replies.values()] == [250, 250], replies)
    with book.test("milter.recipients: all arrive, in two messages, authenticated"):
        wait_until(lambda: copies_to(lab, number) == set(names[:3]) and copies_to(lab, number_2) == set(names[3:]), 60,
                   "five copies")
        fates = [d for d in lab.postfix.log.fates(number) + lab.postfix.log.fates(number_2) if d.to in names]
        expect(len(fates) == 5 and all(d.tls == "Verified" for d in fates), *fates)
    with book.test("milter.recipients: sendmail(1) has no such limit, since nobody could part its message"):
        number, message = new_message()
        status, said = lab.postfix.inject(letters.SENDER, names, message, user="nobody")
        expect(status == 0, said)
        wait_until(lambda: copies_to(lab, number) == set(names), 60, "five copies")


def again(lab, letter):
    """Its fate; where it is held, Postfix tries once more."""
    fate = letter.fate(lab)
    if fate == "held":
        lab.postfix.flush()
        time.sleep(2)
    return fate


def told(lab, recipient):
    """What a client hears that comes now: the first refusal, or the reply to RCPT."""
    try:
        with Client() as client:
            for code, text in (client.smtp.mail(letters.SENDER), client.smtp.rcpt(recipient)):
                if code >= 400:
                    break
            return code, text.decode("utf-8", "replace")
    except smtplib.SMTPResponseException as fault:
        return fault.smtp_code, fault.smtp_error.decode("utf-8", "replace")
    except OSError as fault:
        return 421, repr(fault)


@chapter
def sessions_limited(lab, book):
    """more sessions than the milter has places"""
    lab.rules(CONNECTORS, milter={"clients": 2})
    warm_up(lab, GOOD)
    wait_until(lambda: told(lab, f"u@{GOOD}")[0] == 250, 60, "a free place")
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Client()) for _ in range(2)]
        with book.test("milter.clients: the next session is told to come again"):
            reply = told(lab, f"u@{GOOD}")
            expect(reply[0] in (421, 451), reply)           # Postfix has words of its own for it
            expect(lab.danelawd.about("milter.clients allows"), lab.danelawd.tail())
        with book.test("milter.clients: those inside are served as ever"):
            number, message = new_message()
            replies, _ = guests[0].send(letters.SENDER, [f"u@{GOOD}", f"u@{BAD}"], message)
            expect([r[0] for r in replies.values()] == [250, 451], replies)
            wait_until(lambda: copies_to(lab, number) == {f"u@{GOOD}"}, 60, "the letter")
        waiting = [letters.by_sendmail(lab, f"s@{GOOD}"), letters.by_sendmail(lab, f"s@{BAD}")]
        with book.test("milter.clients: what the MTA queues meanwhile leaves by its road or not at all"):
            lab.postfix.flush()
            for letter in waiting:
                expect_safe(lab, letter)
            expect(not waiting[1].copies(lab), "LEAK", lambda: waiting[1].story(lab))
        with book.test("milter.clients: a line in the log, one a minute"):
            for _ in range(10):
                told(lab, f"u@{GOOD}")
            expect(len(lab.danelawd.about("milter.clients allows")) in (1, 2), *lab.danelawd.about("milter.clients"))
    with book.test("milter.clients: once they go there is room, and nothing was lost"):
        wait_until(lambda: told(lab, f"u@{GOOD}")[0] == 250, 60, "a free place")

        def settled():
            again(lab, waiting[0])
            return waiting[0].fate(lab) == "delivered" and waiting[1].fate(lab) == "held"
        wait_until(settled, 120, "the letters of sendmail(1)")
        expect_safe(lab, waiting[0])


@chapter
def map_clients_limited(lab, book):
    """more connections than the map socket has places"""
    lab.rules(CONNECTORS, maps={"clients": 1})
    warm_up(lab, GOOD, LAX)

    def alone():
        """Postfix lets its own connections go after a while."""
        lab.postfix.reload()
        first = Map()
        first.socket.settimeout(2)
        try:
            first.ask("postfix-tls", LAX)
        except TimeoutError:
            first.close()
            return None
        return first
    first = wait_until(alone, 120, "the place")
    with book.test("maps.clients: who comes later waits, and is answered once there is room"):
        late = Map()
        late.socket.settimeout(1)
        try:
            expect(False, late.ask("postfix-tls", LAX))
        except TimeoutError:
            pass
        letter = letters.by_smtp(lab, f"u@{LAX}")
        strict = letters.by_smtp(lab, f"u@{GOOD}")
        letters.settle(lab, [strict], 60)
        expect_fate(lab, strict, "delivered")               # its road asks nobody
        expect_safe(lab, strict)
        expect(not letter.copies(lab), lambda: letter.story(lab))
        first.close()
        late.close()
        letters.settle(lab, [letter], 120)
        expect_fate(lab, letter, ("delivered", "held"))
        wait_until(lambda: again(lab, letter) == "delivered", 120, "the letter")


def sanitized(process):
    """Then what is freed stays for a while."""
    with open(process + "/maps", encoding="ascii", errors="replace") as maps:
        return "libasan" in maps.read()


def rows_of_trace():
    with contextlib.closing(sqlite3.connect(f"file:{daemon.STORE}/danelaw.db?mode=ro", uri=True)) as store:
        return store.execute("SELECT count(*) FROM trace").fetchone()[0]


@chapter
def strangers_limited(lab, book):
    """more destinations and decisions than are kept"""
    rules = CONNECTORS + [connectors.opportunistic("*.plaintext.example", name=f"n{n}", senders=[f"n{n}@sender.example"])
                          for n in range(3)]
    lab.rules(rules, resolver={"entries": 100}, store={"trace_rows": 500}, http={"labels": 2, "listen": "127.0.0.1:9469"})
    warm_up(lab, GOOD, BAD)
    process = f"/proc/{lab.danelawd.process.pid}"
    before = resident(process)
    crowd = Crowd().add("strangers", 20, lambda n: f"u@y{n}.plaintext.example", 60).run()
    with book.test("1200 names never seen before, room for 100: each is answered"):
        crowd.only("strangers", 250)
    with book.test("resolver.entries: no more are kept, and the partners among them"):
        shown = {item["next_hop"] for item in lab.danelawd.ask("cache", "show")}
        expect(len(shown) <= 2 * 100 + 10 and {GOOD, BAD} <= shown, len(shown), sorted(shown)[:20])
    with book.test("resolver.entries: a partner needs no new look-up"):
        started = time.monotonic()
        letter = letters.by_smtp(lab, f"u@{GOOD}")
        expect(letter.code == 250 and time.monotonic() - started < 20, lambda: letter.story(lab))
    with book.test("store.trace_rows: the oldest go"):
        wait_until(lambda: rows_of_trace() <= 500 + 250, 120, "the trace to be cut")
        newest = lab.danelawd.ask("trace", "--limit", "1")
        expect(newest, "nothing is left of it")
    with book.test("memory stays bounded"):
        expect(sanitized(process) or resident(process) < before + 150_000,
               f"{before} KiB before, {resident(process)} KiB after")
    lab.postfix.empty_queue()
