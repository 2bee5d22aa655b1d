"""The daemon's life: reload, restart, sockets, an orderly end."""

import os
import random
import signal
import socket
import stat
import struct
import time

import connectors
import daemon
import letters
from lab import Client, new_message, wait_until
from trial import chapter, expect, expect_fate

BAD, OTHER, GOOD = "unsigned.example", "notlsa.example", "good311.example"
RULES = [connectors.mandatory(BAD), connectors.mandatory(GOOD)]


def judged(lab):
    """True where the milter answers for the mandatory partner."""
    letter = letters.by_smtp(lab, f"u@{BAD}")
    return letter.code == 451 and "dane-required" in letter.reply


@chapter
def reload_in_flight(lab, book):
    """sessions in flight finish on the rules they began with"""
    lab.rules(RULES)
    wait_until(lambda: judged(lab), 20, "the partner's state")
    with book.test("a session that began before the reload keeps its rules, the next one has the new"):
        with Client() as early:
            before, _ = early.send(letters.SENDER, [f"a@{BAD}", f"a@{OTHER}"], new_message()[1])
            expect([c for c, _ in before.values()] == [451, 250], before)
            lab.danelawd.configure([connectors.mandatory(OTHER), connectors.mandatory(GOOD)])
            done = lab.danelawd.cli("reload")
            expect(done.returncode == 0, done.stdout, done.stderr)
            wait_until(lambda: letters.by_smtp(lab, f"u@{OTHER}").code == 451, 20, "the new rules")
            after, _ = early.send(letters.SENDER, [f"b@{BAD}", f"b@{OTHER}"], new_message()[1])
            expect([c for c, _ in after.values()] == [451, 250], after)
        letter = letters.by_smtp(lab, f"c@{BAD}")
        expect(letter.code == 250, letter.story(lab))
    with book.test("SIGUSR1 reloads, too"):
        lab.danelawd.configure(RULES)
        lab.danelawd.signal(signal.SIGUSR1)
        wait_until(lambda: judged(lab), 20, "the old rules again")
    with book.test("a hundred reloads under fire: every answer is right"):
        stop = time.monotonic() + 5
        wrong, reloads = [], 0
        while time.monotonic() < stop:
            lab.danelawd.configure(RULES + [connectors.opportunistic(f"n{reloads}.example")])
            expect(lab.danelawd.cli("reload").returncode == 0, lab.danelawd.tail())
            reloads += 1
            for letter in letters.post(lab, [(letters.by_smtp, f"r{reloads}@{d}") for d in (BAD, GOOD)] * 2):
                if (letter.code == 451) != letter.recipient.endswith(BAD):
                    wrong.append(letter.story(lab))
        expect(not wrong, *wrong[:3])
        expect(reloads > 3, f"only {reloads} reloads in 5 s")


@chapter
def killed_mid_mail(lab, book):
    """danelawd dies in the middle of an SMTP session"""
    lab.rules(RULES)
    wait_until(lambda: judged(lab), 20, "the partner's state")
    with book.test("what is still taken is held by the road, the rest is delivered"):
        number, message = new_message()
        with Client() as client:
            client.smtp.mail(letters.SENDER)
            codes = [client.smtp.rcpt(f"a@{BAD}")[0], client.smtp.rcpt(f"a@{GOOD}")[0]]
            lab.danelawd.kill()
            codes += [client.smtp.rcpt(f"b@{BAD}")[0], client.smtp.rcpt(f"b@{OTHER}")[0]]
            codes.append(client.smtp.data(message)[0])
        expect(codes == [451, 250, 250, 250, 250], codes)
        recipients = (f"a@{GOOD}", f"b@{BAD}", f"b@{OTHER}")
        sent = [letters.Letter("smtp", letters.SENDER, r, number) for r in recipients]
        letters.settle(lab, sent)
        for letter, fate in zip(sent, ("delivered", "held", "delivered")):
            expect_fate(lab, letter, fate)
        expect(not sent[1].copies(lab), "LEAK", lambda: sent[1].story(lab))


@chapter
def bad_configuration(lab, book):
    """a bad configuration keeps the old rules, and says so"""
    lab.rules(RULES)
    wait_until(lambda: judged(lab), 20, "the partner's state")
    good = open(daemon.CONF, encoding="utf-8").read()
    for name, text in (("syntax error", good + "\nthis is not = configuration"),
                       ("unknown setting", good + '\nsmtp_dain = "mandatory";\n'),
                       ("two faults", good.replace('"mandatory"', '"mandatorry"'))):
        with book.test(f"{name}: reload fails and says where; the old rules stay"):
            with open(daemon.CONF, "w", encoding="utf-8") as out:
                out.write(text)
            done = lab.danelawd.cli("reload")
            expect(done.returncode != 0, "reload says all is well")
            expect(daemon.CONF + ":" in done.stdout + done.stderr, done.stdout, done.stderr)
            expect(judged(lab), "the old rules are gone", lab.danelawd.tail())
        with book.test(f"{name}: danelawd -t exits with 78"):
            done = lab.danelawd.test()
            expect(done.returncode == 78, f"exit {done.returncode}", done.stdout, done.stderr)
            expect(daemon.CONF + ":" in done.stdout + done.stderr, done.stdout, done.stderr)
    with open(daemon.CONF, "w", encoding="utf-8") as out:
        out.write(good)
    with book.test("the good one again: danelawd -t exits with 0, reload works"):
        done = lab.danelawd.test()
        expect(done.returncode == 0, done.stdout, done.stderr)
        expect(lab.danelawd.cli("reload").returncode == 0, lab.danelawd.tail())


@chapter
def sockets(lab, book):
    """a new process never loses its sockets to the outgoing one"""
    lab.rules(RULES)
    wait_until(lambda: judged(lab), 20, "the partner's state")
    with book.test("after kill -9 the stale sockets are taken over"):
        lab.danelawd.kill()
        lab.danelawd.start()
        wait_until(lambda: judged(lab), 20, "the milter to answer")
    with book.test("a new process starts while the old one is still stopping"):
        for _ in range(2):
            old = lab.danelawd.process
            os.kill(old.pid, signal.SIGTERM)
            lab.danelawd.process = None
            lab.danelawd.start()
            old.wait(60)
            time.sleep(0.5)
            wait_until(lambda: judged(lab), 20, "the milter to answer after the old process is gone")
            status, answer = lab.postfix.map("postfix-tls", OTHER)
            expect(status == 0 or not answer, "the map socket is gone", status, answer)
            expect(lab.danelawd.ready(), "the control socket is gone")
    with book.test("SIGTERM: an orderly end in time, exit status 0, mail goes on"):
        letter = letters.by_queue_client(lab, f"u@{GOOD}")
        started = time.monotonic()
        status = lab.danelawd.stop()
        expect(status == 0, f"exit status {status}", lab.danelawd.tail())
        expect(time.monotonic() - started < 30, f"{time.monotonic() - started:.1f} s")
        late = letters.by_queue_client(lab, f"u@{GOOD}")
        letters.settle(lab, [letter, late])
        expect_fate(lab, letter, "delivered")
        expect_fate(lab, late, "delivered")
    with book.test("no sanitizer has complained"):
        said = lab.danelawd.about("Sanitizer", "runtime error", limit=40)
        expect(not said, *said)


def server_of(path):
    """The process that listens at a socket, or None."""
    with socket.socket(socket.AF_UNIX) as ask:
        ask.settimeout(10)
        try:
            ask.connect(path)
        except OSError:
            return None
        return struct.unpack("3i", ask.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def doors(lab):
    return [f"{lab.danelawd.sockets}/milter.sock", f"{lab.danelawd.sockets}/map.sock", daemon.CONTROL]


def serves(lab, process):
    return all(server_of(path) == process.pid for path in doors(lab))


def stop_then_start(lab, old):
    old.terminate()
    return lab.danelawd.spawn(), None


def start_then_stop(lab, old):
    new = lab.danelawd.spawn()
    time.sleep(random.random())
    old.terminate()
    return new, None


def killed_while_it_stops(lab, old):
    old.terminate()
    time.sleep(random.random() / 4)
    new = lab.danelawd.spawn()
    time.sleep(random.random() / 4)
    old.kill()
    return new, None


def two_at_once_while_it_stops(lab, old):
    old.terminate()
    return lab.danelawd.spawn(), lab.danelawd.spawn()


def two_at_once_after_its_death(lab, old):
    old.kill()
    return lab.danelawd.spawn(), lab.danelawd.spawn()


def hand_over(lab, old, order):
    """One turn: who serves at its end, with all that was started beside it gone."""
    new, rival = order(lab, old)
    wait_until(lambda: serves(lab, new) or (rival is not None and serves(lab, rival)), 60, "a new process at all sockets")
    old.wait(60)
    if rival is not None:
        if serves(lab, rival):
            new, rival = rival, new
        rival.send_signal(random.choice((signal.SIGTERM, signal.SIGKILL)))
        rival.wait(60)
    expect(serves(lab, new), "not all sockets lead to the new process", [server_of(p) for p in doors(lab)], new.pid, lab.danelawd.tail())
    for path, mode in zip(doors(lab), (0o660, 0o660, 0o660)):
        expect(stat.S_IMODE(os.stat(path).st_mode) == mode, path, oct(os.stat(path).st_mode))
    return new


@chapter
def handover(lab, book):
    """processes come and go over each other, and no socket is lost; TURNS says how often (preset: 8 of each order)"""
    lab.rules(RULES)
    wait_until(lambda: judged(lab), 20, "the partner's state")
    seed = random.randrange(1 << 30)
    random.seed(seed)
    current = lab.danelawd.process
    for order in (stop_then_start, start_then_stop, killed_while_it_stops, two_at_once_while_it_stops, two_at_once_after_its_death):
        turns = int(os.environ.get("TURNS") or 8)
        with book.test(f"{order.__name__.replace('_', ' ')}: {turns} turns (seed {seed})"):
            for _ in range(turns):
                current = lab.danelawd.process = hand_over(lab, current, order)
            wait_until(lambda: judged(lab), 20, "the milter to answer")
    with book.test("no sanitizer has complained"):
        said = lab.danelawd.about("Sanitizer", "runtime error", limit=40)
        expect(not said, *said)
