"""danelaw sweep: what has waited too long on Danelaw's roads goes back to its sender, and nothing else does."""

import json
import os
import shutil
import subprocess
import time

import connectors
import daemon
import letters
from lab import new_message, wait_until
from trial import Skip, chapter, expect, expect_fate

HOLD = 4
STRICT, BOGUS, WRONG = "unsigned.example", "bogus.example", "mismatch.example"
PATIENT, DEAD, OTHER = "notlsa.example", "good301.example", "servfail.example"
DEAD_HOST = "[mx1.deadmx.example]"


def rules():
    short = {"hold": f"{HOLD}s"}
    return [connectors.mandatory(STRICT, name="strict", **short), connectors.opportunistic(BOGUS, name="bogus", **short),
            connectors.mandatory(WRONG, name="wrong", **short), connectors.mandatory(PATIENT, name="patient", hold="1h"),
            connectors.mandatory(DEAD, name="dead", smart_hosts=[DEAD_HOST], **short)]


def queued(lab):
    """{recipient: message} of what waits."""
    return {r["address"]: m for m in lab.postfix.queue() for r in m["recipients"]}


def held(lab, *recipients, sender=letters.SENDER):
    """Letters that wait in the queue until they are older than the short hold."""
    sent = letters.post(lab, [(letters.by_sendmail, r, sender) for r in recipients])
    letters.settle(lab, sent)
    for letter in sent:
        expect_fate(lab, letter, "held")
    wait_until(lambda: all(r in queued(lab) and queued(lab)[r]["queue_name"] == "deferred" for r in recipients), 20,
               "the letters to be deferred")
    time.sleep(HOLD + 1)
    return sent


def sweep(lab, *options, status=0):
    """What it says: ({recipients: action}, standard error)."""
    done = lab.danelawd.cli("--json", "sweep", *options)
    expect(done.returncode == status, f"exit {done.returncode}", done.stdout, done.stderr)
    items = [json.loads(line) for line in done.stdout.splitlines()]
    for item in items:
        expect(set(item) == {"queue_id", "age", "recipients", "action"} and item["age"] > HOLD, item)
    return {tuple(sorted(item["recipients"])): item["action"] for item in items}, done.stderr


def returned(lab, letter):
    """The DSN that al got for it."""
    mark = f"Final-Recipient: rfc822; {letter.recipient}"
    text = wait_until(lambda: mark in lab.postfix.mailbox("al") and lab.postfix.mailbox("al"), 20,
                      f"the DSN about {letter.recipient}")
    return text[text.index(mark):].split("\nFinal-Recipient:")[0].split("\n--")[0]


def gone(lab, *recipients):
    wait_until(lambda: not set(recipients) & set(queued(lab)), 20, f"{recipients} to leave the queue")


def judged(lab, *names):
    """The daemon has its opinion of these connectors."""
    def known():
        found = {c["name"]: c["verdict"] for c in lab.danelawd.ask("connectors")}
        return all(found[name] is not None for name in names) and lab.danelawd.ask("status")[0]["resolver"]["proven"]
    wait_until(known, 30, "the daemon to know its partners")


@chapter
def sweeping(lab, book):
    """danelaw sweep: who has waited too long is returned, everybody else stays"""
    lab.rules(rules())
    judged(lab, "strict", "wrong", "patient", "dead")
    number, message = new_message()
    lab.postfix.inject(letters.SENDER, [f"mixed@{STRICT}", f"mixed@{PATIENT}"], message)
    nobody = f"null@{STRICT}"
    lab.postfix.inject("", [nobody], new_message(sender="")[1])
    asked = [f"u@{d}" for d in (STRICT, BOGUS, WRONG, PATIENT, DEAD)]
    sent = dict(zip(asked, held(lab, *asked)))
    ripe = [f"u@{STRICT}", f"u@{BOGUS}", f"u@{WRONG}", nobody]
    both = tuple(sorted((f"mixed@{STRICT}", f"mixed@{PATIENT}")))
    with book.test("sweep -n: says what would be done, and touches nothing"):
        before = queued(lab)
        said, _ = sweep(lab, "-n")
        expect(said == {**{(r,): "would bounce" for r in ripe}, both: "mixed"}, said, before)
        expect(queued(lab) == before, before, queued(lab))
        said, _ = sweep(lab, "-n", "--mixed")
        expect(said[both] == "would bounce", said)
    with book.test("sweep is for root alone"):
        done = subprocess.run([daemon.BUILD + "/danelaw", "-c", daemon.CONF, "sweep"], capture_output=True, text=True,
                              user="nobody", check=False)
        expect(done.returncode in (1, 78) and "root" in done.stderr, done)
        expect(set(ripe) <= set(queued(lab)), "touched")
    on_hold = queued(lab)[nobody]["queue_id"]
    subprocess.run(["postsuper", "-h", on_hold], check=True, capture_output=True)
    mark = len(lab.danelawd.lines())
    with book.test("sweep: what is ripe is returned, the rest stays; mail on hold, too"):
        said, _ = sweep(lab)
        expect(said == {**{(r,): "bounced" for r in ripe[:3]}, both: "mixed"}, said, lab.danelawd.tail())
        gone(lab, *ripe[:3])
        expect({nobody, f"u@{PATIENT}", f"u@{DEAD}", *both} <= set(queued(lab)), queued(lab))
        expect("refused" in queued(lab)[f"u@{DEAD}"]["recipients"][0]["delay_reason"], queued(lab)[f"u@{DEAD}"])
    with book.test("the sender gets a DSN with Postfix's reason"):
        for recipient, words in ((ripe[0], "non DNSSEC destination"), (ripe[2], "Server certificate not verified")):
            dsn = returned(lab, sent[recipient])
            expect("Action: failed" in dsn and "Status: 4.7.5" in dsn and words in dsn, dsn)
        expect("Action: failed" in returned(lab, sent[ripe[1]]), "no DSN")
        for letter in (sent[r] for r in ripe[:3]):
            expect(not letter.copies(lab), "LEAK", lambda x=letter: x.story(lab))
    with book.test("the daemon's log has each under its queue id, with the reason"):
        for recipient, reason in ((ripe[0], "dane-required"), (ripe[1], "dnssec-invalid"), (ripe[2], "tlsa-invalid")):
            queue_id = sent[recipient].events(lab)[0].queue_id
            lines = [x for x in lab.danelawd.lines()[mark:] if f"{queue_id}: to=<{recipient}>" in x]
            expect(len(lines) == 1 and f"verdict=bounce reason={reason} " in lines[0], lines, lab.danelawd.tail())
    with book.test("so has the trace"):
        queue_id = sent[ripe[0]].events(lab)[0].queue_id
        rows = wait_until(lambda: [r for r in lab.danelawd.ask("trace", "--queue-id", queue_id) if r["where"] == "sweep"], 10,
                          "the trace")
        expect(len(rows) == 1 and rows[0]["to"] == ripe[0] and rows[0]["verdict"] == "bounce", rows)
    with book.test("sweep again: nothing new"):
        said, _ = sweep(lab)
        expect(said == {both: "mixed"}, said)
    with book.test("sweep --mixed: a message with other recipients, too, as a whole; the null sender's quietly"):
        subprocess.run(["postsuper", "-H", on_hold], check=True, capture_output=True)
        lab.postfix.flush()
        wait_until(lambda: queued(lab).get(nobody, {}).get("queue_name") == "deferred"
                   and "delay_reason" in queued(lab)[nobody]["recipients"][0], 20, "the released letter")
        said, _ = sweep(lab, "--mixed")
        expect(said == {both: "bounced", (nobody,): "bounced"}, said)
        gone(lab, nobody, *both)
        expect({f"u@{PATIENT}", f"u@{DEAD}"} <= set(queued(lab)), queued(lab))
        expect(not lab.partners.got(number), "LEAK")
    with book.test("local mail and everybody else's flows"):
        free = letters.post(lab, [(letters.by_smtp, r) for r in ("bo@sender.example", "u@good311.example")])
        letters.settle(lab, free)
        for letter in free:
            expect_fate(lab, letter, "delivered")


@chapter
def sweeping_without_danelawd(lab, book):
    """danelaw sweep while danelawd is down, with few privileges, and where the reason to wait has gone"""
    lab.rules(rules())
    judged(lab, "strict", "patient")
    held(lab, f"u@{STRICT}", f"u@{BOGUS}")
    with book.test("daemon down: Postfix's own words count, and it says so"):
        lab.danelawd.kill()
        said, remarks = sweep(lab)
        expect(said == {(f"u@{STRICT}",): "bounced"}, said)
        expect("danelawd" in remarks, remarks)
        gone(lab, f"u@{STRICT}")
        expect(f"u@{BOGUS}" in queued(lab), "a map that does not answer is no hold")
    with book.test("with the unit's privileges"):
        if shutil.which("setpriv") is None:
            raise Skip("no setpriv")
        lab.rules(rules())
        judged(lab, "strict")
        held(lab, f"v@{STRICT}", f"v@{BOGUS}")
        kept = "-all,+setuid,+setgid,+dac_override,+fowner"
        done = subprocess.run(["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={kept}",
                               daemon.BUILD + "/danelaw", "-c", daemon.CONF, "sweep"],
                              capture_output=True, text=True, check=False)
        expect(done.returncode == 0 and done.stdout.count(": bounced, after ") == 2, done)
        gone(lab, f"v@{STRICT}", f"v@{BOGUS}")
    with book.test("one at a time"):
        path = daemon.STORE + "/sweep.lock"
        with subprocess.Popen(["flock", path, "sh", "-c", "echo; read x"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            done = lab.danelawd.cli("sweep")
            other.stdin.close()
        expect(done.returncode == 75 and "another sweep" in done.stderr, done)
    with book.test("wildcards: partners are swept, and what can be delivered now is tried"):
        lab.rules([connectors.mandatory("*.example", name="all", hold=f"{HOLD}s")])
        began = time.monotonic()
        first, second = held(lab, f"w@{STRICT}", f"w@{PATIENT}")
        pause = 12 + time.monotonic() - began
        time.sleep(pause)               # older than the hold below, and not yet twice as old
        lab.rules_keep_queue([connectors.opportunistic(PATIENT, name="mended", hold=f"{int(pause)}s"),
                              connectors.mandatory("*.example", name="all", hold=f"{HOLD}s")])
        said, _ = sweep(lab)
        expect(said == {(f"w@{STRICT}",): "bounced"}, said)
        gone(lab, f"w@{STRICT}", f"w@{PATIENT}")
        expect_fate(lab, second, "delivered")
        expect(not first.copies(lab), "LEAK")
    with book.test("no Postfix programs: exit 78 or 75, and nothing is touched"):
        lab.danelawd.configure(rules(), tables={"postmap": "/nonexistent/postmap", "config_dir": "/nonexistent"})
        done = lab.danelawd.cli("sweep")
        expect(done.returncode in (75, 78) and done.stderr, done)
    os.unlink(path)
