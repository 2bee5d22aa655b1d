"""The sending Sendmail: Debian's own packages, unpacked, never installed, since they and Postfix exclude each other.

Inside the namespace /etc/mail, the queues and sendmail(8) are the lab's, so that sendmail, mailq, makemap, newaliases
and "danelaw setup sendmail" work without options, as for an administrator.  LAB_SENDMAIL names a directory with
the unpacked packages; without it they are fetched with apt-get once, and kept in CACHE.
"""

import concurrent.futures
import contextlib
import fcntl
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import maillog
from namespace import ROOT, cover_directory, run

PACKAGES = ("sendmail-bin", "sendmail-base", "sendmail-cf")     # and the libraries that sendmail-bin names
CACHE = "/var/cache/danelaw-lab/sendmail"
HERE = os.path.dirname(os.path.abspath(__file__))
RULES = os.path.abspath(os.path.join(HERE, "..", "..", "conf", "sendmail"))
CONFIG, SPOOL = "/etc/mail", "/var/spool"
QUEUE, CLIENT_QUEUE = SPOOL + "/mqueue", SPOOL + "/mqueue-client"
LOG = ROOT + "/log/sendmail.log"
MAILBOX = ROOT + "/mailbox"             # of every local user of the lab
BIN = ROOT + "/bin"
OURS = ROOT + "/sendmail"               # what is mounted over the machine's directories
USERS = ("al", "bo", "user1", "user2", "user3", "user4")    # with homes below OURS/home
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# Debian's sendmail.mc, but for what slows down a client that sends many letters at once.
DROPPED = ("greet_pause", "conncontrol", "ratecontrol", "delay_checks", "dialup.m4", "provider.m4",
           "confCONNECTION_RATE_THROTTLE", "confBAD_RCPT_THROTTLE")

SITE = """
undefine(`confHOST_STATUS_DIRECTORY')dnl
dnl # --- what the administrator of sender.example wrote
FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl
FEATURE(`virtusertable', `hash -o /etc/mail/virtusertable')dnl
FEATURE(`accept_unresolvable_domains')dnl
VIRTUSER_DOMAIN(`virtual.sender.example')dnl
define(`confDOMAIN_NAME', `mail.sender.example')dnl
define(`confLOG_LEVEL', `10')dnl
define(`confTO_ICONNECT', `5s')dnl
define(`confTO_RESOLVER_RETRANS', `2s')dnl
define(`confTO_RESOLVER_RETRY', `1')dnl
define(`confTO_CONNECT', `5s')dnl
define(`confREFUSE_LA', `0')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confMAX_DAEMON_CHILDREN', `0')dnl
define(`confMAX_QUEUE_CHILDREN', `0')dnl
define(`confQUEUE_SORT_ORDER', `Filename')dnl
define(`confFORWARD_PATH', `$z/.forward+$h:$z/.forward')dnl
define(`confAUTH_MECHANISMS', `PLAIN')dnl
define(`LOCAL_MAILER_PATH', `%(bin)s/to-mailbox')dnl
define(`LOCAL_MAILER_ARGS', `to-mailbox $u')dnl
""" % {"bin": BIN}


# --- outside the namespace, where there is a network

def fetch():
    """The directory with the unpacked packages; complains where they cannot be had."""
    wanted = os.environ.get("LAB_SENDMAIL") or CACHE
    if not os.path.exists(wanted + "/usr/libexec/sendmail/sendmail"):
        unpack(wanted)
    return wanted


def unpack(directory):
    """apt-get download, dpkg -x: a directory that is complete where it exists."""
    new = directory + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new + "/debs")
    try:
        download(new + "/debs", *PACKAGES)
    except RuntimeError:                # the lists may be old, or not there yet
        run("apt-get", "-q", "update")
        download(new + "/debs", *PACKAGES)
    program = glob.glob(new + "/debs/sendmail-bin_*.deb")[0]
    missing = [name for name in re.findall(r"\blib[\w.+-]+", run("dpkg-deb", "-f", program, "Depends"))
               if not installed(name)]
    if missing:
        download(new + "/debs", *missing)
    for package in glob.glob(new + "/debs/*.deb"):
        run("dpkg", "-x", package, new)
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(new, directory)


def download(directory, *packages):
    run("apt-get", "-q", "download", *packages, cwd=directory)


def installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True,
                          check=False)
    return done.stdout == "installed"


# --- inside

class Sendmail:
    """Configuration, control and queues of the lab's Sendmail."""

    QUEUES = (QUEUE, CLIENT_QUEUE)

    def __init__(self):
        self.log = MailLog(LOG)
        self.packages = os.environ.get("LAB_SENDMAIL") or CACHE
        self.daemons = []
        self.covered = []
        self.catcher = None
        self.source = None              # the sendmail.mc in force

    # --- installing

    def install(self, aliases=(), virtual=(), local=()):
        """Mounts everything, writes the site's own configuration; nothing runs yet."""
        self._make_users()
        self._make_etc()
        self._make_programs()
        self._make_devices()
        for path, owner, mode in ((QUEUE, "smmta", 0o2750), (CLIENT_QUEUE, "smmsp", 0o2770)):
            os.makedirs(OURS + path, exist_ok=True)
            shutil.chown(OURS + path, owner, "smmsp")
            os.chmod(OURS + path, mode)
        self._cover(SPOOL)
        self._make_var_lib()
        os.makedirs(MAILBOX, exist_ok=True)
        self._make_submit()
        self.configure()                # makemap reads it
        self.write("local-host-names", ["sender.example", *local])
        self.write("access", ["Connect:127\tRELAY", "Connect:localhost\tRELAY"], "hash")
        self.write("mailertable", [], "hash")
        self.write("virtusertable", [f"{name}\t{to}" for name, to in virtual], "hash")
        self.write("aliases", [f"{name}: {to}" for name, to in aliases])
        for name in ("trusted-users", "relay-domains"):
            self.write(name, [])
        os.makedirs("/etc/sasl2", exist_ok=True)
        with open("/etc/sasl2/Sendmail.conf", "w", encoding="ascii") as out:
            out.write("pwcheck_method: saslauthd\nsaslauthd_path: /run/saslauthd/mux\nmech_list: PLAIN\n")

    def _cover(self, path):
        cover_directory(path, OURS + path)
        self.covered.append(path)

    def _make_users(self):
        """passwd and group of the machine, with the users of Debian's Sendmail and of the lab; /etc itself, copied."""
        shutil.copytree("/etc", OURS + "/etc", symlinks=True, ignore_dangling_symlinks=True)
        with open(OURS + "/etc/passwd", "a", encoding="utf-8") as users, \
                open(OURS + "/etc/group", "a", encoding="utf-8") as groups:
            for number, name in enumerate(("smmta", "smmsp") + USERS, 901):
                home = f"{OURS}/home/{name}"
                users.write(f"{name}:x:{number}:{number}::{home}:/bin/sh\n")
                groups.write(f"{name}:x:{number}:\n")
                os.makedirs(home, exist_ok=True)
                os.chown(home, number, number)

    def _make_etc(self):
        shutil.copytree(self.packages + CONFIG, OURS + CONFIG, dirs_exist_ok=True)
        with open(OURS + "/etc/ld.so.conf.d/lab.conf", "w", encoding="ascii") as out:
            out.write("\n".join(sorted({os.path.dirname(os.path.realpath(p)) for p in
                                        glob.glob(self.packages + "/usr/lib/*/*.so.*")
                                        + glob.glob(self.packages + "/lib/*/*.so.*")})) + "\n")
        for name in ("resolv.conf", "hosts"):           # the namespace's, which the new mount would hide
            ours = os.path.realpath(OURS + "/etc/" + name)
            if not ours.startswith(OURS):
                ours = OURS + "/etc/" + name
                os.unlink(ours)
            shutil.copy("/etc/" + name, ours)
        self._cover("/etc")
        os.makedirs(OURS + "/ldconfig", exist_ok=True)
        if os.path.isdir("/var/cache/ldconfig"):
            cover_directory("/var/cache/ldconfig", OURS + "/ldconfig")
        run("ldconfig", "-X")

    def _make_programs(self):
        """What Debian's alternatives make of the package: one program under many names."""
        shutil.copytree(self.packages + "/usr/libexec/sendmail", OURS + "/libexec", dirs_exist_ok=True,
                        symlinks=True)
        program = OURS + "/libexec/sendmail"
        shutil.chown(program, "root", "smmsp")
        os.chmod(program, 0o2755)
        os.makedirs(BIN, exist_ok=True)
        for name in ("mailq", "newaliases", "makemap", "editmap", "praliases", "mailstats"):
            target = program if name in ("mailq", "newaliases") else f"{OURS}/libexec/{name}"
            if not os.path.lexists(f"{BIN}/{name}"):
                os.symlink(target, f"{BIN}/{name}")
        with open(BIN + "/to-mailbox", "w", encoding="ascii") as out:
            out.write(f"#!/bin/sh\nexec cat >>'{MAILBOX}'/\"$1\"\n")
        os.chmod(BIN + "/to-mailbox", 0o755)
        cover_directory("/usr/sbin/sendmail", program)
        self.covered.append("/usr/sbin/sendmail")
        if BIN not in os.environ["PATH"].split(":"):
            os.environ["PATH"] = BIN + ":" + os.environ["PATH"]

    def _make_devices(self):
        """A /dev of our own, since /dev/log is compiled in: what Sendmail says ends in LOG."""
        dev = OURS + "/dev"
        os.makedirs(dev, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=0755", "dev", dev)
        for name in DEVICES:
            with open(f"{dev}/{name}", "w", encoding="ascii"):
                pass
            run("mount", "--bind", "/dev/" + name, f"{dev}/{name}")
        for name in ("pts", "shm"):
            if os.path.isdir("/dev/" + name):
                os.makedirs(f"{dev}/{name}")
                run("mount", "--rbind", "/dev/" + name, f"{dev}/{name}")
        os.symlink("/proc/self/fd", dev + "/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
        if os.path.lexists("/dev/ptmx"):
            os.symlink("pts/ptmx", dev + "/ptmx")
        run("mount", "--rbind", dev, "/dev")
        self.catcher = Catcher("/dev/log", LOG)

    def _make_var_lib(self):
        """Sendmail's home, and its statistics; /run is the lab's already."""
        os.makedirs("/run/sendmail/mta", mode=0o755, exist_ok=True)
        os.makedirs("/run/sendmail/msp", mode=0o755, exist_ok=True)
        shutil.chown("/run/sendmail/mta", "smmta", "smmsp")
        shutil.chown("/run/sendmail/msp", "smmsp", "smmsp")

    def _make_submit(self):
        """Debian's, and the line that "danelaw setup sendmail" prints for it; at work on a busy machine, too."""
        source = self.packages + "/usr/share/sendmail/cf/debian/submit.mc"
        with open(source, encoding="utf-8") as file:
            self._compile("submit", file.read().replace(
                "FEATURE(`msp'", "define(`confDONT_EXPAND_CNAMES', `True')dnl\n"
                "define(`confQUEUE_LA', `10000')dnl\nFEATURE(`msp'"))

    # --- configuring

    def configure(self, above="", below="", site=SITE):
        """Writes sendmail.mc as the site has it, with lines above MAILER(...) and below; true where that is news."""
        with open(self.packages + "/usr/share/sendmail/cf/debian/sendmail.mc", encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if not any(word in line for word in DROPPED)]
        # With the preset of 10 waiting connections, of many at once some are never answered.
        lines = [re.sub(r"(^DAEMON_OPTIONS.*)'\)", r"\1, Listen=512')", line) for line in lines]
        at = lines.index("MAILER_DEFINITIONS")
        text = "\n".join([*lines[:at], site, above, *lines[at + 1:], below, ""])
        if text == self.source:
            return False
        self._compile("sendmail", text)
        self.source = text
        return True

    def _compile(self, name, text):
        """NAME.mc and NAME.cf in CONFIG, by m4, with the macros of the unpacked package."""
        with open(f"{CONFIG}/{name}.mc", "w", encoding="utf-8") as out:
            out.write(text)
        macros = self.packages + "/usr/share/sendmail/cf/"
        done = subprocess.run(["m4", f"-D_CF_DIR_={macros}"],
                              input=text.replace("/usr/share/sendmail/cf/", macros).replace(
                                  "OSTYPE(", f"include(`{macros}debian/autoconf.m4')OSTYPE("), capture_output=True,
                              text=True, check=False)
        if done.returncode != 0 or done.stderr.strip():
            raise RuntimeError(f"{name}.mc: m4 complains: {done.stderr.strip()}")
        with open(f"{CONFIG}/{name}.cf", "w", encoding="utf-8") as out:
            out.write(done.stdout)

    @staticmethod
    def write(name, lines, kind=None):
        """A file below CONFIG; kind "hash" makes a map of it."""
        with open(f"{CONFIG}/{name}", "w", encoding="utf-8") as out:
            out.write("".join(line + "\n" for line in lines))
        if kind is not None:
            with open(f"{CONFIG}/{name}", encoding="utf-8") as source:
                run("makemap", kind, f"{CONFIG}/{name}", stdin=source)

    def apply(self, printed):
        """Adds what "danelaw setup sendmail" prints, as an administrator would; true where that is news."""
        text = re.sub(r"include\(`[^']*/([^/']+\.m4)'\)", rf"include(`{RULES}/\1')", printed)
        return self.configure(below=text)

    # --- running

    @staticmethod
    def authentic(delivery):
        """Did it travel by the mailer that carries mandatory mail?  What the partners got says the rest."""
        return delivery.service.endswith("/danesmtp")

    def start(self):
        run("newaliases")
        self.daemons = [self._daemon("-L", "sm-mta", "-bD")]

    @staticmethod
    def _daemon(*argv):
        return subprocess.Popen(["/usr/sbin/sendmail", *argv], stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self):
        for daemon in self.daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            daemon.wait(20)
        self.daemons = []

    def restart(self):
        self.stop()
        self.start()

    @staticmethod
    def flush(*options):
        """One run of the MTA's queue, in the foreground."""
        subprocess.run(["/usr/sbin/sendmail", "-L", "sm-mta", "-qf", *options], capture_output=True, text=True,
                       check=False)

    @staticmethod
    def flush_client(*options):
        """One run of the submission queue."""
        subprocess.run(["/usr/sbin/sendmail", "-L", "sm-msp-queue", "-Ac", "-qf", *options], capture_output=True,
                       check=False)

    @staticmethod
    def mailq(*options):
        return run("/usr/sbin/sendmail", "-bp", *options)

    @staticmethod
    def queue(directory=QUEUE):
        """What waits: a list of (queue id, [recipients], message)."""
        found = []
        for path in glob.glob(directory + "/*f*"):
            if os.path.basename(path)[:2] in ("qf", "hf", "Qf"):
                found += read_control_file(path)
        return found

    @staticmethod
    def resting(queue_ids):
        """Those of the queue ids that nobody is at work on: {queue id: its queue}."""
        found = {}
        for queue_id in queue_ids:
            for directory in (QUEUE, CLIENT_QUEUE):
                with contextlib.suppress(OSError):      # gone, or locked
                    with open(f"{directory}/qf{queue_id}", "rb+") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        found[queue_id] = directory
        return found

    def push(self, letters, workers=16):
        """Once more, now, each by itself: Sendmail puts mail aside without a word where a look-up fails at reception."""
        def run_one(queue_id, directory):
            (self.flush if directory == QUEUE else self.flush_client)("-qI" + queue_id)
        resting = self.resting({i for letter in letters for i in self.log.queue_ids(letter.number)})
        with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
            list(pool.map(lambda item: run_one(*item), resting.items()))

    def rouse(self, letters):
        """Pushes them; what then rests in a queue still, and without a word, is held.

        On a slow machine danelawd's answer may be late once, or twice.
        """
        for _ in range(3):
            self.push(letters)
            time.sleep(0.3)             # the log's last words may still be on their way
        for letter in letters:
            if self.resting(self.log.queue_ids(letter.number)):
                letter.silent = "held"

    @staticmethod
    def empty_queue():
        for directory in (QUEUE, CLIENT_QUEUE):
            for path in glob.glob(directory + "/*"):
                os.unlink(path)

    @staticmethod
    def age(queue_id, seconds):
        """The same mail under a queue id that came into being so long ago; returns the new id."""
        new = queue_id_of(time.time() - seconds) + queue_id[8:]
        for kind in ("df", "qf"):
            os.rename(f"{QUEUE}/{kind}{queue_id}", f"{QUEUE}/{kind}{new}")
        return new

    @staticmethod
    def inject(sender, recipients, message, user=None, options=()):
        """Mail by sendmail(8), as any user of the machine sends it."""
        argv = ["/usr/sbin/sendmail", "-i", *options, "-f", sender, "--", *recipients]
        done = subprocess.run(argv, input=message, capture_output=True, text=True, user=user, check=False,
                              cwd="/")
        return done.returncode, (done.stderr + done.stdout).strip()

    @staticmethod
    def forward(name, address):
        """The .forward of user1 to user4, or the file that one of the aliases list1 to list4 includes."""
        path = f"{OURS}/home/{name}" + ("/.forward" if name in USERS else "")
        with open(path, "w", encoding="ascii") as out:
            out.write(address + "\n")
        if name in USERS:
            shutil.chown(path, name, name)

    @staticmethod
    def mailbox(name):
        try:
            with open(f"{MAILBOX}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""


SIXTY = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"


def queue_id_of(seconds):
    """The first eight characters of a queue id: its time in UTC, and a sequence number."""
    then = time.gmtime(seconds)
    return "".join(SIXTY[n] for n in ((then.tm_year - 1900) % 60, then.tm_mon - 1, then.tm_mday, then.tm_hour,
                                      then.tm_min, then.tm_sec, 0, 0))


def read_control_file(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:           # delivered meanwhile
        return []
    recipients = [line.split(":", 1)[1].strip("<>") for line in lines if line.startswith("R")]
    message = next((line[1:] for line in lines if line.startswith("M")), "")
    return [(os.path.basename(path)[2:], recipients, message)]


class Catcher:
    """syslogd, as small as can be."""

    def __init__(self, address, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(address)
        os.chmod(address, 0o666)
        self.path = path
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        with open(self.path, "a", encoding="utf-8") as out:
            while True:
                text = self.socket.recv(65536).decode("utf-8", "replace").rstrip("\n\0")
                out.write(text.partition(">")[2] + "\n")
                out.flush()


class MailLog(maillog.GrowingLog):
    """Reads Sendmail's log as it grows; knows which message met which fate."""

    LINE = re.compile(r"^\w+ +\d+ [\d:]+ (\S+?)\[(\d+)\]: (\w{14,}): (.*)$")
    FATE = re.compile(r"^to=(.*?), (?:ctladdr=.*?, )?delay=.*?, mailer=(\S+?),.*?dsn=([\d.]+),.*? stat=(.*)$")

    def take(self, line):
        head = self.LINE.match(line)
        if not head:
            return
        program, pid, queue_id, text = head.groups()
        number = re.search(r"^from=.*, msgid=(<.*?>)", text)
        if number:
            self.by_id[number[1]].add(queue_id)
        copied = re.match(r"(\w{14,}): (?:clone|split|DSN|return to sender)", text)
        if copied:                                      # the same message, with some of its recipients, or its bounce
            for known in self.by_id.values():
                if queue_id in known:
                    known.add(copied[1])
        fate = self.FATE.match(text)
        if not fate:
            return
        to, mailer, dsn, status = fate.groups()
        if mailer == "relay" and dsn[0] == "2" or status == "queued":   # only the beginning
            return
        relay = re.search(r", relay=(.*?), dsn=", text)
        outcome = "sent" if status.startswith("Sent") else "bounced" if dsn[0] == "5" else "deferred"
        for one in to.split(","):
            entry = maillog.Delivery(time.time(), f"{program}/{mailer}", pid, queue_id, one.strip("<>"),
                             relay and relay[1], dsn, outcome, status, None)
            self.deliveries.append(entry)
            self.by_queue_id[queue_id].append(entry)
