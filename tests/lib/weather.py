"""The weather of a storm: danelawd is killed -9 and started again all the time.

In between it is reloaded, halted, its modes change, and the queue is swept and flushed, as administrators and timers do.
"""

import dataclasses
import random
import signal
import threading
import time

import socketmap
from lab import wait_until
from storming import rules

TIGHTENED, LET_GO = "hostunsigned.example", "cnameunsigned.example"     # whose modes change


@dataclasses.dataclass
class Life:
    """One danelawd, from its start to its death."""
    began: float                # wall seconds
    ended: float = None
    log_from: int = 0           # octets of its log
    log_to: int = None
    answers: float = None       # seconds until it took questions
    knows: float = None         # seconds until it knew a partner again


class Weather(threading.Thread):
    """Kills danelawd every few seconds, and starts it again; between, a reload, another mode, a sweep, a flush, a halt."""

    EVENTS = ("reload", "SIGUSR1", "tighten", "let go", "let go", "sweep", "flush", "flush", "halt")

    def __init__(self, lab, seed, every, hold, groups, kills=None):
        super().__init__()
        self.lab, self.every, self.hold, self.groups, self.most = lab, every, hold, groups, kills
        self.random = random.Random(f"weather {seed}")
        self.stopping = threading.Event()
        self.lives, self.events, self.faults = [], {}, []
        self.windows = []                       # [from, to] in which LET_GO's mail may leave
        self.helper = None                      # the thread of an event
        self.tight = self.in_the_act = False
        self.to_come = []                       # events, shuffled
        self._began()                           # while no mail comes, so that its log and its trace begin together

    def kills(self):
        return len([life for life in self.lives if life.ended is not None])

    def run(self):
        try:
            self._rage()
        except Exception as fault:              # told by whoever ends the storm
            self.faults.append(repr(fault))

    def _rage(self):
        while not self.stopping.wait(self._span()):
            self._kill()
            self.stopping.wait(self.random.uniform(0, self.every / 3))
            self._start()
            if self.kills() == self.most:
                return
            if self.random.random() > 0.2 and not self._alive():
                continue
            if self.helper is None or not self.helper.is_alive():
                self._event()

    def _span(self):
        """How long it lives: now and then it doesn't come to its feet, or dies in the act."""
        in_the_act, self.in_the_act = self.in_the_act, False
        if self.random.random() < 0.2:
            return self.random.uniform(0, 0.3)
        if in_the_act and self.random.random() < 0.3:
            return self.random.uniform(0, 0.15)
        return self.every * self.random.uniform(0.3, 1.7)

    def _began(self):
        self.lives.append(Life(time.time(), log_from=len_of(self.lab.danelawd.log)))

    def _start(self):
        self._began()
        self.lab.danelawd.launch()

    def _kill(self):
        life, process = self.lives[-1], self.lab.danelawd.process
        if process.poll() is not None:
            self.faults.append(f"danelawd ended by itself with {process.returncode}: {self.lab.danelawd.tail(30)}")
        self.lab.danelawd.kill()
        life.ended, life.log_to = time.time(), len_of(self.lab.danelawd.log)

    def _alive(self):
        """Waits until it answers and knows a partner, or gives up: it is as it is killed that counts."""
        life, began = self.lives[-1], time.monotonic()
        while time.monotonic() < began + self.every * 2 and not self.stopping.is_set():
            try:
                with socketmap.Map(timeout=self.every * 2) as one:
                    life.answers = life.answers or time.monotonic() - began
                    if one.ask("postfix-tls", "good312.example") == "OK dane-only":
                        life.knows = time.monotonic() - began
                        return True
            except OSError:
                time.sleep(0.01)
        return False

    # --- what administrators and timers do meanwhile

    def _event(self):
        if not self.to_come:
            self.to_come = self.random.sample(self.EVENTS, len(self.EVENTS))
        name = self.to_come.pop()
        self.events[name] = self.events.get(name, 0) + 1
        self.in_the_act = True
        action = {"reload": self._reload, "SIGUSR1": self._signal, "tighten": self._tighten, "let go": self._let_go,
                  "sweep": self._sweep, "flush": self.lab.postfix.flush, "halt": self._halt}[name]
        self.helper = threading.Thread(target=self._dare, args=(action,))
        self.helper.start()

    def _dare(self, action):
        try:
            action()
        except Exception as fault:
            self.faults.append(repr(fault))

    def _configure(self):
        self.lab.danelawd.configure(rules(self.hold, more=len(self.lives) % 7), **self.groups)

    def _reload(self):
        self._configure()
        self.lab.danelawd.cli("reload")         # where it is dead, its next life reads the file

    def _signal(self):
        self._configure()
        self._send(self.lab.danelawd.process, signal.SIGUSR1)

    def _halt(self):
        process = self.lab.danelawd.process
        self._send(process, signal.SIGSTOP)
        self.stopping.wait(self.random.uniform(0.5, 3))
        self._send(process, signal.SIGCONT)

    @staticmethod
    def _send(process, number):
        if process is not None:
            process.send_signal(number)         # not where it is dead and buried

    def _sweep(self):
        done = self.lab.danelawd.cli("sweep")
        if done.returncode not in (0, 75):
            self.faults.append(f"sweep: exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")

    def _tighten(self):
        self.tight = not self.tight
        if self.tight:
            self.lab.danelawd.cli("mode", TIGHTENED, "--dane", "mandatory", "--for", "1h")
        else:
            self.lab.danelawd.cli("mode", TIGHTENED, "--clear")

    def _let_go(self):
        """Opens the window, or closes it; it stays open until danelaw says that it is closed."""
        if not self.windows or self.windows[-1][1] is not None:
            self.windows.append([time.time(), None])
            self.lab.danelawd.cli("mode", LET_GO, "--dane", "opportunistic", "--for", "1h")
        elif self.lab.danelawd.cli("mode", LET_GO, "--clear").returncode == 0:
            self.windows[-1][1] = time.time()

    def end(self):
        """Fair weather: danelawd stays up, and all modes are as configured."""
        if self.most is None:
            self.stopping.set()
        self.join()                             # or it has its number of kills to make
        self.stopping.set()
        if self.helper is not None:
            self.helper.join()
        wait_until(self.lab.danelawd.ready, 60, "danelawd to be ready")
        for name in (TIGHTENED, LET_GO):
            done = self.lab.danelawd.cli("mode", name, "--clear")
            if done.returncode != 0:
                self.faults.append(f"mode {name} --clear: exit {done.returncode}: {done.stderr}")
        if self.windows and self.windows[-1][1] is None:
            self.windows[-1][1] = time.time()
        wait_until(lambda: self.lab.danelawd.ask("status")[0]["resolver"]["proven"], 60, "the self-check")


def len_of(path):
    with open(path, "rb") as file:
        return file.seek(0, 2)
