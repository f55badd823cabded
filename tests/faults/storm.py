"""A storm of clients, run as a program against a server: most of them behave badly, each in its own way.

    python storm.py PORT REQUESTS SEED LIMIT_MS

Non-blocking sockets and one selector: some tens of connections at a time, each with a plan that the seed
gives it. What comes back to a well-behaved client is checked to the last byte; the others have left. LIMIT_MS
is the server's request_timeout, 0 for none: with one, some ask for a response that is made just about then, and
any of them may be answered 504, or be cut in the middle of a response. It prints one JSON object: how many requests
were sent and answered, and the first faults found. Only the standard library is used, and nothing of the server's.
"""

import json
import random
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator

CONNECTIONS = 48
STALL_S = 30.0  # without a byte: the server has forgotten a client that did nothing wrong
FAULTS_TOLD = 5
PLANS = (
    ("polite", 30), ("pipeline", 18), ("half_close", 8), ("leave", 8), ("reset", 10), ("partial", 8),
    ("malformed", 6), ("slow_read", 4), ("body_cut", 8),
)  # fmt: skip
LATE = ("late", 12)  # added with a limit
SIZES = (0, 1, 100, 4000, 4096, 65_536, 65_537, 300_000)
WEIGHTS = (30, 20, 30, 8, 4, 4, 2, 2)
MALFORMED = (
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


def late_request(chance: random.Random, limit_ms: int) -> tuple[bytes, int]:
    """Return a request for more than a socket takes, in an application that begins with it at about the deadline."""
    size = chance.choice((100, 3_000_000))
    kind, wait_ms = chance.choice("wpf"), chance.uniform(0.85, 1.05) * limit_ms
    return f"GET /{kind}/{size}/{wait_ms:.1f} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), size


def request_of(chance: random.Random, *, chunked: bool) -> tuple[bytes, int]:
    """Return a request and the length of the response body that it asks for."""
    body = bytes(chance.choices(SIZES, WEIGHTS)[0])
    size = chance.choices(SIZES, WEIGHTS)[0]
    kind = chance.choice("wpsf")  # as a whole, in pieces, slowly, from a file
    head = f"POST /{kind}/{size} HTTP/1.1\r\nHost: a\r\n".encode()
    if chunked:
        coded = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n", size
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, size


class Client:
    """One connection and its plan."""

    def __init__(self, port: int, chance: random.Random, limit_ms: int) -> None:
        plans = [*PLANS, LATE] if limit_ms else PLANS
        self.may_be_late = limit_ms > 0
        self.plan = chance.choices([name for name, _ in plans], [weight for _, weight in plans])[0]
        count = {"polite": chance.randint(1, 8), "pipeline": chance.randint(2, 40)}.get(self.plan, 1)
        made = [request_of(chance, chunked=chance.random() < 0.3) for _ in range(count)]
        if self.plan == "late":
            made = [late_request(chance, limit_ms)]
        self.requests = count
        self.answered = 0
        self.timed_out = False
        self.sizes = [size for _, size in made]
        self.waiting = [b"".join(request for request, _ in made)]
        if self.plan == "polite":
            self.waiting = [request for request, _ in made]  # each after the response to the one before
        elif self.plan == "malformed":
            self.waiting, self.sizes = [chance.choice(MALFORMED)], []
        elif self.plan in ("partial", "body_cut"):
            self.waiting = [self.waiting[0][: chance.randint(1, max(1, len(self.waiting[0]) - 1))]]
        self.leaves_unread = chance.random() < 0.5  # if the plan is to disconnect; else with the first bytes
        self.read_bytes = 700 if self.plan == "slow_read" else 65_536
        self.out = self.waiting.pop(0)
        self.received = bytearray()
        self.last = time.monotonic()
        self.socket = socket.socket()
        if self.plan == "slow_read":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))

    def events(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)

    def step(self, events: int) -> bool:
        """Go on. Returns False at the end; AssertionError: the server did wrong."""
        self.last = time.monotonic()
        try:
            if events & selectors.EVENT_WRITE and self.out:
                self.out = self.out[self.socket.send(self.out) :]
                if not self.out and not self.sent():
                    return False
            if events & selectors.EVENT_READ:
                return self.receive()
        except BlockingIOError:
            pass
        except (ConnectionError, TimeoutError) as error:
            # Only a client that did not get its whole answer may fail; the others provoked it.
            assert self.may_be_late or self.plan not in ("polite", "pipeline", "half_close", "slow_read"), (
                f"{self.plan}: {error!r}"
            )
            return False
        return True

    def sent(self) -> bool:
        """Do what comes after the last byte. Returns False at the end."""
        if self.plan in ("half_close", "partial"):
            self.socket.shutdown(socket.SHUT_WR)
        if self.plan == "body_cut" or (self.plan in ("leave", "reset") and self.leaves_unread):
            return self.leave()
        return True

    def leave(self) -> bool:
        if self.plan == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def receive(self) -> bool:
        data = self.socket.recv(self.read_bytes)
        if self.plan in ("leave", "reset"):
            return self.leave()
        if self.plan in ("partial", "malformed"):
            return bool(data)
        self.received += data
        while self.take():
            self.answered += 1
            if self.answered == self.requests:
                return False
            if self.waiting:
                self.out = self.waiting.pop(0)
        assert data or self.may_be_late, (
            f"{self.plan}: ended after {self.answered} of {self.requests} responses"
        )
        return bool(data) and not self.timed_out

    def take(self) -> bool:
        """Take one whole response off what was received, and check it."""
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        head = bytes(self.received[:head_end])
        if head.startswith(b"HTTP/1.1 100 "):
            del self.received[: head_end + 4]
            return self.take()
        if self.may_be_late and head.startswith(b"HTTP/1.1 504 "):
            self.timed_out = True
            return False
        assert head.startswith(b"HTTP/1.1 200 "), head
        body_at = head_end + 4
        size = self.sizes[self.answered]
        if b"\r\nContent-Length: " in head:
            assert b"\r\nContent-Length: %d" % size in head, head
            if len(self.received) < body_at + size:
                return False
            body, end = self.received[body_at : body_at + size], body_at + size
        else:
            if (whole := self.chunked(body_at)) is None:
                return False
            body, end = whole
        assert body == b"x" * size, f"{self.plan}: a wrong body for {size}"
        del self.received[:end]
        return True

    def chunked(self, at: int) -> tuple[bytearray, int] | None:
        """Return the body that begins there and its end, or None if it is not complete yet."""
        body = bytearray()
        while (line_end := self.received.find(b"\r\n", at)) >= 0:
            size = int(bytes(self.received[at:line_end]), 16)
            at = line_end + 2 + size + 2
            if len(self.received) < at:
                return None
            body += self.received[line_end + 2 : at - 2]
            if size == 0:
                return body, at
        return None


def storm(port: int, requests: int, seed: int, limit_ms: int) -> dict[str, object]:
    """Keep CONNECTIONS clients busy until so many requests were begun and all clients are through."""
    chance = random.Random(seed)
    selector = selectors.DefaultSelector()
    begun, answered, faults = 0, 0, list[str]()
    plans: Counter[str] = Counter()
    while True:
        while begun < requests and len(selector.get_map()) < CONNECTIONS:
            client = Client(port, chance, limit_ms)
            begun += client.requests
            plans[client.plan] += 1
            selector.register(client.socket, client.events(), client)
        if not selector.get_map():
            break
        for key, events in selector.select(1.0):
            client = key.data
            try:
                goes_on = client.step(events)
            except (AssertionError, ValueError) as error:
                faults.append(f"{type(error).__name__}: {error}")
                goes_on = False
            if goes_on:
                if client.events() != key.events:
                    selector.modify(client.socket, client.events(), client)
                continue
            answered += client.answered
            selector.unregister(client.socket)
            client.socket.close()
        for client in stalled(selector):
            faults.append(
                f"{client.plan}: nothing came for {STALL_S} s, {client.answered} of {client.requests}"
            )
            selector.unregister(client.socket)
            client.socket.close()
    return {"begun": begun, "answered": answered, "plans": plans, "faults": faults[:FAULTS_TOLD]}


def stalled(selector: selectors.BaseSelector) -> Iterator[Client]:
    long_ago = time.monotonic() - STALL_S
    for key in list(selector.get_map().values()):
        if key.data.last < long_ago:
            yield key.data


if __name__ == "__main__":
    print(json.dumps(storm(*map(int, sys.argv[1:]))))
