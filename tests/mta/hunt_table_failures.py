"""Tables, sockets and a clock that fail in the leak hunt."""

import contextlib
import glob
import os
import shutil
import socket
import threading

import wallclock
from daemon import CONF, STORE
from hunt_failures import Background, Failure, run_reload, write
from lab import wait_until
from namespace import ROOT


# --- the generated table

class Table(Failure):
    """Somebody spoils the table; danelawd notices, and writes it anew."""

    def begin(self, lab):
        self.spoil(lab)
        wait_until(lambda: lab.danelawd.cli("tables", "--check").returncode == 0, 60, "the table to be mended")
        if lab.at_work == "postfix":
            lab.postfix.reload()

    def spoil(self, lab):
        raise NotImplementedError


def tables(lab):
    return glob.glob(f"{STORE}/{lab.at_work}/*")


class TableDeleted(Table):
    name, what = "table-deleted", "the generated table was deleted, danelawd being well"

    def spoil(self, lab):
        for path in tables(lab):
            os.unlink(path)


class TableTruncated(Table):
    name, what = "table-truncated", "the generated table was truncated, danelawd being well"

    def spoil(self, lab):
        for path in tables(lab):
            os.truncate(path, 0)


class TableOld(Table):
    name, what = "table-old", "a table without anybody was put back, danelawd being well"


    def spoil(self, lab):
        put_back(lab, lambda text: text[:text.index("connectors = (")])


def put_back(lab, earlier):
    """The generated table as it was with an earlier configuration, made from the present one's text."""
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    folder, old = f"{STORE}/{lab.at_work}", ROOT + "/old-table"
    shutil.rmtree(old, ignore_errors=True)
    write(CONF, earlier(text))
    run_reload(lab)
    shutil.copytree(folder, old)
    write(CONF, text)
    run_reload(lab)
    for path in tables(lab):
        shutil.copy(f"{old}/{os.path.basename(path)}", path)


class KilledTableOld(Failure):
    name, what = "killed-table-old", "danelawd is dead, and the table is of a time when the partners were opportunistic"
    shuts = ("sendmail-smtp",)
    mta = "postfix"                     # Sendmail's says only who has a requirement

    def begin(self, lab):
        put_back(lab, lax)
        lab.danelawd.kill()
        lab.postfix.reload()

    def end(self, lab):
        lab.danelawd.start()
        lab.postfix.reload()


def lax(text):
    return text.replace('"mandatory"', '"opportunistic"')


class KilledTableGone(Failure):
    name, what = "killed-table-gone", "danelawd is dead, and the table was deleted: nobody's mail has a road"
    shuts = ("sendmail-smtp", "postfix")
    patience, mta = 5, "postfix"        # not even a word: Postfix cannot tell where to

    def begin(self, lab):
        lab.danelawd.kill()
        for path in tables(lab):
            os.unlink(path)
        lab.postfix.reload()

    def end(self, lab):
        lab.danelawd.start()
        lab.postfix.reload()


# --- somebody else at the sockets

class Impostor(Failure):
    """danelawd is dead, and somebody sits at its sockets who says this to whatever he hears."""
    shuts = ("sendmail-smtp",)
    says = b""
    doors = ("map.sock",)

    def begin(self, lab):
        lab.danelawd.kill()
        self.open = []                  # all connections
        self.ears = [self.listen(f"{lab.danelawd.sockets}/{door}") for door in self.doors]

    def listen(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        ear = socket.socket(socket.AF_UNIX)
        ear.bind(path)
        os.chmod(path, 0o666)
        ear.listen(1000)
        threading.Thread(target=self.work, args=(ear,), daemon=True).start()
        return ear

    def work(self, ear):
        with contextlib.suppress(OSError):
            while True:
                client, _ = ear.accept()
                self.open.append(client)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client:
            while client.recv(65536):
                if self.says:
                    client.sendall(self.says)

    def end(self, lab):
        for one in self.ears + self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
                one.close()
        lab.danelawd.start()


def answers(*texts):
    """Each answer of a map has a failure of its own: (name, framed)."""
    return [(text.strip().lower().replace(" ", "-"), b"%d:%s," % (len(text), text.encode())) for text in texts]


class MapGarbage(Impostor):
    name, what = "map-garbage", "somebody at the map socket writes garbage"
    says = b"\xff\xfe99999999999:,,:OK pass,3:OK"


class MapSilent(Impostor):
    name, what = "map-silent", "somebody at the map socket says nothing"
    patience = 5


class MilterGarbage(Impostor):
    name, what = "milter-garbage", "somebody at the mail filter's socket writes garbage"
    says = b"\0\0\0\x05a\xff\xff\xff\xffx"
    doors = ("milter.sock",)


for _name, _framed in answers("NOTFOUND ", "PERM no", "TEMP no", "OK ", "OK nonsense", "OK dane-only", "OK secure"):
    type("MapSays", (Impostor,), {"name": "map-" + _name, "what": f"somebody at the map socket says {_framed.decode()}",
                                  "says": _framed, "mta": "postfix"})
for _name, _framed in answers("OK may", "OK none", "OK dane", "OK encrypt"):
    # Whoever can take the map socket's place decides for the road that asks it; the one for DANE asks nobody.
    type("MapSays", (Impostor,), {"name": "map-" + _name, "what": f"somebody at the map socket says {_framed.decode()}",
                                  "says": _framed, "mta": "postfix", "exempt": ("STS", "STS, wrong certificate")})


# --- the clock

class Clock(Background):
    """danelawd's wall clock jumps, there and back; what it knows is as old as it was."""
    jump = 0

    def begin(self, lab):
        wallclock.begin(lab)
        lab.danelawd.kill()
        lab.danelawd.start()
        self.warm(lab, self.partners)
        super().begin(lab)

    def warm(self, lab, partners):
        self.partners = partners
        super().warm(lab, partners)

    def turn(self, _):
        wallclock.put(self.jump)
        self.pause(0.5, 4)
        if self.luck.random() < 0.3:
            wallclock.put(0)
            self.pause(0.1, 1)

    def mend(self, lab):
        wallclock.end(lab)


class DayAhead(Clock):
    name, what, jump = "day-ahead", "danelawd's clock jumps a day ahead, now and then back", 86400


class DayBehind(Clock):
    name, what, jump = "day-behind", "danelawd's clock jumps a day back, now and then ahead again", -86400


class YearsAhead(Clock):
    name, what, jump = "years-ahead", "danelawd's clock jumps ten years ahead, now and then back", 3650 * 86400
