"""The partners' MTA-STS policy hosts: HTTPS servers that answer as told, at any time.

    host = PolicyHosts(authority)
    host.start()
    host.set("d.example", "127.2.0.1", Site(policy("enforce", "mx.d.example")))
    host.change("d.example", status=404)
    host.fetches("d.example")           # how often somebody asked for its policy
"""

import asyncio
import collections
import dataclasses
import ssl
import threading

import certs

PATH = "/.well-known/mta-sts.txt"
PORT = 443
DRIP = 0.25                             # seconds between two octets


def policy(mode, *mx, max_age=604800, end="\r\n", more=""):
    """A policy's text (RFC 8461 3.2)."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx), f"max_age: {max_age}"]
    return "".join(line + end for line in lines) + more


@dataclasses.dataclass(frozen=True)
class Site:
    """How a policy host behaves."""
    body: str = ""
    status: int = 200
    media: str = "text/plain"
    headers: tuple = ()                 # more of them, "Name: value"
    drip: bool = False                  # the body comes an octet at a time, and never ends
    dead: bool = False                  # nobody listens
    certificate: str = certs.GOOD
    names: tuple = ()                   # in the certificate; preset: mta-sts.DOMAIN


class PolicyHosts:
    """All of them, in a thread of the caller's process."""

    def __init__(self, authority):
        self.authority = authority
        self.loop = asyncio.new_event_loop()
        self.sites, self.addresses, self.servers, self.contexts = {}, {}, {}, {}
        self.asked = collections.Counter()

    def start(self):
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def set(self, domain, address, site):
        """From now on domain's policy host is at address, and does as site says."""
        self.addresses[domain] = address
        asyncio.run_coroutine_threadsafe(self._set(domain, site), self.loop).result(20)

    def change(self, domain, **fields):
        """Changes some of what it does; returns what it did before."""
        before = self.sites[domain]
        self.set(domain, self.addresses[domain], dataclasses.replace(before, **fields))
        return before

    def fetches(self, domain):
        """How many times its policy was asked for."""
        return self.asked[domain]

    # --- in the thread

    async def _set(self, domain, site):
        self.sites[domain] = site
        server = self.servers.pop(domain, None)
        if server is not None:
            server.close()
            await server.wait_closed()
        if not site.dead:
            self.servers[domain] = await asyncio.start_server(
                lambda reader, writer: self._serve(domain, reader, writer), self.addresses[domain], PORT,
                ssl=self._context(domain, site))

    def _context(self, domain, site):
        key = (domain, site.certificate, site.names)
        if key not in self.contexts:
            name = "mta-sts." + domain
            path = self.authority.issue(name, list(site.names), site.certificate,
                                        f"{name}.{len(self.contexts)}")
            self.contexts[key] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.contexts[key].load_cert_chain(path)
        return self.contexts[key]

    async def _serve(self, domain, reader, writer):
        try:
            await asyncio.wait_for(self._answer(domain, reader, writer), 60)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, domain, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii", "replace").splitlines()
        wanted = [f"GET {PATH} HTTP/1.1", f"Host: mta-sts.{domain}"]
        site = self.sites[domain]
        if head[0] != wanted[0] or wanted[1] not in head:
            site = Site("this is not what was asked for", 400)
        else:
            self.asked[domain] += 1
        length = 65536 if site.drip else len(site.body.encode())
        lines = [f"HTTP/1.1 {site.status} as told", f"Content-Length: {length}", "Connection: close",
                 *site.headers]
        if site.media:
            lines.append(f"Content-Type: {site.media}")
        writer.write("".join(line + "\r\n" for line in lines + [""]).encode())
        if site.drip:
            for octet in site.body.encode() + b"x" * length:
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(DRIP)
        writer.write(site.body.encode())
        await writer.drain()
