"""danelawd and the danelaw command, as the lab runs them."""

import json
import os
import shutil
import signal
import subprocess
import time

import sendmail
from namespace import ROOT
from postfix import CONFIG, SPOOL

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("DANELAW_BUILD") or os.path.join(HERE, "..", "..", "milter")
USER = "nobody"
SOCKETS = SPOOL + "/danelaw"            # below the queue directory, where a chrooted smtpd can reach it
SENDMAIL_SOCKETS = "/run/danelaw"       # where nobody but root and the daemon's user may write
STORE = ROOT + "/store"
CONF = ROOT + "/danelaw.conf"
CONTROL = ROOT + "/control.sock"


class Danelawd:
    """The daemon under test: its configuration, its life and its death."""

    def __init__(self, lab):
        self.lab, self.process, self.number = lab, None, 0
        self.settings = {}              # what danelaw.conf says, connectors apart
        self.in_force = {}              # what it said when the daemon started; a reload changes little of it
        self.environment = {}           # what the daemon is started with besides ours

    @staticmethod
    def built():
        return os.access(os.path.join(BUILD, "danelawd"), os.X_OK)

    # --- configuration

    @property
    def sockets(self):
        return SENDMAIL_SOCKETS if self.lab.at_work == "sendmail" else SOCKETS

    def preset(self):
        """The settings of DESIGN section 2 that the lab needs otherwise than preset."""
        tables = {"mta": "postfix", "config_dir": CONFIG}
        if self.lab.at_work == "sendmail":
            tables = {"mta": "sendmail", "config_dir": sendmail.CONFIG, "postmap": sendmail.BIN + "/makemap"}
        return {
            "user": USER,
            "milter": {"socket": f"unix:{self.sockets}/milter.sock", "socket_group": "postfix",
                       "queue_clients": ["127.0.0.1", "::1"]},
            "maps": {"socket": f"unix:{self.sockets}/map.sock", "socket_group": "postfix"},
            "control": {"socket": f"unix:{CONTROL}"},
            "resolver": {"root_hints": self.lab.zones.hints, "trust_anchor": [self.lab.zones.anchor]},
            "store": {"directory": STORE},
            "log": {"target": "stderr"},
            "tables": tables,
        }

    def configure(self, connectors=(), **groups):
        """Writes danelaw.conf; groups are merged into the lab's presets; the value None drops a group."""
        settings = self.preset()
        for name, group in groups.items():
            if group is None:
                settings.pop(name, None)
            elif isinstance(group, dict):
                merged = {**settings.get(name, {}), **group}
                settings[name] = {k: v for k, v in merged.items() if v is not None}
            else:
                settings[name] = group
        self.settings = settings
        text = "".join(f"{name} = {libconfig(value)};\n" for name, value in settings.items())
        text += "connectors = (\n" + ",\n".join("  " + libconfig(c) for c in connectors) + "\n);\n"
        with open(CONF + ".new", "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(CONF + ".new", CONF)

    # --- life

    @property
    def log(self):
        return self.lab.log_path("danelawd")

    def start(self, wait=60, prepare=True):
        self.launch(prepare)
        deadline = time.monotonic() + wait
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"danelawd ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"danelawd is not ready after {wait} s: {self.tail()}")
            time.sleep(0.05)

    def launch(self, prepare=True):
        """Starts it, and doesn't wait."""
        for directory in (self.sockets, STORE) if prepare else ():
            os.makedirs(directory, exist_ok=True)
            shutil.chown(directory, USER, "postfix")
            os.chmod(directory, 0o755 if self.lab.at_work == "sendmail" else 0o750)     # Sendmail wants to see its map
        self.process = self.spawn()

    def spawn(self):
        """One more process, whatever the others do; nobody waits for it."""
        self.in_force = self.settings
        with open(self.log, "ab") as log:
            return subprocess.Popen([BUILD + "/danelawd", "-f", "-c", CONF], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True, env={**os.environ, **self.environment})

    def ready(self):
        """It answers; whether it finds itself healthy is another matter."""
        return self.cli("status").returncode in (0, 1)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        """kill -9; everything it left stays where it is."""
        if self.running():
            self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.process = None

    def stop(self, patience=60):
        """An orderly end; returns the exit status, or None if it had to be killed."""
        if not self.running():
            self.process = None
            return None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        finally:
            self.process = None

    def restart(self, connectors=(), **groups):
        self.stop()
        self.configure(connectors, **groups)
        self.start()

    # --- the command

    def cli(self, *argv, conf=CONF, timeout=120):
        return subprocess.run([BUILD + "/danelaw", "-c", conf, *argv], capture_output=True, text=True,
                              timeout=timeout, check=False)

    def test(self):
        """danelawd -t"""
        return subprocess.run([BUILD + "/danelawd", "-t", "-c", CONF], capture_output=True, text=True,
                              check=False)

    def ask(self, *argv, **more):
        """The command's --json answer: a list of objects."""
        done = self.cli("--json", *argv, **more)
        try:
            return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        except ValueError as fault:
            raise RuntimeError(f"danelaw --json {' '.join(argv)}: exit {done.returncode}: {fault}: "
                               f"{done.stdout[:500]} {done.stderr[:500]}") from fault

    def settle(self, patience=2):
        """Until what has been said is in the log: a thread of its own writes it, a few milliseconds later."""
        deadline = time.monotonic() + patience
        while self.running() and time.monotonic() < deadline:
            before = os.path.getsize(self.log)
            time.sleep(0.05)
            if os.path.getsize(self.log) == before:
                return

    def lines(self):
        try:
            self.settle()
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def about(self, *words, limit=15):
        return [line for line in self.lines() if any(w in line for w in words)][-limit:]

    def tail(self, lines=15):
        return "\n".join(self.lines()[-lines:])


def libconfig(value):
    """A value in libconfig's words: dict = group, list = array of scalars, tuple = list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[ " + ", ".join(map(libconfig, value)) + " ]"
    if isinstance(value, tuple):
        return "( " + ", ".join(map(libconfig, value)) + " )"
    return "{ " + " ".join(f"{k} = {libconfig(v)};" for k, v in value.items()) + " }"
