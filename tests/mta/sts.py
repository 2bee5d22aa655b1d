"""MTA-STS: every state of records, policies and hosts, under every kind of connector."""

import concurrent.futures
import contextlib
import os
import re
import shutil
import sqlite3
import threading
import time

import connectors
import daemon
import letters
import policyhost
import socketmap
import sts_table
from lab import wait_until
from namespace import run
from postfix import CONFIG, look_old
from roads import mounted
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
    """danelaw check in every mode: {mode: {domain: answer}}; who answers slowly keeps nobody waiting."""
    jobs, answers = [], {mode: {} for mode in MODES}
    lab.danelawd.kill()                     # nothing here needs it
    for mode in MODES:
        rules_file = f"{daemon.CONF}.{mode}"
        lab.danelawd.configure(mode_rules(mode), sts={**settings(lab), "timeout": "6s"})
        shutil.copy(daemon.CONF, rules_file)
        jobs += [(mode, rules_file, [p.domain for p in partners if p.site is not None and p.site.drip])]
        jobs += [(mode, rules_file, [p.domain for p in partners if p.site is None or not p.site.drip])]
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
    state = answer["sts"]["state"]
    expect(state == partner.sts, f"sts {state}, wanted {partner.sts}", answer)
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


@chapter
def sts_cold(lab, book):
    """mail to everybody at once, by a daemon that knows nothing yet"""
    rules(lab, mode_rules("opportunistic"))
    lab.danelawd.cli("cache", "flush", "--sts")
    lab.danelawd.kill()
    lab.danelawd.start()
    sent = letters.post(lab, [(way, f"u@{p.domain}") for p in sts_table.PARTNERS
                              for way in (letters.by_queue_client, letters.by_sendmail)], workers=64)
    letters.settle(lab, sent)
    early = [x for x in sent if x.fate(lab) == "held" and of(x).fates["opportunistic"].outcome == "delivered"]
    deadline = time.monotonic() + 60
    while any(not x.copies(lab) for x in early) and time.monotonic() < deadline:
        lab.postfix.flush()
        time.sleep(0.5)
    letters.settle(lab, early)
    for letter in sent:
        fate = of(letter).fates["opportunistic"]
        with book.test(f"cold, {of(letter).name} by {letter.way}: {fate.outcome}"):
            expect_outcome(lab, letter, of(letter), fate)
    with book.test("cold: most of it had not to wait"):
        expect(len(early) <= len(sent) // 2, *[x.story(lab) for x in early[:3]])


# --- an answer is for one road and one connector alone

SAFE = re.compile(r"OK dane-only|OK secure match=[a-z0-9.:-]+ servername=hostname|TEMP .*")


def expect_answers(book, title, wanted):
    """wanted: {table: mode whose fates it must show}; every spelling of a next hop gets the same answer."""
    spellings = {d: (d, d.upper(), d + ".", d + ":25") for d in (p.domain for p in sts_table.PARTNERS)}
    warm(spellings, "postfix-mandatory")
    answers = socketmap.ask_all((t, key) for t in wanted for keys in spellings.values() for key in keys)
    others = socketmap.ask_all(("postfix-mandatory", key) for d in spellings
                               for key in (f"[{d}]", f"[mx.{d}]", f"[mx.{d}]:25", f"mx.{d}:587", "[127.1.0.1]"))
    parents = socketmap.ask_all((t, "." + d) for t in wanted for d in [*spellings, "example"])
    for table, mode in wanted.items():
        for partner in sts_table.PARTNERS:
            with book.test(f"{title}, {table} {partner.domain}: {map_answer(partner.fates[mode])}"):
                for key in spellings[partner.domain]:
                    expect_map(answers[table, key], partner.fates[mode])
    with book.test(f"{title}, postfix-mandatory: never anything weak, whatever the key"):
        strict = {**others, **{q: a for q, a in answers.items() if q[0] == "postfix-mandatory"}}
        weak = [f"{key}: {answer}" for (_, key), answer in strict.items() if not SAFE.fullmatch(answer)]
        expect(not weak, *weak)
    with book.test(f"{title}: parents are nobody's next hop"):
        expect(set(parents.values()) == {"NOTFOUND "}, set(parents.values()))


@chapter
def sts_answers(lab, book):
    """the map answers each road for the connectors whose mail is on it"""
    rules(lab, mode_rules("opportunistic"))
    expect_answers(book, "opportunistic", {"postfix-tls": "opportunistic", "postfix-mandatory": "mandatory"})
    rules(lab, mode_rules("mandatory"))
    expect_answers(book, "mandatory", {"postfix-tls": "mandatory", "postfix-mandatory": "mandatory"})
    one_user = [connectors.connector(f"strict {p.name}", f"strict@{p.domain}", **MODES["any"])
                for p in sts_table.PARTNERS]
    rules(lab, mode_rules("none") + one_user)
    expect_answers(book, "none, but for one user", {"postfix-tls": "none", "postfix-mandatory": "any"})
    with book.test("postmap -q says the same"):
        asked = [(t, p.domain) for t in TABLES for p in sts_table.PARTNERS]
        with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:     # a failing postmap sleeps
            answers = dict(zip(asked, pool.map(lambda q: lab.postfix.map(*q), asked)))
        for partner in sts_table.PARTNERS:
            for table, mode in zip(TABLES, ("none", "any")):
                policy, (status, said) = partner.fates[mode].policy, answers[table, partner.domain]
                if policy in (None, "site"):
                    expect(status == 1 and (said == "") == (policy == "site"), table, partner.name, said)
                else:
                    expect(status == 0 and said == policy, table, partner.name, said)
    rules(lab, [connectors.mandatory("good301.example")])
    expect_answers(book, "named by nobody", {"postfix-tls": "opportunistic", "postfix-mandatory": "mandatory"})


def force(lab, book, mode, road):
    """All mail takes this road, whatever the table says."""
    rules(lab, mode_rules(mode))
    lab.postfix.set("transport_maps=", f"default_transport={road}")
    look_old(CONFIG + "/main.cf")
    lab.postfix.reload()
    warm([p.domain for p in sts_table.PARTNERS], "postfix-mandatory")
    sent = letters.post(lab, [(way, f"u@{p.domain}") for way in (letters.by_queue_client, letters.by_sendmail)
                              for p in sts_table.PARTNERS])
    letters.settle(lab, sent)
    for letter in sent:
        partner = of(letter)
        fate = partner.fates["mandatory"]
        with book.test(f"{mode}, all mail on {road}, {partner.name} by {letter.way}: {fate.outcome}"):
            service = letter.events(lab)[-1].service
            expect(service == f"postfix/{road}/smtp", service)
            expect_outcome(lab, letter, partner, fate)


@chapter
def sts_wrong_road(lab, book):
    """mail on a road that is not its own leaves by the stricter of both, or not at all"""
    force(lab, book, "none", "danelaw-sts")
    force(lab, book, "mandatory", "danelaw")


# --- policies and hosts that change

def forget(lab, *domains):
    """danelaw cache flush: the next question goes to DNS again; the policy stays."""
    for domain in domains:
        done = lab.danelawd.cli("cache", "flush", domain)
        expect(done.returncode == 0, f"cache flush: exit {done.returncode}", done.stdout, done.stderr)


def spoil(lab, partner, *faults):
    """What partner's name server does from now on: (relative owner, type, action)."""
    domain = partner.domain
    lab.zones.faults[lab.zones.fault_address(partner)] = [
        [domain if owner == "@" else f"{owner}.{domain}", kind, action] for owner, kind, action in faults]
    lab.write_faults()


def new_id(lab, partner, number=2):
    spoil(lab, partner, ("_mta-sts", "TXT", f'answer:"v=STSv1; id={number};"'))


def kept(domain):
    """The store's row about a domain: (id, fetched_at, expires_at), or None."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.STORE}/danelaw.db?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT id, fetched_at, expires_at FROM policies WHERE domain = ?", (domain,))
        return rows.fetchone()


def age(domain, seconds):
    """So much time passes for a policy in the store; danelawd must not be running."""
    with contextlib.closing(sqlite3.connect(daemon.STORE + "/danelaw.db")) as store:
        done = store.execute("UPDATE policies SET fetched_at = fetched_at - ?1, checked_at = checked_at - ?1,"
                             " expires_at = expires_at - ?1 WHERE domain = ?2", (seconds, domain))
        store.commit()
        expect(done.rowcount == 1, f"the store has no policy of {domain}")


def pairs(*names):
    """Of each partner: everybody's mail takes MTA-STS where it is offered, strict@ demands it."""
    return [c for name in names for c in (
        connectors.connector(name, f"{name}.example", **MODES["opportunistic"]),
        connectors.connector("strict " + name, f"strict@{name}.example", **MODES["mandatory"]))]


def secure_answer(name):
    return f"OK secure match=mx.{name}.example servername=hostname"


def expect_pair(name, for_all, for_strict):
    """What the map says of both connectors; of TEMP and NOTFOUND only that."""
    got = [socketmap.ask(table, name + ".example") for table in TABLES]
    got = [g if g.startswith("OK") else g.split(" ")[0] for g in got]
    expect(got == [for_all, for_strict], f"the map answers {got}, wanted {[for_all, for_strict]}")


def expect_secure(name):
    expect_pair(name, secure_answer(name), secure_answer(name))


def mail_pair(lab, name, for_all, for_strict):
    """Letters to both; the outcomes: verified, delivered (anyhow) or held."""
    sent = letters.post(lab, [(way, f"{user}@{name}.example") for user in ("u", "strict")
                              for way in (letters.by_queue_client, letters.by_sendmail)])
    letters.settle(lab, sent)
    for letter in sent:
        wanted = for_strict if letter.recipient.startswith("strict") else for_all
        if wanted != "delivered":
            expect_verified(lab, letter)
        expect_fate(lab, letter, "held" if wanted == "held" else "delivered")
        expect(wanted != "held" or not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    return sent


def arrive(lab, sent, seconds=60):
    """What was held leaves at last, verified."""
    deadline = time.monotonic() + seconds
    while any(not letter.copies(lab) for letter in sent) and time.monotonic() < deadline:
        lab.postfix.flush()
        time.sleep(0.5)
    letters.settle(lab, sent)
    for letter in sent:
        copies = len(letter.copies(lab))
        expect(copies == 1, f"{copies} copies", lambda x=letter: x.story(lab))
        expect_verified(lab, letter)


class Stream:
    """Letters one after the other, until end().  "%d" in the recipient is the letter's number."""

    def __init__(self, lab, recipient):
        self.lab, self.recipient, self.sent = lab, recipient, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.wait(0.2):
            way = (letters.by_queue_client, letters.by_sendmail)[len(self.sent) % 2]
            started = time.monotonic()
            letter = way(self.lab, self.recipient.replace("%d", str(len(self.sent))))
            letter.started = started
            self.sent.append(letter)

    def end(self):
        self.over.set()
        self.thread.join()
        return self.sent

    def reached(self, host, since):
        """Whether a letter that was sent later than that has reached host."""
        late = [letter for letter in list(self.sent) if letter.started > since]
        return any(copy["host"] == host for letter in late for copy in letter.copies(self.lab))


CHANGES = ("newid", "newidnone", "sameid", "daily", "txtgone", "txtfails", "hostdies", "hostdiesnew", "mxfails",
           "short", "zeroage")
NAMED = sts_table.BY_NAME


@chapter
def sts_changes(lab, book):
    """policies, records and hosts that change while a policy is kept"""
    hosts = lab.policy_hosts
    ask_for = {name: name + ".example" for name in CHANGES}
    rules(lab, pairs(*CHANGES))
    lab.danelawd.cli("cache", "flush", "--sts")
    warm(ask_for.values(), "postfix-mandatory")
    waiting = {}
    for name in CHANGES:
        with book.test(f"{name}: {NAMED[name].what}; to begin with, {NAMED[name].sts}"):
            if NAMED[name].sts == "enforce":
                expect_secure(name)
            else:
                expect_pair(name, "TEMP", "TEMP")
                waiting[name] = mail_pair(lab, name, "held", "held")

    good = policyhost.policy("enforce", "mx.{}.example")
    new_id(lab, NAMED["newid"])
    hosts.change("newid.example", body=good.format("newid"))
    new_id(lab, NAMED["newidnone"])
    hosts.change("newidnone.example", body=policyhost.policy("none"))
    hosts.change("daily.example", body=policyhost.policy("none"))
    spoil(lab, NAMED["txtgone"], ("_mta-sts", "TXT", "nothing"))
    spoil(lab, NAMED["txtfails"], ("_mta-sts", "TXT", "servfail"))
    hosts.change("hostdies.example", dead=True)
    hosts.change("hostdiesnew.example", dead=True)
    new_id(lab, NAMED["hostdiesnew"])
    spoil(lab, NAMED["mxfails"], ("@", "MX", "servfail"))
    hosts.change("short.example", dead=True)
    hosts.change("zeroage.example", dead=True)
    dead_since = time.monotonic()
    lab.danelawd.cli("cache", "flush", "sameid.example", "--sts")
    warm(["sameid.example"], "postfix-mandatory")
    hosts.change("sameid.example", body=good.format("sameid"))
    before = {name: hosts.fetches(name + ".example") for name in CHANGES}
    time.sleep(2.1)                         # the records live for a second, counted in whole ones
    forget(lab, *[name + ".example" for name in CHANGES if name not in ("short", "zeroage")])
    warm([name + ".example" for name in CHANGES], "postfix-mandatory")

    with book.test("another policy with the same id: the mismatch was seen a moment ago, and is believed"):
        expect_pair("sameid", "TEMP", "TEMP")
        expect(hosts.fetches("sameid.example") == before["sameid"], "fetched")
    with book.test("another policy with another id: what was held leaves"):
        expect_secure("newid")
        arrive(lab, waiting["newid"])
    with book.test("mode none with another id: fetched, and believed"):
        expect_pair("newidnone", "NOTFOUND", "TEMP")
        expect(hosts.fetches("newidnone.example") == before["newidnone"] + 1, "not fetched")
        mail_pair(lab, "newidnone", "delivered", "held")
    for name in ("daily", "txtgone", "txtfails", "hostdies", "hostdiesnew"):
        with book.test(f"{NAMED[name].what}: the kept policy stands"):
            expect_secure(name)
            expect(hosts.fetches(name + ".example") == before[name], "fetched")
            mail_pair(lab, name, "verified", "verified")
    with book.test("the MX look-up fails: held, however good the policy"):
        expect_pair("mxfails", "TEMP", "TEMP")
        waiting["mxfails"] = mail_pair(lab, "mxfails", "held", "held")
        found = {c["name"]: c for c in lab.danelawd.ask("connectors")}["strict mxfails"]
        expect(found["reason"] == "dns-temp", found)
    with book.test("the MX look-up works again: what was held leaves"):
        spoil(lab, NAMED["mxfails"], *sts_table.STEADY)
        lab.flush_resolver()
        lab.danelawd.kill()                 # its resolver remembers failures for a while
        lab.danelawd.start()
        arrive(lab, waiting["mxfails"])

    days = {"sameid": 120, "daily": 25 * 3600, "hostdies": 25 * 3600, "txtgone": 8 * 86400,
            "txtfails": 3 * 86400}
    lab.danelawd.kill()
    for name, seconds in days.items():
        age(name + ".example", seconds)
    before = {name: hosts.fetches(name + ".example") for name in CHANGES}
    lab.danelawd.start()
    warm([name + ".example" for name in CHANGES], "postfix-mandatory")
    with book.test("another policy with the same id, minutes later: fetched before the mismatch is believed"):
        expect_secure("sameid")
        expect(hosts.fetches("sameid.example") == before["sameid"] + 1, "not fetched once")
        arrive(lab, waiting["sameid"])
    with book.test("another policy with the same id, a day later: fetched and believed"):
        expect_pair("daily", "NOTFOUND", "TEMP")
        expect(hosts.fetches("daily.example") == before["daily"] + 1, "not fetched once")
    with book.test("the policy host is dead for a day: the kept policy stands"):
        expect_secure("hostdies")
        mail_pair(lab, "hostdies", "verified", "verified")
    with book.test("the record can't be looked up for days: the kept policy stands"):
        expect_secure("txtfails")
    with book.test("the record is gone, and the policy expired: absent"):
        expect_pair("txtgone", "NOTFOUND", "TEMP")
        expect(kept("txtgone.example") is None or kept("txtgone.example")[2] < time.time(), "kept")
    with book.test("max_age 0: kept nowhere"):
        expect(kept("zeroage.example") is None, kept("zeroage.example"))
        expect_pair("zeroage", "NOTFOUND", "TEMP")
    with book.test("a short max_age, and a dead policy host: expired"):
        time.sleep(max(0, dead_since + 9 - time.monotonic()))
        expect_pair("short", "NOTFOUND", "TEMP")
        mail_pair(lab, "short", "delivered", "held")
    for name in CHANGES:                    # as others found them
        spoil(lab, NAMED[name], *sts_table.STEADY)
        hosts.set(name + ".example", NAMED[name].address, NAMED[name].site)
    lab.danelawd.cli("cache", "flush", "--sts")


# --- the daemon and its store in trouble

GOOD, BAD, OTHER = "kept.example", "keptbad.example", "notlsa.example"


def stands(lab, book, what):
    """The answers are right, and mail to a host that fails its policy stays here."""
    with book.test(f"{what}: delivered as the policy says, or held"):
        expect_secure("kept")
        mail_pair(lab, "kept", "verified", "verified")
        mail_pair(lab, "keptbad", "held", "held")
    with book.test(f"{what}: other mail flows"):
        sent = letters.post(lab, [(way, f"u@{OTHER}") for way in (letters.by_smtp, letters.by_sendmail)])
        letters.settle(lab, sent)
        for letter in sent:
            expect_fate(lab, letter, "delivered")


def expect_store(lab, good, mark):
    """danelaw status, and the log since mark, say how the store is."""
    wait_until(lambda: lab.danelawd.ask("status")[0]["store"]["good"] == good, 15, f"store.good = {good}")
    if not good:
        said = [line for line in lab.danelawd.lines()[mark:] if "store" in line]
        expect(any("error" in line or "warning" in line for line in said), "not a word in the log", *said)


@chapter
def sts_daemon_dies(lab, book):
    """danelawd is killed, stopped and started while policies are kept"""
    rules(lab, pairs("kept", "keptbad"))
    warm((GOOD, BAD), "postfix-mandatory")
    stands(lab, book, "well")
    wait_until(lambda: kept(GOOD) and kept(BAD), 5, "the store to have the policies")
    lab.danelawd.kill()
    lab.policy_hosts.change(GOOD, dead=True)
    fetched = lab.policy_hosts.fetches(GOOD)
    jobs = [(way, f"{user}@{d}") for way in (letters.by_queue_client, letters.by_sendmail)
            for user in ("u", "strict") for d in (GOOD, BAD)]
    sent = letters.post(lab, jobs + [(letters.by_smtp, f"u@{OTHER}")])
    letters.settle(lab, sent)
    good = [letter for letter in sent if letter.recipient.endswith("@" + GOOD)]
    bad = [letter for letter in sent if letter.recipient.endswith("@" + BAD)]
    with book.test("killed: everything on the roads is held, also after postsuper -r; other mail flows"):
        expect_fate(lab, sent[-1], "delivered")
        before = {letter.number: len(letter.events(lab)) for letter in good + bad}
        lab.postfix.requeue()
        wait_until(lambda: all(len(x.events(lab)) > before[x.number] for x in good + bad), 30, "new attempts")
        for letter in good + bad:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    with book.test("started again, the policy host being dead: the policy is there, what was held leaves"):
        lab.danelawd.start()
        arrive(lab, good)
        expect_secure("kept")
        expect(lab.policy_hosts.fetches(GOOD) == fetched, "fetched")
        for letter in bad:
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    stands(lab, book, "started again")
    with book.test("stopped and started, the policy host being dead: the policy is still there"):
        expect(lab.danelawd.stop() == 0, "exit status", lab.danelawd.tail())
        lab.danelawd.start()
        expect_secure("kept")
        expect(lab.policy_hosts.fetches(GOOD) == fetched, "fetched")
    lab.policy_hosts.change(GOOD, dead=False)


@chapter
def sts_restarts(lab, book):
    """danelawd is killed, started and made to forget, again and again, while mail flows"""
    rules(lab, pairs("kept", "keptbad"))
    streams = [Stream(lab, f"{user}@{d}") for user in ("u", "strict") for d in (GOOD, BAD)]
    try:
        for turn in range(60):
            if turn >= 3 and sum(x.recipient.endswith("@" + GOOD) for s in streams for x in list(s.sent)) > 20:
                break
            lab.danelawd.kill()
            time.sleep(0.4)
            lab.danelawd.start()
            time.sleep(0.6)
            lab.danelawd.cli("cache", "flush", "--sts")
            time.sleep(0.4)
            lab.danelawd.cli("reload")
    finally:
        sent = [letter for stream in streams for letter in stream.end()]
    good = [letter for letter in sent if letter.recipient.endswith("@" + GOOD)]
    with book.test(f"{len(good)} letters to a host that keeps its policy: each arrives once, verified"):
        expect(len(good) > 20, f"only {len(good)}")
        arrive(lab, good)
    letters.settle(lab, sent)
    bad = [letter for letter in sent if letter not in good]
    with book.test(f"{len(bad)} letters to a host that fails its policy: held, every one"):
        for letter in bad:
            expect_fate(lab, letter, "held")
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))


@chapter
def sts_store_full(lab, book):
    """the disk is full: policies are kept in memory, and nothing is weakened"""
    lab.danelawd.kill()
    lab.policy_hosts.change(GOOD, dead=False)
    os.makedirs(daemon.STORE, exist_ok=True)            # where no chapter came before
    with mounted(daemon.STORE, "1m"):
        rules(lab, pairs("kept", "keptbad", "late"))
        warm((GOOD, BAD), "postfix-mandatory")
        wait_until(lambda: kept(GOOD) and kept(BAD), 5, "the store to have the policies")
        forget(lab, NAMED["late"].domain)
        lab.danelawd.cli("cache", "flush", NAMED["late"].domain, "--sts")
        wait_until(lambda: not kept(NAMED["late"].domain), 5, "the store to forget a policy")
        mark = len(lab.danelawd.lines())
        with open(daemon.STORE + "/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 512)
        warm((NAMED["late"].domain,), "postfix-mandatory")
        with book.test("disk full: a policy fetched now counts, and the failure is loud"):
            expect_secure("late")
            mail_pair(lab, "late", "verified", "verified")
            expect_store(lab, False, mark)
        stands(lab, book, "disk full")
        lab.danelawd.kill()
        lab.danelawd.start()
        warm((GOOD, BAD, NAMED["late"].domain), "postfix-mandatory")
        stands(lab, book, "disk full, killed and started")
        with book.test("disk full, killed and started: a policy that could not be written is fetched again"):
            expect_secure("late")
        os.unlink(daemon.STORE + "/filler")
        with book.test("room again: the store recovers, and has what it missed"):
            expect_store(lab, True, 0)
            wait_until(lambda: kept(NAMED["late"].domain), 10, "the store to have the policy")
        lab.danelawd.kill()


@chapter
def sts_store_unwritable(lab, book):
    """the store is read-only, or broken, when danelawd starts"""
    lab.danelawd.kill()
    rules(lab, pairs("kept", "keptbad"))
    warm((GOOD, BAD), "postfix-mandatory")
    wait_until(lambda: kept(GOOD) and kept(BAD), 5, "the store to have the policies")
    lab.danelawd.kill()
    mark = len(lab.danelawd.lines())
    run("mount", "--bind", daemon.STORE, daemon.STORE)
    run("mount", "-o", "remount,bind,ro", daemon.STORE)
    lab.policy_hosts.change(GOOD, dead=True)
    try:
        lab.danelawd.start(prepare=False)
        with book.test("read-only: loud"):
            expect_store(lab, False, mark)
        stands(lab, book, "read-only, and the policy host is dead")
    finally:
        lab.danelawd.kill()
        run("umount", "-l", daemon.STORE)
        lab.policy_hosts.change(GOOD, dead=False)
    mark = len(lab.danelawd.lines())
    for name in os.listdir(daemon.STORE):
        if name.startswith("danelaw.db-"):
            os.unlink(f"{daemon.STORE}/{name}")
    with open(daemon.STORE + "/danelaw.db", "r+b") as out:
        out.write(b"this is not a database, and never was one" * 100)
    lab.danelawd.start()
    with book.test("broken: moved aside, loud, and a new one is begun"):
        said = lab.danelawd.lines()[mark:]
        expect(any("error: store: " in line and "is kept as" in line for line in said), *said[-10:])
        expect(len([n for n in os.listdir(daemon.STORE) if n.startswith("danelaw.db") and n[10:] not in
                    ("", "-wal", "-shm")]) >= 1, os.listdir(daemon.STORE))
        warm((GOOD, BAD), "postfix-mandatory")
        wait_until(lambda: kept(GOOD), 10, "the new store to have the policy")
    stands(lab, book, "broken")
