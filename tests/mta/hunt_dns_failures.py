"""Names and policies that fail in the leak hunt: danelawd's resolver, the partners' name servers, their policy hosts."""

import json
import sys

import policyhost
import sts
import sts_table
import table
import zones
from daemon import CONF, libconfig
from hunt_failures import Failure, write
from lab import DANELAW_RESOLVER, HERE
from namespace import ROOT

KEPT, KEPTBAD = sts_table.BY_NAME["kept"], sts_table.BY_NAME["keptbad"]
CHANGING = (table.HUNTED, KEPT, KEPTBAD)        # partners with a name server of their own
PLAIN = "10 mx.plaintext.example."              # an MX host that an attacker would like: it takes mail in clear
HELPERS = ("liar", "danelaw-resolver", "nsd-past")              # processes that some of these failures need
LIAR = {"silent": "127.0.54.254", "slow": "127.0.54.253", "strips": "127.0.54.252", "lies": "127.0.54.251"}
LIES = {LIAR["slow"]: [["*", "*", "delay:3"]], LIAR["strips"]: [["*", "*", "strip"]],
        LIAR["lies"]: [["*", "MX", "answer:" + PLAIN], ["*", "TLSA", "nothing"], ["*", "*", "strip"]]}


# --- DNS, as danelawd alone sees it

class Resolver(Failure):
    """danelawd starts anew with this forwarder, and without what it knew; the MTA's own resolver is honest."""
    forwarder = ""

    def begin(self, lab):
        self.text = resolve_by(lab, self.forwarder)

    def end(self, lab):
        lab.danelawd.kill()
        write(CONF, self.text)
        lab.danelawd.start()


def resolve_by(lab, forwarder):
    """Returns the configuration as it was."""
    if "liar" not in lab.processes:
        lab.start_resolver("danelaw-resolver", DANELAW_RESOLVER)
        write(ROOT + "/liar.json", json.dumps(LIES))
        lab.spawn("liar", sys.executable, HERE + "/faultdns.py", ROOT + "/liar.json", DANELAW_RESOLVER)
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    old = lab.danelawd.settings["resolver"]
    new = {k: v for k, v in old.items() if k != "root_hints"} | {"forward": [forwarder + "@53"]}
    lab.danelawd.kill()
    write(CONF, text.replace(f"resolver = {libconfig(old)};", f"resolver = {libconfig(new)};"))
    lab.danelawd.start()
    return text


class ResolverDead(Resolver):
    name, what, forwarder = "resolver-dead", "danelawd's resolver never answers", LIAR["silent"]
    patience = 10


class ResolverSlow(Resolver):
    name, what, forwarder = "resolver-slow", "danelawd's resolver takes three seconds for each answer", LIAR["slow"]
    patience = 10


class ResolverStrips(Resolver):
    name, what = "resolver-strips", "danelawd's resolver takes the signatures off, and says that all is secure"
    forwarder = LIAR["strips"]


class ResolverLies(Resolver):
    name, what = "resolver-lies", "danelawd's resolver sends everybody to a host without TLS, and denies all TLSA"
    forwarder = LIAR["lies"]


# --- DNS, as everybody sees it

class Path(Failure):
    """Some partners' name servers lie to everybody."""
    spoiled = {}                        # partner's name: faults

    def begin(self, lab):
        for partner in CHANGING:
            sts.spoil(lab, partner, *self.spoiled.get(partner.name, partner.faults))
        forget(lab)

    def end(self, lab):
        for partner in CHANGING:
            sts.spoil(lab, partner, *partner.faults)
        forget(lab)


def forget(lab):
    """Nobody knows the changing partners any more."""
    lab.flush_resolver()
    sts.forget(lab, *(p.domain for p in CHANGING))


class Forged(Path):
    name, what = "forged", "an attacker on the path to some partners sends their mail to his host, unsigned"
    spoiled = {p.name: (("@", "MX", "answer:" + PLAIN), ("_25._tcp.mx", "TLSA", "nothing")) for p in CHANGING}


class Denied(Path):
    name, what = "denied", "an attacker on the path to some partners denies their TLSA, MX and policies, unsigned"
    spoiled = {p.name: (("@", "MX", "nothing"), ("_25._tcp.mx", "TLSA", "nothing"), ("_mta-sts", "TXT", "nothing"))
               for p in CHANGING}
    returns = ("STS",)                  # nothing proves that an unsigned domain has mail hosts


class Replayed(Path):
    name, what = "replayed", "old answers of a partner's, well signed once: to a host that isn't the partner's any more"
    spoiled = {"hunted": (("*", "*", "from:" + zones.PAST_SERVER),)}

    def begin(self, lab):
        if "nsd-past" not in lab.processes:
            past = lab.zones.played_back(table.HUNTED, ["@ MX " + PLAIN, "mx A 127.1.0.1"])
            lab.start_nsd("nsd-past", zones.PAST_SERVER, [table.HUNTED.domain], lambda zone: past)
        super().begin(lab)


class KilledForged(Forged):
    name, what = "killed-forged", "danelawd is dead, and an attacker sends some partners' mail to his host"
    shuts = ("sendmail-smtp",)

    def begin(self, lab):
        super().begin(lab)
        lab.danelawd.kill()

    def end(self, lab):
        lab.danelawd.start()
        super().end(lab)


# --- MTA-STS policies

class PolicyHost(Failure):
    """The partners' records name another policy; this is what there is of it."""
    site = {}

    def begin(self, lab):
        self.before = {p.domain: lab.policy_hosts.change(p.domain, **self.site) for p in (KEPT, KEPTBAD)}
        self.new_ids(lab)

    def new_ids(self, lab):
        for partner in (KEPT, KEPTBAD):
            sts.new_id(lab, partner, self.rng.randrange(10 ** 9))
        forget(lab)

    def end(self, lab):
        for partner in (KEPT, KEPTBAD):
            lab.policy_hosts.set(partner.domain, partner.address, self.before[partner.domain])
        self.new_ids(lab)               # another id, so that danelawd asks for the policy again
        forget(lab)


class PolicyDead(PolicyHost):
    name, what = "policy-dead", "the policy host is dead"
    site = {"dead": True}


class PolicyForged(PolicyHost):
    name, what = "policy-forged", "the policy host shows a self-signed certificate and a policy that asks for nothing"
    site = {"certificate": policyhost.certs.SELF_SIGNED, "body": policyhost.policy("none")}


class PolicyOther(PolicyHost):
    name, what = "policy-other", "the policy names other hosts"
    site = {"body": policyhost.policy("enforce", "mx.plaintext.example")}
