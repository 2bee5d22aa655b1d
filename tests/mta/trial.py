"""A test runner small enough to read: chapters share one lab, each check is one line."""

import contextlib
import os
import sys
import time
import traceback

CHAPTERS = []


class Failure(AssertionError):
    """Says what an engineer needs to know."""


class Skip(Exception):
    """Why a test cannot be made here."""


def chapter(function, mta="postfix"):
    """A function of (lab, book); its name is what the runner's filter argument is compared with."""
    function.mta = mta
    CHAPTERS.append(function)
    return function


def sendmail_chapter(function):
    """A chapter that wants Sendmail to send."""
    return chapter(function, "sendmail")


class Book:
    """Counts, and prints one line for each test as it goes."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.chapter = ""
        self.failures = []
        self.colour = sys.stdout.isatty()

    @contextlib.contextmanager
    def test(self, name):
        started = time.monotonic()
        try:
            yield
        except Skip as why:
            self.skipped += 1
            self._line("33", "skip", name, str(why))
        except Failure as why:
            self._fail(name, str(why))
        except Exception:
            self._fail(name, traceback.format_exc())
        else:
            self.passed += 1
            took = time.monotonic() - started
            self._line("32", "ok", name, f"{took:.1f} s" if took >= 0.5 else "")

    def _fail(self, name, why):
        self.failed += 1
        self.failures.append(f"{self.chapter}: {name}")
        self._line("31", "FAIL", name)
        for line in why.rstrip().splitlines():
            print("         " + line[:600], flush=True)

    def _line(self, colour, word, name, remark=""):
        word = f"{word:4}"
        if self.colour:
            word = f"\033[{colour}m{word}\033[0m"
        print(f"  {word} {name}" + (f" ({remark})" if remark else ""), flush=True)

    def run(self, function, lab):
        self.chapter = function.__name__
        started = time.monotonic()
        print(f"{self.chapter}: {(function.__doc__ or '').strip().splitlines()[0]}", flush=True)
        try:
            function(lab, self)
        except Exception:                       # what went wrong between the tests counts as one
            self._fail("the chapter itself", traceback.format_exc() + lab.danelawd.tail())
        if os.environ.get("LAB_TIMES"):
            print(f"  {self.chapter}: {time.monotonic() - started:.1f} s", flush=True)


def expect(condition, *explain):
    """explain: texts, or functions that are called only where the condition does not hold."""
    if not condition:
        raise Failure("\n".join(str(e() if callable(e) else e) for e in explain))


def expect_fate(lab, letter, wanted):
    expect(letter.fate(lab) in ([wanted] if isinstance(wanted, str) else wanted),
           lambda: f"{letter.fate(lab)}, wanted {wanted}", lambda: letter.story(lab))


def expect_safe(lab, letter):
    """Whatever became of a mandatory letter: if a copy left, it left authenticated."""
    if letter.copies(lab) or letter.fate(lab) == "delivered":
        expect(letter.authenticated(lab), "LEAK: left without authentication", lambda: letter.story(lab))
