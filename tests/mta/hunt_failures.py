"""What fails in the leak hunt: each begins, lasts while letters go by every way, and ends."""

import signal

import letters
from lab import wait_until

FAILURES = {}


class Failure:
    """Nothing fails.  Made anew for each hunt; rng is its own luck."""
    name = what = ""
    shuts = ()                          # unrelated mail that it may shut out: "sendmail-smtp" where F=T speaks
    exempt = ()                         # names of partners to whom it may legitimately let mail through: say why
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
