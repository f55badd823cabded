"""The key-value example without a server: its commands, its errors, and requests cut anywhere.

The error texts are Redis's own wherever it has one for the case: clients show them, and some look at them.
"""

import sys
import threading
from collections.abc import Callable, Iterable

import pytest
from examples.keyvalue import keyvalue
from examples.keyvalue.keyvalue import (
    ENTRY_BYTES,
    LINE_BYTES,
    NAME_BYTES,
    REQUEST_BYTES,
    SENT_BYTES,
    VALUE_BYTES,
    WORD_COUNT,
    KeyValue,
    ProtocolError,
    RequestParser,
    Store,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halfsync import EndStream
from tests.wire import at_random, by_byte

fuzzed = settings(max_examples=200)

EVERY_BYTE = bytes(range(256))
LOWEST, HIGHEST = -(2**63), 2**63 - 1
OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
NO_INTEGER = b"-ERR value is not an integer or out of range\r\n"


def array(*words: bytes) -> bytes:
    """Return a request as clients write it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def protocol_error(text: bytes) -> bytes:
    return b"-ERR Protocol error: %b\r\n" % text


def reply(connection: KeyValue, data: bytes) -> bytes:
    """Return what a connection answers to a piece."""
    return b"".join(connection.received(data))


def talk(pieces: Iterable[bytes], store: Store | None = None) -> tuple[bytes, bool]:
    """Return all that one connection answers to these pieces, and whether it ended the connection."""
    connection = KeyValue(store or Store())
    answers: list[bytes] = []
    try:
        for piece in filter(None, pieces):  # at_random also gives empty ones, which no server does
            for part in connection.received(piece):
                answers.append(part)  # one by one: EndStream may come after some
    except EndStream as end:
        return b"".join([*answers, end.data]), True
    return b"".join(answers), False


def ask(wire: bytes, store: Store | None = None) -> bytes:
    """Return the answers of a connection that goes on."""
    answers, ended = talk([wire], store)
    assert not ended, answers
    return answers


def last_words(wire: bytes, store: Store | None = None) -> bytes:
    """Return the answers of a connection that ends."""
    answers, ended = talk([wire], store)
    assert ended, answers
    return answers


# Each line is a conversation of its own, in an empty store: requests, and the answer to the last of them.
CONVERSATIONS: list[tuple[list[bytes], bytes]] = [
    ([b"PING"], b"+PONG\r\n"),
    ([b"PING hello"], bulk(b"hello")),
    ([b"pInG"], b"+PONG\r\n"),
    ([b"ECHO hello"], bulk(b"hello")),
    ([b"GET a"], b"$-1\r\n"),
    ([b"SET a 1"], b"+OK\r\n"),
    ([b"SET a 1", b"GET a"], bulk(b"1")),
    ([b"SET a 1", b"set a 22", b"get a"], bulk(b"22")),
    ([b"SET a 1", b"GET A"], b"$-1\r\n"),
    ([b"DEL a"], b":0\r\n"),
    ([b"SET a 1", b"SET b 1", b"DEL a b c a"], b":2\r\n"),
    ([b"SET a 1", b"SET b 1", b"DEL a", b"GET a"], b"$-1\r\n"),
    ([b"SET a 1", b"SET b 1", b"DEL a", b"GET b"], bulk(b"1")),
    ([b"EXISTS a"], b":0\r\n"),
    ([b"SET a 1", b"EXISTS a b a"], b":2\r\n"),
    ([b"INCR a"], b":1\r\n"),
    ([b"INCR a", b"INCR a"], b":2\r\n"),
    ([b"INCR a", b"INCR a", b"GET a"], bulk(b"2")),
    ([b"COMMAND"], b"*0\r\n"),
    ([b"COMMAND DOCS"], b"*0\r\n"),
    ([b"COMMAND DOCS get"], b"*0\r\n"),
    ([b"command count"], b":0\r\n"),
    ([b"CONFIG GET save"], b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
    ([b"config get APPENDONLY"], b"*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"),
    (
        [b"CONFIG GET save other appendonly"],
        b"*4\r\n$4\r\nsave\r\n$0\r\n\r\n$10\r\nappendonly\r\n$2\r\nno\r\n",
    ),
    ([b"CONFIG GET maxclients"], b"*0\r\n"),
    # what is refused
    ([b"FOO a b"], b"-ERR unknown command 'FOO'\r\n"),
    ([b"hello 3"], b"-ERR unknown command 'hello'\r\n"),
    ([b"PING a b"], b"-ERR wrong number of arguments for 'ping' command\r\n"),
    ([b"ECHO"], b"-ERR wrong number of arguments for 'echo' command\r\n"),
    ([b"ECHO a b"], b"-ERR wrong number of arguments for 'echo' command\r\n"),
    ([b"GET"], b"-ERR wrong number of arguments for 'get' command\r\n"),
    ([b"GeT a b"], b"-ERR wrong number of arguments for 'get' command\r\n"),
    ([b"SET a"], b"-ERR wrong number of arguments for 'set' command\r\n"),
    ([b"DEL"], b"-ERR wrong number of arguments for 'del' command\r\n"),
    ([b"EXISTS"], b"-ERR wrong number of arguments for 'exists' command\r\n"),
    ([b"INCR"], b"-ERR wrong number of arguments for 'incr' command\r\n"),
    ([b"INCR a b"], b"-ERR wrong number of arguments for 'incr' command\r\n"),
    ([b"CONFIG"], b"-ERR wrong number of arguments for 'config' command\r\n"),
    ([b"CONFIG GET"], b"-ERR wrong number of arguments for 'config|get' command\r\n"),
    ([b"CONFIG SET save x"], b"-ERR unknown subcommand 'SET'\r\n"),
    ([b"SET a 1 EX 10"], b"-ERR syntax error\r\n"),
    ([b"SET a 1 NX", b"GET a"], b"$-1\r\n"),
]


@pytest.mark.parametrize(("requests", "expected"), CONVERSATIONS, ids=repr)
def test_each_command_and_refusal_as_line_and_as_array(requests: list[bytes], expected: bytes) -> None:
    for form in (
        [request + b"\r\n" for request in requests],
        [request + b"\n" for request in requests],
        [array(*request.split()) for request in requests],
    ):
        *earlier, last = form
        store = Store()
        connection = KeyValue(store)
        for request in earlier:
            reply(connection, request)
        assert reply(connection, last) == expected


def test_quit_answers_what_came_before_it_and_runs_nothing_after_it() -> None:
    store = Store()
    assert last_words(b"SET a 1\nquit\nSET a 2\n", store) == b"+OK\r\n+OK\r\n"
    assert store.get(b"a") == b"1"
    assert last_words(array(b"QUIT", b"now")) == b"+OK\r\n"


def test_a_refusal_does_not_end_the_connection() -> None:
    assert ask(b"FOO\nSET a 1 EX 1\nGET\nPING\n").endswith(b"\r\n+PONG\r\n")


def test_an_answer_has_one_line_whatever_the_name() -> None:
    assert ask(array(b"a\r\n+OK\r\n\xff")) == b"-ERR unknown command 'a  +OK  \xff'\r\n"
    assert ask(array(b"x" * 1000)) == b"-ERR unknown command '%b'\r\n" % (b"x" * NAME_BYTES)
    assert ask(array(b"CONFIG", b"\n" * 1000)) == b"-ERR unknown subcommand '%b'\r\n" % (b" " * NAME_BYTES)
    assert ask(array(b"")) == b"-ERR unknown command ''\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", b":1\r\n"),
        (b"-1", b":0\r\n"),
        (b"41", b":42\r\n"),
        (b"%d" % (HIGHEST - 1), b":%d\r\n" % HIGHEST),
        (b"%d" % HIGHEST, b"-ERR increment or decrement would overflow\r\n"),
        (b"%d" % LOWEST, b":%d\r\n" % (LOWEST + 1)),
        *[
            (value, NO_INTEGER)
            for value in (
                b"%d" % (HIGHEST + 1), b"%d" % (LOWEST - 1), b"9" * 19, b"9" * 5000, b"", b"a", b"1a", b"1.0", b" 1",
                b"1 ", b"1\n", b"+1", b"-", b"-0", b"01", b"-01", b"1_000", b"0x1", b"\xd9\xa1", EVERY_BYTE,
            )
        ],
    ],
    ids=lambda part: repr(part[:30]),
)  # fmt: skip
def test_incr_adds_one_within_64_bits(value: bytes, expected: bytes) -> None:
    store = Store()
    assert ask(array(b"SET", b"a", value) + array(b"INCR", b"a"), store) == b"+OK\r\n" + expected
    after = expected[1:-2] if expected[:1] == b":" else value
    assert store.get(b"a") == after


# Whole requests of every kind, then one that ends a connection, and bytes that must not be read.
LONG = b"".join(
    [
        *[array(*request.split()) for requests, _ in CONVERSATIONS for request in requests],
        *[request + b"\r\n" for requests, _ in CONVERSATIONS for request in requests],
        array(b"SET", EVERY_BYTE, b"\r\n*1\r\n$4\r\nQUIT\r\n" * 9),
        array(b"GET", EVERY_BYTE),
        b"\r\n\n *0\r\n*0\r\n  \t \nset 'a b' \"c'd\"\r\nget  'a b' \n",
    ]
)
ENDS = [
    b"",
    b"*1\r\n$3\r\nab",
    b"GET a",
    b"QUIT\r\nPING\r\n",
    b"*1\r\nPING\r\nPING\r\n",
    b"*2\r\n$1\r\nabc\r\nPING\r\n",
]


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_the_bytes_may_be_cut_anywhere(end: bytes) -> None:
    wire = LONG + end
    whole = talk([wire])
    assert len(whole[0]) > 2000
    assert talk(by_byte(wire)) == whole
    for seed in range(100):
        assert talk(at_random(wire, seed)) == whole, f"cut by at_random(wire, seed={seed})"


def test_a_pipeline_is_answered_in_one_piece_in_order() -> None:
    store = Store()
    wire = b"".join(array(b"ECHO", b"%d" % i) + array(b"INCR", b"n") for i in range(16))
    expected = b"".join(bulk(b"%d" % i) + b":%d\r\n" % (i + 1) for i in range(16))
    assert list(KeyValue(store).received(wire)) == [expected]


def test_half_a_request_is_not_answered_yet() -> None:
    connection = KeyValue(Store())
    assert reply(connection, b"PING\r\n*1\r\n$4\r\nPI") == b"+PONG\r\n"
    assert reply(connection, b"NG\r") == b""
    assert reply(connection, b"\n") == b"+PONG\r\n"


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"*\r\n", b"invalid multibulk length"),
        (b"*-1\r\n", b"invalid multibulk length"),
        (b"*01\r\n", b"invalid multibulk length"),
        (b"*+1\r\n", b"invalid multibulk length"),
        (b"*1_0\r\n", b"invalid multibulk length"),
        (b"* 1\r\n", b"invalid multibulk length"),
        (b"*1\n", b"invalid multibulk length"),
        (b"*1 \r\n", b"invalid multibulk length"),
        (b"*1\r\r\n", b"invalid multibulk length"),
        (b"*99999999999\r\n", b"invalid multibulk length"),
        (b"*1\r\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\n", b"expected '$', got ' '"),
        (b"*1\r\n*1\r\n", b"expected '$', got '*'"),
        (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$4\nPING\r\n", b"invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", b"invalid bulk length"),
        (b"*1\r\n$" + b"9" * 5000 + b"\r\n", b"invalid bulk length"),
        (b"*1\r\n$4\r\nPING\n\n", b"a bulk string that is longer than it said"),
        (b"*1\r\n$4\r\nPINGS\r\n", b"a bulk string that is longer than it said"),
        (b"*1\r\n$5\r\nPING\r\n*1", b"a bulk string that is longer than it said"),
        (b"SET a 'b\r\n", b"unbalanced quotes in request"),
        (b'SET a b"\r\n', b"unbalanced quotes in request"),
        (b"SET a 'b'c\r\n", b"unbalanced quotes in request"),
        (b"SET a 'b'\"c\"\r\n", b"unbalanced quotes in request"),
    ],
    ids=lambda part: repr(part[:30]),
)
def test_a_protocol_error_is_sent_after_the_answers_before_it_and_ends(wire: bytes, said: bytes) -> None:
    store = Store()
    expected = b"+OK\r\n" + protocol_error(said)
    assert last_words(b"SET a 1\r\n" + wire + b"SET a 2\r\n", store) == expected
    assert store.get(b"a") == b"1", "nothing after it is run"
    assert talk(by_byte(b"SET a 1\r\n" + wire + b"SET a 2\r\n")) == (expected, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"  SET\ta \x0b b\x0c ", [b"SET", b"a", b"b"]),
        (b"SET 'a b' \"c d\"", [b"SET", b"a b", b"c d"]),
        (b"SET '' \"\"  ", [b"SET", b"", b""]),
        (b"SET 'a\"b' \"c'd\"", [b"SET", b'a"b', b"c'd"]),
        (b"SET '\\n' \\n", [b"SET", b"\\n", b"\\n"]),
        (b"SET \xff\x00 '\xfe\x00'", [b"SET", b"\xff\x00", b"\xfe\x00"]),
        (b"*", None),
        (b"a*1", [b"a*1"]),
        (b" *1", [b"*1"]),
        (b"$1", [b"$1"]),
    ],
)
def test_words_of_a_line(line: bytes, words: list[bytes] | None) -> None:
    parser = RequestParser()
    if words is None:
        with pytest.raises(ProtocolError):
            list(parser.feed(line + b"\r\n"))
    else:
        assert list(parser.feed(line + b"\r\n" + line + b"\n")) == [words, words]


def test_a_line_is_bounded() -> None:
    value = b"x" * (LINE_BYTES - len("ECHO "))
    assert ask(b"ECHO " + value + b"\n") == bulk(value)
    too_long = protocol_error(b"too long a line")
    assert last_words(b"ECHO x" + value + b"\n") == too_long
    for wire in (b"ECHO x" + value, b"*" + b"1" * LINE_BYTES, b"*1\r\n$" + b"1" * LINE_BYTES):
        assert talk([wire]) == (too_long, True)
        assert talk([wire[:-1]]) == (b"", False)
        assert talk([wire[:-1], wire[-1:]]) == (too_long, True)


def test_the_words_of_an_array_are_bounded() -> None:
    keys = [b"k"] * (WORD_COUNT - 1)
    store = Store()
    store.set(b"k", b"")
    assert ask(array(b"EXISTS", *keys), store) == b":%d\r\n" % len(keys)
    assert last_words(array(b"EXISTS", *keys, b"k")) == protocol_error(b"invalid multibulk length")
    assert last_words(b"*%d\r\n" % (WORD_COUNT + 1)) == protocol_error(b"invalid multibulk length")


def test_a_word_is_bounded_before_it_arrives() -> None:
    value = bytes(VALUE_BYTES)
    assert ask(array(b"ECHO", value)) == bulk(value)
    head = b"*2\r\n$4\r\nECHO\r\n"
    assert ask(head + b"$%d\r\n" % VALUE_BYTES) == b""
    assert last_words(head + b"$%d\r\n" % (VALUE_BYTES + 1)) == protocol_error(b"invalid bulk length")


def test_the_words_of_an_array_are_bounded_together() -> None:
    half = bytes(VALUE_BYTES)
    room = REQUEST_BYTES - 2 * VALUE_BYTES  # what is left beside two words of the largest size
    head = b"*3\r\n" + bulk(half) + bulk(half)
    assert ask(head + b"$%d\r\n" % room) == b""
    assert last_words(head + b"$%d\r\n" % (room + 1)) == protocol_error(b"invalid bulk length")
    # Each array has room of its own.
    assert ask(array(b"EXISTS", half) * 3) == b":0\r\n" * 3


def test_answers_are_made_as_they_are_sent() -> None:
    value = bytes(VALUE_BYTES)
    store = Store()
    store.set(b"k", value)
    connection = KeyValue(store)
    answers = iter(connection.received(array(b"GET", b"k") * 100 + b"DEL k\nPING\n"))
    for _ in range(100):
        assert store.get(b"k") == value, "the DEL is not run before what was asked earlier is sent"
        assert next(answers) == bulk(value)
    assert list(answers) == [b":1\r\n+PONG\r\n"]
    # Small ones are sent together, but not all of them.
    pieces = list(connection.received(b"PING\n" * SENT_BYTES))
    assert b"".join(pieces) == b"+PONG\r\n" * SENT_BYTES
    assert all(SENT_BYTES <= len(piece) < SENT_BYTES + len(b"+PONG\r\n") for piece in pieces[:-1])


def test_a_large_word_may_come_in_pieces() -> None:
    value = EVERY_BYTE * (VALUE_BYTES // 256)
    wire = array(b"ECHO", value) + array(b"ECHO", value)
    for size in (100, LINE_BYTES, LINE_BYTES + 1, VALUE_BYTES, VALUE_BYTES + 100):
        pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
        assert talk(pieces) == (bulk(value) * 2, False), size


def test_small_pieces_of_a_large_word_are_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    announced = keyvalue.announced

    def counted(head: bytes) -> int:
        heads.append(head)
        return announced(head)

    monkeypatch.setattr(keyvalue, "announced", counted)
    value = EVERY_BYTE * 40
    assert talk(by_byte(array(b"ECHO", value))) == (bulk(value), False)
    assert len(heads) <= 5, "the array's head once, and a bulk string's when it comes and when it is whole"


def test_the_store_is_bounded_and_stays_as_it_was_when_full() -> None:
    store = Store(limit_bytes=2 * ENTRY_BYTES + 20)
    full = array(b"SET", b"a", b"x" * 9) + array(b"SET", b"b", b"9" * 9)
    assert ask(full, store) == b"+OK\r\n" * 2
    for request in (
        array(b"SET", b"c", b""), array(b"SET", b"a", b"x" * 10), array(b"INCR", b"b"), array(b"INCR", b"c")
    ):  # fmt: skip
        assert ask(request, store) == OOM, request
        assert (store.get(b"a"), store.get(b"b"), store.get(b"c")) == (b"x" * 9, b"9" * 9, None)
    # What takes no more is let in, and what goes makes room to the byte.
    shrink = array(b"SET", b"a", b"y" * 9) + array(b"SET", b"a", b"y" * 8)
    assert ask(shrink + array(b"INCR", b"b"), store) == b"+OK\r\n+OK\r\n:1000000000\r\n"
    assert ask(array(b"SET", b"a", b"y" * 9), store) == OOM
    assert ask(array(b"DEL", b"a", b"a", b"b"), store) == b":2\r\n"
    assert ask(full + array(b"SET", b"c", b""), store) == b"+OK\r\n" * 2 + OOM


def test_an_entry_counts_with_what_python_adds_to_it() -> None:
    assert ask(array(b"SET", b"", b""), Store(limit_bytes=ENTRY_BYTES)) == b"+OK\r\n"
    assert ask(array(b"SET", b"", b""), Store(limit_bytes=ENTRY_BYTES - 1)) == OOM


def test_connections_of_a_process_share_a_store_and_it_outlives_them() -> None:
    one, other = KeyValue(), KeyValue()
    try:
        assert reply(one, array(b"SET", b"tests/examples", EVERY_BYTE)) == b"+OK\r\n"
        one.closed()
        assert reply(other, array(b"GET", b"tests/examples")) == bulk(EVERY_BYTE)
    finally:
        reply(other, array(b"DEL", b"tests/examples"))
    assert ask(array(b"GET", b"tests/examples")) == b"$-1\r\n", "a store of its own is empty"


def test_no_increment_is_lost_between_threads() -> None:
    threads, times = 4, 500
    store = Store()

    def work() -> None:
        connection = KeyValue(store)
        for _ in range(times):
            reply(connection, b"INCR n\n")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    assert store.get(b"n") == b"%d" % (threads * times)


@fuzzed
@given(requests=st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5)), seed=st.integers(0, 999))
def test_arrays_of_any_bytes_arrive_as_they_were_sent(requests: list[list[bytes]], seed: int) -> None:
    parser = RequestParser()
    wire = b"".join(array(*words) for words in requests)
    assert [words for piece in at_random(wire, seed) if piece for words in parser.feed(piece)] == requests


@fuzzed
@given(key=st.binary(), value=st.binary())
@example(key=b"", value=b"")
@example(key=EVERY_BYTE, value=EVERY_BYTE[::-1])
def test_any_value_comes_back_from_any_key(key: bytes, value: bytes) -> None:
    assert ask(array(b"SET", key, value) + array(b"GET", key)) == b"+OK\r\n" + bulk(value)


PIECES = [b"*", b"$", b"0", b"1", b"2", b"3", b"-1", b"\r\n", b"\n", b"\r", b" ", b"'", b'"', b"a", b"\x00", b"\xff",
          b"GET", b"SET", b"INCR", b"*1\r\n", b"*2\r\n", b"$3\r\n", b"GET\r\n", b"$1\r\na\r\n",
          b"QUIT\r\n"]  # fmt: skip


@fuzzed
@given(wire=st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_any_bytes_get_the_same_answers_as_byte_by_byte(wire: bytes) -> None:
    assert talk(by_byte(wire)) == talk([wire])


KEYS = st.sampled_from([b"a", b"b", b"c"])
MODEL: dict[bytes, Callable[[dict[bytes, bytes], bytes, bytes], bytes]] = {
    b"SET": lambda model, key, value: model.update({key: value}) or b"+OK\r\n",
    b"GET": lambda model, key, value: bulk(model[key]) if key in model else b"$-1\r\n",
    b"DEL": lambda model, key, value: b":0\r\n" if model.pop(key, None) is None else b":1\r\n",
    b"EXISTS": lambda model, key, value: b":1\r\n" if key in model else b":0\r\n",
}


@fuzzed
@given(steps=st.lists(st.tuples(st.sampled_from(sorted(MODEL)), KEYS, st.binary(max_size=9)), max_size=30))
def test_the_store_does_as_a_dict_does(steps: list[tuple[bytes, bytes, bytes]]) -> None:
    model: dict[bytes, bytes] = {}
    connection = KeyValue(Store())
    for name, key, value in steps:
        request = array(name, key, value) if name == b"SET" else array(name, key)
        assert reply(connection, request) == MODEL[name](model, key, value)
