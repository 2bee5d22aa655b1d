"""The lab's DNS: a signed root, the signed top-level domain "example", and the partners' zones below it.

A root of our own means that validation runs exactly as on the Internet, from a trust anchor downwards, with
nothing switched off.  Zones are signed with one ECDSA key each, by ldns-signzone.
"""

import concurrent.futures
import ipaddress
import os
import re
import time

import sts_table
import table
from namespace import run

ROOT_SERVER = "127.0.53.1"              # root and example
ZONE_SERVER = "127.0.53.3"              # the partners' zones
PAST_SERVER = "127.0.53.4"              # those that played_back() made
FAULTY_NET = "127.0.54."                # one address for each zone that misbehaves: resolvers shun by address
HOST_NET = ipaddress.ip_address("127.1.0.0")
HOST_NET6 = ipaddress.ip_address("fd00:da:0:1::")
NEGATIVE_TTL = 60
PARTNERS = table.PARTNERS + sts_table.ALL + (table.FARM, table.HUNTED)


class Host:
    """A mail host: what it is called, where it listens, how it behaves."""

    def __init__(self, name, number, plain, dead):
        self.name, self.plain, self.dead = name, plain, dead
        self.v4 = str(HOST_NET + number)
        self.v6 = str(HOST_NET6 + number)
        self.has_v4 = self.has_v6 = False


class Zones:
    """Writes and signs all zones below a directory; knows the mail hosts and faults they speak of."""

    def __init__(self, directory, authority):
        self.directory = directory
        self.authority = authority
        self.hosts = {}                 # name -> Host
        self.faults = {}                # address -> [[owner, type, action], ...]
        self.extra = []                 # (zone, records): what a single test wants besides
        self.keys = {}                  # zone -> the name of its key's files
        os.makedirs(directory, exist_ok=True)

    def build(self):
        """Everything, in an order that lets each parent know its children's DS."""
        for partner in PARTNERS:
            self._find_hosts(partner)
        for host in self.hosts.values():
            self.authority.issue(host.name, **sts_table.CERTIFICATES.get(
                host.name, {"names": table.WRONG_NAME_HOSTS.get(host.name)}))
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            with_zone = [p for p in PARTNERS if p.zone != table.NO_ZONE]
            below = list(pool.map(self._make_partner_zone, with_zone))
        above = [line for p in PARTNERS for line in p.above]
        above += [f"ns A {ZONE_SERVER}"] + [line for lines in below for line in lines]
        ds = self._make_zone("example", self._soa("ns0.example.") + [f"ns0 A {ROOT_SERVER}"] + above)
        self._make_zone(".", self._soa("a.root.") + [f"a.root. A {ROOT_SERVER}", "example. NS ns0.example.",
                                                     f"ns0.example. A {ROOT_SERVER}"] + ds)
        with open(self.hints, "w", encoding="ascii") as out:
            out.write(f". 3600 NS a.root.\na.root. 3600 A {ROOT_SERVER}\n")

    @property
    def hints(self):
        return os.path.join(self.directory, "root.hints")

    @property
    def anchor(self):
        """The root's DS record as one line of text."""
        return self._read("root.ds").strip()

    @property
    def anchor_file(self):
        return os.path.join(self.directory, "root.ds")

    def zone_file(self, zone):
        return os.path.join(self.directory, (zone.strip(".") or "root") + ".zone")

    def partner_zones(self):
        return [p.name + ".example" for p in PARTNERS if p.zone != table.NO_ZONE]

    @staticmethod
    def fault_address(partner):
        """Where the name server of a partner with faults listens."""
        return FAULTY_NET + str(PARTNERS.index(partner) + 1)

    # --- one partner

    def _find_hosts(self, partner):
        for record in partner.records:
            words = record.split()
            if len(words) == 2 and words[1] in ("A", "AAAA"):
                host = self._host(partner, words[0])
                host.has_v4 |= words[1] == "A"
                host.has_v6 |= words[1] == "AAAA"

    def _host(self, partner, owner):
        name = _absolute(owner, partner)
        if name not in self.hosts:
            self.hosts[name] = Host(name, len(self.hosts) + 1, owner in partner.plain, owner in partner.dead)
        return self.hosts[name]

    def _make_partner_zone(self, partner):
        """Returns the records that the parent needs: NS, its address if special, DS."""
        zone = partner.name + ".example"
        server, delegation = "ns.example.", []
        if partner.faults:
            server = f"ns-{partner.name}.example."
            address = self.fault_address(partner)
            self.faults[address] = [[owner if owner == "*" else _absolute(owner, partner), kind, action]
                                    for owner, kind, action in partner.faults]
            delegation.append(f"{server} A {address}")
        delegation.append(f"{zone}. NS {server}")
        records = [self._expand(partner, record) for record in partner.records]
        delegation += self._make_zone(zone, self._soa(server) + records, partner.zone, partner.forge,
                                      partner.ttl)
        return delegation

    def _expand(self, partner, record):
        owner, kind, *data = record.split()
        if kind in ("A", "AAAA") and not data:
            host = self._host(partner, owner)
            return f"{owner} {kind} {host.v4 if kind == 'A' else host.v6}"
        if kind in ("TLSA", "TLSA:") and not owner.startswith("_"):
            of = owner
            if "of" in data:
                of = data[-1]
            name = of + ".example" if "." in of else _absolute(of, partner)
            rdata = self.authority.tlsa(name, *map(int, data[:3]))
            where = owner if kind == "TLSA:" else "_25._tcp" if owner == "@" else f"_25._tcp.{owner}"
            return f"{where} TLSA {rdata}"
        return record

    # --- the past

    def played_back(self, partner, records, days=30):
        """The zone file of a partner as it may have been: these records, signed by its key until yesterday."""
        zone, now = partner.name + ".example", int(time.time())
        path = os.path.join(self.directory, f"past-{zone}")
        with open(path, "w", encoding="ascii") as out:
            out.write(f"$ORIGIN {zone}.\n$TTL {partner.ttl}\n"
                      + "\n".join(self._soa(f"ns-{partner.name}.example.") + list(records)) + "\n")
        run("ldns-signzone", "-i", str(now - days * 86400), "-e", str(now - 86400), "-o", zone, "-f", path + ".zone", path,
            self.keys[zone], cwd=self.directory)
        return path + ".zone"

    # --- files

    @staticmethod
    def _soa(server):
        return [f"@ SOA {server} hostmaster.example. 1 3600 600 86400 {NEGATIVE_TTL}", f"@ NS {server}"]

    def _make_zone(self, zone, records, kind=table.SIGNED, forge=(), ttl=300):
        """Writes the zone as its server shall have it; returns its DS records (absolute)."""
        name = zone.strip(".") or "root"
        plain = os.path.join(self.directory, name + ".plain")
        with open(plain, "w", encoding="ascii") as out:
            out.write(f"$ORIGIN {zone.strip('.')}.\n$TTL {ttl}\n" + "\n".join(records) + "\n")
        if kind == table.UNSIGNED:
            os.replace(plain, self.zone_file(zone))
            return []
        key = run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", zone, cwd=self.directory).strip()
        now = int(time.time())
        since, until = now - 9 * 86400, now + 14 * 86400
        if kind == table.EXPIRED:
            until = now - 86400
        nsec3 = ["-n", "-t", "1", "-s", "ab"] if kind == table.NSEC3 else []
        run("ldns-signzone", *nsec3, "-i", str(since), "-e", str(until), "-o", zone, "-f", self.zone_file(zone),
            plain, key, cwd=self.directory)
        for owner, rrtype in forge:
            self._forge(zone, owner, rrtype)
        self.keys[zone] = key
        ds = " ".join(self._read(key + ".ds").split())
        if kind == table.BOGUS:
            ds = ds[:-8] + "00000000"
        with open(os.path.join(self.directory, name + ".ds"), "w", encoding="ascii") as out:
            out.write(ds + "\n")
        return [ds]

    def _forge(self, zone, owner, rrtype):
        """Changes the last hexadecimal digit of a record that is already signed."""
        text = self._read(os.path.basename(self.zone_file(zone)))
        name = re.escape(f"{owner}.{zone}.")
        pattern = re.compile(rf"^({name}\s.*\s{rrtype}\s.*)([0-9a-f])\s*$", re.M)
        text, count = pattern.subn(lambda m: m[1] + ("0" if m[2] != "0" else "1"), text)
        assert count == 1, (zone, owner, rrtype, count)
        with open(self.zone_file(zone), "w", encoding="ascii") as out:
            out.write(text)

    def _read(self, name):
        with open(os.path.join(self.directory, name), encoding="ascii") as file:
            return file.read()


def _absolute(owner, partner):
    return f"{partner.name}.example" if owner == "@" else f"{owner}.{partner.name}.example"
