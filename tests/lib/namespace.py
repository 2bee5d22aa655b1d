"""A world of the lab's own: network, mounts, host name and processes.

enter() replaces the program by itself inside new namespaces.  Everything that is started there dies with
the program, whatever ends it, because the kernel ends a PID namespace with its first process; and all files
live on a tmpfs over /run that only the namespace sees.  So nothing has to be cleaned up, and nothing can
be forgotten.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys

MARK = "DANELAW_LAB_INSIDE"
ROOT = "/run/lab"
HOSTNAME = "mail.sender.example"
SKIP = 77                       # what Automake understands as "skipped"


def why_not():
    """The reason why no lab can be had here, or None."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace of its own"
    for tool in ("unshare", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"needs {tool}(8)"
    tried = subprocess.run(["unshare", "-n", "-m", "-u", "-i", "-p", "--fork", "--mount-proc", "true"],
                           capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"no new namespaces on this machine (a container?): {tried.stderr.strip()}"
    return None


def enter():
    """Returns inside the namespaces, with lo up; runs the program again from its start to get there."""
    if os.environ.get(MARK) != "1":
        sys.stdout.flush()
        argv = command(*sys.argv)
        os.execve(shutil.which(argv[0]), argv, environment())
    _leave_init_behind()
    _furnish()


def command(*argv):
    """The command line that runs a Python program inside namespaces of its own, with environment()."""
    return ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
            "--mount-proc", sys.executable, "-u", *argv]


def environment():
    return {**os.environ, MARK: "1", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _leave_init_behind():
    """PID 1 only collects orphans (Postfix's daemons among them); the program goes on in a child."""
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # the terminal tells the child as well
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def _furnish():
    socket.sethostname(HOSTNAME)
    run("ip", "link", "set", "lo", "up")
    run("mount", "-t", "tmpfs", "-o", "mode=0755,size=1g", "lab", "/run")
    os.makedirs(ROOT + "/log", mode=0o755)
    os.chmod(ROOT, 0o755)
    os.chmod(ROOT + "/log", 0o755)
    cover("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:3 attempts:2\n")
    cover("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n127.0.0.1 {HOSTNAME} mail\n")


def cover(path, text):
    """Puts a file of ours over one of the system's, for this namespace only."""
    ours = ROOT + "/" + os.path.basename(path)
    with open(ours, "w", encoding="ascii") as out:
        out.write(text)
    target = os.path.realpath(path)             # often a link into /run, which is empty by now
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="ascii"):
            pass
    run("mount", "--bind", ours, target)


def cover_directory(path, ours):
    run("mount", "--bind", ours, path)


def run(*argv, **more):
    """Runs a command that must succeed; its complaint is the exception's text."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        said = f"{done.stderr.strip()} {done.stdout.strip()}".strip()
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done.stdout
