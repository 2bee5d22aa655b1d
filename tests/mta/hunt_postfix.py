"""The leak hunt's Postfix half: every way into it."""

import letters
import sts

NAME = "postfix"
ROADS = ("postfix/danelaw-dane/smtp", "postfix/danelaw-sts/smtp")


def prepare(lab):
    """Nothing yet."""


def set_up(lab, connectors, groups):
    sts.rules(lab, connectors, **{"milter": {"tag": True}, **groups})


def waiting(lab):
    return {(m["queue_id"], r["address"].lower()) for m in lab.postfix.queue() for r in m["recipients"]}


def rouse(_, __):
    """Postfix makes its first attempt at once."""


def push(lab, _):
    lab.flush_resolver()
    lab.postfix.flush()


def vouched(_, delivery):
    return delivery.tls == "Verified" and delivery.service in ROADS


def may_wait(failure, _):
    return "postfix" in failure.shuts


# --- ways in

def by_null_sender(lab, recipient, _):
    return letters.by_queue_client(lab, recipient, "")


WAYS = {"smtp": letters.by_smtp, "smtp (queue client)": letters.by_queue_client, "submission": letters.by_submission,
        "sendmail": letters.by_sendmail, "null sender": by_null_sender}
MIXED = {}
