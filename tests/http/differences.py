"""How the parsers may differ from h11 and httptools, each difference with its reason; and the comparison.

`H11_REFUSES` and `HTTPTOOLS_REFUSES` are all that the parsers accept and an oracle does not. `STRICTER` is what they
refuse and h11 accepts: every reason for a refusal has a predicate that must then be true of the bytes.
"""

import random
import re
from collections.abc import Callable

from tests.http.oracles import Reading, read_with_h11, read_with_httptools
from tests.wire import Message, at_random, by_byte, read_message


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


EXTENSION = rb"[ \t]*[-!#$%&'*+.^_`|~\w]+([ \t]*=[ \t]*([-!#$%&'*+.^_`|~\w]+|\"([^\"\\]|\\.)*\"))?"
EXTENSIONS = re.compile(rb"[0-9a-f]+(;%b(?=[ \t]*;|\r|\Z)[ \t]*)*" % EXTENSION, re.IGNORECASE)


def bad_extension(wire: bytes) -> bool:
    """Whether some line begins as a size and an extension do, and is not such, by a pattern instead of states."""
    lines = [line for line in wire.split(b"\n") if re.match(rb"[0-9a-f]+;", line, re.IGNORECASE)]
    return any(CONTROL(line[:-1]) or not EXTENSIONS.fullmatch(line.rstrip(b"\r")) for line in lines)


# Why we refuse what h11 accepts: the reason that the parser gave, and what must then be true of the bytes.
STRICTER: dict[str, Callable[[bytes], bool]] = {
    "a line that ends with a bare LF": BARE_LF,
    "a field line that does not begin with a name and a colon": has(FOLD),
    "a control character in a field value": CONTROL,
    "a request line that is not method, target and version": request_line(rb"\S+ \S*#\S* \S+"),
    "a version that is not HTTP/1": request_line(rb".*HTTP/[02-9]\.[0-9]"),
    "a method that is too long": has(rb"\A(\r\n)?[^ ]{33}"),
    "the method CONNECT": has(rb"\A(\r\n)?CONNECT "),
    "a target of * whose method is not OPTIONS": request_line(rb"\S+ \*\S* \S+"),
    "a target that is neither a path nor http(s)://host[:port]": request_line(rb"\S+ [^/*]\S* \S+"),
    "HTTP/1.1 without a Host field": request_line(rb".* HTTP/1\.[2-9]"),
    "a Host that is not host[:port]": bad_host,
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
    "a chunk extension that is not a name, or a name and a value": bad_extension,
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


def blanks_in_extension(wire: bytes) -> bool:
    """White space may be around the parts of a chunk extension (RFC 9112 7.1.1); llhttp refuses it."""
    return has(rb"^[0-9a-f]+;[^\n]*[ \t]")(wire)


# RFC 9110 6.2: a higher minor version is read as the highest that is known; llhttp refuses it.
higher_minor_version = request_line(rb".* HTTP/1\.[2-9]")

HTTPTOOLS_REFUSES = [
    method_unknown_to_llhttp,
    blanks_around_coding,
    blanks_in_extension,
    higher_minor_version,
]


def without_case(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header as h11 returns it: the name in lower case, and so is the one value without case."""
    return name.lower(), value.lower() if name.lower() == b"transfer-encoding" else value


def check_same(message: Message, reading: Reading) -> None:
    """Both accepted: they must agree on every part and on the end of the body."""
    head = message.head
    assert head is not None
    assert (reading.method, reading.target) == (head.method, head.target)
    assert min(reading.version, "1.1") == "{}.{}".format(*head.version)  # RFC 9110 6.2
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
    if ours.head is not None:
        check_accepted(wire, ours, h11s)


def check_accepted(wire: bytes, ours: Message, h11s: Reading) -> None:
    """What was accepted so far, they accept with the same meaning, but for the differences above."""
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
    elif not ours.head.upgrade:
        check_same(ours, reading)
