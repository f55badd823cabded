"""A key-value server in memory that speaks enough of Redis's protocol for redis-cli and redis-benchmark.

    halfsync serve --stream keyvalue:KeyValue --chdir examples/keyvalue
    redis-cli -p 8000

`RequestParser` makes requests of bytes, `Store` keeps the values, `KeyValue` is one connection. None knows of a socket.

Under the models thread, pool and proactor all connections are in one process and share `STORE`. Under the model
process each has a child process, and in it a copy of `STORE` that no other connection sees and that ends with its own:
processes share no memory, so what one client sets no other one finds.

A request, in RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), is an array of bulk strings, as in
`*2 $3 GET $1 a` with CR LF for each space, or a line of words, as a person types it.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from halfsync import EndStream

LINE_BYTES = 64 * 1024  # of a line without its LF; as in Redis, and more than anybody types
WORD_COUNT = 1024  # words in an array; Redis allows 1,048,576, for loading in bulk
VALUE_BYTES = 1024**2  # of one word; Redis allows 512 MiB, but here each connection may keep it waiting
REQUEST_BYTES = 2 * VALUE_BYTES  # of all words of an array: the largest value, its key, or many keys
SENT_BYTES = 64 * 1024  # so many answers are sent before more are made: a short GET may ask for VALUE_BYTES
STORE_BYTES = 256 * 1024**2  # of all entries: a million short ones
ENTRY_BYTES = 180  # what CPython adds to an entry, as measured: two objects' heads, a place in the dict
NAME_BYTES = 128  # of a name that an error repeats; as in Redis

LENGTH = re.compile(rb"(0|[1-9][0-9]{0,9})\r")
# A word of a line is in quotes as a whole or not at all, and nothing in it is escaped.
LINE_WORD = re.compile(rb"""\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"']++))(?=\s|\Z)""")
INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")  # all that fits 64 bits, and a little that does not
INTEGERS = range(-(2**63), 2**63)
ASTERISK, DOLLAR = b"*$"

OK = b"+OK\r\n"
Words = Sequence[bytes]


class RequestError(Exception):
    """A request is refused, and the connection goes on. The text is the answer's, from its code on."""


class ProtocolError(Exception):
    """The connection must end: it is unknown where the next request begins."""


class RequestParser:
    """Make requests of one connection's bytes, wherever they are cut.

    Small pieces cost no more than large ones: what is not whole is kept, and not looked at again until it may be.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line, or of a bulk string with its head: never more than one of them
        self._awaited = 0  # bytes that this bulk string has with its head and end; 0 while a line is awaited
        self._words: list[bytes] = []  # those that have come of an array
        self._missing = 0  # those that have not come yet; 0 between requests
        self._room = 0  # bytes that these may have together

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Yield the words, one or more, of each request that is whole with this piece.

        It parses as it goes: take all of it before the next piece. ProtocolError comes last, and is final.
        """
        if self._rest:
            self._rest += data
            if not self._may_go_on(data):
                return
            data = bytes(self._rest)
        self._awaited = position = 0
        while (end := data.find(b"\n", position, position + LINE_BYTES + 1)) >= 0:
            line, start, position = data[position:end], position, end + 1
            if self._missing:
                if data[start] != DOLLAR:
                    raise ProtocolError(f"expected '$', got '{chr(data[start])}'")
                length = announced(line)
                if length > self._room:
                    raise ProtocolError("invalid bulk length")
                stop = position + length
                if stop + 2 > len(data):
                    self._awaited, position = stop + 2 - start, start
                    break
                if data[stop : stop + 2] != b"\r\n":
                    raise ProtocolError("a bulk string that is longer than it said")
                self._words.append(data[position:stop])
                position = stop + 2
                self._room -= length
                self._missing -= 1
                if not self._missing:
                    yield self._words
                    self._words = []
            elif data[start] == ASTERISK:
                self._missing, self._room = announced(line), REQUEST_BYTES
            elif words := split(line):
                yield words
        if not self._awaited and len(data) - position > LINE_BYTES:
            raise ProtocolError("too long a line")
        self._rest = bytearray(data[position:])

    def _may_go_on(self, data: bytes) -> bool:
        """Return whether the rest, which ends in `data`, is now a whole line or bulk string, or too long."""
        if self._awaited:
            return len(self._rest) >= self._awaited
        return b"\n" in data or len(self._rest) > LINE_BYTES


@lru_cache  # few lengths are in use, and to remember one is faster than to read it; faults are not remembered
def announced(head: bytes) -> int:
    """Return the length that the head of an array or of a bulk string announces."""
    length = LENGTH.fullmatch(head, 1)
    kind, most = ("multibulk", WORD_COUNT) if head[0] == ASTERISK else ("bulk", VALUE_BYTES)
    if length is None or int(length[1]) > most:
        raise ProtocolError(f"invalid {kind} length")
    return int(length[1])


def split(line: bytes) -> list[bytes]:
    """Return the words of a line. What is in quotes, single or double, is one word."""
    if b'"' not in line and b"'" not in line:
        return line.split()
    words, position, line = [], 0, line.rstrip()
    while position < len(line):
        word = LINE_WORD.match(line, position)
        if word is None:
            raise ProtocolError("unbalanced quotes in request")
        words.append(word[1] or word[2] or word[3] or b"")
        position = word.end()
    return words


class Store:
    """Values by key, in this process's memory and nowhere else. Any thread may call any method.

    One lock makes each method atomic. RequestError: nothing is changed: there is no room, or the value is no integer.
    """

    def __init__(self, limit_bytes: int = STORE_BYTES) -> None:
        self._lock = threading.Lock()
        self._values: dict[bytes, bytes] = {}
        self._limit_bytes = limit_bytes
        self._used_bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it has none."""
        with self._lock:
            return self._values.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        with self._lock:
            self._put(key, value)

    def increment(self, key: bytes) -> int:
        """Add one to the integer that a key has in decimal, 0 if it has none, and return the sum."""
        with self._lock:
            value = self._values.get(key, b"0")
            if not INTEGER.fullmatch(value) or int(value) not in INTEGERS:
                raise RequestError("ERR value is not an integer or out of range")
            total = int(value) + 1
            if total not in INTEGERS:
                raise RequestError("ERR increment or decrement would overflow")
            self._put(key, b"%d" % total)
            return total

    def delete(self, keys: Words) -> int:
        """Remove the keys and their values, and return how many there were."""
        with self._lock:
            gone = [(key, self._values.pop(key)) for key in keys if key in self._values]
            self._used_bytes -= sum(ENTRY_BYTES + len(key) + len(value) for key, value in gone)
            return len(gone)

    def count(self, keys: Words) -> int:
        """Return how many of the keys have a value. A key that is named twice counts twice."""
        with self._lock:
            return sum(key in self._values for key in keys)

    def _put(self, key: bytes, value: bytes) -> None:
        """Set a value, with the lock held."""
        old = self._values.get(key)
        more = ENTRY_BYTES + len(key) + len(value) if old is None else len(value) - len(old)
        if self._used_bytes + more > self._limit_bytes:
            raise RequestError("OOM command not allowed when used memory > 'maxmemory'.")
        self._values[key] = value
        self._used_bytes += more


STORE = Store()


class KeyValue:
    """One connection. The server makes it, and calls it from one thread at a time."""

    def __init__(self, store: Store = STORE) -> None:
        self._store = store
        self._parser = RequestParser()

    def received(self, data: bytes) -> Iterator[bytes]:
        """Yield the answers to the requests that are whole with this piece; EndStream has the last ones."""
        answers: list[bytes] = []
        size = 0
        try:
            for words in self._parser.feed(data):
                answers.append(answer(self._store, words))
                size += len(answers[-1])
                if size >= SENT_BYTES:
                    yield b"".join(answers)
                    answers, size = [], 0
        except ProtocolError as error:
            answers.append(failure(f"ERR Protocol error: {error}"))
        except EndStream:
            answers.append(OK)
        else:
            yield b"".join(answers)
            return
        raise EndStream(b"".join(answers))

    def closed(self) -> None:
        """Do nothing: what the client has set stays in the store."""


@dataclass(frozen=True, slots=True)
class Command:
    """How many words a command's request has, including its name, and the function that answers it."""

    least: int
    most: int
    run: Callable[[Store, Words], bytes]


def answer(store: Store, words: Words) -> bytes:
    """Run one request and return its answer. EndStream: it was QUIT."""
    command = COMMANDS.get(words[0].upper())
    try:
        if command is None:
            raise RequestError(f"ERR unknown command '{shown(words[0])}'")
        if not command.least <= len(words) <= command.most:
            raise RequestError(f"ERR wrong number of arguments for '{shown(words[0].lower())}' command")
        return command.run(store, words)
    except RequestError as error:
        return failure(str(error))


def bulk(value: bytes | None) -> bytes:
    """Return the answer that is a value, or none."""
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def failure(text: str) -> bytes:
    """Return the answer that is an error. It has one line, whatever was put into its text."""
    return f"-{text}".replace("\r", " ").replace("\n", " ").encode("latin-1") + b"\r\n"


def shown(name: bytes) -> str:
    """Return a name as an error repeats it: its beginning, which encodes to the same bytes."""
    return name[:NAME_BYTES].decode("latin-1")


def run_set(store: Store, words: Words) -> bytes:
    if len(words) > 3:  # such as EX 10: nothing expires here, and there are no conditions
        raise RequestError("ERR syntax error")
    store.set(words[1], words[2])
    return OK


def run_config(_: Store, words: Words) -> bytes:
    """Return the two settings that redis-benchmark requests: nothing is ever written to disk."""
    if words[1].upper() != b"GET":
        raise RequestError(f"ERR unknown subcommand '{shown(words[1])}'")
    if len(words) < 3:
        raise RequestError("ERR wrong number of arguments for 'config|get' command")
    asked = {word.lower() for word in words[2:]}
    told = [bulk(name) + bulk(value) for name, value in CONFIG.items() if name in asked]
    return b"*%d\r\n%b" % (2 * len(told), b"".join(told))


def run_quit(_: Store, words: Words) -> bytes:
    raise EndStream


CONFIG = {b"save": b"", b"appendonly": b"no"}
ANY = LINE_BYTES  # no request has more words
COMMANDS = {
    b"PING": Command(1, 2, lambda _, words: bulk(words[1]) if len(words) == 2 else b"+PONG\r\n"),
    b"ECHO": Command(2, 2, lambda _, words: bulk(words[1])),
    b"GET": Command(2, 2, lambda store, words: bulk(store.get(words[1]))),
    b"SET": Command(3, ANY, run_set),
    b"DEL": Command(2, ANY, lambda store, words: b":%d\r\n" % store.delete(words[1:])),
    b"INCR": Command(2, 2, lambda store, words: b":%d\r\n" % store.increment(words[1])),
    b"EXISTS": Command(2, ANY, lambda store, words: b":%d\r\n" % store.count(words[1:])),
    # No command is described. redis-cli asks when it starts, and then has none to complete or to give help on.
    b"COMMAND": Command(1, ANY, lambda _, words: b":0\r\n" if words[-1].upper() == b"COUNT" else b"*0\r\n"),
    b"CONFIG": Command(2, ANY, run_config),
    b"QUIT": Command(1, ANY, run_quit),
}
