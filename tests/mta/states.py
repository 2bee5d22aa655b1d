"""Every partner state: what Danelaw sees, and what becomes of the mail."""

import concurrent.futures

import connectors
import letters
import table
from trial import chapter, expect, expect_fate, expect_safe

LATE = 20.0                             # seconds; budgets, and what a busy machine takes for all of them at once


def ask_all(lab):
    """danelaw check for all partners: {domain: answer}; slow ones don't wait for each other."""
    jobs = [[p.domain for p in table.PARTNERS if not p.slow]] + [[p.domain] for p in table.PARTNERS if p.slow]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return {a["domain"]: a for answers in pool.map(lambda job: lab.danelawd.ask("check", *job), jobs)
                for a in answers}


def expect_answer(partner, answer, fate):
    expect(answer is not None, "no answer for this domain")
    expect(answer["dane"]["state"] == partner.state,
           f"state {answer['dane']['state']}, wanted {partner.state}: {answer['dane'].get('why')}", answer)
    verdict = {"held": "deliver" if fate.policy else "hold", "bounced": "pass"}.get(fate.outcome, "deliver")
    expect(answer["verdict"] == verdict, f"verdict {answer['verdict']}, wanted {verdict}", answer)
    expect(answer["reason"] == fate.reason, f"reason {answer['reason']}, wanted {fate.reason}", answer)
    if fate.policy:
        expect(answer["policy"] == fate.policy, f"policy {answer['policy']}, wanted {fate.policy}", answer)


@chapter
def check_mandatory(lab, book):
    """danelaw check under mandatory connectors"""
    lab.rules(connectors.each(connectors.mandatory))
    answers = ask_all(lab)
    for partner in table.PARTNERS:
        reason = partner.mandatory.reason or "nothing to hold"
        with book.test(f"check {partner.name}: {partner.state}, {reason}"):
            expect_answer(partner, answers.get(partner.domain), partner.mandatory)


@chapter
def mail_mandatory(lab, book):
    """mail under mandatory connectors: authenticated, or not at all"""
    lab.rules(connectors.each(connectors.mandatory))
    sent = post_to_all(lab, (letters.by_smtp, letters.by_queue_client, letters.by_sendmail))
    for letter in sent:
        partner = letter.partner
        with book.test(f"mandatory {partner.name} by {letter.way}: {partner.mandatory.outcome}"):
            expect_safe(lab, letter)
            expect_outcome(lab, letter, partner.mandatory)
            expect(letter.way != "smtp" or partner.mandatory.reason is None or letter.code == 451,
                   "accepted, where Danelaw knows better", lambda: letter.story(lab))
            expect(letter.took < LATE, f"took {letter.took:.1f} s", lambda: letter.story(lab))


@chapter
def check_opportunistic(lab, book):
    """danelaw check under opportunistic connectors"""
    lab.rules(connectors.each(connectors.opportunistic))
    answers = ask_all(lab)
    for partner in table.PARTNERS:
        policy = partner.opportunistic.policy or "no policy"
        with book.test(f"check {partner.name}: {partner.state}, {policy}"):
            expect_answer(partner, answers.get(partner.domain), partner.opportunistic)


@chapter
def mail_opportunistic(lab, book):
    """mail under opportunistic connectors: DANE where it is offered, never past a broken one"""
    lab.rules(connectors.each(connectors.opportunistic))
    sent = post_to_all(lab, (letters.by_smtp, letters.by_sendmail))
    for letter in sent:
        partner = letter.partner
        with book.test(f"opportunistic {partner.name} by {letter.way}: {partner.opportunistic.outcome}"):
            expect_outcome(lab, letter, partner.opportunistic)


@chapter
def mail_unnamed(lab, book):
    """mail to partners that no connector names goes Postfix's own way"""
    post_unnamed(lab, book, "postfix/smtp")


def post_unnamed(lab, book, service, settle=letters.settle):
    """All that can be delivered is, by this service of the MTA's own."""
    lab.rules([connectors.mandatory("good301.example")])
    partners = [p for p in table.PARTNERS if p.opportunistic.outcome == "delivered"]
    sent = letters.post(lab, [(letters.by_smtp, f"u@{p.domain}") for p in partners if p.name != "good301"])
    settle(lab, sent)
    for letter in sent:
        with book.test(f"unnamed {letter.partner.name}: delivered by {service.partition('/')[2]}"):
            expect_fate(lab, letter, "delivered")
            used = letter.events(lab)[-1].service
            expect(used == service, used, lambda: letter.story(lab))


def post_to_all(lab, ways, settle=letters.settle):
    """One letter to each partner by each way, settled; what is refused for want of knowledge is tried again."""
    sent = letters.post(lab, [(way, f"u@{p.domain}") for way in ways for p in table.PARTNERS])
    letters.insist(lab, sent, lambda letter: letter.partner.mandatory.reason != "dns-temp")
    settle(lab, sent)
    return sent


def expect_refusal(lab, letter, fate):
    """What is held may also be refused with the reason, where one can refuse."""
    expect(fate.outcome == "held" and fate.reason is not None and letter.way == "smtp", "refused",
           lambda: letter.story(lab))
    code = "451 4.4.3" if fate.reason == "dns-temp" else "451 4.7.5"
    wanted = f"{code} {fate.reason}: "
    expect(f"{letter.code} {letter.reply}".startswith(wanted), f"wanted {wanted}", lambda: letter.story(lab))


def expect_outcome(lab, letter, fate):
    """The fate in the table."""
    if letter.code >= 400:
        expect_refusal(lab, letter, fate)
        return
    expect_fate(lab, letter, fate.outcome)
    if fate.verified:
        expect(letter.events(lab)[-1].tls == "Verified", "not verified", lambda: letter.story(lab))
    if fate.says:
        expect(fate.says in letter.events(lab)[-1].text, f"wanted {fate.says!r}", lambda: letter.story(lab))
