#!/usr/bin/python3
"""All partners' mail hosts in one process: an SMTP server that behaves as told for each address.

usage: partnermta.py HOSTS.json RECORD.jsonl

HOSTS.json: {"127.1.0.1": {"name": "mx.d.example", "pems": ["/path", ...], "starttls": true}, ...}; where there are
several, each connection gets the next one.
RECORD.jsonl gets one line for each delivered message.
"""

import asyncio
import email.parser
import itertools
import json
import os
import resource
import signal
import ssl
import sys
import time

LINE, BODY = 4096, 64 << 20


class Session:
    """One SMTP connection."""

    def __init__(self, host, record, reader, writer):
        self.host, self.record, self.reader, self.writer = host, record, reader, writer
        self.sni = self.sender = None
        self.recipients = []

    async def run(self):
        self.say("220", self.host["name"] + " ESMTP lab partner")
        while True:
            line = (await self.reader.readline()).decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                return
            verb, _, rest = line.partition(" ")
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None:
                self.say("502", "5.5.1 unknown command")
            elif await handler(rest) == "quit":
                return
            await self.writer.drain()

    def say(self, code, *lines):
        for line in lines[:-1]:
            self.writer.write(f"{code}-{line}\r\n".encode())
        self.writer.write(f"{code} {lines[-1]}\r\n".encode())

    def tls(self):
        return self.writer.get_extra_info("ssl_object")

    async def do_ehlo(self, _):
        offers = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 60000000"]
        if self.host["starttls"] and self.tls() is None:
            offers.insert(0, "STARTTLS")
        self.say("250", self.host["name"], *offers)

    async def do_helo(self, _):
        self.say("250", self.host["name"])

    async def do_starttls(self, _):
        if not self.host["starttls"] or self.tls() is not None:
            self.say("502", "5.5.1 not here")
            return None
        self.say("220", "2.0.0 go ahead")
        await self.writer.drain()
        context = current_context(next(self.host["turns"]))
        context.sni_callback = lambda obj, name, ctx: setattr(obj, "lab_sni", name)
        try:
            await self.writer.start_tls(context, ssl_handshake_timeout=30)
        except (OSError, ssl.SSLError, asyncio.TimeoutError):
            return "quit"
        self.sni = getattr(self.tls(), "lab_sni", None)
        return None

    async def do_mail(self, rest):
        self.sender, self.recipients = address(rest), []
        self.say("250", "2.1.0 ok")

    async def do_rcpt(self, rest):
        if address(rest).startswith("nobody@"):
            self.say("550", "5.1.1 nobody by that name")
            return
        self.recipients.append(address(rest))
        self.say("250", "2.1.5 ok")

    async def do_data(self, _):
        self.say("354", "go on")
        await self.writer.drain()
        lines = []
        while True:
            line = await self.reader.readline()
            if not line:
                return "quit"
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        self.keep(b"".join(lines))
        self.say("250", "2.0.0 kept")
        return None

    async def do_rset(self, _):
        self.say("250", "2.0.0 ok")

    do_noop = do_rset

    async def do_quit(self, _):
        self.say("221", "2.0.0 bye")
        await self.writer.drain()
        return "quit"

    def keep(self, message):
        headers = email.parser.BytesHeaderParser().parsebytes(message)
        tls = self.tls()
        entry = {"time": time.time(), "host": self.host["name"],
                 "address": self.writer.get_extra_info("sockname")[0],
                 "peer": self.writer.get_extra_info("peername")[0],
                 "tls": tls.version() if tls else None, "sni": self.sni,
                 "sender": self.sender, "recipients": self.recipients,
                 "id": str(headers.get("Message-ID", "")).strip(), "size": len(message),
                 "subject": str(headers.get("Subject", "")),
                 "route": headers.get("X-Danelaw-Route")}
        self.record.write(json.dumps(entry) + "\n")
        self.record.flush()


def address(argument):
    """What stands between the angle brackets of MAIL FROM:<...> or RCPT TO:<...>."""
    return argument[argument.find("<") + 1:argument.rfind(">")]


def context(pem):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    return made


def current_context(pem, known={}):                             # noqa: B006 (it is a memory)
    """As the file is now: a certificate may be swapped while we run."""
    stamp = os.stat(pem).st_mtime_ns
    if known.get(pem, (None, None))[1] != stamp:
        known[pem] = (context(pem), stamp)
    return known[pem][0]


async def serve(ip, host, record):
    async def connected(reader, writer):
        try:
            await asyncio.wait_for(Session(host, record, reader, writer).run(), 300)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()
    await asyncio.start_server(connected, ip, 25, limit=BODY, backlog=512)


async def main(hosts_path, record_path):
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    with open(hosts_path, encoding="utf-8") as file:
        hosts = json.load(file)
    turns = {}
    with open(record_path, "a", encoding="utf-8") as record:
        for ip, host in hosts.items():
            host["turns"] = turns.setdefault(host["name"], itertools.cycle(host["pems"]))
            await serve(ip, host, record)
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(*sys.argv[1:]))
