"""Sendmail: every partner state, under connectors that demand DANE and under such that take it where offered."""

import connectors
import letters
import sendmail_ways
import states
from trial import expect, expect_fate, expect_safe, sendmail_chapter

# What Sendmail's own look-ups say first, where DNS lies or fails: it never gets as far as the gate.
DNS = ("dnssec-invalid", "dns-temp")


@sendmail_chapter
def sendmail_mandatory(lab, book):
    """mail under mandatory connectors: authenticated, or not at all"""
    lab.rules(connectors.each(connectors.mandatory))
    ways = (letters.by_smtp, letters.by_queue_client, letters.by_sendmail)
    for letter in states.post_to_all(lab, ways, sendmail_ways.settle):
        partner = letter.partner
        with book.test(f"mandatory {partner.name} by {letter.way}: {partner.mandatory.outcome}"):
            expect_safe(lab, letter)
            expect_outcome(lab, letter, partner.mandatory)
            expect(letter.way != "smtp" or partner.mandatory.reason is None or letter.code == 451,
                   "accepted, where Danelaw knows better", lambda: letter.story(lab))


@sendmail_chapter
def sendmail_opportunistic(lab, book):
    """mail under opportunistic connectors: DANE where it is offered, never past a broken one"""
    lab.rules(connectors.each(connectors.opportunistic))
    for letter in states.post_to_all(lab, (letters.by_smtp, letters.by_sendmail), sendmail_ways.settle):
        partner = letter.partner
        with book.test(f"opportunistic {partner.name} by {letter.way}: {partner.opportunistic.outcome}"):
            expect_outcome(lab, letter, partner.opportunistic)
            if partner.opportunistic.outcome == "delivered" and partner.opportunistic.verified:
                at = {c["host"] for c in letter.copies(lab)}
                expect(at <= set(partner.authentic), f"LEAK: at {at}", lambda: letter.story(lab))


@sendmail_chapter
def sendmail_unnamed(lab, book):
    """mail to partners that no connector names goes Sendmail's own way"""
    states.post_unnamed(lab, book, "sm-mta/esmtp", sendmail_ways.settle)


def expect_outcome(lab, letter, fate):
    """The fate in the table."""
    if letter.code >= 400:
        states.expect_refusal(lab, letter, fate)
        return
    expect_fate(lab, letter, fate.outcome)
    if fate.outcome == "held" and fate.reason not in DNS:
        reason = fate.reason or "tlsa-invalid"
        expect_reason(lab, letter, f"451 4.7.5 {reason}: ")


def expect_reason(lab, letter, wanted):
    """It stands in the log, and in mailq."""
    said = letter.events(lab)[-1].text
    refusals = lab.mta.log.about(*lab.mta.log.queue_ids(letter.number))
    expect(wanted in said or any("reject=" in line and wanted in line for line in refusals),
           f"the log says {said!r}, wanted {wanted!r}", lambda: letter.story(lab))
    waiting = [message for _, recipients, message in lab.mta.queue() if letter.recipient in recipients]
    wanted = wanted.partition(" 4.7.5 ")[2] or wanted
    expect(any(wanted in message for message in waiting), f"mailq says {waiting}, wanted {wanted!r}",
           lambda: letter.story(lab))
