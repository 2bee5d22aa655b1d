"""Connectors in test mode: they say what they would do, and mail goes as if they were not there."""

import re
import urllib.request

import connectors
import daemon
import letters
import table
from lab import wait_until
from trial import chapter, expect, expect_fate

GOOD, BAD, OTHER = "good311.example", "unsigned.example", "notlsa.example"
INVENTORY = connectors.mandatory("*", name="inventory", test_mode=True)
SHADOW = re.compile(r'(\S+): to=<(.*?)> from=<(.*?)> connector="(.*?)" dane=(\S+) sts=(\S+) verdict=(\S+) reason=(\S+)'
                    r' route=(\S+) policy=(.*) took=\d+ shadow=true$')
METRICS = "http://127.0.0.1:9469"


def shadows(lab, mark):
    """What connectors in test mode said since then: lists of the log's words, by recipient."""
    found = {}
    for line in lab.danelawd.lines()[mark:]:
        words = SHADOW.search(line)
        if words:
            found.setdefault(words[2], []).append(words.groups())
    return found


def page(path):
    with urllib.request.urlopen(METRICS + path, timeout=20) as answer:
        return answer.read().decode()


def counted(name, **labels):
    """The sum of all samples of a metric that have these labels."""
    total = 0
    for line in page("/metrics").splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += int(line.rpartition(" ")[2])
    return total


def way_of(lab, letter):
    """How a letter went, as far as it does not change from one to the next."""
    last = letter.events(lab)[-1:]
    return (letter.code, letter.fate(lab), sorted({c["host"] for c in letter.copies(lab)}),
            [(d.service, d.dsn, d.tls) for d in last])


def send_to_all(lab, word):
    partners = [p for p in table.PARTNERS if not p.slow]
    sent = letters.post(lab, [(letters.by_smtp, f"{word}@{p.domain}") for p in partners])
    letters.settle(lab, sent)
    return sent


def expect_said(partner, line):
    wanted = partner.mandatory
    verdict = "deliver" if wanted.policy else "pass" if wanted.outcome == "bounced" else "hold"
    expect(line[4] == partner.state, f"dane={line[4]}, wanted {partner.state}", line)
    expect(line[6] == verdict, f"verdict={line[6]}, wanted {verdict}", line)
    expect(line[7] == (wanted.reason or "-"), f"reason={line[7]}, wanted {wanted.reason}", line)
    expect(line[9] == (wanted.policy or "-"), f"policy={line[9]}, wanted {wanted.policy}", line)
    expect(line[8] == "dane-mandatory", line)


@chapter
def shadow_inventory(lab, book):
    """a mandatory connector for everyone, in test mode: an inventory of all partners, and mail goes as without it"""
    lab.rules([])
    before = send_to_all(lab, "before")
    lab.rules([INVENTORY])
    mark = len(lab.danelawd.lines())
    after = send_to_all(lab, "after")
    wait_until(lambda: len(shadows(lab, mark)) >= len(after), 30, "all shadows")
    said = shadows(lab, mark)
    for one, other in zip(before, after):
        with book.test(f"inventory {other.partner.name}: {other.partner.state}, and mail as before"):
            expect(way_of(lab, one) == way_of(lab, other), f"{way_of(lab, one)} became {way_of(lab, other)}",
                   lambda x=one: x.story(lab), lambda x=other: x.story(lab))
            expect(len(said[other.recipient]) == 1, said[other.recipient])
            expect(said[other.recipient][0][0] == other.queue_id, said[other.recipient], other.story(lab))
            expect_said(other.partner, said[other.recipient][0])
    with book.test("the table has no line for anybody"):
        with open(daemon.STORE + "/postfix/transport", encoding="utf-8") as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
        expect(not lines, lines)
    with book.test("metrics: shadows are counted apart, and nothing is held"):
        expect(counted("danelaw_shadow_decisions_total", connector="inventory") >= len(after), page("/metrics"))
        expect(counted("danelaw_decisions_total", connector="inventory") == 0, page("/metrics"))
        expect("\ndanelaw_connectors_test_mode 1\n" in page("/metrics"), page("/metrics"))
        expect("\ndanelaw_holds 0\n" in page("/metrics"), page("/metrics"))
    with book.test("healthz is well"):
        expect(page("/healthz") == "ok\n", page("/healthz"))
    with book.test("danelaw connectors: the acting one matches, the other is listed as in test mode"):
        match = lab.danelawd.ask("connectors", "match", f"u@{BAD}")
        expect(match[0]["name"] == "(default)", match)
        listed = {c["name"]: c for c in lab.danelawd.ask("connectors")}
        expect(listed["inventory"]["test_mode"] is True, listed)
    lab.danelawd.kill()
    with book.test("danelawd is killed: mail goes on"):
        sent = letters.post(lab, [(way, f"killed@{d}") for d in (GOOD, BAD, OTHER)
                                  for way in (letters.by_smtp, letters.by_sendmail)])
        letters.settle(lab, sent)
        for letter in sent:
            expect_fate(lab, letter, "delivered")


@chapter
def shadow_beside(lab, book):
    """a named connector in test mode beside others that act"""
    rules = [connectors.mandatory(GOOD), connectors.mandatory(BAD, name="planned", test_mode=True),
             connectors.opportunistic("*.example", name="wide")]
    lab.rules(rules)
    with book.test("before the test: refused by nobody, told by the shadow, acted on by the wider"):
        mark = len(lab.danelawd.lines())
        sent = letters.post(lab, [(letters.by_smtp, f"u@{d}") for d in (GOOD, BAD, OTHER)])
        letters.settle(lab, sent)
        for letter in sent:
            expect_fate(lab, letter, "delivered")
        wait_until(lambda: shadows(lab, mark).get(f"u@{BAD}"), 20, "the shadow")
        said = shadows(lab, mark)
        expect(said[f"u@{BAD}"][0][:4] == (sent[1].queue_id, f"u@{BAD}", letters.SENDER, "planned"), said)
        expect(said[f"u@{BAD}"][0][6:9] == ("hold", "dane-required", "dane-mandatory"), said)
        acted = [line for line in lab.danelawd.lines()[mark:] if f'to=<u@{BAD}>' in line and "shadow" not in line]
        expect(len(acted) == 1 and 'connector="wide"' in acted[0] and "verdict=deliver" in acted[0], acted)
    with book.test("the tables are asked: the shadow of the whole domain is told there, too"):
        wait_until(lambda: [x for x in shadows(lab, mark).get(BAD, []) if x[0] == "NOQUEUE"], 20, "the table's shadow")
        expect(not [x for x in shadows(lab, mark) if x.endswith(GOOD) or x.endswith(OTHER)], shadows(lab, mark))
    with book.test("the test is over: the connector acts"):
        lab.danelawd.configure([dict(rule, test_mode=False) for rule in rules])
        expect(lab.danelawd.cli("reload").returncode == 0, lab.danelawd.tail())
        wait_until(lambda: "dane-required: " in letters.by_smtp(lab, f"v@{BAD}").reply, 20, "a refusal")


@chapter
def shadow_of_the_queue(lab, book):
    """default_transport = danelaw: mail that only the queue sees has its shadow by the tables"""
    lab.rules([INVENTORY])
    lab.roads("--all")
    mark = len(lab.danelawd.lines())
    sent = letters.post(lab, [(letters.by_sendmail, f"q@{d}") for d in (GOOD, BAD, OTHER)])
    letters.settle(lab, sent)
    with book.test("delivered by the open road, as without the connector"):
        for letter in sent:
            expect_fate(lab, letter, "delivered")
            expect(letter.events(lab)[-1].service == "postfix/danelaw/smtp", letter.story(lab))
    with book.test("a shadow for each next hop"):
        wait_until(lambda: {GOOD, BAD, OTHER} <= set(shadows(lab, mark)), 20, "three shadows")
        said = shadows(lab, mark)
        expect([said[d][0][6] for d in (GOOD, BAD, OTHER)] == ["deliver", "hold", "hold"], said)
