#!/usr/bin/python3
"""A name server that misbehaves: passes questions on to an honest one, except those it was told to spoil.

usage: faultdns.py RULES.json UPSTREAM

RULES.json: {"127.0.54.1": [["mx.d.example", "TLSA", "servfail"], ...], ...}, one list for each address to
listen on; "*" stands for any name or type; the first rule that fits decides.  Actions: servfail, refused,
drop (never answers), flaky (drops every other question), delay:SECONDS, nothing (there is no such record),
answer:RDATA (this record instead, unsigned), strip (without signatures, and said to be secure), from:ADDRESS (what the
name server there says).  The file is read again when it changes.
"""

import asyncio
import json
import os
import signal
import sys

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


SIGNATURES = (dns.rdatatype.RRSIG, dns.rdatatype.NSEC, dns.rdatatype.NSEC3, dns.rdatatype.DS, dns.rdatatype.DNSKEY)


class Rules:
    def __init__(self, path):
        self.path, self.stamp, self.lists, self.asked = path, None, {}, 0

    def action(self, address, name, kind):
        stamp = os.stat(self.path).st_mtime_ns
        if stamp != self.stamp:
            with open(self.path, encoding="utf-8") as file:
                self.lists, self.stamp = json.load(file), stamp
        for owner, rrtype, action in self.lists.get(address, []):
            if owner in ("*", name) and rrtype in ("*", kind):
                return action
        return "pass"


class Server:
    def __init__(self, rules, upstream):
        self.rules, self.upstream = rules, upstream

    async def answer(self, address, packet):
        """The answer's bytes, or None for silence."""
        try:
            query = dns.message.from_wire(packet)
            question = query.question[0]
        except Exception:                                       # noise gets what noise deserves
            return None
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        action, _, number = self.rules.action(address, name, kind).partition(":")
        self.rules.asked += 1
        if action == "drop" or action == "flaky" and self.rules.asked % 2:
            return None
        if action in ("servfail", "refused"):
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.from_text(action))
            return reply.to_wire()
        if action in ("nothing", "answer"):
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.AA
            if action == "answer":
                reply.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, number))
            return reply.to_wire()
        if action == "delay":
            await asyncio.sleep(float(number))
        if action == "strip":
            return strip(await self.ask_upstream(packet, self.upstream))
        return await self.ask_upstream(packet, number if action == "from" else self.upstream)

    @staticmethod
    async def ask_upstream(packet, upstream):
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: Asker(answer),
                                                           remote_addr=(upstream, 53))
        try:
            transport.sendto(packet)
            return await asyncio.wait_for(answer, 3)
        except asyncio.TimeoutError:
            return None
        finally:
            transport.close()

    async def serve_tcp(self, reader, writer):
        address = writer.get_extra_info("sockname")[0]
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                reply = await self.answer(address, await reader.readexactly(length))
                if reply is None:
                    await asyncio.sleep(60)
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def strip(packet):
    """The answer without what proves it, or None."""
    if packet is None:
        return None
    reply = dns.message.from_wire(packet)
    for section in (reply.answer, reply.authority, reply.additional):
        section[:] = [found for found in section if found.rdtype not in SIGNATURES]
    reply.flags |= dns.flags.AD
    return reply.to_wire()


class Asker(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def datagram_received(self, data, addr):
        if not self.answer.done():
            self.answer.set_result(data)


class Listener(asyncio.DatagramProtocol):
    def __init__(self, server, address):
        self.server, self.address, self.tasks = server, address, set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        task = asyncio.ensure_future(self.reply(data, addr))
        self.tasks.add(task)                                    # the loop itself keeps only weak references
        task.add_done_callback(self.tasks.discard)

    async def reply(self, data, addr):
        reply = await self.server.answer(self.address, data)
        if reply is not None:
            self.transport.sendto(reply, addr)


async def main(path, upstream):
    rules = Rules(path)
    with open(path, encoding="utf-8") as file:
        addresses = list(json.load(file))
    server, loop = Server(rules, upstream), asyncio.get_running_loop()
    for address in addresses:
        await loop.create_datagram_endpoint(lambda a=address: Listener(server, a), local_addr=(address, 53))
        await asyncio.start_server(server.serve_tcp, address, 53)
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(*sys.argv[1:]))
