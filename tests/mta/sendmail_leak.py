"""Sendmail: the leak hunt, cut short."""

import hunt
import hunt_sendmail
import hunt_sendmail_failures           # noqa: F401 (they add themselves)
from trial import sendmail_chapter

FAILURES = ("twisted", "misled", "mailertable", "runs", "early", "unsafe")
WAYS = ("smtp (queue client)", "submission", "sendmail", "alias", "content filter", "bounce", "old queue file", "source route")
PARTNERS = ("good", "no DANE", "wrong certificate", "STS", "smart host", "scoped", "opportunistic", "nobody's", "local")


@sendmail_chapter
def sendmail_leak_short(lab, book):
    """the leak hunt, cut short: some ways in, some partners, failures that only Sendmail knows"""
    hunt.hunt(lab, book, FAILURES, hunt_sendmail, 1, [p for p in hunt.PARTNERS if p.name in PARTNERS],
              {name: hunt_sendmail.WAYS[name] for name in WAYS})
