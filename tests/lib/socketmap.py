"""A client of the map socket: Postfix's side of socketmap_table(5)."""

import concurrent.futures
import socket

from daemon import SOCKETS

PATH = SOCKETS + "/map.sock"


class Map:
    """One connection; ask() as often as wanted."""

    def __init__(self, path=PATH, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, table, key):
        """The whole answer, such as "OK dane-only", "NOTFOUND " or "TEMP why"."""
        request = f"{table} {key}".encode()
        self.socket.sendall(b"%d:%s," % (len(request), request))
        length = b""
        while not length.endswith(b":"):
            octet = self.file.read(1)
            if not octet:
                raise ConnectionError("the map socket closed the connection")
            length += octet
        return self.file.read(int(length[:-1]) + 1)[:-1].decode()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(table, key):
    with Map() as one:
        return one.ask(table, key)


def ask_all(questions):
    """All at the same time: {(table, key): answer}."""
    questions = list(dict.fromkeys(questions))
    with concurrent.futures.ThreadPoolExecutor(max_workers=64) as pool:
        return dict(zip(questions, pool.map(lambda q: ask(*q), questions)))
