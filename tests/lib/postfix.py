"""The sending Postfix: Debian's own layout, chroot and all, mounted over the machine's directories.

Inside the namespace /etc/postfix, /var/spool/postfix and /var/lib/postfix are the lab's, so that sendmail(1),
postconf(1) and "danelaw setup postfix" work without options, as for an administrator.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import time

import maillog
from namespace import ROOT, cover_directory, run

CONFIG, SPOOL, DATA = "/etc/postfix", "/var/spool/postfix", "/var/lib/postfix"
LOG = ROOT + "/log/mail.log"
MAILBOX = ROOT + "/mailbox"             # of every local user of the lab
CHROOT_FILES = ("resolv.conf", "hosts", "services", "nsswitch.conf", "localtime")

MAIN = f"""
compatibility_level = 3.6
myhostname = mail.sender.example
mydomain = sender.example
myorigin = sender.example
mydestination = sender.example
mynetworks = 127.0.0.0/8 [::1]/128
inet_interfaces = loopback-only
inet_protocols = all
queue_directory = {SPOOL}
data_directory = {DATA}
maillog_file = {LOG}
maillog_file_prefixes = {ROOT}
alias_maps = $default_database_type:{CONFIG}/aliases
alias_database = $alias_maps
virtual_alias_maps = $default_database_type:{CONFIG}/virtual
recipient_delimiter = +
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_recipient_limit = 3000
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
# Refused recipients count as errors; with the preset limits a test of many would end after twenty.
smtpd_soft_error_limit = 3000
smtpd_hard_error_limit = 3000
# The site itself is lax, so that whatever leaves a strict road is seen to leave.
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtp_connect_timeout = 5s
smtp_helo_timeout = 20s
smtp_starttls_timeout = 20s
default_process_limit = 250
# Each letter shall have an attempt of its own, also where the one before it failed.
default_destination_concurrency_failed_cohort_limit = 0
biff = no
"""


class Postfix:
    """Configuration, control and queue of the lab's Postfix."""

    def __init__(self):
        self.log = MailLog(LOG)

    def install(self, database_type="", main_more="", aliases=(), virtual=()):
        for path, mode in ((CONFIG, 0o755), (SPOOL, 0o755), (DATA, 0o755)):
            ours = ROOT + "/postfix" + path
            if path == CONFIG:
                shutil.copytree(path, ours, symlinks=True)
            os.makedirs(ours, mode, exist_ok=True)
            cover_directory(path, ours)
        shutil.chown(DATA, "postfix", "postfix")
        with open(CONFIG + "/main.cf", "w", encoding="ascii") as out:
            out.write(MAIN + main_more)
            if database_type:
                out.write(f"default_database_type = {database_type}\n")
        look_old(CONFIG + "/main.cf")
        self._write_master()
        self.write_table("aliases", [f"{name}: {to}" for name, to in aliases], "postalias")
        self.write_table("virtual", [f"{name} {to}" for name, to in virtual], "postmap")
        os.makedirs(MAILBOX, exist_ok=True)
        os.chmod(MAILBOX, 0o777)
        self._furnish_chroot()
        for name in ("main.cf", "master.cf"):
            shutil.copy(f"{CONFIG}/{name}", f"{CONFIG}/{name}.pristine")

    @staticmethod
    def pristine():
        """The configuration as it was before Danelaw."""
        for name in ("main.cf", "master.cf"):
            shutil.copy(f"{CONFIG}/{name}.pristine", f"{CONFIG}/{name}")
            look_old(f"{CONFIG}/{name}")

    @staticmethod
    def edit_master(*services):
        """Takes services out of the chroot."""
        for service in services:
            run("postconf", "-Fe", f"{service}/chroot=n")
            look_old(CONFIG + "/master.cf")

    @staticmethod
    def check():
        """Postfix's complaints about its configuration, but for lines that take the place of earlier ones."""
        done = subprocess.run(["postconf", "-M"], capture_output=True, text=True, check=False)
        used = subprocess.run(["postconf", "-n"], capture_output=True, text=True, check=False)
        lines = (done.stderr + used.stderr).splitlines()
        return "\n".join(line for line in lines if "overriding earlier entry" not in line)

    @staticmethod
    def _write_master():
        """Debian's master.cf as it comes, and the submission service that it has as a comment."""
        source = "/usr/share/postfix/master.cf.dist"
        if not os.path.exists(source):
            source = CONFIG + "/master.cf.proto"
        shutil.copy(source, CONFIG + "/master.cf")
        look_old(CONFIG + "/master.cf")
        run("postconf", "-Me", "submission/inet=submission inet n - y - - smtpd")
        look_old(CONFIG + "/master.cf")
        run("postconf", "-Pe", "submission/inet/smtpd_sasl_auth_enable=yes",
            "submission/inet/smtpd_client_restrictions=permit_sasl_authenticated,reject",
            "submission/inet/syslog_name=postfix/submission")
        look_old(CONFIG + "/master.cf")

    @staticmethod
    def _furnish_chroot():
        os.makedirs(SPOOL + "/etc", exist_ok=True)
        for name in CHROOT_FILES:
            if os.path.exists("/etc/" + name):
                shutil.copy("/etc/" + name, SPOOL + "/etc/" + name)
        for library in glob.glob("/lib/*/libnss_*.so.2"):
            os.makedirs(SPOOL + os.path.dirname(library), exist_ok=True)
            shutil.copy(library, SPOOL + library)

    @staticmethod
    def write_table(name, lines, tool="postmap"):
        with open(f"{CONFIG}/{name}", "w", encoding="utf-8") as out:
            out.write("".join(line + "\n" for line in lines))
        kind = run("postconf", "-hx", "default_database_type").strip()
        run(tool, f"{kind}:{CONFIG}/{name}")

    @staticmethod
    def set(*settings):
        run("postconf", "-e", *settings)

    @staticmethod
    def apply(printed):
        """Adds the lines of the sections "# main.cf" and "# master.cf" as an administrator would."""
        section = None
        pieces = {"main.cf": [], "master.cf": []}
        for line in printed.splitlines():
            title = re.match(r"#\s*(?:\S*/)?(main\.cf|master\.cf)\b", line)
            if title:
                section = title[1]
            elif section:
                pieces[section].append(line)
        for name, lines in pieces.items():
            with open(f"{CONFIG}/{name}", "a", encoding="utf-8") as out:
                out.write("\n".join(lines) + "\n")
            look_old(f"{CONFIG}/{name}")

    @staticmethod
    def rouse(_):
        """Postfix says of all mail what became of it, without being asked."""

    @staticmethod
    def authentic(delivery):
        """Did it travel on a road that sends authenticated or not at all?"""
        return delivery.tls == "Verified" and "danelaw-dane" in delivery.service

    def start(self):
        run("postfix", "start")

    def stop(self):
        run("postfix", "stop")

    @staticmethod
    def reload():
        """Returns when no process with the old configuration will take another session."""
        before = processes("smtpd", "trivial-rewrite")
        run("postfix", "reload")
        deadline = time.monotonic() + 30
        while before & processes("smtpd", "trivial-rewrite") and time.monotonic() < deadline:
            time.sleep(0.02)

    @staticmethod
    def flush():
        run("postqueue", "-f")

    @staticmethod
    def queue():
        """The mail queue, as postqueue -j tells it: a list of dictionaries."""
        return [json.loads(line) for line in run("postqueue", "-j").splitlines()]

    def requeue(self):
        """postsuper -r; pickup(8) looks for such mail once a minute, or when a new letter wakes it."""
        run("postsuper", "-r", "ALL")
        self.inject("al@sender.example", ["al@sender.example"], "Subject: wake up\n\n")

    @staticmethod
    def empty_queue():
        run("postsuper", "-d", "ALL")

    @staticmethod
    def inject(sender, recipients, message, user=None):
        """Mail by sendmail(1), as any user of the machine sends it."""
        argv = ["/usr/sbin/sendmail", "-i", "-f", sender, "--", *recipients]
        done = subprocess.run(argv, input=message, capture_output=True, text=True, user=user, check=False)
        return done.returncode, done.stderr.strip()

    @staticmethod
    def map(table, key):
        """postmap -q on Danelaw's map socket: exit status and answer."""
        done = subprocess.run(["postmap", "-q", key, f"socketmap:unix:{SPOOL}/danelaw/map.sock:{table}"],
                              capture_output=True, text=True, check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    @staticmethod
    def mailbox(name):
        try:
            with open(f"{MAILBOX}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""


def processes(*names):
    """The processes of these names, as far as this namespace sees them."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                if file.read().strip() in names:
                    found.add(path)
        except OSError:                 # gone meanwhile
            pass
    return found


def look_old(path):
    """Postfix's programs sleep for a second before they read a configuration that has just been written."""
    then = time.time() - 60
    os.utime(path, (then, then))


class MailLog(maillog.GrowingLog):
    """Reads Postfix's log as it grows; knows which message met which fate."""

    LINE = re.compile(r"^\S+ +\d+ [\d:]+ \S+ (postfix\S*)\[(\d+)\]: (.*)$")
    FATE = re.compile(r"^(\w+): to=<(.*?)>, .*?relay=(\S+?), .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
    TLS = re.compile(r"^(Verified|Trusted|Untrusted|Anonymous) TLS connection established to (\S+\]):")

    def __init__(self, path):
        super().__init__(path)
        self.tls = {}                                   # pid -> (quality, relay)

    def take(self, line):
        head = self.LINE.match(line)
        if not head:
            return
        service, pid, text = head.groups()
        if service.endswith("/cleanup"):
            words = re.match(r"(\w+): message-id=(.*)", text)
            if words:
                self.by_id[words[2]].add(words[1])
        quality = self.TLS.match(text)
        if quality:
            self.tls[pid] = (quality[1], quality[2].lower())       # as some resolver or other spells it
        fate = self.FATE.match(text)
        if fate:
            queue_id, to, relay, dsn, status, why = fate.groups()
            seen, at = self.tls.get(pid, (None, None))
            tls = seen if at == relay.rpartition(":")[0].lower() else None      # "host[address]:25"
            entry = maillog.Delivery(time.time(), service, pid, queue_id, to, relay, dsn, status, why, tls)
            self.deliveries.append(entry)
            self.by_queue_id[queue_id].append(entry)
