"""The hold clock: refused for now, then for good, and what ends it, keeps it and never starts it."""

import contextlib
import os
import sqlite3
import time

import connectors
import daemon
import letters
import sts
import table
from lab import Client, new_message, wait_until
from trial import chapter, expect, expect_fate

BAD, TEMP, GOOD, LONG, BROKEN = ("unsigned.example", "mxservfail.example", "good311.example", "notlsa.example",
                                 "tlsaservfail.example")
HOLD = 20                               # seconds; left alone for more than 5, a clock begins anew
KEYS = {"connector", "sender", "recipient", "since", "until", "attempts", "reason"}


def held(lab, **wanted):
    """What danelaw held lists, as far as it is like wanted."""
    return [h for h in lab.danelawd.ask("held") if all(h[k] == v for k, v in wanted.items())]


def refused(lab, recipient, reason, sender=letters.SENDER):
    """A letter that is refused for now; a busy machine may have to look twice for the reason."""
    letter = letters.insist(lab, [letters.by_smtp(lab, recipient, sender)])[0]
    expect(letter.code == 451 and reason + ": " in letter.reply, lambda: letter.story(lab))
    return letter


def attempts_on_disk(recipient):
    with contextlib.closing(sqlite3.connect(f"file:{daemon.STORE}/danelaw.db?mode=ro", uri=True)) as store:
        found = store.execute("SELECT attempts FROM holds WHERE recipient = ?", (recipient,)).fetchone()
        return found[0] if found else 0


def until_given_up(lab, recipients, seconds=240):
    """Sends one message to all of them, again and again, until each was refused for good and then for now again; gives
    {recipient: [(when, code, text)]}, and the messages that were taken."""
    seen, taken, deadline = {r: [] for r in recipients}, [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        number, message = new_message()
        with Client() as client:
            replies, queue_id = client.send(letters.SENDER, recipients, message)
        for recipient, (code, text) in replies.items():
            seen[recipient].append((time.time(), code, text))
        if queue_id:
            taken.append(number)
        if all(550 in [c for _, c, _ in answers[:-1]] for r, answers in seen.items() if not r.endswith(GOOD)):
            return seen, taken
        time.sleep(0.5)
    raise TimeoutError(f"not given up after {seconds} s: {seen}")


@chapter
def hold_clock(lab, book):
    """refused for now, then for good, then for now again"""
    lab.rules([connectors.mandatory(BAD, hold=f"{HOLD}s"), connectors.mandatory(TEMP, hold=f"{HOLD}s"),
               connectors.mandatory(GOOD)])
    recipients = [f"a@{BAD}", f"b@{TEMP}", f"c@{GOOD}"]
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{BAD}").reply, 20, "the partner's state")
    seen, taken = until_given_up(lab, recipients)
    for recipient, held_as, given_up in ((recipients[0], "4.7.5 dane-required: ", f"5.7.5 dane-required: given up after {HOLD} s: "),
                                         (recipients[1], "4.4.3 dns-temp: ", f"5.4.7 dns-temp: given up after {HOLD} s: ")):
        answers = seen[recipient]
        number = [code for _, code, _ in answers].index(550)
        with book.test(f"{recipient}: 451, then 550 {given_up}"):
            expect(all(c == 451 for _, c, _ in answers[:number]) and answers[number - 1][2].startswith(held_as), answers)
            expect(answers[number][2].startswith(given_up), answers[number])
        with book.test(f"{recipient}: not before the hold has passed"):
            expect(answers[number][0] - answers[0][0] > HOLD - 1, answers)
        with book.test(f"{recipient}: once; then a new clock runs"):
            expect(answers[number + 1][1] == 451, answers)
    with book.test("a recipient beside them is taken and delivered each time"):
        expect(len(taken) == len(seen[recipients[2]]), seen[recipients[2]])
        beside = [letters.Letter("smtp", letters.SENDER, recipients[2], number) for number in taken]
        letters.settle(lab, beside)
        for letter in beside:
            expect_fate(lab, letter, "delivered")
    with book.test("nothing of the others has left"):
        expect(not [e for e in lab.partners.read() if set(recipients[:2]) & set(e["recipients"])], "LEAK")
    with book.test("the log and the counters know it as a bounce"):
        line = lab.danelawd.about(f"to=<{recipients[0]}>", limit=1000)
        expect(any(" verdict=bounce reason=dane-required " in one for one in line), *line[-3:])
        counters = lab.danelawd.ask("status")[0]["counters"]
        expect(counters["bounced"] >= 2, counters)
    with book.test("untouched for longer than a quarter of the hold: it begins anew"):
        refused(lab, f"u@{BAD}", "dane-required")
        time.sleep(1)
        refused(lab, f"u@{BAD}", "dane-required")
        before = held(lab, recipient=f"u@{BAD}")
        wait_until(lambda: not held(lab, recipient=f"u@{BAD}"), 20, "the clock to stop")
        refused(lab, f"u@{BAD}", "dane-required")
        after = held(lab, recipient=f"u@{BAD}")
        expect(after[0]["attempts"] == 1 and (not before or after[0]["since"] > before[0]["since"]), before, after)


@chapter
def hold_outlives(lab, book):
    """the clock goes on after a restart, kill -9 and without a store; a delivery ends it"""
    broken = table.BY_NAME["tlsaservfail"]
    lab.rules([connectors.mandatory(LONG, hold="10m"), connectors.mandatory(BROKEN, hold="10m")])
    lab.danelawd.cli("held", "forget", "--all")
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{LONG}").reply, 20, "the partner's state")
    refused(lab, f"u@{LONG}", "dane-required")
    since = held(lab, recipient=f"u@{LONG}")[0]["since"]

    def goes_on(attempts):
        refused(lab, f"u@{LONG}", "dane-required")
        found = held(lab, recipient=f"u@{LONG}")
        expect(len(found) == 1 and found[0]["since"] == since and found[0]["attempts"] >= attempts, since, found)
    with book.test("an orderly restart"):
        lab.danelawd.stop()
        lab.danelawd.start()
        goes_on(2)
    with book.test("kill -9"):
        wait_until(lambda: attempts_on_disk(f"u@{LONG}") >= 2, 60, "the store to have the second attempt")
        lab.danelawd.kill()
        down = lab.danelawd.cli("--json", "held")
        lab.danelawd.start()
        goes_on(3)
    with book.test("while it was down danelaw held has read the store, and said so"):
        expect(down.returncode == 0 and f'"u@{LONG}"' in down.stdout and daemon.STORE in down.stderr, down)
    with book.test("a store that is gone: memory goes on"):
        os.rename(daemon.STORE, daemon.STORE + ".gone")
        goes_on(4)
        time.sleep(1)
        goes_on(5)
        os.rename(daemon.STORE + ".gone", daemon.STORE)
    with book.test("a delivery in between ends the clock"):
        wait_until(lambda: "dns-temp" in letters.by_smtp(lab, f"u@{BROKEN}").reply, 20, "the partner's state")
        expect(len(held(lab, recipient=f"u@{BROKEN}", reason="dns-temp")) == 1, held(lab))
        sts.spoil(lab, broken, ("*", "*", "pass"))
        lab.danelawd.kill()             # its resolver remembers failures for a while
        lab.danelawd.start()
        letter = letters.insist(lab, [letters.by_smtp(lab, f"u@{BROKEN}")])[0]
        letters.settle(lab, [letter])
        expect_fate(lab, letter, "delivered")
        expect(not held(lab, recipient=f"u@{BROKEN}"), held(lab))
    sts.spoil(lab, broken, *broken.faults)


@chapter
def hold_audience(lab, book):
    """on_hold: whom a held recipient is refused to, and whose clock runs"""
    kinds = {"auto": BAD, "tempfail": LONG, "queue": "plaintext.example"}
    lab.rules([connectors.mandatory(domain, on_hold=kind) for kind, domain in kinds.items()])
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{BAD}").reply, 20, "the partner's state")
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{LONG}").reply, 20, "the partner's state")
    lab.danelawd.cli("held", "forget", "--all")
    ways = (letters.by_smtp, letters.by_queue_client, letters.by_submission, letters.by_sendmail)
    refusing = {("auto", "smtp"), ("tempfail", "smtp"), ("tempfail", "smtp (queue client)"), ("tempfail", "submission")}
    jobs = [(way, f"{way.__name__}@{domain}") for way in ways for domain in kinds.values()]
    sent = letters.post(lab, jobs)
    letters.settle(lab, sent)
    for letter, (kind, _) in zip(sent, list(kinds.items()) * len(ways)):
        wanted = "refused" if (kind, letter.way) in refusing else "held"
        with book.test(f"on_hold {kind}, {letter.way}: {wanted}"):
            expect_fate(lab, letter, wanted)
            expect(wanted == "held" or letter.code == 451, lambda x=letter: x.story(lab))
            expect(not letter.copies(lab), "LEAK")
    with book.test("the clock runs for those that were refused, and for no other"):
        found = {h["recipient"] for h in held(lab)}
        expect(found == {letter.recipient for letter in sent if letter.code == 451}, found)
    with book.test("the null sender has a clock, too"):
        refused(lab, f"null@{BAD}", "dane-required", sender="")
        expect([h["sender"] for h in held(lab, recipient=f"null@{BAD}")] == [""], held(lab))


@chapter
def hold_command(lab, book):
    """danelaw held"""
    lab.rules([connectors.mandatory(BAD), connectors.mandatory(LONG)])
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{BAD}").reply, 20, "the partner's state")
    wait_until(lambda: "dane-required" in letters.by_smtp(lab, f"w@{LONG}").reply, 20, "the partner's state")
    expect(lab.danelawd.cli("held", "forget", "--all").returncode == 0, lab.danelawd.tail())
    with book.test("nothing held is a plain line, exit 0"):
        done = lab.danelawd.cli("held")
        expect((done.returncode, done.stdout) == (0, "nothing is held\n"), done)
        expect(lab.danelawd.ask("held") == [], "something is held")
    for recipient in (f"a@{BAD}", f"B@{BAD}", f"a@{LONG}"):
        refused(lab, recipient, "dane-required")
        time.sleep(1)
    with book.test("each has all its keys, and until is since and the hold"):
        found = held(lab)
        expect(len(found) == 3 and all(set(h) == KEYS for h in found), found)
        expect(all(h["since"][8:10] != h["until"][8:10] and h["since"][11:] == h["until"][11:] for h in found), found)
        expect(all(h["sender"] == letters.SENDER and h["reason"] == "dane-required" for h in found), found)
    with book.test("the table has the longest held first"):
        lines = lab.danelawd.cli("held", "list").stdout.splitlines()
        wanted = ["RECIPIENT", f"a@{BAD}", f"b@{BAD}", f"a@{LONG}"]
        expect(len(lines) == 4 and all(f" {word} " in line for word, line in zip(wanted, lines)), *lines)
    with book.test("danelaw status counts them"):
        expect(lab.danelawd.ask("status")[0]["held"] == 3, lab.danelawd.ask("status"))
    for words in (("forget",), ("forget", "--all", "--to", "a@b.example"), ("forget", "--to", "b.example"), ("list", "--all"),
                  ("nonsense",)):
        with book.test(f"danelaw held {' '.join(words)}: exit 2"):
            done = lab.danelawd.cli("held", *words)
            expect(done.returncode == 2 and len(held(lab)) == 3, done)
    for words, count, left in ((("--to", f"A@{BAD.upper()}"), 1, 2), (("--connector", "nobody"), 0, 2),
                               (("--connector", f"strict {LONG}"), 1, 1), (("--all",), 1, 0)):
        with book.test(f"danelaw held forget {' '.join(words)}: {count}"):
            done = lab.danelawd.ask("held", "forget", *words)
            expect(done == [{"forgotten": count}] and len(held(lab)) == left, done, held(lab))
    with book.test("log and audit say who has forgotten what"):
        expect(lab.danelawd.about("everything: 1 hold clocks forgotten"), *lab.danelawd.lines()[-3:])
        wait_until(lambda: [a for a in lab.danelawd.ask("audit") if a["action"] == "holds forgotten"
                            and a["by"].startswith("root") and a["after"].startswith("everything: 1 ")], 10, "the audit's entry")
    with book.test("forgetting needs the daemon: exit 69"):
        lab.danelawd.kill()
        expect(lab.danelawd.cli("held", "forget", "--all").returncode == 69)
        expect(lab.danelawd.cli("held").returncode == 0)
