"""MTA-STS: every state of records, policies and hosts, under every kind of connector."""

import concurrent.futures
import shutil

import connectors
import daemon
import letters
import socketmap
import sts_table
from postfix import CONFIG, look_old
from sts_table import MODES
from trial import chapter, expect, expect_fate

TABLES = ("postfix-tls", "postfix-mandatory")


# --- what all chapters about MTA-STS share

def rules(lab, wanted, **groups):
    """As lab.rules(); the lab's authority is whom danelawd and Postfix trust."""
    lab.rules(wanted, sts=settings(lab), **groups)
    trust(lab)


def settings(lab):
    return {"ca_file": lab.authority.ca_file, "timeout": "3s"}


def trust(lab):
    lab.postfix.set(f"smtp_tls_CAfile={lab.authority.ca_file}")
    look_old(CONFIG + "/main.cf")
    lab.postfix.reload()


def mode_rules(mode, partners=sts_table.PARTNERS):
    """One connector for each partner."""
    return [connectors.connector(p.name, p.domain, **MODES[mode]) for p in partners]


def table_of(mode):
    """The map that the road of such a connector asks."""
    return "postfix-tls" if mode in ("opportunistic", "none") else "postfix-mandatory"


def warm(domains, table):
    """Asks for all, until everything is known: what takes too long lands soon after."""
    questions = [(table, d) for d in domains]
    socketmap.ask_all(questions)
    return {d: answer for (_, d), answer in socketmap.ask_all(questions).items()}


def map_answer(fate):
    """The answer that leads to this fate."""
    if fate.policy is None:
        return "TEMP"
    return "NOTFOUND" if fate.policy == "site" else "OK " + fate.policy


def expect_map(answer, fate):
    wanted = map_answer(fate)
    expect(answer.rstrip() == wanted or answer.startswith("TEMP ") and wanted == "TEMP",
           f"the map answers {answer!r}, wanted {wanted!r}")


def expect_outcome(lab, letter, partner, fate):
    """The fate in the table; what is held may also be refused with its reason, where one can refuse."""
    def tell():
        return letter.story(lab)
    if letter.code >= 400:
        expect(fate.outcome == "held" and fate.reason is not None and letter.way == "smtp", "refused", tell)
        code = "451 4.4.3" if fate.reason == "dns-temp" else "451 4.7.5"
        wanted = f"{code} {fate.reason}: "
        expect(f"{letter.code} {letter.reply}".startswith(wanted), f"wanted {wanted}", tell)
        return
    copies = letter.copies(lab)
    if fate.verified:
        expect_verified(lab, letter, [partner.host(h) for h in fate.at])
    elif fate.outcome == "held":
        expect(not copies, "LEAK", tell)
    expect_fate(lab, letter, fate.outcome)
    if fate.says:
        expect(fate.says in letter.events(lab)[-1].text, f"wanted {fate.says!r}", tell)


def expect_verified(lab, letter, hosts=None):
    """Every copy that left, left over a verified connection, to one of the hosts."""
    def tell():
        return letter.story(lab)
    for copy in letter.copies(lab):
        expect(copy["tls"] in ("TLSv1.2", "TLSv1.3"), "LEAK: in clear", tell)
        expect(hosts is None or copy["host"] in hosts, f"LEAK: at {copy['host']}, wanted {hosts}", tell)
        expect(copy["sni"] == copy["host"].rstrip("."), f"SNI {copy['sni']}", tell)
    for event in letter.events(lab):
        expect(event.status != "sent" or event.tls == "Verified", f"LEAK: {event.tls}", tell)


# --- each state, each kind of connector

def check_all(lab, partners):
    """danelaw check in every mode: {mode: {domain: answer}}; side by side, since each fetches its policies."""
    jobs, answers = [], {mode: {} for mode in MODES}
    for mode in MODES:
        rules_file = f"{daemon.CONF}.{mode}"
        lab.danelawd.configure(mode_rules(mode), sts=settings(lab))
        shutil.copy(daemon.CONF, rules_file)
        jobs += [(mode, rules_file, [p.domain for p in partners[i::4]]) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        for job, found in zip(jobs, pool.map(lambda j: lab.danelawd.ask("check", *j[2], conf=j[1]), jobs)):
            answers[job[0]].update((a["domain"], a) for a in found)
    return answers


@chapter
def sts_check(lab, book):
    """danelaw check: the state of each partner with MTA-STS, and the verdict under each kind of connector"""
    answers = check_all(lab, sts_table.PARTNERS)
    for mode in MODES:
        for partner in sts_table.PARTNERS:
            fate, answer = partner.fates[mode], answers[mode].get(partner.domain)
            with book.test(f"check {partner.name} ({mode}): {partner.sts}, {fate.reason or fate.policy}"):
                expect(answer is not None, "no answer for this domain")
                expect_check(partner, fate, answer)


def expect_check(partner, fate, answer):
    expect(answer["sts"]["state"] == partner.sts, f"sts {answer['sts']['state']}, wanted {partner.sts}", answer)
    expect(answer["dane"]["state"] == partner.state, f"dane {answer['dane']['state']}", answer)
    wanted = "deliver" if fate.policy else "hold"
    expect(answer["verdict"] == wanted, f"verdict {answer['verdict']}, wanted {wanted}", answer)
    expect(answer["reason"] == fate.reason, f"reason {answer['reason']}, wanted {fate.reason}", answer)
    expect(not fate.policy or answer["policy"] == fate.policy, f"policy {answer['policy']}", answer)
    if partner.sts in ("enforce", "enforce-mismatch", "testing", "none"):
        expect(answer["sts"]["mode"] == partner.sts.partition("-")[0], answer)
        expect(answer["sts"]["max_age"] == 604800 and answer["sts"]["id"], answer)
    if partner.sts == "fetch-error":
        expect(answer["sts"]["why"], "no word why", answer)


def mail_in_mode(lab, book, mode):
    """Letters to every partner by every way, and what became of them."""
    rules(lab, mode_rules(mode))
    answers = warm([p.domain for p in sts_table.PARTNERS], table_of(mode))
    ways = (letters.by_smtp, letters.by_queue_client, letters.by_sendmail)
    sent = letters.post(lab, [(way, f"u@{p.domain}") for way in ways for p in sts_table.PARTNERS])
    letters.insist(lab, sent, lambda letter: of(letter).fates[mode].reason != "dns-temp")
    letters.settle(lab, sent)
    for partner in sts_table.PARTNERS:
        with book.test(f"{mode}, map, {partner.name}: {map_answer(partner.fates[mode])}"):
            expect_map(answers[partner.domain], partner.fates[mode])
    for letter in sent:
        partner = of(letter)
        with book.test(f"{mode}, {partner.name} by {letter.way}: {partner.fates[mode].outcome}"):
            expect_outcome(lab, letter, partner, partner.fates[mode])


def of(letter):
    return sts_table.BY_DOMAIN[letter.recipient.rpartition("@")[2]]


@chapter
def sts_opportunistic(lab, book):
    """mail under connectors that take MTA-STS where it is offered"""
    mail_in_mode(lab, book, "opportunistic")


@chapter
def sts_mandatory(lab, book):
    """mail under connectors that demand MTA-STS"""
    mail_in_mode(lab, book, "mandatory")


@chapter
def sts_ignored(lab, book):
    """mail under connectors that ignore MTA-STS"""
    mail_in_mode(lab, book, "none")


@chapter
def sts_any(lab, book):
    """mail under connectors that demand DANE or MTA-STS"""
    mail_in_mode(lab, book, "any")
