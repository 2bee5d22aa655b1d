"""What fails in the leak hunt: each begins, lasts while letters go by every way, and ends."""

import contextlib
import glob
import json
import os
import random
import shutil
import signal
import socket
import sys
import threading

import daemon
import letters
import luck
import policyhost
import sts
import sts_table
import table
import zones
from daemon import CONF, STORE, libconfig
from lab import DANELAW_RESOLVER, HERE, wait_until
from namespace import ROOT, run

FAILURES = {}
KEPT, KEPTBAD = sts_table.BY_NAME["kept"], sts_table.BY_NAME["keptbad"]
CHANGING = (table.HUNTED, KEPT, KEPTBAD)        # partners with a name server of their own
PLAIN = "10 mx.plaintext.example."              # an MX host that an attacker would like: it takes mail in clear
LIAR = {"silent": "127.0.54.254", "slow": "127.0.54.253", "strips": "127.0.54.252", "lies": "127.0.54.251"}
LIES = {LIAR["slow"]: [["*", "*", "delay:3"]], LIAR["strips"]: [["*", "*", "strip"]],
        LIAR["lies"]: [["*", "MX", "answer:" + PLAIN], ["*", "TLSA", "nothing"], ["*", "*", "strip"]]}


class Failure:
    """Nothing fails.  Made anew for each hunt; rng is its own luck."""
    name = what = ""
    shuts = ()                          # unrelated mail that it may shut out: "sendmail-smtp" where F=T speaks
    exempt = ()                         # names of partners to whom it may legitimately let mail through: say why
    returns = ()                        # names of partners whose mail the MTA may return: say why
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
        write(CONF, self.text.replace("connectors = (\n", f"connectors = (\n{more},\n" if number % 2 else "connectors = (\n"))
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
        kinds = (self.luck.randbytes(self.luck.randrange(1, 400)), b"%d:" % self.luck.randrange(10 ** 12),
                 b"15:danelaw route<,", b"30:postfix-tls unsigned.example..,", b'{"verb":"status"', b"\0\0\0\x0dO" + bytes(12))
        return self.luck.choice(kinds)


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


# --- DNS, as danelawd alone sees it

class Resolver(Failure):
    """danelawd starts anew with this forwarder, and without what it knew; the MTA's own resolver is honest."""
    forwarder = ""

    def begin(self, lab):
        self.text = resolve_by(lab, self.forwarder)

    def end(self, lab):
        lab.danelawd.kill()
        write(CONF, self.text)
        lab.danelawd.start()


def resolve_by(lab, forwarder):
    """Returns the configuration as it was."""
    if "liar" not in lab.processes:
        lab.start_resolver("danelaw-resolver", DANELAW_RESOLVER)
        write(ROOT + "/liar.json", json.dumps(LIES))
        lab.spawn("liar", sys.executable, HERE + "/faultdns.py", ROOT + "/liar.json", DANELAW_RESOLVER)
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    old = lab.danelawd.settings["resolver"]
    new = {k: v for k, v in old.items() if k != "root_hints"} | {"forward": [forwarder + "@53"]}
    lab.danelawd.kill()
    write(CONF, text.replace(f"resolver = {libconfig(old)};", f"resolver = {libconfig(new)};"))
    lab.danelawd.start()
    return text


class ResolverDead(Resolver):
    name, what, forwarder = "resolver-dead", "danelawd's resolver never answers", LIAR["silent"]
    patience = 10


class ResolverSlow(Resolver):
    name, what, forwarder = "resolver-slow", "danelawd's resolver takes three seconds for each answer", LIAR["slow"]
    patience = 10


class ResolverStrips(Resolver):
    name, what = "resolver-strips", "danelawd's resolver takes the signatures off, and says that all is secure"
    forwarder = LIAR["strips"]


class ResolverLies(Resolver):
    name, what = "resolver-lies", "danelawd's resolver sends everybody to a host without TLS, and denies all TLSA"
    forwarder = LIAR["lies"]


# --- DNS, as everybody sees it

class Path(Failure):
    """Some partners' name servers lie to everybody."""
    spoiled = {}                        # partner's name: faults

    def begin(self, lab):
        for partner in CHANGING:
            sts.spoil(lab, partner, *self.spoiled.get(partner.name, partner.faults))
        forget(lab)

    def end(self, lab):
        for partner in CHANGING:
            sts.spoil(lab, partner, *partner.faults)
        forget(lab)


def forget(lab):
    """Nobody knows the changing partners any more."""
    lab.flush_resolver()
    sts.forget(lab, *(p.domain for p in CHANGING))


class Forged(Path):
    name, what = "forged", "an attacker on the path to some partners sends their mail to his host, unsigned"
    spoiled = {p.name: (("@", "MX", "answer:" + PLAIN), ("_25._tcp.mx", "TLSA", "nothing")) for p in CHANGING}


class Denied(Path):
    name, what = "denied", "an attacker on the path to some partners denies their TLSA, their MX and their policies, unsigned"
    spoiled = {p.name: (("@", "MX", "nothing"), ("_25._tcp.mx", "TLSA", "nothing"), ("_mta-sts", "TXT", "nothing"))
               for p in CHANGING}
    returns = ("STS",)                  # nothing proves that an unsigned domain has mail hosts


class Replayed(Path):
    name, what = "replayed", "old answers of a partner's, well signed once: to a host that isn't the partner's any more"
    spoiled = {"hunted": (("*", "*", "from:" + zones.PAST_SERVER),)}

    def begin(self, lab):
        if "nsd-past" not in lab.processes:
            past = lab.zones.played_back(table.HUNTED, ["@ MX " + PLAIN, "mx A 127.1.0.1"])
            lab.start_nsd("nsd-past", zones.PAST_SERVER, [table.HUNTED.domain], lambda zone: past)
        super().begin(lab)


class KilledForged(Forged):
    name, what = "killed-forged", "danelawd is dead, and an attacker sends some partners' mail to his host"
    shuts = ("sendmail-smtp",)

    def begin(self, lab):
        super().begin(lab)
        lab.danelawd.kill()

    def end(self, lab):
        lab.danelawd.start()
        super().end(lab)


# --- MTA-STS policies

class PolicyHost(Failure):
    """The partners' records name another policy; this is what there is of it."""
    site = {}

    def begin(self, lab):
        self.before = {p.domain: lab.policy_hosts.change(p.domain, **self.site) for p in (KEPT, KEPTBAD)}
        self.new_ids(lab)

    def new_ids(self, lab):
        for partner in (KEPT, KEPTBAD):
            sts.new_id(lab, partner, self.rng.randrange(10 ** 9))
        forget(lab)

    def end(self, lab):
        for partner in (KEPT, KEPTBAD):
            lab.policy_hosts.set(partner.domain, partner.address, self.before[partner.domain])
        self.new_ids(lab)               # and back, in a world where a policy host is left alone for some minutes after a failure
        forget(lab)


class PolicyDead(PolicyHost):
    name, what = "policy-dead", "the policy host is dead"
    site = {"dead": True}


class PolicyForged(PolicyHost):
    name, what = "policy-forged", "the policy host shows a self-signed certificate and a policy that asks for nothing"
    site = {"certificate": policyhost.certs.SELF_SIGNED, "body": policyhost.policy("none")}


class PolicyOther(PolicyHost):
    name, what = "policy-other", "the policy names other hosts"
    site = {"body": policyhost.policy("enforce", "mx.plaintext.example")}


# --- the generated table

class Table(Failure):
    """Somebody spoils the table; danelawd notices, and writes it anew."""

    def begin(self, lab):
        self.spoil(lab)
        wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 60, "the table to be mended")
        if lab.at_work == "postfix":
            lab.postfix.reload()

    def spoil(self, lab):
        raise NotImplementedError


def tables(lab):
    return glob.glob(f"{STORE}/{lab.at_work}/*")


class TableDeleted(Table):
    name, what = "table-deleted", "the generated table was deleted, danelawd being well"

    def spoil(self, lab):
        for path in tables(lab):
            os.unlink(path)


class TableTruncated(Table):
    name, what = "table-truncated", "the generated table was truncated, danelawd being well"

    def spoil(self, lab):
        for path in tables(lab):
            os.truncate(path, 0)


class TableOld(Table):
    name, what = "table-old", "a table without anybody was put back, danelawd being well"


    def spoil(self, lab):
        put_back(lab, lambda text: text[:text.index("connectors = (")])


def put_back(lab, earlier):
    """The generated table as it was with an earlier configuration, made from the present one's text."""
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    folder, old = f"{STORE}/{lab.at_work}", ROOT + "/old-table"
    shutil.rmtree(old, ignore_errors=True)
    write(CONF, earlier(text))
    run_reload(lab)
    shutil.copytree(folder, old)
    write(CONF, text)
    run_reload(lab)
    for path in tables(lab):
        shutil.copy(f"{old}/{os.path.basename(path)}", path)


class KilledTableOld(Failure):
    name, what = "killed-table-old", "danelawd is dead, and the table is of a time when the partners were opportunistic"
    shuts = ("sendmail-smtp",)
    mta = "postfix"                     # Sendmail's says only who has a requirement

    def begin(self, lab):
        put_back(lab, lax)
        lab.danelawd.kill()
        lab.postfix.reload()

    def end(self, lab):
        lab.danelawd.start()
        lab.postfix.reload()


def lax(text):
    return text.replace('"mandatory"', '"opportunistic"')


class KilledTableGone(Failure):
    name, what = "killed-table-gone", "danelawd is dead, and the table was deleted: nobody's mail has a road"
    shuts = ("sendmail-smtp", "postfix")
    mta = "postfix"

    def begin(self, lab):
        lab.danelawd.kill()
        for path in tables(lab):
            os.unlink(path)
        lab.postfix.reload()

    def end(self, lab):
        lab.danelawd.start()
        lab.postfix.reload()


# --- somebody else at the sockets

class Impostor(Failure):
    """danelawd is dead, and somebody sits at its sockets who says this to whatever he hears."""
    shuts = ("sendmail-smtp",)
    says = b""
    doors = ("map.sock",)

    def begin(self, lab):
        lab.danelawd.kill()
        self.open = []                  # all connections
        self.ears = [self.listen(f"{lab.danelawd.sockets}/{door}") for door in self.doors]

    def listen(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        ear = socket.socket(socket.AF_UNIX)
        ear.bind(path)
        os.chmod(path, 0o666)
        ear.listen(1000)
        threading.Thread(target=self.work, args=(ear,), daemon=True).start()
        return ear

    def work(self, ear):
        with contextlib.suppress(OSError):
            while True:
                client, _ = ear.accept()
                self.open.append(client)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client:
            while client.recv(65536):
                if self.says:
                    client.sendall(self.says)

    def end(self, lab):
        for one in self.ears + self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
                one.close()
        lab.danelawd.start()


def answers(*texts):
    """Each answer of a map has a failure of its own: (name, framed)."""
    return [(text.strip().lower().replace(" ", "-"), b"%d:%s," % (len(text), text.encode())) for text in texts]


class MapGarbage(Impostor):
    name, what = "map-garbage", "somebody at the map socket writes garbage"
    says = b"\xff\xfe99999999999:,,:OK pass,3:OK"


class MapSilent(Impostor):
    name, what = "map-silent", "somebody at the map socket says nothing"
    patience = 5


class MilterGarbage(Impostor):
    name, what = "milter-garbage", "somebody at the mail filter's socket writes garbage"
    says = b"\0\0\0\x05a\xff\xff\xff\xffx"
    doors = ("milter.sock",)


for _name, _framed in answers("NOTFOUND ", "PERM no", "TEMP no", "OK ", "OK nonsense", "OK dane-only", "OK secure"):
    type("MapSays", (Impostor,), {"name": "map-" + _name, "what": f"somebody at the map socket says {_framed.decode()}",
                                  "says": _framed, "mta": "postfix"})
for _name, _framed in answers("OK may", "OK none", "OK dane", "OK encrypt"):
    # Whoever can take the map socket's place decides for the road that asks it; the one for DANE asks nobody.
    type("MapSays", (Impostor,), {"name": "map-" + _name, "what": f"somebody at the map socket says {_framed.decode()}",
                                  "says": _framed, "mta": "postfix", "exempt": ("STS", "STS, wrong certificate")})


# --- the clock

class Clock(Background):
    """danelawd's wall clock jumps, there and back; what it knows is as old as it was."""
    jump, LIBRARY, FILE = 0, ROOT + "/clock.so", ROOT + "/clock"

    def begin(self, lab):
        if not os.path.exists(self.LIBRARY):
            run("cc", "-shared", "-fPIC", "-O1", "-o", self.LIBRARY, HERE + "/clock.c")
        self.set(0)
        lab.danelawd.environment = {"LD_PRELOAD": f"{luck.sanitized()} {self.LIBRARY}".strip(), "CLOCK": self.FILE}
        lab.danelawd.kill()
        lab.danelawd.start()
        self.warm(lab, self.partners)
        super().begin(lab)

    def warm(self, lab, partners):
        self.partners = partners
        super().warm(lab, partners)

    def set(self, seconds):
        with open(self.FILE, "wb" if not os.path.exists(self.FILE) else "r+b") as out:
            out.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def turn(self, _):
        self.set(self.jump)
        self.pause(0.5, 4)
        if self.luck.random() < 0.3:
            self.set(0)
            self.pause(0.1, 1)

    def mend(self, lab):
        self.set(0)
        lab.danelawd.environment = {}


class DayAhead(Clock):
    name, what, jump = "day-ahead", "danelawd's clock jumps a day ahead, now and then back", 86400


class DayBehind(Clock):
    name, what, jump = "day-behind", "danelawd's clock jumps a day back, now and then ahead again", -86400


class YearsAhead(Clock):
    name, what, jump = "years-ahead", "danelawd's clock jumps ten years ahead, now and then back", 3650 * 86400
