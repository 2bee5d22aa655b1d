"""Bad luck for danelawd: unlucky.c, preloaded, and the orders it takes from a mapped file while the daemon runs."""

import errno
import mmap
import os
import struct

import daemon
from namespace import ROOT, run

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY, ORDERS = ROOT + "/unlucky.so", ROOT + "/unlucky.orders"

KINDS = ["memory", "open", "socket", "accept", "connect", "read", "write", "receive", "send", "talk", "sync", "truncate",
         "rename", "map", "watch", "channel", "thread", "program", "wait"]           # as in unlucky.c
HEAD, RULE = 256, struct.Struct("=4iIIQQIIIIQQ")
RULE_ONLY = struct.calcsize("=4iIIQQIIII")

# What the kernel may say to each kind, and to our programs in particular.
ERRORS = {"memory": [errno.ENOMEM], "open": [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM],
          "socket": [errno.EMFILE, errno.ENFILE, errno.ENOMEM], "accept": [errno.EMFILE, errno.ENFILE, errno.ENOMEM],
          "connect": [errno.EAGAIN, errno.ENOMEM, errno.EINTR], "read": [errno.EIO, errno.ENOMEM],
          "write": [errno.ENOSPC, errno.EIO], "receive": [errno.EINTR, errno.ENOMEM],
          "send": [errno.EAGAIN, errno.ENOMEM, errno.EINTR], "talk": [errno.EINTR, errno.EIO],
          "sync": [errno.EIO, errno.ENOSPC], "truncate": [errno.ENOSPC, errno.EIO], "rename": [errno.EIO, errno.ENOSPC],
          "map": [errno.ENOMEM], "watch": [errno.ENOMEM, errno.ENOSPC], "channel": [errno.EMFILE, errno.ENFILE],
          "thread": [errno.EAGAIN], "program": [errno.EAGAIN, errno.ENOMEM], "wait": [errno.EINTR]}


def sanitized():
    """The sanitizer's library that danelawd is linked with: it has to come first; or nothing."""
    libraries = run("ldd", daemon.BUILD + "/danelawd").split("\n")
    return next((line.split()[2] for line in libraries if "libasan" in line or "libtsan" in line), "")


class Luck:
    """The orders; the rules of all kinds are without errors at first."""

    def __init__(self):
        run("cc", "-shared", "-fPIC", "-O1", "-g", "-o", LIBRARY, HERE + "/unlucky.c", "-ldl")
        with open(ORDERS, "wb") as out:
            out.write(bytes(HEAD + len(KINDS) * RULE.size))
        with open(ORDERS, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 0)

    def environment(self):
        return {"LD_PRELOAD": f"{sanitized()} {LIBRARY}".strip(), "UNLUCKY": ORDERS}

    def _offset(self, kind):
        return HEAD + KINDS.index(kind) * RULE.size

    def order(self, kind, errors=None, every=0, at=0, lasting=False, chance=0.0, seed=0, stacks=False):
        """From now on calls of this kind fail, counted anew; without every, at and chance they are only counted;
        with stacks a call counts only if none came the same way before it."""
        errors = (errors or ERRORS[kind])[:4]
        rule = RULE.pack(*(errors + [0] * (4 - len(errors))), len(errors), every, at, lasting, int(chance * 65536), seed,
                         stacks, 0, 0, 0)
        start = self._offset(kind)
        self.page[start:start + RULE.size] = bytes(RULE.size)
        self.page[start + RULE_ONLY:start + RULE.size] = rule[RULE_ONLY:]
        self.page[start:start + RULE_ONLY] = rule[:RULE_ONLY]

    def below(self, folder=""):
        """Only files below this folder; empty: all."""
        self.page[4:HEAD] = folder.encode().ljust(HEAD - 4, b"\0")

    def tell(self, on):
        """Whether each failure shows its stack on standard error."""
        self.page[0:4] = struct.pack("=I", on)

    def mend(self):
        """The counts stay."""
        for kind in KINDS:
            start = self._offset(kind)
            self.page[start:start + RULE_ONLY] = bytes(RULE_ONLY)
        self.below()

    def calls(self, kind):
        return RULE.unpack_from(self.page, self._offset(kind))[-2]

    def failed(self, kind):
        return RULE.unpack_from(self.page, self._offset(kind))[-1]
