"""The parsers against h11 and httptools, on requests that are nearly right.

Two sentences are tested. *What we accept, they accept, with the same meaning*: but for the differences that
are predicates in differences.py. *What we refuse and h11 accepts, we refuse on purpose*: every reason for a
refusal has a predicate there that must be true of the bytes. And always: where the bytes are cut does not
matter.

HALFSYNC_FUZZ_EXAMPLES makes a run longer.
"""

import os
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import corpus
from tests.http.differences import check
from tests.wire import read_message

EXAMPLES = int(os.environ.get("HALFSYNC_FUZZ_EXAMPLES", "400"))
fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

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
