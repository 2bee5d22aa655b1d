#!/usr/bin/python3
"""The demonstration behind contrib/demo: real mail to partners in every state, and what became of it.

usage: demo.py [--keep] [--mta postfix|sendmail] | --in [COMMAND...] | --stop
"""

import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import namespace                                                # noqa: E402
import sendmail                                                 # noqa: E402

STATE = "/run/danelaw-demo.pid"         # of the machine, not of the lab: how --in and --stop find it
DONE = "DANELAW_DEMO_DONE"              # the descriptor on which the lab says that the table is complete
ME = "sudo contrib/demo"


# --- outside: start it, find it, end it

def outside(arguments):
    why = namespace.why_not()
    if why is not None:
        print(f"The demonstration can't run here: {why}")
        return namespace.SKIP
    keep = "--keep" in arguments
    if mta_of(arguments) == "sendmail":
        try:
            os.environ["LAB_SENDMAIL"] = sendmail.fetch()       # there is no network inside
        except RuntimeError as fault:
            print(f"no Sendmail: {fault}")
            return 1
    if running() is not None:
        print(f"A demonstration is running already.  Look around: {ME} --in   End it: {ME} --stop")
        return 1
    done_read, done_write = os.pipe()
    os.set_inheritable(done_write, True)
    more = {DONE: str(done_write), "DEMO_WIDTH": str(shutil.get_terminal_size((140, 24)).columns),
            "DEMO_TTY": "1" if sys.stdout.isatty() else ""}
    lab = subprocess.Popen(namespace.command(os.path.abspath(__file__), *arguments),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env={**namespace.environment(), **more}, pass_fds=[done_write],
                           start_new_session=True)
    os.close(done_write)
    try:
        finished = pass_on(lab.stdout.fileno(), done_read)
        if keep and finished:
            with open(STATE, "w", encoding="ascii") as out:
                out.write(f"{lab.pid}\n")
            return 0
        return lab.wait()
    except KeyboardInterrupt:
        lab.kill()                      # and with it everything inside
        print("\nended.")
        return 130


def pass_on(output, done):
    """Prints what the lab prints, until it is done or gone; true where it is done and goes on living."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(output, selectors.EVENT_READ)
        waiting.register(done, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in waiting.select()}
            if output in ready:
                data = os.read(output, 65536)
                if not data:
                    return False
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            elif done in ready:                                 # only once all output is read
                if os.read(done, 1):
                    return True
                waiting.unregister(done)


def running():
    """The process that holds the lab, or None."""
    try:
        with open(STATE, encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return pid if os.path.abspath(__file__).encode() in file.read() else None
    except (OSError, ValueError):
        return None


def first_inside(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()[0]


def look_inside(command):
    pid = running()
    if pid is None:
        print(f"No demonstration is running.  Start one: {ME} --keep")
        return 1
    path = "/run/lab/bin:" + namespace.environment()["PATH"]
    namespaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd"]
    os.execvp("nsenter", ["nsenter", "--target", first_inside(pid), *namespaces, "--",
                          "env", "PATH=" + path, *(command or ["bash", "--norc"])])


def stop():
    pid = running()
    if pid is None:
        print("No demonstration is running.")
        return 1
    os.kill(pid, signal.SIGKILL)
    os.unlink(STATE)
    print("ended.")
    return 0


# --- inside

class Teller:
    """Speaks to a person: progress while it works, then tables."""

    COLOURS = {"delivered": "32", "refused": "33", "held": "33", "bounced": "36", "LEAK": "1;31",
               "lost": "1;31"}

    def __init__(self):
        self.tty = os.environ.get("DEMO_TTY") == "1"
        self.width = max(100, min(int(os.environ.get("DEMO_WIDTH", "132")), 160))
        self.started = time.monotonic()
        self.last = ""

    def progress(self, text):
        if text == self.last and not self.tty:
            return
        self.last = text
        if self.tty:
            print(f"\r\033[K{time.monotonic() - self.started:5.1f} s  {text} ...", end="", flush=True)
        else:
            print(f"{time.monotonic() - self.started:5.1f} s  {text}", flush=True)

    def quiet(self):
        if self.tty:
            print("\r\033[K", end="")

    def bold(self, text):
        return f"\033[1m{text}\033[0m" if self.tty else text

    def paint(self, text):
        colour = self.COLOURS.get(text.strip())
        return f"\033[{colour}m{text}\033[0m" if self.tty and colour else text

    def table(self, title, rows):
        """The last column wraps into what is left of the line; so does the second, at 34."""
        rows = list(rows)
        widths = [min(34, max(len(row[n]) for row in [HEADINGS, *rows])) for n in range(len(HEADINGS) - 1)]
        left = self.width - sum(widths) - 2 * len(widths)
        print("\n" + self.bold(title) + "\n")
        print(self.bold("  ".join(f"{h:{w}}" for h, w in zip(HEADINGS, widths)) + "  " + HEADINGS[-1]))
        print("  ".join("-" * w for w in widths) + "  " + "-" * min(left, 40))
        for row in rows:
            self._row(row, widths, left)

    def _row(self, row, widths, left):
        cells = [textwrap.wrap(text, width) or [""] for text, width in zip(row, widths + [left])]
        for number in range(max(map(len, cells))):
            words = [cell[number] if number < len(cell) else "" for cell in cells]
            painted = [self.paint(f"{w:{width}}") for w, width in zip(words, widths)]
            print("  ".join(painted + [words[-1]]).rstrip())

    def command(self, argv, output, lines):
        """What was typed, and the first lines of what it said."""
        said = output.splitlines()
        print("  " + self.bold("$ " + shlex.join(argv)))
        for line in said[:lines]:
            print("  " + line)
        print(f"  ({len(said) - lines} more lines)\n" if len(said) > lines else "")

    def notes(self, title, lines):
        print("\n" + self.bold(title))
        for line in lines:
            print(textwrap.fill(line, self.width, initial_indent="  ", subsequent_indent="      "))


LET_GO = "unsigned"                     # the partner whose mail an administrator lets go
DEAD = {"postfix": "danelawd killed with -9: the strict roads hold by themselves, all other mail flows",
        "sendmail": "danelawd killed with -9: nothing comes in past its filter (F=T), and nothing leaves unchecked"}
HEADINGS = ("partner", "what it is", "connector", "DANE state", "by SMTP", "sendmail", "why")


def inside(arguments):
    namespace.enter()
    import connectors
    import lab
    import letters
    import table
    teller = Teller()
    with lab.Lab() as world:
        mta = mta_of(arguments)
        world.up(tell=teller.progress, mta=mta)
        make_command()
        teller.progress(f"starting danelawd, setting {mta.capitalize()} up with what \"danelaw setup {mta}\" prints")
        world.rules(connectors.each(connectors.opportunistic))
        lax = deliver(world, teller, letters, table.PARTNERS, "opportunistic")
        teller.progress("reload: from now on the connectors demand DANE")
        world.rules_keep_queue(connectors.each(connectors.mandatory))
        strict = deliver(world, teller, letters, table.PARTNERS, "mandatory")
        states = {c["recipients"][0]: c["dane"] for c in world.danelawd.ask("connectors")}
        teller.progress("killing danelawd (-9), and sending again")
        world.danelawd.kill()
        some = [table.BY_NAME[name] for name in ("good311", "notlsa", "bogus")]
        dead = deliver(world, teller, letters, some, "mandatory", local=True)
        world.danelawd.start()
        teller.quiet()
        teller.table("Connectors that demand DANE: authenticated, or not at all",
                     rows(world, strict, states, "mandatory"))
        differing = {d: pair for d, pair in lax.items() if fares_otherwise(table.BY_DOMAIN[d])}
        teller.table("Connectors that take DANE where it is offered (where that differs, and forged DNS)",
                     rows(world, differing, states, "opportunistic"))
        teller.table(DEAD[mta], rows(world, dead, {}, "mandatory"))
        teller.notes("What the sender's mail host is told:", replies(strict, lax))
        good = conclude(world, teller, [lax, strict, dead], strict)
        good = operate(world, teller, strict[LET_GO + ".example"][1]) and good
        if "--keep" in arguments:
            say_how_to_look_around(teller, mta)
            os.write(int(os.environ[DONE]), b"!")
            signal.pause()
    return 0 if good else 1


def mta_of(arguments):
    return arguments[arguments.index("--mta") + 1] if "--mta" in arguments else "postfix"


def fares_otherwise(partner):
    return partner.mandatory != partner.opportunistic or partner.state == "bogus"


def make_command():
    """danelaw, as one finds it on a machine where it is installed: without options."""
    import daemon
    os.makedirs(namespace.ROOT + "/bin", exist_ok=True)
    path = namespace.ROOT + "/bin/danelaw"
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"#!/bin/sh\nexec '{os.path.realpath(daemon.BUILD)}/danelaw' -c '{daemon.CONF}' \"$@\"\n")
    os.chmod(path, 0o755)


def deliver(world, teller, letters, partners, demand, local=False):
    """One letter by SMTP and one by sendmail(1) to each: {domain: (by SMTP, by sendmail)}."""
    recipients = [f"office@{p.domain}" for p in partners] + (["bo@sender.example"] if local else [])
    teller.progress(f"{demand}: {len(recipients)} letters by SMTP")
    by_smtp = letters.post(world, [(letters.by_smtp, r) for r in recipients])
    if not local:
        letters.insist(world, by_smtp, lambda x: getattr(x.partner, demand).reason != "dns-temp")
    teller.progress(f"{demand}: {len(recipients)} letters by sendmail(1)")
    by_sendmail = letters.post(world, [(letters.by_sendmail, r) for r in recipients])
    everything = by_smtp + by_sendmail
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        left = letters.settle(world, everything, 0.5)
        teller.progress(f"{demand}: {len(everything) - len(left)} of {len(everything)} letters settled")
        if not left:
            break
        world.mta.rouse(left)
    return {a.recipient.rpartition("@")[2]: (a, b) for a, b in zip(by_smtp, by_sendmail)}


def rows(world, letters, states, demand):
    for domain, (by_smtp, by_sendmail) in letters.items():
        partner = by_smtp.partner
        name = domain[:-len(".example")] if partner else "(local mail)"
        yield (name, partner.what if partner else "a mailbox on this machine", demand if partner else "-",
               states.get(domain, "-"), outcome(world, by_smtp, demand), outcome(world, by_sendmail, demand),
               reason(world, by_smtp, by_sendmail))


def outcome(world, letter, demand):
    if demand == "mandatory" and letter.partner and letter.copies(world) and not letter.authenticated(world):
        return "LEAK"
    return letter.fate(world) or "lost"


def reason(world, by_smtp, by_sendmail):
    if by_smtp.code >= 400:
        return f"{by_smtp.code} {by_smtp.reply}".partition(": ")[0]
    for letter in (by_smtp, by_sendmail):
        copies, events = letter.copies(world), letter.events(world)
        if copies:
            how = ("in clear" if not copies[0]["tls"] else "authenticated" if verified(world, letter)
                   else "encrypted, not authenticated")
            return f"{how}, {copies[0]['host']}"
        if events and events[-1].status != "sent":
            short = re.sub(r"^Host or domain.*(name=\S+ type=\S+:)|\[[\d.]+\]", "", events[-1].text)
            return f"{world.at_work.capitalize()}: {short.strip()}"
    return ""


def verified(world, letter):
    """Postfix says so; with Sendmail it was the gate's word, and only the right host can have had it."""
    if world.at_work == "postfix":
        return letter.events(world)[-1].tls == "Verified"
    return letter.partner is not None and letter.copies(world)[0]["host"] in letter.partner.authentic


def replies(*tables):
    """One whole reply for each reason."""
    found = {}
    for letters in tables:
        for letter, _ in letters.values():
            if letter.code >= 400:
                found.setdefault(letter.reply.partition(":")[0], f"{letter.code} {letter.reply}")
    return found.values()


def conclude(world, teller, tables, strict):
    everything = [letter for letters in tables for pair in letters.values() for letter in pair]
    lost = [x for x in everything if x.fate(world) is None]
    leaked = [x for pair in strict.values() for x in pair if outcome(world, x, "mandatory") == "LEAK"]
    wrong = [x for pair in strict.values() for x in pair if not as_expected(world, x)]
    print(f"\n{len(everything)} letters in {time.monotonic() - teller.started:.0f} s: "
          f"{sum(bool(x.copies(world)) for x in everything)} delivered to partners; "
          f"{len(leaked)} left a demanding connector unauthenticated, {len(lost)} were lost.")
    for letter in lost + leaked + wrong:
        print("\n" + letter.story(world))
    return not (lost or leaked or wrong)


def operate(world, teller, letter):
    """An administrator at work: what is held, a partner let go for two hours, and what was decided."""
    def run(*argv, lines=20):
        done = world.danelawd.cli(*argv)
        teller.command(["danelaw", *argv], done.stdout + done.stderr, lines)
        return done.returncode == 0

    print("\n" + teller.bold(f"An administrator lets go what is held for {LET_GO}.example, for two hours") + "\n")
    good = run("held", lines=4)
    good = run("mode", LET_GO, "--dane", "opportunistic", "--for", "2h") and good
    begun = time.monotonic()
    while not letter.copies(world) and time.monotonic() < begun + 90:
        if world.at_work == "postfix":  # it remembers the last recipient for a while
            world.postfix.inject("al@sender.example", ["bo@sender.example"], "Subject: another\n\n")
        world.mta.flush()
        time.sleep(0.5)
    if not letter.copies(world):
        print(f"  What was held has not arrived.\n{letter.story(world)}")
        return False
    print(f"  What {world.at_work.capitalize()} held has arrived, {time.monotonic() - begun:.0f} s later.\n")
    good = run("mode", LET_GO, "--clear") and good
    good = run("trace", "--domain", LET_GO + ".example", "--limit", "4") and good
    return run("audit", lines=8) and good


def as_expected(world, letter):
    fate, wanted = letter.fate(world), letter.partner.mandatory.outcome
    return fate == wanted or fate == "refused" and wanted == "held"


def say_how_to_look_around(teller, mta):
    print("\n" + teller.bold("It is still running; look around:") + f"""
  {ME} --in danelaw status
  {ME} --in danelaw connectors
  {ME} --in danelaw check good311.example notlsa.example bogus.example
  {ME} --in danelaw trace --verdict hold
  {ME} --in mailq                         what is held, and {mta.capitalize()}'s words for it
  {ME} --in tail -f /run/lab/log/{"mail" if mta == "postfix" else "sendmail"}.log /run/lab/log/danelawd.log
  {ME} --in                               a shell in there (try: sendmail u@notlsa.example </etc/hostname)
  {ME} --stop                             ends it; nothing is left behind""", flush=True)


def main(arguments):
    if arguments[:1] == ["--in"]:
        return look_inside(arguments[1:])
    if arguments == ["--stop"]:
        return stop()
    if set(arguments) - {"--keep", "--mta", "postfix", "sendmail"} or arguments[-1:] == ["--mta"] \
            or mta_of(arguments) not in ("postfix", "sendmail"):
        print(__doc__)
        return 2
    if os.environ.get(namespace.MARK) == "1":
        return inside(arguments)
    return outside(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
