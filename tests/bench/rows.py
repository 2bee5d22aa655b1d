"""The rows of the table: each measures Danelaw and what it is compared with in turn, several times, in one run."""

import itertools
import os
import statistics
import subprocess
import time

from postfix import Postfix
from world import (DELAY_MS, MAP, MILTER, PARTNERS, load_map, load_milter, processor_seconds, resident_kib, served, start_load_milter)

ROWS = []
MANDATORY = {"name": "Mandatory", "recipients": ["*.bench"], "smtp_dane": "mandatory", "mta_sts": "none"}
HANGING = {"name": "Hanging", "recipients": ["*.hang.bench"], "smtp_dane": "mandatory", "mta_sts": "none"}
LAX = {"name": "Lax", "recipients": ["*.bench", "*.hang.bench"], "mta_sts": "none"}


def row(function):
    ROWS.append(function)
    return function


class Table:
    """What was measured, printed as it comes."""

    def __init__(self, rounds, size):
        self.rounds, self.size, self.entries = rounds, size, []

    def put(self, name, values, unit, goal="", note=""):
        """The median of several rounds, and their spread."""
        values = [float(v) for v in values]
        entry = {"name": name, "median": statistics.median(values), "least": min(values), "most": max(values), "unit": unit,
                 "goal": goal, "note": note}
        self.entries.append(entry)
        spread = "" if len(values) == 1 else f" ({entry['least']:.4g} to {entry['most']:.4g})"
        print(f"  {name:58} {entry['median']:9.4g} {unit}{spread}" + (f"  goal {goal}" if goal else "")
              + (f"  [{note}]" if note else ""), flush=True)


def ratio(pairs, key):
    return [key(ours) / key(null) for ours, null in pairs]


def by_turns(table, ours, null):
    """Pairs of results, measured in turns; who begins changes each time."""
    pairs = []
    for number in range(table.rounds):
        if number % 2 == 0:
            one = ours()
            pairs.append((one, null()))
        else:
            one = null()
            pairs.append((ours(), one))
    return pairs


def many_connectors(count, smtp_dane="opportunistic"):
    """PARTNERS of them are partners that exist."""
    return [{"name": f"C{n}", "recipients": [f"p{n}.bench"], "smtp_dane": smtp_dane, "mta_sts": "none"} for n in range(count)]


# --- the milter

def milter_rows(table, daemon, what):
    for connections in (1, 16, 64):
        arguments = ("-c", connections, "-m", table.size, "-n", PARTNERS, "-z", "-p", "u@p#.bench")
        pairs = by_turns(table, lambda: load_milter(daemon.milter, *arguments), lambda: load_milter(MILTER, *arguments))
        name = f"{what}, {connections} connections"
        table.put(name + ": messages per second", ratio(pairs, lambda r: r["per_second"]), "x", ">= 0.95",
                  f"{statistics.median(o['per_second'] for o, _ in pairs):.0f}/s")
        table.put(name + ": p99 of RCPT", ratio(pairs, lambda r: r["rcpt_us"]["p99"]), "x", "<= 1.25",
                  f"{statistics.median(o['rcpt_us']['p99'] for o, _ in pairs):.0f} us")
        table.put(name + ": p99 of end of message", ratio(pairs, lambda r: r["end_us"]["p99"]), "x", "<= 1.25")
        daemon.forget_log()


@row
def milter(table, world):
    """messages through the milter, evidence cached, against a filter that does nothing"""
    with served(world, "milter", [MANDATORY], PARTNERS) as daemon:
        milter_rows(table, daemon, "milter")
        processor(table, world, daemon)
        nothing_skipped(table, daemon, "milter")


def nothing_skipped(table, daemon, what):
    """However fast it was: each decision has its line in the log and its row in the trace."""
    lines, rows = daemon.skipped()
    table.put(f"{what}: decisions without a line in the log", [lines], "", "0")
    table.put(f"{what}: decisions without a row in the trace", [rows], "", "0")


def processor(table, world, daemon):
    """The processor's time for each message, of Danelaw and of the null filter."""
    arguments = ("-c", 16, "-m", table.size, "-n", PARTNERS, "-z", "-p", "u@p#.bench")

    def spent(pid, path):
        before = processor_seconds(pid)
        load_milter(path, *arguments)
        return (processor_seconds(pid) - before) * 1e6 / table.size

    pairs = by_turns(table, lambda: spent(daemon.process.pid, daemon.milter), lambda: spent(world.null_milter.pid, MILTER))
    table.put("processor per message", [ours for ours, _ in pairs], "us", "", f"null {statistics.median(n for _, n in pairs):.0f} us")


@row
def trace(table, world):
    """what the trace costs"""
    arguments = ("-c", 16, "-m", table.size, "-n", PARTNERS, "-z", "-p", "u@p#.bench")
    with served(world, "traced", [MANDATORY], PARTNERS) as traced, \
            served(world, "untraced", [MANDATORY], PARTNERS, store={"trace_days": 0}) as untraced:
        pairs = by_turns(table, lambda: load_milter(traced.milter, *arguments), lambda: load_milter(untraced.milter, *arguments))
    table.put("milter with trace against without: messages per second", ratio(pairs, lambda r: r["per_second"]), "x")


@row
def connectors(table, world):
    """100,000 connectors and 10,000 partners: speed, memory, start, reload"""
    with served(world, "bare", []) as daemon:
        bare = resident_kib(daemon.process.pid)
    for count in (1000, 10000, 100000):
        with served(world, f"connectors{count}", many_connectors(count)) as daemon:
            start_and_reload(table, daemon, count, bare)
            if count == 100000:
                partners_beside(table, daemon)


def start_and_reload(table, daemon, count, bare):
    table.put(f"start with {count} connectors", [daemon.started], "s")
    begun = time.monotonic()
    if daemon.cli("reload").returncode != 0:
        raise RuntimeError("the reload failed")
    table.put(f"reload of {count} connectors", [time.monotonic() - begun], "s", "<= 2" if count == 100000 else "")
    time.sleep(3)                                               # what the reload left is given back
    table.put(f"memory for each of {count} connectors", [(resident_kib(daemon.process.pid) - bare) * 1024 / count], "octets")


def partners_beside(table, daemon):
    """10,000 partners beside the connectors."""
    before = resident_kib(daemon.process.pid)
    daemon.warm(PARTNERS)
    time.sleep(3)
    whole = resident_kib(daemon.process.pid)
    table.put("memory for each of 10000 partners in the cache", [(whole - before) * 1024 / PARTNERS], "octets", "",
              "the resolver's cache included")
    table.put("memory with 100000 connectors and 10000 partners", [whole / 1024], "MiB", "<= 60")
    milter_rows(table, daemon, "100000 connectors")
    reload_under_load(table, daemon)


def reload_under_load(table, daemon):
    """A refused connection would end the load with an error."""
    times = []
    load = start_load_milter(daemon.milter, "-c", 16, "-m", 10 * 1000 * 1000, "-n", PARTNERS, "-z", "-p", "u@p#.bench")
    for _ in range(table.rounds):
        begun = time.monotonic()
        daemon.cli("reload")
        times.append(time.monotonic() - begun)
    alive = load.poll() is None
    load.kill()
    load.wait()
    table.put("reload of 100000 connectors under load", times, "s", "", "none refused" if alive else "CONNECTIONS REFUSED")
    daemon.forget_log()


# --- the map

@row
def socketmap(table, world):
    """questions to the map, evidence cached, against a server that always says OK"""
    with served(world, "map", [MANDATORY], PARTNERS, maps={"clients": 4096}) as daemon:
        for clients in (1, 16, 64, 2000):
            arguments = ("-c", clients, "-q", 5 * table.size, "-n", PARTNERS, "-z", "-p", "postfix-tls p#.bench")
            pairs = by_turns(table, lambda: load_map(daemon.map, *arguments), lambda: load_map(MAP, *arguments))
            table.put(f"map, {clients} connections: questions per second", ratio(pairs, lambda r: r["per_second"]), "x", ">= 0.9",
                      f"{statistics.median(o['per_second'] for o, _ in pairs):.0f}/s")
            table.put(f"map, {clients} connections: p99", ratio(pairs, lambda r: r["us"]["p99"]), "x", "",
                      f"{statistics.median(o['us']['p99'] for o, _ in pairs):.0f} us")
            daemon.forget_log()
        nothing_skipped(table, daemon, "map")


# --- DNS

@row
def cold(table, world):
    """decisions about partners that nobody has asked for, with a name server that is 20 ms away"""
    with served(world, "cold", [MANDATORY]) as daemon:
        load_milter(daemon.milter, "-m", 1, "-o", "-p", "u@p9999.bench")     # the root's and the zone's keys
        before = processor_seconds(daemon.process.pid)
        asked = load_milter(daemon.milter, "-m", 500, "-n", 500, "-o", "-p", "u@p#.bench")
        spent = processor_seconds(daemon.process.pid) - before
        table.put("cold decision, one after the other: p50", [asked["rcpt_us"]["p50"] / 1000 / (2 * DELAY_MS)], "x", "<= 1.2",
                  f"{asked['rcpt_us']['p50'] / 1000:.1f} ms, longest chain {2 * DELAY_MS} ms")
        table.put("cold decision: processor", [spent / 500 * 1000], "ms")
        before, begun = processor_seconds(daemon.process.pid), time.monotonic()
        daemon.warm(PARTNERS - 1)
        table.put("cold decisions, 64 at once", [(PARTNERS - 501) / (time.monotonic() - begun)], "per s", "",
                  f"{(processor_seconds(daemon.process.pid) - before) / (PARTNERS - 501) * 1000:.2f} ms of processor each")


@row
def hanging(table, world):
    """healthy partners beside 1000 sessions whose partner's DNS never answers"""
    arguments = ("-c", 16, "-m", 2 * table.size, "-n", 1000, "-z", "-p", "u@p#.bench")
    crowds = itertools.count()

    def beside(path):
        """Each session asks for one new domain after the other, so that each waits as long as the filter lets it. Where a filter
        gives up sooner, nobody asks more often for that."""
        crowd = start_load_milter(path, "-c", 1000, "-m", 10 * 1000 * 1000, "-k", 1000, "-t", 3000, "-n", 1000 * 1000, "-o", "-p",
                                  f"u@p#.{next(crowds)}.hang.bench")
        time.sleep(2)
        try:
            return load_milter(path, *arguments)
        finally:
            crowd.kill()
            crowd.wait()
            time.sleep(4)                                       # the last of them is told to come again

    with served(world, "hanging", [MANDATORY, HANGING], 1000) as daemon:
        pairs = by_turns(table, lambda: beside(daemon.milter), lambda: beside(MILTER))
    table.put("beside 1000 hanging mandatory sessions: p50 of RCPT", ratio(pairs, lambda r: r["rcpt_us"]["p50"]), "x", "<= 1.3",
              f"{statistics.median(o['rcpt_us']['p50'] for o, _ in pairs):.0f} us")
    table.put("beside 1000 hanging mandatory sessions: p99 of RCPT", ratio(pairs, lambda r: r["rcpt_us"]["p99"]), "x", "<= 2",
              f"{statistics.median(o['rcpt_us']['p99'] for o, _ in pairs):.0f} us")
    with served(world, "lax", [LAX], 1000) as daemon:
        pairs = by_turns(table, lambda: load_milter(daemon.milter, *arguments[:-1], "u@p#.hang.bench"),
                         lambda: load_milter(daemon.milter, *arguments))
    table.put("opportunistic partners whose DNS hangs: p50 of RCPT", ratio(pairs, lambda r: r["rcpt_us"]["p50"]), "x", "1",
              "against healthy ones")


# --- memory

@row
def idle(table, world):
    """what a connection costs that does nothing"""
    def crowd(path):
        idlers = start_load_milter(path, "-c", 1000, "-i")
        idlers.stdout.readline()
        time.sleep(1)
        return idlers

    def each(pid, path):
        """The second thousand: the first one also makes the threads that take so many in."""
        crowds = [crowd(path)]
        before = resident_kib(pid)
        crowds.append(crowd(path))
        grown = resident_kib(pid) - before
        for idlers in crowds:
            idlers.stdin.close()
            idlers.wait()
        return grown * 1024 / 1000

    fresh = world.start_null_milter(MILTER + ".fresh")          # the other one has seen more than a thousand
    with served(world, "idle", [MANDATORY]) as daemon:
        ours, null = each(daemon.process.pid, daemon.milter), each(fresh.pid, MILTER + ".fresh")
    table.put("idle milter connection, beyond the null filter's", [ours - null], "octets", "<= 1024", f"null {null:.0f}")


@row
def growth(table, world):
    """memory before and after a million messages"""
    arguments = ("-c", 16, "-m", 100000, "-k", 100, "-n", PARTNERS, "-p", "u@p#.bench")
    with served(world, "growth", [MANDATORY], PARTNERS) as daemon:
        load_milter(daemon.milter, *arguments)
        before = resident_kib(daemon.process.pid)
        for _ in range(10):
            load_milter(daemon.milter, *arguments)
            daemon.forget_log()
        grown = resident_kib(daemon.process.pid) - before
    table.put("growth over a million messages", [grown / 1024], "MiB", "", f"from {before / 1024:.0f} MiB")


# --- Postfix

@row
def postfix(table, world):
    """real Postfix, smtp-source and discard(8): with danelawd, and with the null filter"""
    count = table.size // 4
    mta = Postfix()
    mta.install(main_more="default_transport = discard:\nsmtpd_recipient_restrictions =\n")
    mta.edit_master("smtp/inet")
    mta.start()

    def through(path):
        mta.set(f"smtpd_milters = unix:{path}")
        mta.reload()
        begun = time.monotonic()
        subprocess.run(["/usr/sbin/smtp-source", "-c", "-s", "20", "-m", str(count), "-f", "al@sender.example", "-t", "u@p0.bench",
                        "127.0.0.1:25"], check=True, capture_output=True)
        return count / (time.monotonic() - begun)

    with served(world, "postfix", [MANDATORY], 1, milter={"mailers": ["discard"]}) as daemon:
        for path in (daemon.milter, MILTER):
            os.chmod(path, 0o666)
            through(path)                                       # the first is slow, whoever it is
        pairs = by_turns(table, lambda: through(daemon.milter), lambda: through(MILTER))
    table.put("Postfix with danelawd against the null filter", ratio(pairs, float), "x", ">= 0.95",
              f"{statistics.median(o for o, _ in pairs):.0f} messages/s")
    mta.stop()
