"""What fails in the leak hunt: each begins, lasts while letters go by every way, and ends.

Here are danelawd's own process and its store; the rest is in hunt_dns_failures, hunt_table_failures and
hunt_sendmail_failures, which add themselves to FAILURES.
"""

import contextlib
import glob
import os
import random
import shutil
import signal
import socket
import threading

import daemon
import letters
from daemon import CONF, STORE
from lab import wait_until
from namespace import run

FAILURES = {}


class Failure:
    """Nothing fails.  Made anew for each hunt; rng is its own luck."""
    name = what = ""
    shuts = ()                          # unrelated mail that it may shut out: "sendmail-smtp" where F=T speaks
    exempt = ()                         # names of partners to whom it may legitimately let mail through: say why
    returns = ()                        # names of partners whose mail the MTA may return: say why
    drops = ()                          # names of ways whose mail the MTA may drop: say why
    patience = 60                       # seconds until nobody waits any more for mail whose road asks danelawd
    share = 1                           # a third of the combinations, where a letter takes long: 3
    mta = ""                            # "postfix" or "sendmail" where the other has nothing that could fail so

    def __init__(self, rng):
        self.rng = rng

    def __init_subclass__(cls):
        if cls.name:
            FAILURES[cls.name] = cls

    def groups(self, lab):
        """Settings of danelawd that the failure needs."""
        return {}

    def warm(self, lab, partners):
        """Before it begins: danelawd knows the partners."""
        def known():
            return all("dns-temp" not in letters.by_smtp(lab, f"warm@{p.domain}", p.sender).reply for p in partners
                       if p.rule != "waits")
        wait_until(known, 60, "the partners' states")

    def begin(self, lab):
        pass

    def end(self, lab):
        pass


class Background(Failure):
    """Goes on by itself: turn() again and again, with pauses."""

    def begin(self, lab):
        self.luck, self.over, self.fault = random.Random(self.rng.random()), threading.Event(), None
        self.thread = threading.Thread(target=self._work, args=(lab,))
        self.thread.start()

    def _work(self, lab):
        try:
            while not self.over.is_set():
                self.turn(lab)
        except Exception as fault:                              # told by end()
            self.fault = fault

    def pause(self, least, most):
        self.over.wait(self.luck.uniform(least, most))

    def turn(self, lab):
        raise NotImplementedError

    def mend(self, lab):
        pass

    def end(self, lab):
        self.over.set()
        self.thread.join()
        self.mend(lab)
        if self.fault is not None:
            raise self.fault


# --- the process

class Nothing(Failure):
    name, what = "none", "all is well"


class Killed(Failure):
    name, what = "killed", "danelawd is dead"
    shuts = ("sendmail-smtp",)

    def begin(self, lab):
        lab.danelawd.kill()

    def end(self, lab):
        lab.danelawd.start()


class Stopped(Failure):
    name, what = "stopped", "danelawd hangs (SIGSTOP)"
    shuts = ("sendmail-smtp",)
    patience, share = 5, 3              # an MTA waits for its filter's first word, once in each session

    def begin(self, lab):
        lab.danelawd.signal(signal.SIGSTOP)

    def end(self, lab):
        lab.danelawd.signal(signal.SIGCONT)


class Restarted(Background):
    name, what = "restarted", "danelawd is killed at random moments, and started again"
    shuts = ("sendmail-smtp",)

    def turn(self, lab):
        self.pause(0.1, 1.5)
        lab.danelawd.kill()
        self.pause(0.0, 0.7)
        lab.danelawd.start()


class StopAndGo(Background):
    name, what = "stop-and-go", "danelawd stops and goes on (SIGSTOP, SIGCONT) at random moments"
    shuts = ("sendmail-smtp",)

    def turn(self, lab):
        lab.danelawd.signal(signal.SIGSTOP)
        self.pause(0.1, 3)
        lab.danelawd.signal(signal.SIGCONT)
        self.pause(0.1, 1)


class Descriptors(Failure):
    name, what = "descriptors", "danelawd may open no more files or sockets"
    shuts = ("sendmail-smtp",)
    patience, share = 10, 3

    def begin(self, lab):
        pid = lab.danelawd.process.pid
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            self.before = next(line.split()[3] for line in file if line.startswith("Max open files"))
        self.limit(pid, len(os.listdir(f"/proc/{pid}/fd")))

    @staticmethod
    def limit(pid, number):
        """As the daemon's own user: root needs a capability for what is somebody else's."""
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            owner = {line.split()[0]: int(line.split()[1]) for line in file if line.startswith(("Uid:", "Gid:"))}
        run("prlimit", f"--pid={pid}", f"--nofile={number}:", user=owner["Uid:"], group=owner["Gid:"], extra_groups=[])

    def end(self, lab):
        if lab.danelawd.running():
            self.limit(lab.danelawd.process.pid, self.before)
        else:
            lab.danelawd.start()


class Reloads(Background):
    name, what = "reloads", "rules that change, taken over by SIGUSR1 and danelaw reload many times a second"

    def begin(self, lab):
        with open(CONF, encoding="utf-8") as file:
            self.text = file.read()
        super().begin(lab)

    def turn(self, lab):
        number = self.luck.randrange(1000)
        more = f'  {{ name = "n{number}"; recipients = [ "n{number}.example" ]; smtp_dane = "mandatory"; }}'
        write(CONF, self.text.replace("connectors = (\n", f"connectors = (\n{more},\n") if number % 2 else self.text)
        if self.luck.random() < 0.7:
            lab.danelawd.signal(signal.SIGUSR1)
        else:
            lab.danelawd.cli("reload")
        self.pause(0.02, 0.08)

    def mend(self, lab):
        write(CONF, self.text)
        run_reload(lab)


class Noise(Background):
    name, what = "noise", "strangers' garbage at the doors for the mail filter, maps and commands"

    def turn(self, lab):
        sockets = lab.danelawd.sockets
        for path in (f"{sockets}/milter.sock", f"{sockets}/map.sock", daemon.CONTROL):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(path)
                client.sendall(self.garbage())
                if self.luck.random() < 0.5:
                    client.recv(100)
        self.pause(0.0, 0.05)

    def garbage(self):
        return self.luck.choice((
            self.luck.randbytes(self.luck.randrange(1, 400)), b"%d:" % self.luck.randrange(10 ** 12), b"15:danelaw route<,",
            b"30:postfix-tls unsigned.example..,", b'{"verb":"status"', b"\0\0\0\x0dO" + bytes(12)))


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(path + ".new", path)


def run_reload(lab):
    done = lab.danelawd.cli("reload")
    if done.returncode != 0:
        raise RuntimeError(f"danelaw reload: exit {done.returncode}: {done.stdout}{done.stderr}")


# --- the store

class StoreGone(Failure):
    name, what = "store-gone", "the database is deleted under danelawd's hands, and its directory is somebody else's"

    def begin(self, lab):
        for path in glob.glob(STORE + "/danelaw.db*"):
            os.unlink(path)
        shutil.chown(STORE, "root", "root")

    def end(self, lab):
        lab.danelawd.kill()
        lab.danelawd.start()            # gives the directory back


class StoreCorrupt(Failure):
    name, what = "store-corrupt", "the database is noise when danelawd starts"

    def begin(self, lab):
        lab.danelawd.kill()
        remove_store()
        with open(STORE + "/danelaw.db", "wb") as out:
            out.write(self.rng.randbytes(65536))
        lab.danelawd.start()

    def end(self, lab):
        lab.danelawd.kill()
        remove_store()
        lab.danelawd.start()


class StoreReadOnly(Failure):
    name, what = "store-read-only", "danelawd starts on a file system that takes nothing"

    def begin(self, lab):
        lab.danelawd.kill()
        run("mount", "--bind", STORE, STORE)
        run("mount", "-o", "remount,ro,bind", STORE)
        lab.danelawd.start(prepare=False)

    def end(self, lab):
        lab.danelawd.kill()
        run("umount", "-l", STORE)
        lab.danelawd.start()


class StoreFull(Failure):
    name, what = "store-full", "the store's disk is full"

    def begin(self, lab):
        lab.danelawd.kill()
        shutil.copytree(STORE, STORE + ".copy")
        run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tiny", STORE)
        shutil.copytree(STORE + ".copy", STORE, dirs_exist_ok=True)
        shutil.rmtree(STORE + ".copy")
        for path in glob.glob(STORE + "/**", recursive=True):
            shutil.chown(path, daemon.USER)
        lab.danelawd.start()
        with open(STORE + "/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def end(self, lab):
        lab.danelawd.kill()
        run("umount", "-l", STORE)
        lab.danelawd.start()


def remove_store():
    for path in glob.glob(STORE + "/danelaw.db*"):
        os.unlink(path)
