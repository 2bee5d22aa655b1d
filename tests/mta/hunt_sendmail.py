"""The leak hunt's Sendmail half: every way into it.

Ways that lead through a name of the site's end at by-alias@, by-forward@ and so on, the others at the recipient they
are asked for.  What a letter is logged as, where that is another name, is in its field "logged".
"""

import contextlib
import os
import re
import shutil
import subprocess
import uuid

import letters
import sendmail
import sts
from lab import Client, new_message
from letters import QUEUE_CLIENT, SENDER, Letter
from namespace import run

NAME = "sendmail"
LOCAL, BOX = "sender.example", "bo@sender.example"
HOME = sendmail.OURS + "/home"
FILTER = sendmail.BIN + "/again"        # a content filter: sends on what it reads to its argument
REPORTED = re.compile(r": (?:DSN|return to sender|postmaster notify): ")
TEN_MINUTES = 600                       # older than what is the milter's business alone: route itself holds it
RETURNED = ()                           # no way returns what another would hold
PAST_THE_MILTER = {"sendmail -Am", "queue run", "old queue file", "ETRN"}


def prepare(_, partners):
    """A name of each kind for each partner."""
    domains = sorted({p.domain for p in partners})
    with open(FILTER, "w", encoding="ascii") as out:
        out.write("#!/bin/sh\nread -r from sender rest\nexec /usr/sbin/sendmail -i -f \"$sender\" -- \"$1\"\n")
    os.chmod(FILTER, 0o755)
    with open(sendmail.CONFIG + "/aliases", "a", encoding="ascii") as aliases:
        aliases.write("boss: al\n")
        for domain in domains:
            aliases.write(f"alias-{domain}: {end('alias', domain)}\n"
                          f"list-{domain}: :include:{HOME}/list-{domain}\n"
                          f"filter-{domain}: \"|{FILTER} {end('filter', domain)}\"\n")
            write(f"{HOME}/list-{domain}", end("include", domain))
            write(f"{HOME}/user1/.forward+{domain}", end("forward", domain))
    with open(sendmail.CONFIG + "/virtusertable", "a", encoding="ascii") as virtual:
        virtual.writelines(f"virtual-{domain}@{LOCAL}\t{end('virtual', domain)}\n" for domain in domains)
    with open(sendmail.CONFIG + "/virtusertable", encoding="ascii") as source:
        run("makemap", "hash", sendmail.CONFIG + "/virtusertable", stdin=source)
    run("newaliases")


def end(kind, domain):
    """Where a way that leads through a name of the site's ends."""
    return BOX if domain == LOCAL else f"by-{kind}@{domain}"


def write(path, line):
    with open(path, "w", encoding="ascii") as out:
        out.write(line + "\n")
    shutil.chown(path, "user1")


def set_up(lab, connectors, groups):
    lab.rules(connectors, sts=sts.settings(lab), **groups)


def returned(lab, letter):
    """A recipient whom the rules refuse for good in the queue has no fate in the log, but a report to the sender that names him."""
    recipient, ids = letter.recipient.lower(), lab.mta.log.queue_ids(letter.number)
    told = lab.mta.log.about(*ids, limit=100) if ids else []
    reports = lab.mta.mailbox("al").lower().split("\nreporting-mta: ")[1:]
    return (any(REPORTED.search(line) and recipient in line.lower() for line in told)
            or any(recipient in report and letter.number in report for report in reports))


def waiting(lab):
    """Queue files have recipients as they were written."""
    found = set()
    for directory in lab.mta.QUEUES:
        for queue_id, recipients, _ in lab.mta.queue(directory):
            found |= {(queue_id, plain(recipient)) for recipient in recipients}
    return found


def plain(written):
    """u@d, from any form of it that the ways write."""
    address = written.lower().rstrip(".").rpartition(":")[2]
    virtual = re.fullmatch(rf"virtual-([\w.-]+)@{LOCAL}", address)
    if virtual:
        return end("virtual", virtual[1])
    bang = re.fullmatch(r"([\w.-]+)!(\w+)", address)
    percent = re.fullmatch(rf"(\w+)%([\w.-]+)@{LOCAL}", address)
    return f"{bang[2]}@{bang[1]}" if bang else f"{percent[1]}@{percent[2]}" if percent else address


def rouse(lab, sent):
    """Sendmail puts mail aside without a word where a look-up fails at reception; what then still rests, is held."""
    push(lab, sent)
    for letter in sent:
        if letter.fate(lab) is None and lab.mta.resting(lab.mta.log.queue_ids(letter.number)):
            letter.silent = "held"
        elif letter.fate(lab) is None and returned(lab, letter):
            letter.silent = "bounced"


def push(lab, sent):
    """Most of them wait for an answer, or for one that does not come."""
    lab.mta.push(sent, 64)


def vouched(lab, delivery):
    return lab.mta.authentic(delivery)


def may_wait(failure, letter):
    """A filter with F=T, while it is dead, lets nothing in by SMTP."""
    return "sendmail-smtp" in failure.shuts and letter.way not in PAST_THE_MILTER


def fits(_, __):
    """Each way leads to everybody."""
    return True


# --- ways in: by SMTP

def by_null_sender(lab, recipient, _):
    return letters.by_smtp(lab, recipient, "", QUEUE_CLIENT, way="null sender")


def by_header(way, line):
    """A header that asks for something, or claims something."""
    def post(lab, recipient, sender):
        return _by_client(lab, way, [recipient], sender, line)[0]
    return post


def by_form(way, spell):
    """The recipient's address, written otherwise: spell(local part, domain)."""
    def post(lab, recipient, sender):
        written = spell(*recipient.split("@"))
        letter = _by_client(lab, way, [written], sender)[0]
        if plain(written) == recipient:
            letter.logged = written
            letter.recipient = recipient
        elif recipient == BOX:
            letter.logged, letter.recipient = written, BOX
        return letter
    return post


def quoted(local, domain):
    return f'"{local}"@{domain}' if domain == LOCAL else f'"{local} x"@{domain}'


def _by_client(lab, way, recipients, sender, header=""):
    """One message to all of them."""
    number, message = new_message(sender=sender)
    sent = [Letter(way, sender, recipient, number) for recipient in recipients]
    try:
        with Client(source=QUEUE_CLIENT) as client:
            replies, queue_id = client.send(sender, recipients, header + message)
        for letter in sent:
            letter.code, letter.reply = replies[letter.recipient]
            letter.queue_id = queue_id
    except OSError as fault:
        for letter in sent:
            letter.code, letter.reply = 421, repr(fault)
    return sent


# --- by sendmail(8)

def by_options(way, *options, user=None):
    def post(lab, recipient, sender):
        return _by_program(lab, way, [recipient], sender, options, user)[0]
    return post


def _by_program(lab, way, recipients, sender, options=(), user=None):
    number, message = new_message(sender=sender)
    status, said = lab.mta.inject(sender, recipients, message, user, options)
    return [Letter(way, sender, recipient, number, 250 if status == 0 else 451, said) for recipient in recipients]


def by_its_header(lab, recipient, sender):
    """sendmail -t: the recipients stand in the header."""
    number, message = new_message(sender=sender)
    done = subprocess.run(["/usr/sbin/sendmail", "-i", "-t", "-f", sender], user="nobody", cwd="/", check=False,
                          input=re.sub("^To: .*$", "To: " + recipient, message, flags=re.M), capture_output=True, text=True)
    return Letter("sendmail -t", sender, recipient, number, 250 if done.returncode == 0 else 451, done.stderr)


def by_standard_input(lab, recipient, sender):
    """sendmail -bs: SMTP without a network."""
    number, message = new_message(sender=sender)
    letter = Letter("sendmail -bs", sender, recipient, number)
    with subprocess.Popen(["/usr/sbin/sendmail", "-bs", "-Am"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        said = _last_line(session)
        for command in ("EHLO localhost", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA", message + "."):
            if said[0] not in "23":
                break
            session.stdin.write((command + "\n").replace("\n", "\r\n").encode())
            session.stdin.flush()
            said = _last_line(session)
    letter.code, letter.reply = int(said[:3]), said
    return letter


def _last_line(session):
    for line in session.stdout:
        if line[3:4] == b" ":
            return line.decode().rstrip()
    return "421 it has ended"


def by_bounce(lab, recipient, _):
    """The MTA itself returns a message to its sender."""
    sender = f"bo+{uuid.uuid4().hex}@{LOCAL}" if recipient == BOX else f"b{uuid.uuid4().hex[:12]}-{recipient}"
    letter = _by_program(lab, "bounce", ["nobody-here@" + LOCAL], sender, ["-Am"])[0]
    return Letter("bounce", "", sender, letter.number, 250, letter.reply)


def by_old_file(lab, recipient, sender):
    """In the queue for ten minutes, when the next run finds it."""
    letter = by_options("old queue file", "-Am", "-odq")(lab, recipient, sender)
    for queue_id in lab.mta.log.queue_ids(letter.number):
        with contextlib.suppress(OSError):                      # a queue run was quicker
            lab.mta.log.by_id[letter.number].add(lab.mta.age(queue_id, TEN_MINUTES))
    return letter


def by_etrn(lab, recipient, sender):
    """Queued; then a host asks for what is queued for it."""
    letter = by_options("ETRN", "-Am", "-odq")(lab, recipient, sender)
    with contextlib.suppress(OSError), Client() as client:
        client.smtp.docmd("ETRN", "@" + recipient.rsplit("@", 1)[1])
    return letter


# --- by way of names of the site's

def by_name(way, spell, kind):
    """spell(domain): the name that leads to by-KIND@domain."""
    def post(lab, recipient, sender):
        domain = recipient.rsplit("@", 1)[1]
        name = f"{spell(domain)}@{LOCAL}"
        letter = letters.by_smtp(lab, name, sender, way=way)
        letter.recipient = end(kind, domain)
        if kind == "virtual":
            letter.logged = name
        return letter
    return post


WAYS = {
    "smtp": letters.by_smtp, "smtp (queue client)": letters.by_queue_client, "submission": letters.by_submission,
    "sendmail": letters.by_sendmail, "sendmail -Ac": by_options("sendmail -Ac", "-Ac"),
    "sendmail -Am": by_options("sendmail -Am", "-Am"), "sendmail -t": by_its_header, "sendmail -bs": by_standard_input,
    "alias": by_name("alias", "alias-{}".format, "alias"), "virtual": by_name("virtual", "virtual-{}".format, "virtual"),
    ".forward": by_name(".forward", "user1+{}".format, "forward"), ":include:": by_name(":include:", "list-{}".format, "include"),
    "content filter": by_name("content filter", "filter-{}".format, "filter"),
    "null sender": by_null_sender, "bounce": by_bounce,
    "queue run": by_options("queue run", "-Am", "-odq"), "old queue file": by_old_file, "ETRN": by_etrn,
    "TLS-Required": by_header("TLS-Required", "TLS-Required: No\n"),
    "forged headers": by_header("forged headers", "X-Danelaw-Route: opportunistic\nX-Danelaw-Verdict: pass\n"),
    "upper case": by_form("upper case", "{}@{}".format),
    "trailing dot": by_form("trailing dot", "{}@{}.".format), "extension": by_form("extension", "{}+more@{}".format),
    "quoted": by_form("quoted", quoted), "source route": by_form("source route", f"@{LOCAL}:{{}}@{{}}".format),
    "percent": by_form("percent", f"{{}}%{{}}@{LOCAL}".format), "bang": by_form("bang", "{1}!{0}".format),
}


def many_by_smtp(lab, recipients, sender):
    return _by_client(lab, "smtp, several recipients", recipients, sender)


def many_past_the_milter(lab, recipients, sender):
    return _by_program(lab, "sendmail -Am", recipients, sender, ["-Am"])


MIXED = {"smtp, several recipients": many_by_smtp, "sendmail -Am, several recipients": many_past_the_milter}
