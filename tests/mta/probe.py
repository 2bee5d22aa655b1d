"""Visits to the partners' hosts: what danelaw check --probe finds, and what danelawd makes of it."""

import connectors
import letters
import shadow
import table
from lab import wait_until
from trial import chapter, expect, expect_fate, expect_safe

INTERVAL = 10
PATIENCE = 90                           # an interval and its tenth, on a machine that is busy
BROKEN = {"mismatch": "mx", "tawrongname": "otherwise", "nostarttls": "mx"}
HALF = {"deadmx": ("mx1", None), "firststale": ("mx1", "mismatch")}     # the first host; the second is good


def settings(lab, **more):
    return {"probe": {"interval": f"{INTERVAL}s", "timeout": "5s"},
            "sts": {"ca_file": lab.authority.ca_file, "timeout": "3s"}, **more}


def checked(lab, partners):
    return {a["domain"]: a for a in lab.danelawd.ask("check", "--probe", *(p.domain for p in partners))}


def expect_visits(partner, visits):
    """What the hosts of a usable partner show."""
    def tell():
        return visits
    first, seen = HALF.get(partner.name, (None, None))
    for visit in visits:
        host = visit["host"].partition(".")[0]
        expect(set(visit) == {"host", "address", "starttls", "dane", "sts", "not_after", "why"}, tell)
        if partner.name == "nostarttls":
            expect(visit["starttls"] is False and visit["dane"] == "mismatch" and visit["not_after"] is None, tell)
        elif partner.name in BROKEN:
            expect(visit["starttls"] is True and visit["dane"] == "mismatch" and visit["not_after"], tell)
        elif host == first:
            expect(visit["dane"] == seen, tell)
        else:
            expect(visit["starttls"] is True and visit["dane"] == "match" and visit["not_after"], tell)
            expect("matches" in visit["why"] and visit["address"], tell)
    expect(len(visits) >= 1, tell)


@chapter
def probe_check(lab, book):
    """danelaw check --probe: what every partner's hosts show"""
    lab.rules(connectors.each(connectors.mandatory), **settings(lab))
    partners = [p for p in table.PARTNERS if not p.slow]
    answers = checked(lab, partners)
    for partner in partners:
        with book.test(f"check --probe {partner.name}: {partner.state}"):
            answer = answers[partner.domain]
            if partner.state == "usable":
                expect_visits(partner, answer["probe"])
            elif partner.state in ("bogus", "unknown", "no-mail"):
                expect(answer["probe"] == [], answer["probe"])
            else:
                expect(all(v["why"] or v["starttls"] for v in answer["probe"]), answer["probe"])
    with book.test("check without --probe visits nobody"):
        expect(lab.danelawd.ask("check", "good311.example")[0]["probe"] is None, "somebody was visited")
    for name, status in (("good311", 0), ("good201", 0), ("mismatch", 1), ("tawrongname", 1), ("nostarttls", 1),
                         ("firststale", 1), ("deadmx", 1)):
        with book.test(f"danelaw check --probe {name}: exit {status}"):
            done = lab.danelawd.cli("check", "--probe", f"{name}.example")
            expect(done.returncode == status, f"exit {done.returncode}", done.stdout, done.stderr)
    with book.test("people are told what the partner has to do"):
        page = " ".join(lab.danelawd.cli("check", "--probe", "mismatch.example").stdout.split())
        expect("no TLSA record matches" in page and "tell them" in page and ": 3 1 1 " in page, page)
        page = " ".join(lab.danelawd.cli("check", "--probe", "nostarttls.example").stdout.split())
        expect("Have mx.nostarttls.example offer STARTTLS on port 25" in page, page)
        page = " ".join(lab.danelawd.cli("check", "--probe", "good311.example").stdout.split())
        expect("TLSA 3 1 1" in page and "matches" in page and "certificate expires in" in page, page)


def refusal(lab, domain):
    letter = letters.by_smtp(lab, f"u@{domain}")
    return letter if letter.code >= 400 else None


def expect_refused(lab, domain):
    letter = wait_until(lambda: refusal(lab, domain), PATIENCE, f"{domain} to be refused")
    expect(letter.code == 451 and letter.reply.startswith("4.7.5 tlsa-invalid: "), lambda: letter.story(lab))


def shown(lab, name):
    return lab.danelawd.ask("connectors", "show", name)[0]


@chapter
def probe_require(lab, book):
    """probe = require: hosts that break their promise hold the mail before it is sent, until they are mended"""
    partners = [table.BY_NAME[n] for n in (*BROKEN, *HALF, "good311", "good301", "good201", "secondtlsa")]
    rules = connectors.each(connectors.mandatory, partners, probe="require")
    rules.append(connectors.mandatory("rollover.example", name="watched", probe="watch"))
    lab.rules(rules, **settings(lab))
    for name in BROKEN:
        with book.test(f"require {name}: 451 4.7.5 tlsa-invalid"):
            expect_refused(lab, f"{name}.example")
            expect(shown(lab, name)["dane"] == "mismatch", shown(lab, name))
            visit = shown(lab, name)["probe"][0]
            expect(visit["dane"] == "mismatch" and visit["host"].startswith(BROKEN[name]), visit)
            words = f"probe of {BROKEN[name]}.{name}.example:25 "
            wait_until(lambda: lab.danelawd.about(words), PATIENCE, "a warning")
            expect(len(lab.danelawd.about(words)) == 1, lambda: lab.danelawd.about(words))
    for name in (*HALF, "good311", "good301", "good201", "secondtlsa"):
        with book.test(f"require {name}: a good host passes, mail goes"):
            wait_until(lambda n=name: shown(lab, n)["probe"] and shown(lab, n)["probe"][-1]["at"], PATIENCE, "a visit")
            letter = letters.by_smtp(lab, f"u@{name}.example")
            letters.settle(lab, [letter])
            expect_safe(lab, letter)
            expect_fate(lab, letter, "delivered")
    host = "mx.rollover.example"
    with book.test("watch: another certificate is logged, counted and shown, and decides nothing"):
        back = lab.authority.swap(host)
        wait_until(lambda: lab.danelawd.about(f"probe of {host}:25 "), PATIENCE, "a warning")
        expect(shown(lab, "watched")["dane"] == "usable", shown(lab, "watched"))
        expect(shown(lab, "watched")["probe"][0]["dane"] == "mismatch", shown(lab, "watched"))
        expect(shadow.counted("danelaw_probe_failures_total", proof="dane") > 0, shadow.page("/metrics"))
        expect(letters.by_smtp(lab, "u@rollover.example").code == 250, "refused")
        back()
    host = "mx.good301.example"
    with book.test("a certificate is swapped: held within an interval, tables say TEMP"):
        back = lab.authority.swap(host)
        expect_refused(lab, "good301.example")
        status, answer = lab.postfix.map("explain", "u@good301.example")
        expect("dane=mismatch" in answer and host in answer, status, answer)
    with book.test("its own certificate is back: mail goes again"):
        back()
        wait_until(lambda: not refusal(lab, "good301.example"), PATIENCE, "mail to be taken")
        letter = letters.by_smtp(lab, "u@good301.example")
        letters.settle(lab, [letter])
        expect_safe(lab, letter)
        expect_fate(lab, letter, "delivered")
        wait_until(lambda: lab.danelawd.about("passes DANE again"), PATIENCE, "the log")
    with book.test("danelaw connectors show tells people of visits"):
        page = " ".join(lab.danelawd.cli("connectors", "show", "mismatch").stdout.split())
        expect("probe mx.mismatch.example:25 [" in page and "DANE mismatch" in page and "; visited 20" in page, page)
    with book.test("danelaw status counts hosts"):
        expect("hosts visited" in lab.danelawd.cli("status").stdout, "status does not tell")
        wait_until(lambda: lab.danelawd.ask("status")[0]["probe"]["failing"] >= 4, PATIENCE, "four that fail")
        probe = lab.danelawd.ask("status")[0]["probe"]
        expect(probe["hosts"] >= 10 and probe["out_of_reach"] == 1, probe)
    with book.test("a reload that wants no visits ends them, and what they decided"):
        lab.rules(connectors.each(connectors.mandatory, partners), **settings(lab))
        wait_until(lambda: not refusal(lab, "mismatch.example"), PATIENCE, "mail to be taken")
        expect("probe" not in shown(lab, "mismatch"), shown(lab, "mismatch"))
        expect(lab.danelawd.ask("status")[0]["probe"] is None, "still visited")
