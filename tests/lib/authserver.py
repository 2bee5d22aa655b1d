"""Postfix's "dovecot" authentication and Cyrus SASL's saslauthd: everybody whose password is "secret" may submit."""

import base64
import os
import socketserver
import threading


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.tell("VERSION\t1\t2", "MECH\tPLAIN\tplaintext", f"SPID\t{os.getpid()}", "CUID\t1",
                  "COOKIE\t0123456789abcdef0123456789abcdef", "DONE")
        for line in self.rfile:
            verb, *fields = line.decode().rstrip("\n").split("\t")
            if verb == "AUTH":
                self.judge(fields[0], next((f[5:] for f in fields if f.startswith("resp=")), ""))

    def judge(self, number, response):
        _, user, password = (base64.b64decode(response).decode().split("\0") + ["", "", ""])[:3]
        self.tell(f"OK\t{number}\tuser={user}" if password == "secret" else f"FAIL\t{number}\tuser={user}")

    def tell(self, *lines):
        self.wfile.write("".join(line + "\n" for line in lines).encode())


class Saslauthd(socketserver.StreamRequestHandler):
    """user, password, service and realm come in, each with its length; so does the answer go out."""

    def handle(self):
        _, password, _, _ = (self.rfile.read(int.from_bytes(self.rfile.read(2), "big")) for _ in range(4))
        answer = b"OK" if password == b"secret" else b"NO"
        self.wfile.write(len(answer).to_bytes(2, "big") + answer)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):    # a client that went away is nobody's fault
        pass


def start_saslauthd(path):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    return start(path, Saslauthd)


def start(path, handler=Handler):
    server = Server(path, handler)
    os.chmod(path, 0o666)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
