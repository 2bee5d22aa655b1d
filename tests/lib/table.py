"""The lab's partners: one domain for each state in which DNS and mail hosts are found in the wild.

Each partner says what it is, the DANE state Danelaw must see, and what then happens to its mail, under a
connector that demands DANE ("mandatory") and under one that takes it where offered ("opportunistic").

Zone records are written relative to the partner's domain, "@" being the domain itself.  Shorthand:
  "mx A", "mx AAAA"            an address of the lab's choice, and a mail host that listens there
  "mx TLSA 3 1 1"              at _25._tcp.mx, made from mx's certificate; "... of HOST": from another host's
"""

import dataclasses

SIGNED, UNSIGNED, BOGUS, EXPIRED = "signed", "unsigned", "bogus", "expired"
NSEC3, NO_ZONE = "nsec3", "no zone"


@dataclasses.dataclass(frozen=True)
class Fate:
    """What happens to a message: delivered, held or bounced."""
    outcome: str
    reason: str = None          # Danelaw's; None where Danelaw says deliver and the MTA has the last word
    policy: str = None          # what Danelaw answers where it says deliver
    says: str = ""              # a part of Postfix's explanation in its log
    verified: bool = False      # delivered over an authenticated connection


@dataclasses.dataclass(frozen=True)
class Partner:
    name: str
    what: str
    state: str                  # DESIGN 3.1
    mandatory: Fate
    opportunistic: Fate
    records: tuple = ()
    zone: str = SIGNED
    at: tuple = ("mx",)         # hosts that may get mandatory mail (relative, or with a final dot)
    plain: tuple = ()           # hosts without STARTTLS
    dead: tuple = ()            # hosts that have an address where nobody listens
    faults: tuple = ()          # (owner, type, action): see faultdns.py
    forge: tuple = ()           # (owner, type) whose data is changed after signing
    above: tuple = ()           # records in the zone "example", absolute
    mail_domain: str = ""       # where its mailboxes are, if not at NAME.example
    slow: bool = False          # its answers take seconds: look-ups time out
    ttl: int = 300

    @property
    def domain(self):
        return self.mail_domain or self.name + ".example"

    def host(self, relative):
        return relative[:-1] if relative.endswith(".") else f"{relative}.{self.name}.example"

    @property
    def authentic(self):
        """Names of the hosts that mandatory mail may reach."""
        return [self.host(h) for h in self.at] if self.mandatory.outcome == "delivered" else []


def sent(policy="dane-only", verified=None):
    return Fate("delivered", policy=policy, verified=policy == "dane-only" if verified is None else verified)


def held(reason, says=""):
    return Fate("held", reason=reason, says=says)


def refused_by_tls(says):
    """DNS promises DANE, the live host does not keep it: the road itself holds the mail."""
    return Fate("held", policy="dane-only", says=says)


BOUNCED = Fate("bounced")
SITE = sent("site")
REQUIRED = held("dane-required")
INVALID = held("dnssec-invalid")
TEMPORARY = held("dns-temp")
ONE_MX = ("@ MX 10 mx", "mx A")
TLSA = "mx TLSA 3 1 1"


def good(name, what, records, **more):
    return Partner(name, what, "usable", sent(), sent(), tuple(records), **more)


def absent(name, what, records, **more):
    return Partner(name, what, "absent", REQUIRED, SITE, tuple(records), **more)


def failing(name, what, records, state="unknown", fate=TEMPORARY, **more):
    return Partner(name, what, state, fate, fate, tuple(records), **more)


PARTNERS = (
    # --- DANE as it should be
    good("good311", "DANE-EE, key, SHA-256", ONE_MX + (TLSA,)),
    good("good301", "DANE-EE, certificate, SHA-256", ONE_MX + ("mx TLSA 3 0 1",)),
    good("good201", "DANE-TA, CA certificate, SHA-256", ONE_MX + ("mx TLSA 2 0 1",)),
    good("good211", "DANE-TA, CA key, SHA-256", ONE_MX + ("mx TLSA 2 1 1",)),
    good("good312", "DANE-EE, key, SHA-512", ONE_MX + ("mx TLSA 3 1 2",)),
    good("good310", "DANE-EE, whole key", ONE_MX + ("mx TLSA 3 1 0",)),
    good("rollover", "next key published beside the present one",
         ONE_MX + (TLSA, "mx TLSA 3 1 1 of mx.good311")),
    good("mixedusage", "usable TLSA beside PKIX usage and unknown matching",
         ONE_MX + (TLSA, "mx TLSA 1 1 1", "mx TLSA 3 1 9")),
    good("dualstack", "MX with IPv4 and IPv6", ONE_MX + ("mx AAAA", TLSA)),
    good("ipv6only", "MX with IPv6 only", ("@ MX 10 mx", "mx AAAA", TLSA)),
    good("shortlived", "records that live for a second", ONE_MX + (TLSA,), ttl=1),
    good("nomx", "no MX: the domain is its own host", ("@ A", "@ TLSA 3 1 1"), at=("nomx.example.",)),
    good("hosted", "MX in another signed zone",
         ("@ MX 10 mx.good311.example.",), at=("mx.good311.example.",)),
    good("mxcname", "MX is a CNAME, TLSA at the expanded name",
         ("@ MX 10 mail", "mail CNAME mx", "mx A", TLSA)),
    good("mxcnamealias", "MX is a CNAME, TLSA at the alias only",
         ("@ MX 10 mail", "mail CNAME mx", "mx A", "mail TLSA 3 1 1 of mx")),
    good("mxcnameout", "MX is a secure CNAME into an unsigned zone, TLSA at the alias",
         ("@ MX 10 mail", "mail CNAME mx.unsigned.example.", "mail TLSA 3 1 1 of mx.unsigned"),
         at=("mx.unsigned.example.",)),
    good("domaincname", "the domain is a CNAME to a good one", (), zone=NO_ZONE,
         above=("domaincname CNAME good311",), at=("mx.good311.example.",)),
    good("tlsacname", "TLSA through a CNAME",
         ONE_MX + ("_25._tcp.mx CNAME ee", "ee TLSA: 3 1 1 of mx")),
    good("wildnsec3", "wildcards under NSEC3",
         ("* MX 10 mx", "mx A", "*._tcp.mx TLSA: 3 1 1 of mx"), zone=NSEC3,
         mail_domain="any.wildnsec3.example"),
    good("xn--bcher-kva", "IDN domain (bücher.example)", ONE_MX + (TLSA,)),
    good("deadmx", "unreachable first MX, good second",
         ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A", "mx1 TLSA 3 1 1", "mx2 TLSA 3 1 1"),
         at=("mx2",), dead=("mx1",)),
    good("gonemx", "first MX does not exist, good second",
         ("@ MX 10 gone", "@ MX 20 mx", "mx A", TLSA)),
    good("aaaafail", "AAAA answers SERVFAIL, A is good", ONE_MX + (TLSA,),
         faults=(("mx", "AAAA", "servfail"),)),
    good("firststale", "first MX with stale TLSA, good second",
         ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A", "mx1 TLSA 3 1 1 of mx2", "mx2 TLSA 3 1 1"),
         at=("mx2",)),
    # --- DANE on part of the way
    Partner("firsttlsa", "MX 10 with TLSA, MX 20 without", "partial", sent(), sent("dane", verified=True),
            ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A", "mx1 TLSA 3 1 1"), at=("mx1",)),
    Partner("secondtlsa", "MX 10 without TLSA, MX 20 with", "partial", sent(), sent("dane"),
            ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A", "mx2 TLSA 3 1 1"), at=("mx2",)),
    Partner("insecuremx", "unsigned domain, MX host with DANE", "insecure-mx", REQUIRED, sent("dane"),
            ("@ MX 10 mx.good311.example.",), zone=UNSIGNED),
    Partner("degraded", "MX 10 without TLSA, TLSA of MX 20 SERVFAIL", "degraded", TEMPORARY, sent("dane"),
            ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A", "mx2 TLSA 3 1 1"),
            faults=(("_25._tcp.mx2", "TLSA", "servfail"),)),
    # --- no DANE
    absent("notlsa", "signed, no TLSA", ONE_MX),
    absent("unsigned", "unsigned", ONE_MX, zone=UNSIGNED),
    absent("unsignedtlsa", "TLSA in an unsigned zone", ONE_MX + (TLSA,), zone=UNSIGNED),
    absent("hostunsigned", "MX host in an unsigned zone", ("@ MX 10 mx.unsignedtlsa.example.",)),
    absent("cnameunsigned", "MX is a secure CNAME into an unsigned zone, no TLSA of its own",
           ("@ MX 10 mail", "mail CNAME mx.unsignedtlsa.example.")),
    absent("tlsacnameout", "TLSA through a CNAME into an unsigned zone",
           ONE_MX + ("_25._tcp.mx CNAME _25._tcp.mx.unsignedtlsa.example.",)),
    absent("xn--mller-kva", "IDN domain, unsigned (müller.example)", ONE_MX, zone=UNSIGNED),
    absent("plaintext", "unsigned, no STARTTLS", ONE_MX, zone=UNSIGNED, plain=("mx",)),
    # --- TLSA nobody can use
    Partner("pkixonly", "PKIX usages 0 and 1 only", "unusable", REQUIRED, sent("encrypt"),
            ONE_MX + ("mx TLSA 1 1 1", "mx TLSA 0 1 1")),
    Partner("unknownmatching", "matching type 9", "unusable", REQUIRED, sent("encrypt"),
            ONE_MX + ("mx TLSA 3 1 9",)),
    Partner("wronglength", "digest of 31 octets", "unusable", REQUIRED, sent("encrypt"),
            ONE_MX + ("_25._tcp.mx TLSA 3 1 1 " + "ab" * 31,)),
    # --- DNS that lies or fails
    failing("bogus", "DS matches no key", ONE_MX + (TLSA,), "bogus", INVALID, zone=BOGUS),
    failing("expired", "signatures expired", ONE_MX + (TLSA,), "bogus", INVALID, zone=EXPIRED),
    failing("bogustlsa", "TLSA changed on the way", ONE_MX + (TLSA,), "bogus", INVALID,
            forge=(("_25._tcp.mx", "TLSA"),)),
    failing("tlsaservfail", "TLSA answers SERVFAIL", ONE_MX + (TLSA,),
            faults=(("_25._tcp.mx", "TLSA", "servfail"),)),
    failing("tlsatimeout", "TLSA is never answered", ONE_MX + (TLSA,),
            faults=(("_25._tcp.mx", "TLSA", "drop"),), slow=True),
    failing("mxservfail", "MX answers SERVFAIL", ONE_MX + (TLSA,), faults=(("@", "MX", "servfail"),)),
    failing("dnssilent", "its name servers never answer", ONE_MX + (TLSA,),
            faults=(("*", "*", "drop"),), slow=True),
    # --- DNS promises, the host breaks the promise
    Partner("mismatch", "certificate does not match TLSA", "usable",
            refused_by_tls("not verified"), refused_by_tls("not verified"),
            ONE_MX + ("mx TLSA 3 1 1 of mx.good311",)),
    Partner("tawrongname", "DANE-TA, certificate for another name", "usable",
            refused_by_tls("not verified"), refused_by_tls("not verified"),
            ("@ MX 10 otherwise", "otherwise A", "otherwise TLSA 2 1 1")),
    Partner("nostarttls", "TLSA, but no STARTTLS", "usable",
            refused_by_tls("TLS is required"), refused_by_tls("TLS is required"),
            ONE_MX + (TLSA,), plain=("mx",)),
    # --- no mail here at all
    Partner("nullmx", "null MX", "no-mail", BOUNCED, BOUNCED, ("@ MX 0 .",)),
    Partner("nxdomain", "does not exist", "no-mail", BOUNCED, BOUNCED, zone=NO_ZONE),
)

# A host that shows now this certificate, now that: whoever looks for one may have to look again.
FARM = good("farm", "two certificates behind one name, each with its TLSA", ONE_MX + (TLSA, "mx TLSA 3 1 1 of mx.good301"))

# What an attacker on its network path has in hand: its own name server, which may come to lie or to play back old answers.
HUNTED = good("hunted", "a name server of its own, records that live for a second", ONE_MX + (TLSA,),
              faults=(("_hunted", "TXT", "pass"),), ttl=1)
SHOWN_ALSO = {"mx.farm.example": ["mx.good301.example"]}

BY_NAME = {p.name: p for p in PARTNERS}
BY_DOMAIN = {p.domain: p for p in PARTNERS + (FARM, HUNTED)}
WRONG_NAME_HOSTS = {"otherwise.tawrongname.example": ["elsewhere.example"]}
