"""Fallback roads: taken when a hold has lasted, left when it has gone; every letter arrives once."""

import time

import connectors
import letters
import policyhost
import sts
import sts_table
from lab import wait_until
from namespace import run
from postfix import CONFIG, look_old
from trial import chapter, expect, expect_fate

FALL, TEMP = "fall.example", "falltemp.example"
SPARE_HOST, AFTER = "mx.smarthost.example", 8
IN_FORCE = 60                           # at most; Postfix looks at its tables every 10 s, rounded up
ROUTES = {"spare": {"transport": "spare", "next_hop": f"[{SPARE_HOST}]", "tls": "verify"}}


def start(lab):
    demand = {**sts_table.MODES["mandatory"], "fallback": "spare", "fallback_after": f"{AFTER}s"}
    wanted = [connectors.connector("fall", FALL, **demand), connectors.connector("temp", TEMP, **demand)]
    sts.rules(lab, wanted, routes=ROUTES)
    run("postconf", "-Me", "spare/unix=spare unix - - n - - smtp")
    look_old(CONFIG + "/master.cf")
    run("postconf", "-Pe", "spare/unix/syslog_name=postfix/spare",
        "spare/unix/smtp_tls_security_level=verify", "spare/unix/smtp_tls_policy_maps=")
    look_old(CONFIG + "/master.cf")
    lab.postfix.reload()


def publish(lab, partner, number, *mx):
    """Another policy, and danelawd will see it with the next question."""
    lab.policy_hosts.change(partner.domain, body=policyhost.policy("enforce", *mx))
    sts.new_id(lab, partner, number)
    time.sleep(2.1)                     # the old record lives for a second, counted in whole ones
    sts.forget(lab, partner.domain)
    return time.monotonic()


def expect_road(lab, letter, allowed):
    """One copy, by one of the roads: {host: service}."""
    def tell():
        return letter.story(lab)
    copies = letter.copies(lab)
    expect(len(copies) == 1, f"{len(copies)} copies", tell)
    expect(copies[0]["host"] in allowed, f"LEAK: at {copies[0]['host']}", tell)
    final = [e for e in letter.events(lab) if e.status == "sent"]
    expect(len(final) == 1 and final[0].tls == "Verified", "LEAK: not verified", tell)
    expect(final[0].service == allowed[copies[0]["host"]], f"by {final[0].service}", tell)


@chapter
def fallback_road(lab, book):
    """a connector that holds moves to its fallback road and back, and no letter is lost or sent twice"""
    fall, temp = sts_table.BY_NAME["fall"], sts_table.BY_NAME["falltemp"]
    sts.spoil(lab, temp, ("_mta-sts", "TXT", "servfail"))
    before = lab.postfix.log.mark()
    start(lab)
    wait_until(lambda: [line for line in lab.postfix.log.since(before) if "reload --" in line], 10, "Postfix to reload")
    lab.danelawd.cli("cache", "flush", "--sts")
    sts.warm((FALL, TEMP), "postfix-mandatory")
    mark, own = lab.postfix.log.mark(), "mx." + FALL
    stream, waiting = sts.Stream(lab, "u%d@" + FALL), sts.Stream(lab, "u%d@" + TEMP)
    try:
        with book.test("all is well: its own road"):
            wait_until(lambda: stream.reached(own, 0), 10, "the first letter")
            expect(not stream.reached(SPARE_HOST, 0), "at the smart host")
        broken_at = publish(lab, fall, 2, "mail." + FALL)
        with book.test("the policy lists another host: refused at first"):
            letter = letters.by_smtp(lab, "early@" + FALL)
            expect(letter.code == 451 and "sts-mx-mismatch: " in letter.reply, letter.story(lab))
        with book.test("the hold lasts: on the fallback road in time, without a reload of Postfix"):
            wait_until(lambda: stream.reached(SPARE_HOST, broken_at), IN_FORCE, "a letter at the smart host")
            expect(not stream.reached(own, broken_at), "LEAK: at a host that the policy does not list")
        with book.test("on the fallback road: taken, not refused"):
            letter = letters.by_smtp(lab, "late@" + FALL)
            letters.settle(lab, [letter])
            expect_fate(lab, letter, "delivered")
            expect_road(lab, letter, {SPARE_HOST: "postfix/spare/smtp"})
        with book.test("danelawd is killed on the fallback road: mail goes on by it"):
            lab.danelawd.kill()
            killed_at = time.monotonic()
            wait_until(lambda: stream.reached(SPARE_HOST, killed_at), 10, "another letter at the smart host")
            lab.danelawd.start()
            wait_until(lambda: stream.reached(SPARE_HOST, killed_at + 1), IN_FORCE, "a later letter there")
        mended_at = publish(lab, fall, 3, own)
        with book.test("the policy is right again: back on its own road in time"):
            wait_until(lambda: stream.reached(own, mended_at), IN_FORCE, "a letter by its own road")
        with book.test("back to stay"):
            back_at = time.monotonic()
            wait_until(lambda: stream.reached(own, back_at + 1), 10, "a later letter")
            expect(not stream.reached(SPARE_HOST, back_at + 0.5), "at the smart host")
    finally:
        sent, held = stream.end(), waiting.end()
    with book.test("every letter arrives once, verified"):
        everything_arrives(lab, sent)
        for letter in sent:
            expect_road(lab, letter, {own: "postfix/danelaw-sts/smtp", SPARE_HOST: "postfix/spare/smtp"})
        kinds = {letter.copies(lab)[0]["host"] for letter in sent}
        expect(kinds == {own, SPARE_HOST}, kinds)
    with book.test("Postfix was not reloaded"):
        expect(not [line for line in lab.postfix.log.since(mark) if "reload --" in line], "reloaded")
    with book.test("dns-temp is held, and never falls back"):
        letters.settle(lab, held)
        found = {c["name"]: c for c in lab.danelawd.ask("connectors")}["temp"]
        expect(found["reason"] == "dns-temp", found)
        for letter in held:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    with book.test("DNS answers again: all of it arrives once, by its own road"):
        sts.spoil(lab, temp, *sts_table.STEADY)
        lab.danelawd.kill()             # its resolver remembers failures for a while
        lab.danelawd.start()
        everything_arrives(lab, held)
        for letter in held:
            expect_road(lab, letter, {"mx." + TEMP: "postfix/danelaw-sts/smtp"})


def everything_arrives(lab, sent, seconds=90):
    deadline = time.monotonic() + seconds
    while any(not letter.copies(lab) for letter in sent) and time.monotonic() < deadline:
        lab.postfix.flush()
        time.sleep(1)
    time.sleep(0.5)                     # for second copies
    lost = [letter for letter in sent if not letter.copies(lab)]
    expect(not lost, f"{len(lost)} of {len(sent)} did not arrive", *[x.story(lab) for x in lost[:3]])
