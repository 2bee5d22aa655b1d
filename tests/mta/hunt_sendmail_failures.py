"""What fails in the leak hunt beside Sendmail alone: its rules, its map, its own configuration."""

import json
import os
import shutil
import sys
import threading

import fakemap
import hunt
import sendmail
from hunt_failures import Failure
from lab import HERE, POSTFIX_RESOLVER, can_connect, wait_until
from namespace import ROOT

# What no map server may say.  Left out: "OK pass", which an impostor must be believed, since the folder is ours; and a bare OK,
# at which Sendmail's process dies, before it has sent or after.
BABBLE = ("TEMP not now", "PERM no", "NOTFOUND ", "PERHAPS yes", "OK ", fakemap.HANG_UP, b"hello\n", b"7OK pass,", b"7:OK pass;",
          b"9:OK pass,", b"99999999:OK pass,", b":OK pass,", "OK passed", "OK pass x", "OK <pass>", "OK \x80\x81\x85pass",
          "OK discard:x", "OK nosuch:x", "OK danesmtp:", "OK esmtp:[mx.mismatch.example]", "OK " + 300 * "x")
# What Sendmail itself says no to, for good, where it reads a recipient's address.
AT_THE_GATE = ('OK pass"', "OK pass <", "OK dane-required: " + "word " * 1000, "OK dane-required: " + "a." * 1000)
ELSEWHERE = "mx.mismatch.example"       # it has TLS, and mandatory mail of its own, which it may not have
RESOLVER = "127.0.54.240"               # one that lies to Sendmail


class Sendmails(Failure):
    mta = "sendmail"

    @staticmethod
    def restart(lab):
        lab.mta.restart()
        wait_until(lambda: can_connect("127.0.0.1", 25), 20, "Sendmail to listen")


class Babble(dict):
    """Another answer to each question."""

    def __init__(self, rng):
        super().__init__()
        self.rng = rng

    def __getitem__(self, table):
        return self.rng.choice(BABBLE + AT_THE_GATE if table == "gate" else BABBLE)


class Twisted(Sendmails):
    name, what = "twisted", "somebody else answers on the map socket, whatever comes to mind"
    patience = 5
    # Let go before MAIL FROM and held at RCPT, a bounce that Sendmail makes itself takes the failed message's status.
    drops = ("bounce",)

    def begin(self, lab):
        self.server = fakemap.FakeMap(lab.danelawd.sockets + "/map.sock")
        self.server.answers = Babble(self.rng)
        self.server.listen()

    def end(self, lab):
        self.server.close(remove=True)
        lab.danelawd.kill()
        lab.danelawd.start()


class Unsafe(Sendmails):
    name, what = "unsafe", "the folder of the sockets is anybody's to write, and Sendmail will have none of it"
    shuts = ("sendmail-smtp",)
    patience = 5

    def begin(self, lab):
        os.chmod(lab.danelawd.sockets, 0o777)

    def end(self, lab):
        os.chmod(lab.danelawd.sockets, 0o755)


class Mailertable(Sendmails):
    name, what = "mailertable", "the site's mailertable leads all mail to another host"

    def begin(self, lab):
        domains = {p.domain for p in hunt.PARTNERS if p.connector is not None}
        lab.mta.write("mailertable", [f"{domain}\tesmtp:[{ELSEWHERE}]" for domain in sorted(domains)], "hash")

    def end(self, lab):
        lab.mta.write("mailertable", [], "hash")


class Misled(Sendmails):
    """Only Sendmail's own resolver lies: danelawd has another."""
    name, what = "misled", "whoever answers Sendmail's DNS questions leads it to other hosts, by name or by address"
    patience = 5

    def begin(self, lab):
        self.process = f"liar-{self.rng.randrange(1000000)}"
        address = next(h.v4 for h in lab.zones.hosts.values() if h.name == ELSEWHERE)
        lies = []
        for partner in hunt.PARTNERS:
            if partner.connector is not None:
                lies.append([partner.domain, "MX", f"answer:10 {ELSEWHERE}."])
            lies += [[host, "A", "answer:" + address] for host in partner.hosts]
        lies = [lie for lie in lies if lie[1] == "A" or self.rng.random() < 0.7]
        with open(ROOT + "/lies.json", "w", encoding="ascii") as out:
            json.dump({RESOLVER: lies}, out)
        lab.spawn(self.process, sys.executable, HERE + "/faultdns.py", ROOT + "/lies.json", POSTFIX_RESOLVER)
        shutil.copy("/etc/resolv.conf", ROOT + "/resolv.old")
        self.ask(lab, RESOLVER)

    def end(self, lab):
        self.ask(lab, POSTFIX_RESOLVER)
        lab.kill(self.process)

    def ask(self, lab, resolver):
        with open("/etc/resolv.conf", "w", encoding="ascii") as out:
            out.write(f"nameserver {resolver}\noptions timeout:3 attempts:2\n")
        self.restart(lab)


class Runs(Sendmails):
    name, what = "runs", "four queue runners at once, without a pause"

    def begin(self, lab):
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(lab, lab.mta.flush if n else lab.mta.flush_client))
                        for n in range(4)]
        for thread in self.threads:
            thread.start()

    def work(self, lab, flush):
        while not self.over.wait(0.2):
            flush()

    def end(self, lab):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Early(Sendmails):
    name, what = "early", "danelaw-mailfrom.m4 asks before MAIL FROM, and danelawd is killed and started again"
    shuts = ("sendmail-smtp",)
    patience = 20
    SECOND = "include(`/usr/share/danelaw/sendmail/danelaw-mailfrom.m4')dnl\n"

    def begin(self, lab):
        lab.mta.apply(lab.danelawd.cli("setup", "sendmail").stdout + self.SECOND)
        self.restart(lab)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, args=(lab,))
        self.thread.start()

    def work(self, lab):
        while not self.over.is_set():
            lab.danelawd.kill()
            self.over.wait(self.rng.uniform(0.1, 1))
            lab.danelawd.start()
            self.over.wait(self.rng.uniform(0.5, 3))

    def end(self, lab):
        self.over.set()
        self.thread.join()
