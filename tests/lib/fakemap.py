"""A map server that says what a test wants, in danelawd's place."""

import contextlib
import os
import socket
import threading

from namespace import run

FOLDER = "/run/fakemap"                 # where nobody but root may write
SOCKET, TABLE = FOLDER + "/map.sock", FOLDER + "/mandatory"
HANG_UP, SILENCE = None, ""             # answers


class FakeMap:
    """answers: {"route": ..., "gate": ...}; text is framed, octets are sent as they are."""

    def __init__(self, path=SOCKET):
        os.makedirs(FOLDER, mode=0o755, exist_ok=True)
        self.path, self.listener = path, None
        self.asked = []
        self.answers = {}
        self.well()

    def well(self):
        self.answers = {"route": "OK pass", "gate": "OK pass"}

    def listen(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self, remove=False):
        """Nobody listens any more; the socket's file stays, or goes."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if remove:
            os.unlink(self.path)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, ValueError), client, client.makefile("rb") as file:
            while True:
                length = b""
                while not length.endswith(b":"):
                    octet = file.read(1)
                    if not octet:
                        return
                    length += octet
                question = file.read(int(length[:-1]) + 1)[:-1].decode().partition(" ")[2]
                self.asked.append(question)
                answer = self.answers[question.partition("<")[0].strip()]
                if answer is HANG_UP:
                    return
                if isinstance(answer, str) and answer:
                    answer = b"%d:%s," % (len(answer), answer.encode())
                client.sendall(answer or b"")


def write_table(**kinds):
    """The generated map: write_table(mandatory=["d", ".d"], named=["e"])."""
    with open(TABLE, "w", encoding="utf-8") as out:
        out.writelines(f"{key}\t{kind}\n" for kind, keys in kinds.items() for key in keys)
    with open(TABLE, encoding="utf-8") as source:
        run("makemap", "hash", TABLE, stdin=source)


def lines(timeout=5, early=False):
    """What sendmail.mc says behind its MAILER lines; early: the second file, too, which asks before MAIL FROM."""
    second = "include(`/usr/share/danelaw/sendmail/danelaw-mailfrom.m4')dnl" if early else "dnl"
    return f"""define(`DANELAW_MAP_SOCKET', `local:{SOCKET}')dnl
define(`DANELAW_MANDATORY_MAP', `{TABLE}')dnl
define(`DANELAW_TIMEOUT', `{timeout}')dnl
include(`/usr/share/danelaw/sendmail/danelaw.m4')dnl
{second}
"""
