"""The parsers against h11 and httptools, on requests that are nearly right.

Two sentences are tested. *What we accept, they accept, with the same meaning*: but for the differences that
are predicates in `H11_REFUSES` and `HTTPTOOLS_REFUSES`. *What we refuse and h11 accepts, we refuse on
purpose*: every reason for a refusal has a predicate in `STRICTER` that must be true of the bytes. And always:
where the bytes are cut does not matter.

HALFSYNC_FUZZ_EXAMPLES makes a run longer.
"""

import os
import random
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import corpus
from tests.http.oracles import Reading, read_with_h11, read_with_httptools
from tests.wire import Message, at_random, by_byte, read_message

EXAMPLES = int(os.environ.get("HALFSYNC_FUZZ_EXAMPLES", "400"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SEEDS = [case.wire for case in corpus.load() if len(case.wire) < 400]

# Pieces of requests, right and wrong, each of which has fooled some parser.
METHODS = [b"GET", b"POST", b"OPTIONS", b"CONNECT", b"HEAD", b"PUT", b"get", b"G(T", b""]
TARGETS = [
    b"/",
    b"/a?b",
    b"*",
    b"http://a/b",
    b"HTTP://a",
    b"a:80",
    b"http://b/",
    b"/#",
    b"/\x80",
    b"//",
    b"",
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b""]
NAMES = [
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"X-A", b"cOOKIE",
    b"Content_Length", b"content-length ", b" X", b"", b"X\x00", b"Te",
]  # fmt: skip
VALUES = [
    b"a", b"a:80", b"b", b"", b"3", b"03", b"+3", b"3, 3", b"0x3", b"chunked", b"Chunked", b"gzip, chunked",
    b"chunked, gzip", b"chunked, chunked", b"identity", b"xchunked", b"close", b"keep-alive", b"upgrade, x",
    b"100-continue", b"x\ty", b"x\r\n y", b"x\ry", b"x\ny", b"\x0bx", b"x\x00", b"\xe9", b" x\t",
]  # fmt: skip
BODIES = [
    b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n", b"3\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"0\r\nHost: b\r\n\r\n",
    b"0\r\nGET / HTTP/1.1\r\n", b"10000000000000003\r\nabc\r\n0\r\n\r\n", b"0\r\nA: b\n\r\n",
    b"0\r\n A: b\r\n\r\n",
]  # fmt: skip
FRAGMENTS = sorted({b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", b",", b";", b"0", b"\xff", b"#", b"@",
                    *METHODS, *TARGETS, *VERSIONS, *NAMES, *VALUES, *BODIES})  # fmt: skip


def mostly(right: bytes, wrong: list[bytes]) -> st.SearchStrategy[bytes]:
    """Nearly always the right piece: a request with two faults is refused for the first one only."""
    # Hypothesis likes the ends of a range, so the wrong pieces are in its middle.
    return st.integers(0, 24).flatmap(lambda n: st.sampled_from(wrong) if n == 13 else st.just(right))


EOL = mostly(b"\r\n", [b"\n", b"\r", b"\r\r\n", b" \r\n"])
SPACE = mostly(b" ", [b"  ", b"\t", b""])
FIELD = st.tuples(st.sampled_from(NAMES[:9]) | st.sampled_from(NAMES), mostly(b": ", [b":", b" :", b""]),
                  st.sampled_from(VALUES), EOL).map(b"".join)  # fmt: skip
# A head that is right so far, to which the drawn fields and body add what they like.
USUAL = st.sampled_from([b"Host: a\r\n", b"Host: a\r\nContent-Length: 3\r\n",
                         b"Host: a\r\nTransfer-Encoding: chunked\r\n", b""])  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, mostly right, and perhaps something after it."""
    pieces = [
        draw(mostly(b"", [b"\r\n", b"\r\n\r\n", b"\n", b" "])),
        draw(mostly(b"POST", METHODS)), draw(SPACE), draw(mostly(b"/a", TARGETS)), draw(SPACE),
        draw(mostly(b"HTTP/1.1", VERSIONS)), draw(EOL), draw(USUAL), *draw(st.lists(FIELD, max_size=3)),
        draw(EOL), draw(st.sampled_from(BODIES)), draw(mostly(b"", [b"GET / HTTP/1.1\r\n", b"x"])),
    ]  # fmt: skip
    return b"".join(pieces)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A case of the corpus with one to three places changed."""
    wire = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(wire)))
        end = draw(st.integers(begin, min(len(wire), begin + 12)))
        put = draw(st.sampled_from([b"", wire[begin:end] * 2, *FRAGMENTS]) | st.binary(max_size=3))
        wire = wire[:begin] + put + wire[end:]
    return wire


def has(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether the pattern is somewhere on the wire."""
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL | re.MULTILINE)
    return lambda wire: compiled.search(wire) is not None


def request_line(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether the pattern is all of the request line."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda wire: (
        compiled.fullmatch(wire.removeprefix(b"\r\n").partition(b"\n")[0].rstrip(b"\r")) is not None
    )


BARE_LF = has(rb"(?<!\r)\n")
CONTROL = has(rb"[\x00-\x08\x0b-\x1f\x7f]")
FOLD = rb"\r?\n[ \t]"
LENGTH = rb"^content-length:[ \t]*"
CODING = rb"^transfer-encoding:[ \t]*"
AUTHORITY = re.compile(
    rb"((?:[-\w.~!$&'()*+,;=]|%[0-9a-f]{2})+|\[(?=(?:[^:]*:){2})[0-9a-f:.]+\])(:(\d{0,5}))?", re.IGNORECASE
)


def bad_host(wire: bytes) -> bool:
    """Whether a Host is not host[:port], by a pattern instead of a scan."""
    for value in re.findall(rb"^host:([^\n]*)\n", wire, re.IGNORECASE | re.MULTILINE):
        match = AUTHORITY.fullmatch(value.strip(b" \t\r"))
        if not match or int(match[3] or 0) > 65535:
            return True
    return False


# Why we refuse what h11 accepts: the reason that the parser gave, and what must then be true of the bytes.
STRICTER: dict[str, Callable[[bytes], bool]] = {
    "a line that ends with a bare LF": BARE_LF,
    "a field line that does not begin with a name and a colon": has(FOLD),
    "a control character in a field value": CONTROL,
    "a request line that is not method, target and version": request_line(rb"\S+ \S*#\S* \S+"),
    "a version that is not HTTP/1.0 or HTTP/1.1": request_line(rb".*HTTP/(?!1\.[01])[0-9]\.[0-9]"),
    "a method that is too long": has(rb"\A(\r\n)?[^ ]{33}"),
    "a CONNECT target that is not host:port": has(rb"\ACONNECT "),
    "a target of * whose method is not OPTIONS": request_line(rb"\S+ \*\S* \S+"),
    "a target that is neither a path nor http(s)://host[:port]": request_line(rb"\S+ [^/*]\S* \S+"),
    "a Host that is not host[:port]": bad_host,
    "a Host that differs from the target's authority": request_line(rb"CONNECT .*|\S+ [^/*]\S* \S+"),
    "an expectation other than 100-continue": has(rb"^expect:"),
    "Content-Length beside Transfer-Encoding": lambda wire: has(LENGTH)(wire) and has(CODING)(wire),
    "more than one Content-Length field": has(LENGTH + rb".*" + LENGTH),
    "a Content-Length that is not a number of 1 to 18 digits": has(
        LENGTH + rb"(\d+[ \t]*,|\d{19}|" + FOLD + rb")"
    ),
    "Transfer-Encoding on HTTP/1.0": request_line(rb".* HTTP/1\.0"),
    "a Transfer-Encoding that does not end with one chunked": has(CODING + FOLD),
    # In the chunked body.
    "a chunk size that is not hex digits": has(rb"[0-9a-f][ \t]+\r\n"),
    "a chunk size that is too large": has(rb"[0-9a-f]{16}"),
    "a control character in a chunk extension": CONTROL,
    "a bare CR in a chunk's size line": has(rb"\r(?!\n)"),
    "a framing field in the trailer": has(rb"0+(;[^\n]*)?\r\n.*^(host|content-length|transfer-encoding):"),
    "a trailer line that does not begin with a name and a colon": lambda wire: (
        has(FOLD)(wire) or BARE_LF(wire)
    ),
    "a control character in a trailer value": CONTROL,
}


def leading_empty_line(wire: bytes) -> bool:
    """RFC 9112 2.2 asks servers to let one empty line before the request line through; h11 does not."""
    return wire.startswith(b"\r\n")


H11_REFUSES = [leading_empty_line]


def method_unknown_to_llhttp(wire: bytes) -> bool:
    """Methods are an open set (RFC 9110 16.1); llhttp knows a list."""
    return not request_line(rb"(GET|POST|OPTIONS|CONNECT|HEAD|PUT) .*")(wire)


def blanks_around_coding(wire: bytes) -> bool:
    """White space around a value is no part of it (RFC 9110 5.5); llhttp refuses some around chunked."""
    return has(rb"^transfer-encoding:([ \t]*\t[ \t]*chunked|[ \t]*chunked[ \t]+)")(wire)


def chunk_extension(wire: bytes) -> bool:
    """We check an extension's bytes only; llhttp also its grammar."""
    return has(rb"^[0-9a-f]+;")(wire)


HTTPTOOLS_REFUSES = [method_unknown_to_llhttp, blanks_around_coding, chunk_extension]


def without_case(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header as h11 tells it: the name in lower case, and that value which has no case."""
    return name.lower(), value.lower() if name.lower() == b"transfer-encoding" else value


def check_same(message: Message, reading: Reading) -> None:
    """Both accepted: they must agree on every part and on where the body ends."""
    head = message.head
    assert head is not None
    assert (reading.method, reading.target) == (head.method, head.target)
    assert reading.version == "{}.{}".format(*head.version)
    assert [without_case(*header) for header in reading.headers] == [without_case(*h) for h in head.headers]
    assert (reading.complete, reading.body) == (message.complete, message.body)


def check(wire: bytes) -> None:
    ours = read_message([wire])
    assert read_message(by_byte(wire)) == ours
    assert read_message(at_random(wire, random.Random(wire).getrandbits(32))) == ours
    h11s = read_with_h11(wire)
    if ours.status is not None:
        # A refusal of the body is a difference once h11 is through with it; of the head, once past that.
        if h11s.complete if ours.head else h11s.method:
            assert STRICTER[ours.reason](wire), (ours.reason, wire)
        return
    if ours.head is None:
        return
    if h11s.refused:
        assert any(differs(wire) for differs in H11_REFUSES), (h11s.refused, wire)
    else:
        check_same(ours, h11s)
        assert h11s.leftover == ours.leftover
    check_with_httptools(wire[: len(wire) - len(ours.leftover)], ours)


def check_with_httptools(wire: bytes, ours: Message) -> None:
    reading = read_with_httptools(wire)
    assert ours.head is not None
    if reading.refused:
        assert any(differs(wire) for differs in HTTPTOOLS_REFUSES), (reading.refused, wire)
    elif not ours.head.upgrade and ours.head.method != b"CONNECT":
        check_same(ours, reading)


@given(requests())
@fuzzed
def test_requests_that_are_nearly_right(wire: bytes) -> None:
    check(wire)


@given(mutants())
@fuzzed
def test_the_corpus_with_mutations(wire: bytes) -> None:
    check(wire)


CHUNK = st.tuples(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"%x", b"%X", b"%02x", b"%016X"]),
    mostly(b"", [b";", b";a", b'; a="b c" ;d', b" ", b" ;a", b"\t"]),
    mostly(b"\r\n", [b"\n", b"\r", b""]),
    mostly(b"\r\n", [b"\n", b"\r", b"", b"x"]),
)
TRAILER = st.lists(
    mostly(b"A: b\r\n", [b"A:\n", b"A : b\r\n", b" A: b\r\n", b"Host: a\r\n", b"\x00\r\n"]), max_size=2
)
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@given(st.lists(CHUNK, max_size=5), TRAILER, st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))
@fuzzed
def test_chunked_bodies_that_are_nearly_right(
    chunks: list[tuple[bytes, bytes, bytes, bytes, bytes]], trailer: list[bytes], rest: bytes
) -> None:
    pieces = [size % len(data) + end + eol + data + after for data, size, end, eol, after in chunks]
    check(CHUNKED_HEAD + b"".join([*pieces, b"0\r\n", *trailer, b"\r\n", rest]))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(0, 3000), max_size=8))
@fuzzed
def test_what_is_chunked_comes_out_again(parts: list[bytes], cuts: list[int]) -> None:
    """Cut anywhere, the body is the one that was sent, and the next request is left over."""
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    wire = CHUNKED_HEAD + wire + b"next"
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    message = read_message([wire[a:b] for a, b in pairwise(places)])
    assert (message.complete, message.body, message.leftover) == (True, b"".join(parts), b"next")


@pytest.mark.parametrize("wire", SEEDS, ids=repr)
def test_the_corpus_itself(wire: bytes) -> None:
    check(wire)
