"""The leak hunt's Postfix half: every way into it."""

import itertools
import os
import shutil
import subprocess
import sys
import uuid

import hunt
import letters
import sites
import sts
from lab import Client, new_message
from letters import CLIENT, QUEUE_CLIENT, Letter
from namespace import ROOT, run
from postfix import CONFIG
from trial import chapter

NAME = "postfix"
ASKING = "postfix/danelaw/smtp"
ROADS = ("postfix/danelaw-dane/smtp", "postfix/danelaw-sts/smtp")
FILTER = "127.0.0.1[127.0.0.1]:10026"   # the content filter's side door
HELD = "hold.sender.example"            # who says HELO so has his mail put on hold
LISTS, FORWARDS = ROOT + "/list", ROOT + "/forward"
FORWARDER = "games"                     # a user of every Debian; his .forward is as many files as there are extensions

RETURNED = ()                           # no way returns what another would hold
TAGS = itertools.cycle((True, False))   # a tag goes before a FILTER of the site's

SITE = f"""
header_checks = regexp:{{{{/^X-Lab: filter/ FILTER scan:[127.0.0.1]:10026}}}}
smtpd_helo_restrictions = check_helo_access inline:{{{{{HELD}=HOLD}}}}
forward_path = {FORWARDS}/$extension
"""
SERVICES = """
scan unix - - y - - smtp
    -o syslog_name=postfix/scan
    -o smtp_tls_security_level=none
127.0.0.1:10026 inet n - y - - smtpd
    -o syslog_name=postfix/again
    -o content_filter=
    -o smtpd_milters=
    -o receive_override_options=no_header_body_checks
"""


def prepare(lab, partners):
    """What the administrator of sender.example had before Danelaw."""
    with open(CONFIG + "/main.cf.pristine", "a", encoding="ascii") as out:
        out.write(SITE)
    with open(CONFIG + "/master.cf.pristine", "a", encoding="ascii") as out:
        out.write(SERVICES)
    for directory in (LISTS, FORWARDS):
        os.makedirs(directory, exist_ok=True)
    with open(CONFIG + "/aliases", "a", encoding="ascii") as out:
        for domain in {p.domain for p in partners}:
            out.write(f"include-{domain}: :include:{LISTS}/{domain}\n")
            with open(f"{LISTS}/{domain}", "w", encoding="ascii") as members:
                members.write(f"by-include@{domain}\n")
    kind = run("postconf", "-hx", "default_database_type").strip()
    run("postalias", f"{kind}:{CONFIG}/aliases")


def set_up(lab, connectors, groups):
    sts.rules(lab, connectors, **{"milter": {"tag": next(TAGS)}, **groups})


def returned(_, __):
    """Postfix's log says it."""
    return False


def waiting(lab):
    return {(m["queue_id"], r["address"].lower()) for m in lab.postfix.queue() for r in m["recipients"]}


def rouse(_, __):
    """Postfix makes its first attempt at once."""


def push(lab, stuck):
    """Only what shall go: whatever else waits is tried again, too, when its time has come."""
    lab.flush_resolver()
    ids = {i for letter in stuck for i in lab.postfix.log.queue_ids(letter.number)}
    ids |= {event.queue_id for letter in stuck for event in letter.events(lab)}         # a bounce has an id of its own
    for queue_id in ids & {i for i, _ in waiting(lab)}:
        attempt("postqueue", "-i", queue_id)


def attempt(*argv):
    """A command that may come too late."""
    subprocess.run(argv, capture_output=True, check=False)


def vouched(_, delivery):
    """By a strict road; domains that are not in ASCII take the one that asks danelawd."""
    strict = delivery.service in ROADS or not delivery.to.isascii() and delivery.service == ASKING
    return delivery.relay == FILTER or delivery.tls == "Verified" and strict


def may_wait(failure, _):
    return NAME in failure.shuts


def fits(way, partner):
    """Local mail has no partner behind aliases, nor another spelling. What is not in ASCII waits for danelawd, whoever it is
    for, and knows no way to a smart host."""
    if way == "wide letters" and (partner.rule == "free" or partner.rule == "safe" and "smart_hosts" in partner.connector):
        return False
    return partner.domain != "sender.example" or way in LOCAL


# --- ways in: by SMTP

def by_client(lab, way, recipient, sender, headers="", said=None, source=QUEUE_CLIENT, hello=None):
    """One letter; said: what the client says instead of the recipient's plain address."""
    number, message = new_message(sender=sender)
    letter, said = Letter(way, sender, recipient, number), said or recipient
    try:
        with Client(source=source) as client:
            if hello:
                client.smtp.ehlo(hello)
            replies, letter.queue_id = client.send(sender, [said], headers + message,
                                                   () if said.isascii() else ("SMTPUTF8",))
            letter.code, letter.reply = replies[said]
    except OSError as fault:                    # smtplib's complaints are OSErrors, too
        letter.code, letter.reply = 421, repr(fault)
    return letter


def by_null_sender(lab, recipient, _):
    return letters.by_queue_client(lab, recipient, "")


def with_header(way, header):
    """By SMTP, with a header that asks for something, or claims something."""
    return lambda lab, recipient, sender: by_client(lab, way, recipient, sender, header + "\n")


def written(way, spell, meant="{}@{}", source=QUEUE_CLIENT):
    """By SMTP, with the address spelt otherwise."""
    def by_form(lab, recipient, sender):
        parts = recipient.rsplit("@", 1)
        return by_client(lab, way, meant.format(*parts), sender, said=spell.format(*parts), source=source)
    return by_form


def in_capitals(lab, recipient, sender):
    return by_client(lab, "capitals", recipient.upper(), sender, source=CLIENT)


def on_hold(way, *release):
    """By SMTP, put aside there, and later set free by postsuper."""
    def by_queue(lab, recipient, sender):
        letter = by_client(lab, way, recipient, sender, hello=HELD)
        if letter.code < 400:
            run("postsuper", *release, letter.queue_id)
            attempt("postkick", "public", "pickup", "W")        # for postsuper -r
            attempt("postqueue", "-i", letter.queue_id)         # for postsuper -H
        return letter
    return by_queue


# --- by sendmail(1) and what Postfix makes itself

def by_program(way, headers="", spell="{}@{}"):
    def inject(lab, recipient, sender):
        number, message = new_message(sender=sender)
        said = spell.format(*recipient.rsplit("@", 1))
        status, why = lab.postfix.inject(sender, [said], headers + message, user="nobody")
        return Letter(way, sender, recipient, number, 250 if status == 0 else 451, why)
    return inject


def by_wide_letters(lab, recipient, sender):
    """A domain in letters that IDNA makes plain ones of."""
    local, domain = recipient.rsplit("@", 1)
    wide = domain.replace("e", "\uff45")
    letter = by_program("wide letters")(lab, f"{local}@{wide}", sender)
    letter.recipient = f"{local}@{wide}"
    return letter


def by_include(lab, recipient, sender):
    domain = recipient.rpartition("@")[2]
    letter = letters.by_smtp(lab, f"include-{domain}@sender.example", sender, way=":include:")
    letter.recipient = f"by-include@{domain}"
    return letter


def by_forward(lab, recipient, sender):
    """user+word@: each word has a .forward of its own."""
    word = uuid.uuid4().hex
    with open(f"{FORWARDS}/{word}", "w", encoding="ascii") as out:
        out.write(recipient + "\n")
    shutil.chown(f"{FORWARDS}/{word}", FORWARDER)
    letter = letters.by_smtp(lab, f"{FORWARDER}+{word}@sender.example", sender, way=".forward")
    letter.recipient = recipient
    return letter


WAYS = {
    "smtp": letters.by_smtp, "smtp (queue client)": letters.by_queue_client, "submission": letters.by_submission,
    "sendmail": letters.by_sendmail, "null sender": by_null_sender,
    "local alias": letters.by_local_alias, "virtual alias": letters.by_virtual_alias, ":include:": by_include,
    ".forward": by_forward, "bounce": letters.by_bounce,
    "postsuper -r": on_hold("postsuper -r", "-r"), "postsuper -H": on_hold("postsuper -H", "-H"),
    "FILTER": with_header("FILTER", "X-Lab: filter"),
    "TLS-Required": with_header("TLS-Required", "TLS-Required: no"),
    "TLS-Required by sendmail": by_program("TLS-Required by sendmail", "TLS-Required: no\n"),
    "forged tag": with_header("forged tag", "X-Danelaw-Route: opportunistic\nX-Danelaw-Route: smtp"),
    "forged tag by sendmail": by_program("forged tag by sendmail", "X-Danelaw-Route: opportunistic\n"),
    "capitals": in_capitals, "trailing dot": written("trailing dot", "{}@{}."),
    "extension": written("extension", "{}+x@{}", "{}+x@{}", CLIENT), "quoted": written("quoted", '"{}"@{}'),
    "source route": written("source route", "@plaintext.example:{}@{}"),
    "percent": written("percent", "{}%{}@sender.example"), "bang": written("bang", "{1}!{0}@sender.example"),
    "percent by sendmail": by_program("percent by sendmail", spell="{}%{}@sender.example"),
    "wide letters": by_wide_letters,
}
LOCAL = ("smtp", "smtp (queue client)", "submission", "sendmail", "null sender", "postsuper -r", "postsuper -H", "FILTER",
         "TLS-Required", "forged tag by sendmail", "trailing dot", "quoted")


# --- one message to many

def mixed_by_smtp(lab, recipients, sender):
    number, message = new_message(sender=sender)
    sent = [Letter("mixed, smtp", sender, r, number) for r in recipients]
    try:
        with Client() as client:
            replies, queue_id = client.send(sender, recipients, message)
        for letter in sent:
            letter.queue_id, (letter.code, letter.reply) = queue_id, replies[letter.recipient]
    except OSError as fault:
        for letter in sent:
            letter.code, letter.reply = 421, repr(fault)
    return sent


def mixed_by_sendmail(lab, recipients, sender):
    number, message = new_message(sender=sender)
    status, why = lab.postfix.inject(sender, recipients, message, user="nobody")
    return [Letter("mixed, sendmail", sender, r, number, 250 if status == 0 else 451, why) for r in recipients]


MIXED = {"mixed, smtp": mixed_by_smtp, "mixed, sendmail": mixed_by_sendmail}


# --- a part of it, for every day

SHORT = ("restarted", "store-gone", "resolver-strips", "replayed", "policy-forged", "map-garbage")
SHORT_WAYS = ("smtp", "smtp (queue client)", "sendmail", "virtual alias", "bounce", "postsuper -r", "FILTER", "percent")


@chapter
def leak_short(lab, book):
    """a part of the leak hunt: six failures, ten ways in"""
    with sites.site(lab, ""):
        hunt.hunt(lab, book, SHORT, sys.modules[__name__], seed=1, ways={name: WAYS[name] for name in SHORT_WAYS})
