#!/usr/bin/env python3
"""The real danelawd at the limits on what a stranger can make grow: at a limit all works, one past it is told so, nothing
breaks, and memory stays bounded.

usage: test_limits.py [NAME...]     as test_daemon.py, whose world and doors these tests use
"""

import os
import signal
import socket
import sys
import threading

import test_daemon
from test_daemon import LONG, Daemon, Milter, Score, ask_map, expect, expect_start, full_message, make_world, wait_for

MANY = 300                          # connections, domains in a batch
PINNED = 20                         # more than the connectors name
CROWDED = "421 4.3.2 too many sessions at once"
OTHERS = "452 4.5.3 too many recipients"


class Limited(Daemon):
    """With limits of its own: settings by group, as they are written."""

    def __init__(self, world, address="", **limits):
        self.limits = limits
        super().__init__(world, http=address)

    def write(self, *arguments, **more):
        super().write(*arguments, **more)
        with open(self.config, "rb") as file:
            words = file.read().decode()
        for group, settings in self.limits.items():
            head = f"\n{group} = {{"
            words = words.replace(head, f"{head} {settings}", 1) if head in words else f"{words}{group} = {{ {settings} }};\n"
        with open(self.config, "wb") as file:
            file.write(words.encode())


def resident(d):
    """KiB."""
    with open(f"/proc/{d.process.pid}/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def knock(d):
    """A session, and what it is told."""
    m = Milter(d.milter_path)
    return m, m.connect()


def gets_in(d):
    m, told = knock(d)
    m.quit()
    return told == "continue"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def figure(d, name):
    """A number of /metrics."""
    page = test_daemon.get(d.settings["http"], "/metrics")[1]
    return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name + " "))


# --- sessions

def past_the_last_place_a_session_is_told_to_come_again(world):
    d = Limited(world, milter="clients = 3;").start()
    guests = [d.session() for _ in range(3)]
    late, told = knock(d)
    expect_start(told, CROWDED)
    late.quit()
    late = Milter(d.milter_path)                # an MTA that says nothing of its client
    expect_start(late.mail(), CROWDED)
    late.quit()
    for m in guests:                            # those who are in don't notice
        replies, _ = full_message(m, ["bo@good.example", "bo@bare.example"])
        expect([r[:3] for r in replies], ["con", "451"])
    expect_start(ask_map(d.map_path, "postfix-tls friend.example"), "OK ")          # nor do the tables
    guests.pop().quit()
    assert wait_for(lambda: gets_in(d)), "no place became free"
    for m in guests:
        m.quit()
    assert wait_for(lambda: "as many as milter.clients allows" in d.log())
    expect(d.log().count("as many as milter.clients allows"), 1)                    # once a minute
    d.done()


def crowds_past_the_limit_leave_nothing_behind(world):
    d = Limited(world, free_port(), milter="clients = 1;").start()
    with d.session():
        before = None
        for turn in range(4):
            crowd = [knock(d) for _ in range(MANY)]
            assert all(told.startswith(CROWDED) for _, told in crowd), [told for _, told in crowd][:3]
            for m, _ in crowd:
                m.quit()
            if turn == 0:
                before = resident(d)            # libmilter and malloc have what they need by now
        expect(figure(d, "danelaw_milter_sessions"), 1)
        after = resident(d)
        assert test_daemon.SANITIZED or after < before + 20_000, f"{before} KiB, then {after} KiB"
    assert wait_for(lambda: figure(d, "danelaw_milter_sessions") == 0), "sessions are left"
    d.done()


def places_are_never_lost_in_a_crush(world):
    d = Limited(world, free_port(), milter="clients = 4;").start()
    told, lock = {"continue": 0, "421": 0}, threading.Lock()

    def visit():
        for _ in range(50):
            m, reply = knock(d)
            if reply == "continue":
                full_message(m, ["bo@good.example"])
            m.quit()
            with lock:
                told["continue" if reply == "continue" else reply[:3]] += 1

    visitors = [threading.Thread(target=visit) for _ in range(16)]
    for v in visitors:
        v.start()
    for v in visitors:
        v.join()
    expect(sum(told.values()), 16 * 50)
    assert told["continue"] > 0, told
    assert wait_for(lambda: figure(d, "danelaw_milter_sessions") == 0), "sessions are left"
    guests = [d.session() for _ in range(4)]
    late, reply = knock(d)
    expect_start(reply, CROWDED)
    for m in guests + [late]:
        m.quit()
    d.done()


# --- recipients

def past_the_last_recipient_the_client_sends_another_message(world):
    d = Limited(world, milter="recipients = 3;").start()
    with d.session() as m:
        m.mail()
        expect_start(m.rcpt("bo@bare.example"), "451 4.7.5 ")                       # who is refused doesn't count
        for name in "abc":
            expect(m.rcpt(f"{name}@good.example"), "continue")
            expect(m.rcpt(f"{name}@here.example", mailer="local"), "continue")      # nor who is none of ours
        expect_start(m.rcpt("d@good.example"), OTHERS)
        expect_start(m.rcpt("e@stranger.example"), OTHERS)
        expect_start(m.rcpt("bo@bare.example"), OTHERS)
        expect(m.rcpt("f@here.example", mailer="local"), "continue")
        expect(m.end()[1], b"c")
        m.mail()                                                                    # the next message
        for name in "def":
            expect(m.rcpt(f"{name}@good.example"), "continue")
        m.abort()
        m.mail()
        expect(m.rcpt("g@good.example"), "continue")
    assert wait_for(lambda: "to=<g@good.example> " in d.log()), d.log()[-2000:]
    assert 'to=<d@good.example> ' in d.log() and d.log().count("to=<e@stranger.example>") == 0, d.log()[-2000:]
    d.done()


def mail_that_nobody_could_part_is_not_limited(world):
    d = Limited(world, milter="recipients = 3;").start()
    with d.session(host="localhost", address="127.0.0.1", port=0) as m:
        m.mail()
        for number in range(10):
            expect(m.rcpt(f"u{number}@bare.example", mailer=None), "continue")
        expect(m.end()[1], b"c")
    d.done()


def ten_thousand_recipients_take_no_memory_that_stays(world):
    d = Limited(world).start()
    with d.session() as m:
        sizes = []
        for _ in range(2):
            m.mail()
            replies = [m.rcpt(f"u{number}@good.example") for number in range(10_001)]
            expect(set(replies[:-1]), {"continue"})
            expect_start(replies[-1], OTHERS)
            m.abort()
            sizes.append(resident(d))
        assert test_daemon.SANITIZED or sizes[1] < sizes[0] + 20_000, sizes
    d.done()


# --- destinations

def strangers_domains_crowd_out_each_other_and_no_partner(world):
    d = Limited(world, free_port(), resolver="entries = 100;").start()
    with d.session() as m:
        m.mail()
        expect(m.rcpt("bo@good.example"), "continue")

        def kept():
            page = test_daemon.get(d.settings["http"], "/metrics")[1]
            return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("danelaw_evidence{kind=\"dane\""))
        for turn in range(4):
            for number in range(MANY):
                expect(m.rcpt(f"u@x{turn}-{number}.nowhere.example"), "continue")   # the search goes on behind it
            assert wait_for(lambda: figure(d, "danelaw_lookups_running") == 0), "look-ups go on"
            assert kept() <= 100 + PINNED, kept()
        asked = world.asked["mx.good.example"]
        expect(m.rcpt("bo@good.example"), "continue")
        expect(world.asked["mx.good.example"], asked)                               # it is there still
    d.done()


# --- labels

def connectors_past_the_last_label_share_one(world):
    d = Limited(world, free_port(), http="labels = 2;").start()
    with d.session() as m:
        m.mail()
        for to in ("bo@bare.example", "bo@queue.example", "bo@tempfail.example", "bo@percent.example", "bo@bare.example"):
            m.rcpt(to)

    def page():
        return [line for line in test_daemon.get(d.settings["http"], "/metrics")[1].splitlines()
                if line.startswith("danelaw_decisions_total{")]
    assert wait_for(lambda: sum(int(line.split()[-1]) for line in page()) >= 5), page()
    names = {line.split('connector="')[1].split('"')[0] for line in page()}
    assert len(names) == 3 and "(others)" in names and "Bank" in names, names
    d.done()


# --- reload

CHANGES = {"milter.clients": "7", "milter.recipients": "8", "maps.clients": "9", "http.labels": "10", "resolver.entries": "1000",
           "resolver.tlsa_records": "11", "resolver.cache": '"32M"', "sts.entries": "12", "sts.body": '"2K"',
           "store.trace_days": "13", "store.trace_rows": "14"}


def a_reload_says_which_limits_want_a_restart(world):
    d = Limited(world).start()
    for name, value in CHANGES.items():
        group, setting = name.split(".")
        d.limits[group] = d.limits.get(group, "") + f"{setting} = {value}; "
    d.write()
    d.process.send_signal(signal.SIGUSR1)
    for name in CHANGES:
        assert wait_for(lambda name=name: f"{name} has changed; restart danelawd for that" in d.log()), (name, d.log()[-3000:])
    guests = [d.session() for _ in range(8)]            # as before
    for m in guests:
        m.quit()
    d.stop()
    d.start()
    guests = [d.session() for _ in range(7)]
    assert not gets_in(d), "the new limit is not in force"
    for m in guests:
        m.quit()
    d.done()


def a_limit_out_of_bounds_is_a_fault(world):
    d = Limited(world, milter="clients = 0; recipients = 0;", http="labels = 0;", resolver="entries = 99; tlsa_records = 65;",
                sts="body = 1023;", store="trace_rows = 0;")
    process = d.spawn("-t")
    expect(process.wait(LONG), 78)
    for name in ("clients", "recipients", "entries", "tlsa_records", "labels", "body", "trace_rows"):
        assert f"{name}: " in d.log(), (name, d.log())
    d.done()


TESTS = [past_the_last_place_a_session_is_told_to_come_again, crowds_past_the_limit_leave_nothing_behind,
         places_are_never_lost_in_a_crush, past_the_last_recipient_the_client_sends_another_message,
         mail_that_nobody_could_part_is_not_limited, ten_thousand_recipients_take_no_memory_that_stays,
         strangers_domains_crowd_out_each_other_and_no_partner, connectors_past_the_last_label_share_one,
         a_reload_says_which_limits_want_a_restart, a_limit_out_of_bounds_is_a_fault]


def main(names):
    if not os.access(test_daemon.DANELAWD, os.X_OK):
        print(f"{test_daemon.DANELAWD} is not built")
        return 77
    with open(test_daemon.DANELAWD, "rb") as file:
        program = file.read()
    test_daemon.SANITIZED = b"__tsan_init" in program or b"__asan_init" in program
    score, world = Score(), make_world()
    for test in TESTS:
        if not names or test.__name__ in names:
            score.run(test, world)
    print(f"{score.passed} passed, {score.failed} failed, {score.skipped} skipped")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
