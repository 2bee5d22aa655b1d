"""What is measured: a signed zone of many partners, danelawd, and the null servers beside it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from daemon import libconfig                                    # noqa: E402
from namespace import ROOT, run                                 # noqa: E402
from zones import ROOT_SERVER, Zones                            # noqa: E402

BUILD = os.environ.get("DANELAW_BUILD") or os.path.join(HERE, "..", "..", "milter")
TOOLS = os.path.join(os.path.dirname(os.path.abspath(BUILD)), "tests", "bench")
USER = "nobody"
DELAYED = "127.0.53.2"                  # the name server, 20 ms away
DELAY_MS = 20
PARTNERS = 10000
MILTER, MAP = ROOT + "/null-milter.sock", ROOT + "/null-map.sock"


class BenchZones(Zones):
    """The root, and one flat zone "bench" with all partners, each with a mail host and a TLSA record of its own."""

    def build(self):
        records = []
        for number in range(PARTNERS):
            name = f"p{number}"
            records += [f"{name} MX 10 mx.{name}", f"mx.{name} A 127.2.{number >> 8}.{number & 255}",
                        f"_25._tcp.mx.{name} TLSA 3 1 1 {number:064x}"]
        ds = self._make_zone("bench", self._soa("ns.bench.") + [f"ns A {ROOT_SERVER}"] + records, ttl=86400)
        self._make_zone(".", self._soa("a.root.") + [f"a.root. A {ROOT_SERVER}", "bench. NS ns.bench.",
                                                     f"ns.bench. A {ROOT_SERVER}"] + ds, ttl=86400)
        with open(self.hints, "w", encoding="ascii") as out:
            out.write(f". 3600 NS a.root.\na.root. 3600 A {ROOT_SERVER}\n")


class World:
    """Name server, forwarder, null servers; daemons are started as the rows want them."""

    def __init__(self):
        self.zones = BenchZones(ROOT + "/zones", None)
        self.children = []

    def up(self):
        self.zones.build()
        conf = ROOT + "/nsd.conf"
        with open(conf, "w", encoding="ascii") as out:
            out.write(f'server:\n ip-address: {ROOT_SERVER}\n database: ""\n username: ""\n chroot: ""\n zonesdir: ""\n'
                      f' pidfile: "{ROOT}/nsd.pid"\n xfrdfile: "{ROOT}/xfrd"\n zonelistfile: "{ROOT}/list"\n'
                      f' logfile: "{ROOT}/log/nsd.log"\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n'
                      f' server-count: 1\nremote-control:\n control-enable: no\n'
                      f'zone:\n name: "."\n zonefile: "{self.zones.zone_file(".")}"\n'
                      f'zone:\n name: "bench"\n zonefile: "{self.zones.zone_file("bench")}"\n')
        self.spawn("nsd", "-d", "-c", conf)
        self.spawn(TOOLS + "/slow_dns", DELAYED, "53", ROOT_SERVER, "53", str(DELAY_MS), "hang.bench")
        self.null_milter = self.start_null_milter(MILTER)
        self.null_map = self.spawn(TOOLS + "/null_map", MAP)
        wait_until(lambda: os.path.exists(MAP), "the null map")

    def start_null_milter(self, path):
        child = self.spawn(TOOLS + "/null_milter", "-w", ".hang.bench>:3000", path)
        wait_until(lambda: os.path.exists(path), "the null filter")
        return child

    def spawn(self, *argv):
        with open(ROOT + "/log/children", "ab") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)
        return child


class Daemon:
    """One danelawd with a configuration of its own."""

    def __init__(self, world, name, connectors, **groups):
        self.folder = f"{ROOT}/danelawd-{name}"
        self.milter, self.map = self.folder + "/milter.sock", self.folder + "/map.sock"
        self.control = self.folder + "/control.sock"
        self.conf = self.folder + "/danelaw.conf"
        self.world, self.process, self.started, self.lines = world, None, None, 0
        os.makedirs(self.folder)
        shutil.chown(self.folder, USER)
        self.write(connectors, **groups)

    def write(self, connectors, **groups):
        settings = {
            "user": USER, "milter": {"socket": "unix:" + self.milter}, "maps": {"socket": "unix:" + self.map},
            "control": {"socket": "unix:" + self.control}, "http": {"listen": ""},
            "resolver": {"forward": [DELAYED + "@53"], "trust_anchor": [self.world.zones.anchor]},
            "store": {"directory": self.folder}, "log": {"target": "stderr"}}
        for group, values in groups.items():
            settings[group] = {**settings.get(group, {}), **values}
        with open(self.conf, "w", encoding="ascii") as out:
            out.writelines(f"{name} = {libconfig(value)};\n" for name, value in settings.items())
            out.write("connectors = (\n" + ",\n".join(libconfig(c) for c in connectors) + "\n);\n")

    def start(self):
        """Waits until it answers, and tells in "started" how many seconds that took."""
        began = time.monotonic()
        with open(self.folder + "/log", "ab") as log:
            self.process = subprocess.Popen([BUILD + "/danelawd", "-f", "-c", self.conf], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        while self.cli("status").returncode not in (0, 1):
            if self.process.poll() is not None:
                raise RuntimeError(f"danelawd ended: {open(self.folder + '/log', encoding='utf-8').read()[-2000:]}")
            time.sleep(0.01)
        self.started = time.monotonic() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def cli(self, *argv):
        return subprocess.run([BUILD + "/danelaw", "-c", self.conf, *argv], capture_output=True, text=True, check=False)

    def warm(self, count):
        """Asks until every partner's evidence is there; forgets what it logged meanwhile."""
        while True:
            said = load_map(self.map, "-c", 64, "-q", count, "-n", count, "-o", "-p", "postfix-tls p#.bench")
            if said["ok"] == count:
                break
        self.forget_log()

    def forget_log(self):
        """Counts the decisions in the log, and empties it."""
        with open(self.folder + "/log", "rb") as log:
            self.lines += sum(b" verdict=" in line for line in log)
        os.truncate(self.folder + "/log", 0)

    def skipped(self):
        """Decisions that are missing in the log, and in the trace."""
        wait_until(lambda: self.status()["store"]["trace"]["waiting"] == 0, "the trace to be written")
        self.forget_log()
        status = self.status()
        return status["counters"]["asked"] - self.lines, status["store"]["trace"]["dropped"]

    def status(self):
        return json.loads(self.cli("--json", "status").stdout)


@contextlib.contextmanager
def served(world, name, connectors, warm=0, **groups):
    """A daemon that runs, and knows so many partners."""
    daemon = Daemon(world, name, connectors, **groups)
    daemon.start()
    try:
        if warm:
            daemon.warm(warm)
        yield daemon
    finally:
        daemon.stop()


# --- loads

def load_milter(path, *argv):
    return _load("load_milter", path, argv)


def load_map(path, *argv):
    return _load("load_map", path, argv)


def _load(tool, path, argv):
    return json.loads(run(f"{TOOLS}/{tool}", *map(str, argv), path))


def start_load_milter(path, *argv):
    """In the background; end it with kill()."""
    return subprocess.Popen([TOOLS + "/load_milter", *map(str, argv), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


# --- a process, as the kernel sees it

def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def wait_until(so, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)
