"""Storms: mail to all kinds of partner while danelawd is killed and started again, and every letter counted."""

import os
import statistics
import time

import connectors
import daemon
import reckoning
import sts
from lab import wait_until
from storming import KINDS, SAFE, Storm, rules
from trial import chapter, expect
from weather import Weather, len_of

LINES_LOST = 50                         # at most, by a kill: they wait for some milliseconds, in which the trace may be written


def warm(lab):
    """Postfix's resolver and danelawd have met the partners; some of them take their time."""
    def known():
        found = {c["name"]: c for c in lab.danelawd.ask("connectors")}
        good = [d for kind in KINDS if kind.rule == SAFE for d in kind.domains]
        return all(found[d]["verdict"] == "deliver" for d in good)
    wait_until(known, 60, "danelawd to know its partners")


def rage(storm, weather, seconds):
    """From the first letter to the last client that gives up."""
    storm.start(seconds)
    weather.start()
    storm.wait_for_first_round()
    weather.end()
    storm.finish(4 * storm.hold + 240)


def hold_out(lab, book, messages, seed, every, hold, kills=None, seconds=0):
    """kills: so many, and no more; None: for as long as letters come in, which is for so many seconds or more."""
    groups, before = {"sts": sts.settings(lab)}, set(reckoning.set_aside())
    lab.rules(rules(hold), **groups)
    sts.trust(lab)
    warm(lab)
    storm = Storm(lab, messages, seed, hold)
    weather = Weather(lab, seed, every, hold, groups, kills)
    count = reckoning.Reckoning(lab, storm, weather)
    rage(storm, weather, seconds)
    count.settle(storm.hold + 120)
    count.count()
    took = time.monotonic() - storm.began
    print("\n".join("  " + line for line in [*count.table(), *figures(storm, weather, count, took)]), flush=True)
    judge(book, storm, weather, count)
    judge_database(lab, book, weather, before)
    lab.danelawd.cli("held", "forget", "--all")
    lab.rules([connectors.mandatory("good311.example")])
    return count


def judge(book, storm, weather, count):
    for kind in KINDS:
        row = count.rows.get(kind.name, {})
        with book.test(f"{kind.name}: {sum(row.values())} letters, each ended {' or '.join(reckoning.WANTED[kind.rule])}"):
            wrong = [s for s in count.faults["wrong fate"] if s.startswith(kind.name + ":")]
            expect(not wrong, f"{len(wrong)} did not", *wrong[:3])
    for fault in ("unauthenticated", "lost", "twice", "two fates", "without a reason"):
        with book.test(f"{fault}: 0"):
            expect(not count.faults[fault], f"{len(count.faults[fault])}", *count.faults[fault][:3])
    with book.test("nobody got what was not sent there"):
        expect(not count.ends.strangers, *count.ends.strangers[:5])
    with book.test("nobody was refused for good, or had it returned, before the hold was over"):
        expect(not count.too_early(), *count.too_early()[:3])
    with book.test("no session broke, each refusal has one of Danelaw's reasons"):
        expect(not storm.broken and not storm.strange, *storm.broken[:5], *storm.strange[:5])
    with book.test(f"danelawd: {weather.kills()} times killed, never fallen, and always back"):
        expect(not weather.faults, *weather.faults[:5])
        expect(weather.kills() > 0)
    with book.test("no sanitizer has found anything"):
        said = count.lab.danelawd.about("Sanitizer", "runtime error:")
        expect(not said, *said)


def judge_database(lab, book, weather, before):
    """Killed once more, while it is at rest. before: the broken databases that others have left."""
    last = weather.lives[-1]

    def at_rest():
        last.ended, last.log_to = time.time(), len_of(lab.danelawd.log)
        said, rows = reckoning.trace_of(lab.danelawd.log, [last])[0]
        return said == rows
    with book.test("at rest the trace has all that the log has"):
        wait_until(at_rest, 60, "the trace")
    lab.danelawd.kill()
    with book.test("the database is whole after all that, and no other was ever begun"):
        expect(reckoning.integrity() == ["ok"] and set(reckoning.set_aside()) <= before, reckoning.integrity(),
               reckoning.set_aside())
    lab.danelawd.start()
    with book.test("the tables are whole and current, and nothing half-written lies beside them"):
        done = lab.danelawd.cli("tables", "--check")
        expect(done.returncode == 0, done.stdout, done.stderr)
        left = [name for name in os.listdir(daemon.STORE + "/postfix") if ".new" in name]
        expect(not left, *left)
    with book.test("danelaw trace, held and audit read it"):
        for verb in ("trace", "held", "audit"):
            done = lab.danelawd.cli(verb)
            expect(done.returncode == 0 and (done.stdout or verb != "trace"), done.stderr, done.stdout[:500])
    told = reckoning.trace_of(lab.danelawd.log, weather.lives)
    lost = [said - rows for said, rows in told]
    print(f"  trace: {sum(s for s, _ in told)} decisions in the log, {sum(r for _, r in told)} rows; lost by a kill:"
          f" {sum(lost) / len(lost):.1f} on average, {max(lost)} at most", flush=True)
    with book.test("trace and log have all decisions but those of the moment before a kill"):
        expect(min(lost) >= -LINES_LOST, "rows for decisions that the log doesn't have", *told)
        expect(max(lost) <= 1000 and sum(lost) <= 0.5 * sum(s for s, _ in told), *told)
        expect(lost[-1] == 0, "lost while it was at rest", *told[-3:])


def figures(storm, weather, count, took):
    """Lines for a person."""
    sending = storm.all_sent - storm.began
    answers = [life.answers for life in weather.lives if life.answers]
    knows = [life.knows for life in weather.lives if life.knows]
    lives = [life.ended - life.began for life in weather.lives if life.ended]
    yield (f"{len(storm.parcels)} messages to {len(storm.letters)} recipients sent in {sending:.0f} s:"
           f" {len(storm.parcels) / sending:.1f} messages per second; all came to their end within {took:.0f} s")
    yield (f"danelawd killed -9 {weather.kills()} times, after {min(lives, default=0):.2f} to {max(lives, default=0):.2f} s"
           " of life" + "".join(f"; {name} {n}" for name, n in sorted(weather.events.items())))
    for what, times in (("took questions", answers), ("knew a partner", knows)):
        if times:
            yield f"back: {what} again after {statistics.median(times):.2f} s (median), {max(times):.2f} s at most"
    waits = sorted(seconds for _, seconds in count.waited())
    yield (f"a hold of {storm.hold} s: given up after {waits[0]:.0f} s (the first), {statistics.median(waits):.0f} s"
           f" (median), {waits[-1]:.0f} s (the last)")
    if count.own_copies:
        yield f"twice because Postfix heard no answer at the end of a message, and sent it again: {count.own_copies}"
    yield ("refused for now: " + ", ".join(f"{n} x {reason}" for reason, n in sorted(storm.put_off.items()))
           + f"; {sum(x.tries for x in storm.letters)} RCPTs in all")


@chapter
def storm_short(lab, book):
    """300 messages to all kinds of partner while danelawd is killed three times: each is counted"""
    hold_out(lab, book, 300, 1, 2, 10, kills=3, seconds=12)
