"""The laboratory: names, partners, a sending Postfix or Sendmail, and danelawd, in a world of its own.

    namespace.enter()
    with Lab() as lab:
        lab.up()                        # name servers, partners, Postfix (or: mta="sendmail")
        lab.danelawd.start(connectors=[...])
        ...

The MTA asks an unbound on 127.0.0.1; danelawd recurses by itself from the lab's root, or asks the unbound on
127.0.0.2, which a test may stop.
"""

import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
import uuid

import dns.message
import dns.query

import authserver
import certs
import daemon
import policyhost
import sts_table
import table
import zones
from namespace import ROOT, run
from postfix import MAILBOX, SPOOL, Postfix
from sendmail import Sendmail

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = {"nsd": "nsd", "unbound": "unbound", "ldns-signzone": "ldnsutils", "postfix": "postfix"}
POSTFIX_RESOLVER, DANELAW_RESOLVER = "127.0.0.1", "127.0.0.2"
ALIASED = table.PARTNERS + (table.HUNTED,) + sts_table.ALL     # who has aliases at sender.example
CLIENT = "127.0.99.1"                   # a host that is no milter.queue_clients, but may relay


class Lab:
    def __init__(self):
        self.processes = {}
        self.authority = certs.Authority(ROOT + "/certs")
        self.zones = zones.Zones(ROOT + "/zones", self.authority)
        self.postfix = Postfix()
        self.sendmail = Sendmail()
        self.mta, self.at_work = self.postfix, None
        self.partners = Partners(ROOT + "/partners.jsonl")
        self.policy_hosts = policyhost.PolicyHosts(self.authority)
        self.danelawd = daemon.Danelawd(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:            # somebody is waiting; the daemon's orderly end takes its time
            self.danelawd.kill()
        self.down()

    def up(self, database_type="", tell=lambda text: None, mta="postfix"):
        tell("signing the zones")
        self.zones.build()
        tell("starting name servers, resolver and partners")
        self._start_name_servers()
        self._start_partners()
        self._start_policy_hosts()
        self.start_resolver("postfix-resolver", POSTFIX_RESOLVER)
        tell(f"starting {mta.capitalize()}")
        self.use(mta, database_type)
        self._wait_for_dns()

    def down(self):
        self.danelawd.stop()
        for name in list(self.processes):
            self.kill(name)

    def use(self, mta, database_type=""):
        """From now on this MTA sends; Postfix may be followed by Sendmail, but not the other way round."""
        if mta == self.at_work:
            return
        self.danelawd.stop()
        if mta == "postfix":
            self._start_postfix(database_type)
        else:
            if self.at_work is not None:
                self.postfix.stop()
            self.mta = self.sendmail
            self._start_sendmail()
        self.at_work = mta

    def rules(self, connectors, **groups):
        """danelawd and the MTA with these connectors, whatever was before; an empty queue."""
        self.mta.empty_queue()
        self.rules_keep_queue(connectors, **groups)

    def rules_keep_queue(self, connectors, **groups):
        self.danelawd.configure(connectors, **groups)
        if self.danelawd.running() and self.danelawd.in_force == self.danelawd.settings:
            done = self.danelawd.cli("reload")
            if done.returncode != 0:
                raise RuntimeError(f"danelaw reload: exit {done.returncode}: {done.stdout}{done.stderr}")
        else:
            self.danelawd.kill()
            self.danelawd.start()
        self.roads()

    def roads(self, *options):
        """The MTA set up with what danelaw prints, line by line."""
        if self.mta is self.sendmail:
            self._sendmail_roads()
            return
        self.postfix.pristine()
        done = self.danelawd.cli("setup", "postfix", *options)
        if done.returncode != 0:
            raise RuntimeError(f"danelaw setup postfix: exit {done.returncode}: {done.stdout}{done.stderr}")
        self.postfix.apply(done.stdout)
        complaints = self.postfix.check()
        if complaints:
            raise RuntimeError(f"what danelaw setup postfix prints: {complaints}")
        self.postfix.reload()           # so that no test has to wait for Postfix to look at its tables

    # --- processes

    def spawn(self, name, *argv, **more):
        """Starts a process of the lab; its output goes to log/NAME.log."""
        with open(self.log_path(name), "ab") as log:
            self.processes[name] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    start_new_session=True, **more)
        return self.processes[name]

    def kill(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name, None)
        if process is not None:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                os.kill(process.pid, how)
            process.wait()

    @staticmethod
    def log_path(name):
        return f"{ROOT}/log/{name}.log"

    def log_tail(self, name, lines=20):
        try:
            with open(self.log_path(name), encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()[-lines:]
        except FileNotFoundError:
            return []

    # --- parts

    def _start_name_servers(self):
        os.makedirs(ROOT + "/nsd", exist_ok=True)
        self.start_nsd("nsd-root", zones.ROOT_SERVER, [".", "example"])
        self.start_nsd("nsd-zones", zones.ZONE_SERVER, self.zones.partner_zones())
        self.write_faults()
        self.spawn("faultdns", sys.executable, HERE + "/faultdns.py", ROOT + "/faults.json",
                   zones.ZONE_SERVER)

    def start_nsd(self, name, address, served, zone_file=None):
        path = f"{ROOT}/nsd/{name}"
        with open(path + ".conf", "w", encoding="ascii") as out:
            out.write(f'server:\n ip-address: {address}\n database: ""\n username: ""\n chroot: ""\n'
                      f' zonesdir: ""\n pidfile: "{path}.pid"\n xfrdfile: "{path}.xfrd"\n'
                      f' zonelistfile: "{path}.list"\n'
                      f' logfile: "{self.log_path(name)}"\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n'
                      f' tcp-count: 1000\nremote-control:\n control-enable: no\n')
            for zone in served:
                out.write(f'zone:\n name: "{zone}"\n zonefile: "{(zone_file or self.zones.zone_file)(zone)}"\n')
        self.spawn(name, "nsd", "-d", "-c", path + ".conf")

    def write_faults(self):
        """What faultdns does from now on: lab.zones.faults."""
        with open(ROOT + "/faults.json.new", "w", encoding="utf-8") as out:
            json.dump(self.zones.faults, out)
        os.replace(ROOT + "/faults.json.new", ROOT + "/faults.json")

    def _start_partners(self):
        hosts = {}
        for host in self.zones.hosts.values():
            if host.dead:
                continue
            shown = [host.name] + table.SHOWN_ALSO.get(host.name, [])
            entry = {"name": host.name, "pems": [f"{self.authority.directory}/{name}.pem" for name in shown],
                     "starttls": not host.plain}
            if host.has_v4:
                hosts[host.v4] = entry
            if host.has_v6:
                run("ip", "-6", "addr", "add", host.v6 + "/64", "dev", "lo", "nodad")
                hosts[host.v6] = entry
        with open(ROOT + "/hosts.json", "w", encoding="utf-8") as out:
            json.dump(hosts, out)
        self.spawn("partnermta", sys.executable, HERE + "/partnermta.py", ROOT + "/hosts.json",
                   self.partners.path)

    def _start_policy_hosts(self):
        self.policy_hosts.start()
        for partner in sts_table.ALL:
            if partner.site is not None:
                self.policy_hosts.set(partner.domain, partner.address, partner.site)

    def start_resolver(self, name, address):
        """A validating unbound with the lab's root."""
        path = f"{ROOT}/{name}"
        with open(path + ".conf", "w", encoding="ascii") as out:
            out.write(f'server:\n interface: {address}\n access-control: 127.0.0.0/8 allow\n username: ""\n'
                      f' chroot: ""\n directory: "{ROOT}"\n pidfile: ""\n use-syslog: no\n'
                      f' logfile: "{self.log_path(name)}"\n val-log-level: 2\n do-not-query-localhost: no\n'
                      f' root-hints: "{self.zones.hints}"\n trust-anchor-file: "{self.zones.anchor_file}"\n'
                      f' num-threads: 1\n infra-host-ttl: 20\n cache-max-negative-ttl: 60\n'
                      f'remote-control:\n control-enable: yes\n control-interface: "{path}.ctl"\n'
                      f' control-use-cert: no\n')
        return self.spawn(name, "unbound", "-d", "-c", path + ".conf")

    def flush_resolver(self, name="postfix-resolver"):
        run("unbound-control", "-c", f"{ROOT}/{name}.conf", "flush_zone", ".")
        run("unbound-control", "-c", f"{ROOT}/{name}.conf", "flush_infra", "all")

    def _start_postfix(self, database_type):
        aliases = [("postmaster", "root"), ("root", f"{MAILBOX}/root"), ("al", f"{MAILBOX}/al"),
                   ("bo", f"{MAILBOX}/bo")]
        aliases += [(f"alias-{p.name}", f"by-alias@{p.domain}") for p in ALIASED]
        virtual = [(f"virtual-{p.name}@sender.example", f"by-virtual@{p.domain}") for p in ALIASED]
        self.postfix.install(database_type, aliases=aliases, virtual=virtual)
        self.postfix.start()
        wait_until(lambda: os.path.exists(SPOOL + "/private/smtp"), 20, "Postfix to start")
        authserver.start(SPOOL + "/private/auth")
        wait_until(lambda: can_connect("127.0.0.1", 25), 20, "smtpd to listen")

    def _start_sendmail(self):
        aliases = [("postmaster", "root"), ("root", "al")]
        aliases += [(f"list{n}", f":include:{ROOT}/sendmail/home/list{n}") for n in range(1, 5)]
        aliases += [(f"alias-{p.name}", f"by-alias@{p.domain}") for p in ALIASED]
        virtual = [(f"virtual-{p.name}@sender.example", f"by-virtual@{p.domain}") for p in ALIASED]
        self.sendmail.install(aliases=aliases, virtual=virtual)
        authserver.start_saslauthd("/run/saslauthd/mux")
        self.sendmail.start()
        wait_until(lambda: can_connect("127.0.0.1", 25), 20, "Sendmail to listen")

    def _sendmail_roads(self):
        """What danelaw setup sendmail prints, above and below the MAILER lines as it says."""
        done = self.danelawd.cli("setup", "sendmail")
        if done.returncode != 0:
            raise RuntimeError(f"danelaw setup sendmail: exit {done.returncode}: {done.stdout}{done.stderr}")
        if self.sendmail.apply(done.stdout):
            self.sendmail.restart()
            wait_until(lambda: can_connect("127.0.0.1", 25), 20, "Sendmail to listen")

    def _wait_for_dns(self):
        def answers():
            query = dns.message.make_query("good311.example", "MX", want_dnssec=True)
            try:
                return bool(dns.query.udp(query, POSTFIX_RESOLVER, timeout=1).answer)
            except (OSError, dns.exception.Timeout):
                return False
        wait_until(answers, 20, "the resolver to answer")
        wait_until(lambda: can_connect(next(h.v4 for h in self.zones.hosts.values() if h.has_v4), 25), 20,
                   "the partners to listen")


class Partners:
    """What the partners' hosts got."""

    def __init__(self, path):
        self.path, self.offset, self.entries = path, 0, []
        self.lock = threading.Lock()

    def read(self):
        with self.lock:
            try:
                with open(self.path, encoding="utf-8") as file:
                    file.seek(self.offset)
                    while True:
                        line = file.readline()
                        if not line.endswith("\n"):
                            break
                        self.offset = file.tell()
                        self.entries.append(json.loads(line))
            except FileNotFoundError:
                pass
            return list(self.entries)

    def got(self, message_id, recipient=None):
        return [e for e in self.read() if e["id"] == message_id
                and (recipient is None or recipient.lower() in [r.lower() for r in e["recipients"]])]


class Client:
    """A mail client: one SMTP session; remembers each reply."""

    def __init__(self, port=25, source=CLIENT, login=None, timeout=60):
        self.smtp = smtplib.SMTP("127.0.0.1", port, "client.sender.example", timeout, (source, 0))
        self.smtp.ehlo()
        if login:
            self.smtp.login(login, "secret")

    def send(self, sender, recipients, message, options=()):
        """Returns {recipient: (code, text)} and the queue id, or None where no recipient was taken."""
        replies = {}
        code, text = self.smtp.mail(sender, list(options))
        if code != 250:
            return {r: (code, text.decode("utf-8", "replace")) for r in recipients}, None
        for recipient in recipients:
            code, text = self.smtp.rcpt(recipient)
            replies[recipient] = (code, text.decode("utf-8", "replace"))
        if not any(code == 250 for code, _ in replies.values()):
            self.smtp.rset()
            return replies, None
        code, text = self.smtp.data(message)
        if code != 250:
            return {r: (code, text.decode("utf-8", "replace")) for r in recipients}, None
        return replies, text.decode().rsplit(" ", 1)[-1]

    def close(self):
        try:
            self.smtp.quit()
        except (smtplib.SMTPException, OSError):
            self.smtp.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def new_message(subject="hello", sender="al@sender.example", to="partner"):
    """A message and its Message-ID."""
    number = f"<{uuid.uuid4().hex}@lab.sender.example>"
    return number, (f"From: {sender}\nTo: {to}:;\nSubject: {subject}\nMessage-ID: {number}\n"
                    f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\n\nHello.\n")


def can_connect(address, port):
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex((address, port)) == 0


def wait_until(ready, seconds, what):
    """Polls until ready() is true, and returns what it returned; a slow machine has a minute for everything."""
    seconds = max(seconds, 60)
    deadline = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def missing_packages():
    return sorted({package for tool, package in TOOLS.items()
                   if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None})
