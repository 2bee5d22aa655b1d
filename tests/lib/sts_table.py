"""The lab's partners with MTA-STS: one domain for each state in which records, policies and hosts are found.

Each says its STS state, and what becomes of its mail under each kind of connector in MODES.  Zone records are
written as in table.py.  In policies "@" is the partner's domain.
"""

import dataclasses

import certs
import table
from policyhost import PATH, Site, policy
from table import INVALID, REQUIRED, SIGNED, SITE, UNSIGNED, held

MODES = {
    "opportunistic": {"smtp_dane": "opportunistic", "mta_sts": "opportunistic"},
    "mandatory": {"smtp_dane": "opportunistic", "mta_sts": "mandatory"},
    "none": {"smtp_dane": "opportunistic", "mta_sts": "none"},
    "any": {"smtp_dane": "mandatory", "mta_sts": "mandatory", "require": "any"},
    "both": {"smtp_dane": "mandatory", "mta_sts": "mandatory"},
}
POLICY_NET = "127.2.0."
TXT = '_mta-sts TXT "v=STSv1; id=1;"'
MISMATCH, TEMPORARY = held("sts-mx-mismatch"), held("dns-temp")
STEADY = (("_mta-sts", "TXT", "pass"),)     # nothing is spoiled now, but may be later
_numbers = iter(range(1, 255))


@dataclasses.dataclass(frozen=True)
class Fate(table.Fate):
    at: tuple = ()              # the hosts that may get the mail; empty: any


@dataclasses.dataclass(frozen=True)
class Partner(table.Partner):
    sts: str = "absent"         # DESIGN 3.2
    fates: dict = dataclasses.field(default_factory=dict)       # by mode
    site: Site = None           # its policy host; None: there is none
    address: str = ""           # where the policy host listens
    certificates: dict = dataclasses.field(default_factory=dict)    # of mail hosts: arguments of issue()


def secure(*hosts):
    """Delivered by MTA-STS to one of these hosts, by the policy that names exactly them."""
    names = ":".join(h[:-1] if h.endswith(".") else h + ".@" for h in hosts)
    return Fate("delivered", policy=f"secure match={names} servername=hostname", verified=True, at=hosts)


def carried(*hosts):
    """Delivered by DANE to one of these hosts."""
    return Fate("delivered", policy="dane-only", verified=True, at=hosts)


def fates(opportunistic, mandatory, none, either, both=REQUIRED):
    return {"opportunistic": opportunistic, "mandatory": mandatory, "none": none, "any": either, "both": both}


def by_policy(*hosts):
    """No DANE, and an enforce policy lists these hosts."""
    return fates(secure(*hosts), secure(*hosts), SITE, secure(*hosts))


def broken(says):
    """No DANE, and the host fails its enforce policy."""
    stopped = Fate("held", policy=secure("mx").policy, says=says)
    return fates(stopped, stopped, SITE, stopped)


def nothing_from(reason):
    """No DANE, and no policy that counts."""
    return fates(SITE, held(reason), SITE, REQUIRED)


def partner(name, what, sts, may, site=None, records=(TXT,), hosts=("@ MX 10 mx", "mx A"), dane="absent",
            zone=UNSIGNED, **more):
    address = POLICY_NET + str(next(_numbers))
    own = ("mta-sts A " + address,) if site is not None else ()
    if site is not None:
        site = dataclasses.replace(site, body=site.body.replace("@", name + ".example"))
    may = {mode: dataclasses.replace(f, policy=f.policy and f.policy.replace("@", name + ".example"))
           for mode, f in may.items()}
    return Partner(name, what, dane, None, None, tuple(hosts) + tuple(records) + own, zone=zone, sts=sts,
                   fates=may, site=site, address=address, **more)


def steady(name, what, body, hosts=("@ MX 10 mx", "mx A"), sts="enforce", may=by_policy("mx"), **more):
    """A partner that a test will change; it has its own name server, and its records live for a second."""
    return partner(name, what, sts, may, Site(body), hosts=hosts, faults=STEADY, ttl=1, **more)


def second(*hosts):
    """No DANE; an enforce policy lists all, and only the last can have the mail."""
    last = dataclasses.replace(secure(*hosts), at=hosts[-1:])
    return fates(last, last, SITE, last)


ENFORCE = policy("enforce", "mx.@")
WILDCARD = policy("enforce", "*.@", end="\n")
TWO_MX = ("@ MX 10 mx1", "@ MX 20 mx2", "mx1 A", "mx2 A")
HALF = TWO_MX + ("mx2 TLSA 3 1 1",)
DANE = ("@ MX 10 mx", "mx A", "mx TLSA 3 1 1")
NOT_TRUSTED, NO_TLS = "Server certificate not", "TLS is required"
PLAIN_DANE = table.sent("dane")
SECOND_OF_TWO = second("mx1", "mx2")
FETCH_ERROR = nothing_from("sts-fetch-error")
NO_POLICY = nothing_from("sts-required")

PARTNERS = (
    # --- enforce, as it should be
    partner("stsexact", "enforce, the host by its name", "enforce", by_policy("mx"), Site(ENFORCE)),
    partner("stswild", "enforce, the host by a wildcard", "enforce", by_policy("mx"), Site(WILDCARD)),
    partner("stscase", "enforce, the host's name in capitals, parameters and fields nobody knows", "enforce",
            by_policy("mx"), Site(policy("enforce", "MX.@", more="x_more: yes\r\n"),
                                  media="Text/Plain; charset=utf-8"),
            records=('_mta-sts TXT "v=STSv1; id=20240101T000000; more=yes"', '_mta-sts TXT "v=other"')),
    partner("ststwomx", "two MX, the policy lists the second", "enforce", by_policy("mx2"),
            Site(policy("enforce", "mx2.@")), hosts=TWO_MX),
    partner("stsdeadmx", "two MX, both listed, the first is out of reach", "enforce",
            SECOND_OF_TWO, Site(WILDCARD), hosts=TWO_MX, dead=("mx1",)),
    partner("stssecondbad", "two MX, both listed, the first fails its policy", "enforce",
            SECOND_OF_TWO, Site(WILDCARD), hosts=TWO_MX, certificates={"mx1": {"kind": certs.SELF_SIGNED}}),
    # --- enforce, and no host that the policy lists
    partner("ststwolabels", "wildcard, and a host two labels below it", "enforce-mismatch",
            fates(MISMATCH, MISMATCH, SITE, REQUIRED), Site(WILDCARD), hosts=("@ MX 10 a.b", "a.b A")),
    partner("stsmixedwild", "wildcard, a host two labels below it and one that matches", "enforce",
            by_policy("mx"), Site(WILDCARD), hosts=("@ MX 10 a.b", "@ MX 20 mx", "a.b A", "mx A")),
    partner("stsapex", "wildcard, and the domain itself as host", "enforce-mismatch",
            fates(MISMATCH, MISMATCH, SITE, REQUIRED), Site(WILDCARD), hosts=("@ MX 10 @", "@ A")),
    partner("stsother", "the policy lists another host", "enforce-mismatch",
            fates(MISMATCH, MISMATCH, SITE, REQUIRED), Site(policy("enforce", "mail.@"))),
    # --- enforce, and the host breaks the promise
    partner("stsselfsigned", "self-signed certificate", "enforce", broken(NOT_TRUSTED), Site(ENFORCE),
            certificates={"mx": {"kind": certs.SELF_SIGNED}}),
    partner("stswrongname", "certificate for another name", "enforce", broken(NOT_TRUSTED), Site(ENFORCE),
            certificates={"mx": {"names": ["elsewhere.example"]}}),
    partner("stsexpired", "expired certificate", "enforce", broken(NOT_TRUSTED), Site(ENFORCE),
            certificates={"mx": {"kind": certs.EXPIRED}}),
    partner("stsplain", "no STARTTLS", "enforce", broken(NO_TLS), Site(ENFORCE), plain=("mx",)),
    # --- a record, but no policy
    partner("stsnotfound", "policy: 404", "fetch-error", FETCH_ERROR, Site(ENFORCE, 404)),
    partner("stsredirect", "policy: 301 to a good one", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, 301, headers=(f"Location: https://mta-sts.stsexact.example{PATH}",))),
    partner("stsmedia", "policy: wrong media type", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, media="text/html")),
    partner("stsnomedia", "policy: no media type", "fetch-error", FETCH_ERROR, Site(ENFORCE, media="")),
    partner("stslarge", "policy: more than 64 KiB", "fetch-error", FETCH_ERROR,
            Site(policy("enforce", "mx.@", more="x: " + 2000 * (60 * "y" + "\r\nx: ") + "\r\n"))),
    partner("stsdrip", "policy: an octet now and then", "fetch-error", FETCH_ERROR, Site(ENFORCE, drip=True)),
    partner("stsdead", "policy host: nobody listens", "fetch-error", FETCH_ERROR, Site(ENFORCE, dead=True)),
    partner("stsnohost", "policy host: does not exist", "fetch-error", FETCH_ERROR),
    partner("stsinvalid", "policy: not one", "fetch-error", FETCH_ERROR,
            Site("version: STSv1\r\nmode: maybe\r\n")),
    partner("stshostname", "policy host: certificate for another name", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, names=("stshostname.example",))),
    partner("stshostself", "policy host: self-signed certificate", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, certificate=certs.SELF_SIGNED)),
    partner("stshostexpired", "policy host: expired certificate", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, certificate=certs.EXPIRED)),
    partner("stshostcn", "policy host: its name stands in the CN alone", "fetch-error", FETCH_ERROR,
            Site(ENFORCE, certificate=certs.NAME_IN_CN)),
    # --- a policy that asks for nothing, or no record
    partner("ststesting", "testing", "testing", NO_POLICY, Site(policy("testing", "mx.@"))),
    partner("stsnone", "none", "none", NO_POLICY, Site(policy("none"))),
    partner("stsabsent", "a policy, but no record", "absent", NO_POLICY, Site(ENFORCE), records=()),
    partner("ststwice", "two records", "absent", NO_POLICY, Site(ENFORCE),
            records=(TXT, '_mta-sts TXT "v=STSv1; id=2;"')),
    partner("ststxtfails", "the record's look-up fails", "unknown", nothing_from("dns-temp"), Site(ENFORCE),
            faults=(("_mta-sts", "TXT", "servfail"),)),
    # --- DANE and MTA-STS
    partner("danests", "both are good", "enforce", fates(*[carried("mx")] * 5), Site(ENFORCE), hosts=DANE,
            zone=SIGNED, dane="usable"),
    partner("daneself", "DANE good, enforce, self-signed certificate", "enforce", fates(*[carried("mx")] * 5),
            Site(ENFORCE), hosts=DANE, zone=SIGNED, dane="usable",
            certificates={"mx": {"kind": certs.SELF_SIGNED}}),
    partner("danebad", "DANE mismatch, MTA-STS good", "enforce",
            fates(*[Fate("held", policy="dane-only", says="not verified")] * 5), Site(ENFORCE),
            hosts=("@ MX 10 mx", "mx A", "mx TLSA 3 1 1 of mx.good311"), zone=SIGNED, dane="usable"),
    partner("danebogus", "forged TLSA, MTA-STS good", "enforce", fates(*[INVALID] * 5), Site(ENFORCE),
            hosts=DANE, zone=SIGNED, dane="bogus", forge=(("_25._tcp.mx", "TLSA"),)),
    partner("danenone", "DANE good, mode none", "none",
            fates(carried("mx"), held("sts-required"), carried("mx"), carried("mx"), held("sts-required")),
            Site(policy("none")), hosts=DANE, zone=SIGNED, dane="usable"),
    partner("daneother", "DANE good, the policy lists another host", "enforce-mismatch",
            fates(carried("mx"), MISMATCH, carried("mx"), carried("mx"), MISMATCH),
            Site(policy("enforce", "mail.@")), hosts=DANE, zone=SIGNED, dane="usable"),
    partner("partbare", "MX 20 has DANE, the policy lists MX 10", "enforce",
            fates(secure("mx1"), secure("mx1"), PLAIN_DANE, carried("mx2"), MISMATCH),
            Site(policy("enforce", "mx1.@")), hosts=HALF, zone=SIGNED, dane="partial"),
    partner("partgood", "MX 20 has DANE, the policy lists it", "enforce",
            fates(carried("mx2"), carried("mx2"), PLAIN_DANE, carried("mx2"), carried("mx2")),
            Site(policy("enforce", "mx2.@")), hosts=HALF, zone=SIGNED, dane="partial"),
    partner("partnone", "MX 20 has DANE, the policy lists neither", "enforce-mismatch",
            fates(MISMATCH, MISMATCH, PLAIN_DANE, carried("mx2"), MISMATCH),
            Site(policy("enforce", "mail.@")), hosts=HALF, zone=SIGNED, dane="partial"),
    partner("unusablests", "TLSA that nobody can use, MTA-STS good", "enforce",
            fates(secure("mx"), secure("mx"), table.sent("encrypt"), secure("mx")), Site(ENFORCE),
            hosts=("@ MX 10 mx", "mx A", "mx TLSA 1 1 1"), zone=SIGNED, dane="unusable"),
    partner("insecurests", "unsigned domain, MX host with DANE, MTA-STS good", "enforce",
            fates(secure("mx.good311.example."), secure("mx.good311.example."), PLAIN_DANE,
                  secure("mx.good311.example.")),
            Site(policy("enforce", "*.good311.example")), hosts=("@ MX 10 mx.good311.example.",),
            dane="insecure-mx"),
)

CHANGING = (
    steady("newid", "another policy with another id", policy("enforce", "mail.@"), sts="enforce-mismatch"),
    steady("newidnone", "mode none with another id", ENFORCE),
    steady("sameid", "another policy with the same id", policy("enforce", "mail.@"), sts="enforce-mismatch"),
    steady("daily", "another policy with the same id, a day later", ENFORCE),
    steady("txtgone", "the record goes away", ENFORCE),
    steady("txtfails", "the record's look-up fails later", ENFORCE),
    steady("hostdies", "the policy host dies", ENFORCE),
    steady("hostdiesnew", "the policy host dies, and the id is another", ENFORCE),
    steady("mxfails", "the MX look-up fails", ENFORCE),
    steady("short", "the policy lives for seconds", policy("enforce", "mx.@", max_age=8)),
    steady("zeroage", "the policy is not to be kept", policy("enforce", "mx.@", max_age=0)),
    steady("kept", "nothing changes", ENFORCE),
    steady("keptbad", "nothing changes, and the host fails its policy", ENFORCE,
           certificates={"mx": {"kind": certs.SELF_SIGNED}}),
    steady("late", "first asked for while the store is broken", ENFORCE),
    steady("fall", "a connector with a fallback road", ENFORCE),
    steady("falltemp", "a connector with a fallback road, and DNS that fails", ENFORCE),
    partner("smarthost", "hosts that take mail on fallback roads", "absent", NO_POLICY, records=()),
)

ALL = PARTNERS + CHANGING
BY_NAME = {p.name: p for p in ALL}
BY_DOMAIN = {p.domain: p for p in ALL}
CERTIFICATES = {f"{host}.{p.name}.example": how for p in ALL for host, how in p.certificates.items()}
