"""An MTA's log, read as it grows."""

import collections
import threading

Delivery = collections.namedtuple("Delivery", "time service pid queue_id to relay dsn status text tls")


class GrowingLog:
    """Knows which message met which fate; take(line), the MTA's own, finds the fates."""

    def __init__(self, path):
        self.path, self.offset, self.rest = path, 0, ""
        self.lock = threading.RLock()
        self.lines = []                                 # all of it
        self.deliveries = []
        self.by_id = collections.defaultdict(set)       # Message-ID -> queue ids
        self.by_queue_id = collections.defaultdict(list)

    def read(self):
        with self.lock:
            try:
                with open(self.path, encoding="utf-8", errors="replace") as file:
                    file.seek(self.offset)
                    text = file.read()
                    self.offset = file.tell()
            except FileNotFoundError:
                return
            *lines, self.rest = (self.rest + text).split("\n")
            for line in lines:
                self.lines.append(line)
                self.take(line)

    def fates(self, message_id, recipient=None):
        """All that happened so far to a message, oldest first; recipients compare without regard to case."""
        self.read()
        with self.lock:
            found = [d for q in self.by_id.get(message_id, ()) for d in self.by_queue_id.get(q, ())]
        if recipient is not None:
            found = [d for d in found if d.to.lower() == recipient.lower()]
        return sorted(found, key=lambda d: d.time)

    def queue_ids(self, message_id):
        self.read()
        return set(self.by_id.get(message_id, ()))

    def about(self, *words, limit=25):
        """The last lines that mention any of the words, for somebody who looks for a fault."""
        self.read()
        with self.lock:
            return [line for line in self.lines if any(w in line for w in words)][-limit:]

    def mark(self):
        self.read()
        return len(self.lines)

    def since(self, mark):
        self.read()
        return self.lines[mark:]
