"""Sendmail's ways in, for the leak hunt."""

import contextlib
import os
import re
import shutil
import subprocess

import letters
import sendmail
import sts_table
import table
from lab import Client, new_message
from letters import CLIENT, QUEUE_CLIENT, SENDER, Letter

HOME = sendmail.OURS + "/home"
TEN_MINUTES = 600                       # older than what the milter alone refuses: route itself holds it
PARTNERS = {p.domain: p for p in table.PARTNERS + sts_table.PARTNERS}
COMPANY = ("bo@sender.example", "nobody-here@notlsa.example")      # who else gets a letter with several recipients


# --- by SMTP

def by_null_sender(lab, recipient):
    return letters.by_smtp(lab, recipient, "", QUEUE_CLIENT, way="null sender")


def by_company(lab, recipient):
    """One message, and more recipients: local ones, somebody else's, mandatory ones without DANE."""
    others = [*COMPANY, "company@unsigned.example", "company@good301.example"]
    return _by_client(lab, "several recipients", recipient, SENDER, [*others[:2], recipient, *others[2:]])


def by_header(name, text):
    """A header that asks for something, or claims something."""
    def way(lab, recipient):
        return _by_client(lab, f"{name}: {text}", recipient, SENDER, [recipient], f"{name}: {text}\n")
    return way


def by_form(what, spell):
    """The recipient's address, written otherwise: spell(local part, domain)."""
    def way(lab, recipient):
        written = spell(*recipient.rsplit("@", 1))
        letter = _by_client(lab, what, written, SENDER, [written])
        if "+" in written or '"' in written:
            letter.recipient = written
        else:
            letter.logged, letter.recipient = written, recipient
        return letter
    return way


def _by_client(lab, way, recipient, sender, recipients, header=""):
    number, message = new_message(sender=sender)
    letter = Letter(way, sender, recipient, number)
    try:
        with Client(source=QUEUE_CLIENT) as client:
            replies, letter.queue_id = client.send(sender, recipients, header + message)
            letter.code, letter.reply = replies[recipient]
    except OSError as fault:
        letter.code, letter.reply = 421, repr(fault)
    return letter


# --- by sendmail(8)

def by_options(way, *options, user=None):
    def post(lab, recipient):
        number, message = new_message()
        status, said = lab.mta.inject(SENDER, [recipient], message, user, options)
        return Letter(way, SENDER, recipient, number, 250 if status == 0 else 451, said)
    return post


def by_its_header(lab, recipient):
    """sendmail -t: the recipients stand in the header."""
    number, message = new_message(to="")
    done = subprocess.run(["/usr/sbin/sendmail", "-i", "-t", "-f", SENDER], user="nobody", cwd="/", check=False,
                          input=re.sub("^To: .*$", "To: " + recipient, message, flags=re.M), capture_output=True, text=True)
    return Letter("sendmail -t", SENDER, recipient, number, 250 if done.returncode == 0 else 451, done.stderr)


def by_standard_input(lab, recipient):
    """sendmail -bs: SMTP without a network."""
    number, message = new_message()
    letter = Letter("sendmail -bs", SENDER, recipient, number)
    with subprocess.Popen(["/usr/sbin/sendmail", "-bs", "-Am"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        said = _last_line(session)
        for command in ("EHLO localhost", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{recipient}>", "DATA", message + "."):
            if said[0] not in "23":
                break
            session.stdin.write((command + "\n").replace("\n", "\r\n").encode())
            session.stdin.flush()
            said = _last_line(session)
    letter.code, letter.reply = int(said[:3] or 421), said
    return letter


def _last_line(session):
    for line in session.stdout:
        if line[3:4] == b" ":
            return line.decode().rstrip()
    return "421 it has ended"


def by_old_file(lab, recipient):
    """In the queue for ten minutes, when the next run finds it."""
    letter = by_options("old queue file", "-Am", "-odq")(lab, recipient)
    for queue_id in lab.mta.log.queue_ids(letter.number):
        with contextlib.suppress(OSError):                      # a queue run was quicker
            lab.mta.log.by_id[letter.number].add(lab.mta.age(queue_id, TEN_MINUTES))
    return letter


def by_etrn(lab, recipient):
    """Queued; then a host asks for what is queued for it."""
    letter = by_options("ETRN", "-Am", "-odq")(lab, recipient)
    with contextlib.suppress(OSError), Client() as client:
        client.smtp.docmd("ETRN", "@" + recipient.rsplit("@", 1)[1])
    return letter


# --- by way of local names

def by_forward(lab, recipient):
    """The .forward of a user with a detail: each partner has its own file."""
    name = PARTNERS[recipient.rsplit("@", 1)[1]].name
    _write(f"{HOME}/user1/.forward+{name}", recipient)
    return _by_name(lab, ".forward", f"user1+{name}", recipient)


def by_include(lab, recipient):
    name = PARTNERS[recipient.rsplit("@", 1)[1]].name
    _write(f"{HOME}/list-{name}", recipient)
    return _by_name(lab, ":include:", "list-" + name, recipient)


def by_filter(lab, recipient):
    """A content filter, which sends on what it gets."""
    name = PARTNERS[recipient.rsplit("@", 1)[1]].name
    return _by_name(lab, "content filter", "filter-" + name, "u@" + recipient.rsplit("@", 1)[1])


def by_local_alias(lab, recipient):
    name, domain = PARTNERS[recipient.rsplit("@", 1)[1]].name, recipient.rsplit("@", 1)[1]
    return _by_name(lab, "local alias", "alias-" + name, "by-alias@" + domain)


def by_virtual_alias(lab, recipient):
    name, domain = PARTNERS[recipient.rsplit("@", 1)[1]].name, recipient.rsplit("@", 1)[1]
    letter = _by_name(lab, "virtual alias", "virtual-" + name, "by-virtual@" + domain)
    letter.logged = f"virtual-{name}@sender.example"
    return letter


def _by_name(lab, way, name, recipient):
    letter = letters.by_smtp(lab, name + "@sender.example", way=way)
    letter.recipient = recipient
    return letter


def _write(path, line):
    """Never twice: somebody may be reading it."""
    if not os.path.exists(path):
        with open(path + ".new", "w", encoding="ascii") as out:
            out.write(line + "\n")
        shutil.chown(path + ".new", "user1")
        os.replace(path + ".new", path)


WAYS = {
    "smtp": letters.by_smtp, "smtp (queue client)": letters.by_queue_client, "submission": letters.by_submission,
    "sendmail": letters.by_sendmail, "sendmail -Ac": by_options("sendmail -Ac", "-Ac"),
    "sendmail -Am": by_options("sendmail -Am", "-Am"), "sendmail -t": by_its_header, "sendmail -bs": by_standard_input,
    "local alias": by_local_alias, "virtual alias": by_virtual_alias, ".forward": by_forward, ":include:": by_include,
    "content filter": by_filter, "null sender": by_null_sender, "bounce": letters.by_bounce,
    "queue run": by_options("queue run", "-Am", "-odq"), "old queue file": by_old_file, "ETRN": by_etrn,
    "TLS-Required": by_header("TLS-Required", "no"), "forged header": by_header("X-Danelaw-Route", "opportunistic"),
    "upper case": by_form("upper case", lambda local, domain: f"{local.upper()}@{domain.upper()}"),
    "trailing dot": by_form("trailing dot", lambda local, domain: f"{local}@{domain}."),
    "extension": by_form("extension", lambda local, domain: f"{local}+more@{domain}"),
    "quoted": by_form("quoted", lambda local, domain: f'"{local} x@notlsa.example"@{domain}'),
    "source route": by_form("source route", lambda local, domain: f"@sender.example:{local}@{domain}"),
    "percent": by_form("percent", lambda local, domain: f"{local}%{domain}@sender.example"),
    "bang": by_form("bang", lambda local, domain: f"{domain}!{local}"),
    "several recipients": by_company,
}
