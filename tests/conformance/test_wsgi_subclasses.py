"""Subclasses of the types that PEP 3333 names: accepted for their content; other types are rejected."""

import enum
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from wsgiref.types import StartResponse

import pytest
from tests.client import fetch
from tests.conftest import Serve
from tests.sharing import Logged
from tests.wsgi import TEXT, Environ, pattern


class Safe(str):
    """Text of a template that is marked as safe; like those, it differs if it is changed or shown."""

    def __str__(self) -> str:
        return "shown"

    def __len__(self) -> int:
        return 0

    def lower(self) -> str:
        return "lower"

    def encode(self, *_: Any) -> bytes:
        return b"encoded"


class Fixed(bytes):
    """Bytes of fixed size, as numpy has them; its methods return something else."""

    def __len__(self) -> int:
        return 3

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Iterator[int]:
        return iter(b"iterated")

    def __bytes__(self) -> bytes:
        return b"converted"


class Status(enum.StrEnum):
    FINE = "201 Fine"


class Field(NamedTuple):
    name: Any
    value: Any


class Fields(list[Any]):
    """A list of headers with methods of its own."""


class Many(list[bytes]):
    """A list of parts with methods of its own."""


class Few(tuple[bytes, ...]):
    """Likewise, a tuple."""


class Lying:
    """An object that says it is of a type that it is not of."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @property  # type: ignore[misc]  # that it may be read is what counts
    def __class__(self) -> Any:
        return self.kind


def answering(status: Any = "200 OK", headers: Any = None, body: Any = (b"hello",)) -> Any:
    """Return an application that answers with these."""

    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status, [*TEXT] if headers is None else headers)
        return body() if callable(body) else body

    return app


def writing(*parts: Any) -> Any:
    """Return an application that writes these, and returns another."""

    def app(environ: Environ, start_response: Any) -> Any:
        write = start_response("200 OK", [*TEXT])
        for part in parts:
            write(part)
        return [Fixed(b"!")]

    return app


@pytest.mark.parametrize("status", [Safe("201 Fine"), Status.FINE, Safe("201")])
def test_a_status(serve: Serve, status: Any) -> None:
    with serve(answering(status)) as server:
        response = fetch(server.address)
        assert (response.status, response.reason) == (201, "" if status == "201" else "Fine")


@pytest.mark.parametrize("kind", [list, Fields], ids=["list", "subclass"])
@pytest.mark.parametrize("item", [lambda *pair: pair, Field], ids=["tuple", "namedtuple"])
def test_header_fields(serve: Serve, kind: Any, item: Any) -> None:
    fields = kind(
        [
            item(Safe("X-Safe"), Safe("a value")),
            item("X-Half", Safe("b")),
            item(Safe("Content-Length"), Safe("5")),
            item(Safe("Connection"), Safe("close")),
            item("X-Latin", Safe("\xe4")),
        ]
    )
    with serve(answering(headers=fields)) as server:
        response = fetch(server.address)
        assert (response.one("X-Safe"), response.one("X-Half")) == ("a value", "b")
        assert (response.one("Content-Length"), response.one("Connection")) == ("5", "close")
        assert (response.one("X-Latin"), response.body) == ("\xe4", b"hello")


PARTS: dict[str, Any] = {
    "list of one": [Fixed(b"hello")],
    "list of many": [b"he", Fixed(b"l"), Fixed(b""), Fixed(b"lo")],
    "tuple": (Fixed(b"hel"), b"lo"),
    "list subclass": Many([Fixed(b"hel"), b"lo"]),
    "tuple subclass": Few([Fixed(b"hel"), b"lo"]),
    "generator": lambda: (part for part in (Fixed(b"hel"), Fixed(b""), Fixed(b"lo"))),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_parts_of_a_body(serve: Serve, name: str, version: str) -> None:
    with serve(answering(body=PARTS[name])) as server:
        assert fetch(server.address, version=version).body == b"hello"


def test_large_parts_of_a_body(serve: Serve) -> None:
    data = pattern(1 << 20)
    for body in ([Fixed(data)] * 3, lambda: iter([Fixed(data)] * 3)):
        with serve(answering(body=body)) as server:
            assert fetch(server.address).body == data * 3


def test_what_is_written(serve: Serve) -> None:
    with serve(writing(Fixed(b"hel"), b"l", Fixed(b""), Fixed(b"o"))) as server:
        assert fetch(server.address).body == b"hello!"


def test_what_a_file_reads(serve: Serve) -> None:
    class Part(bytes):
        """Bytes of a subclass."""

    class File:
        def __init__(self) -> None:
            self.left = iter([Part(b"hel"), Part(b"lo"), b""])

        def read(self, size: int) -> bytes:
            return next(self.left)

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](File())

    with serve(app) as server:
        assert fetch(server.address).body == b"hello"


@pytest.mark.parametrize("bad", ["a\r\nX-Injected: b", "a\0", "\u20ac"])
def test_their_text_is_checked_as_any_other(serve: Serve, logged: Logged, bad: str) -> None:
    for app in (
        answering(Safe(f"200 {bad}")),
        answering(headers=[*TEXT, ("X-A", Safe(bad))]),
        answering(headers=[*TEXT, (Safe(bad), "a")]),
    ):
        with serve(app) as server:
            response = fetch(server.address)
            assert (response.status, response.one("X-Injected")) == (500, None)


# What is refused, and what the log says of it: which field, and which type it has.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "status": (lambda: answering(b"200 OK"), "the status must be a str, not bytes"),
    "status of int": (lambda: answering(200), "the status must be a str, not int"),
    "headers": (lambda: answering(headers=tuple(TEXT)), "the headers must be a list, not tuple"),
    "headers of dict": (lambda: answering(headers={"X-A": "b"}), "the headers must be a list, not dict"),
    "header": (lambda: answering(headers=[["X-A", "b"]]), "a header must be a tuple (name, value), not list"),
    "header of three": (
        lambda: answering(headers=[("X-A", "b", "c")]),
        "a header must be a tuple (name, value), not ('X-A', 'b', 'c')",
    ),
    "name": (lambda: answering(headers=[(b"X-A", "b")]), "a header's name must be a str, not bytes: b'X-A'"),
    "value": (lambda: answering(headers=[("X-A", 5)]), "the value of header 'X-A' must be a str, not int: 5"),
    "value outside latin-1": (
        lambda: answering(headers=[("X-A", "\u20ac")]),
        "the value of header 'X-A' has a character outside latin-1: '\u20ac'",
    ),
    "value of None": (
        lambda: answering(headers=[("X-A", None)]),
        "the value of header 'X-A' must be a str, not NoneType",
    ),
    "part": (
        lambda: answering(body=["text"]),
        "each part of the response's body must be bytes, not str",
    ),
    "yielded part": (
        lambda: answering(body=lambda: iter([5])),
        "each part of the response's body must be bytes, not int",
    ),
    "bytearray": (
        lambda: answering(body=[bytearray(b"a")]),
        "each part of the response's body must be bytes, not bytearray",
    ),
    "written": (lambda: writing("text"), "what is given to write() must be bytes, not str"),
    "body of bytes": (
        lambda: answering(body=Fixed(b"a")),
        "the response must be an iterable of bytes, not Fixed itself",
    ),
    "body of str": (
        lambda: answering(body=Safe("a")),
        "the response must be an iterable of bytes, not Safe itself",
    ),
    "lying status": (lambda: answering(Lying(str)), "the status must be a str, not Lying"),
    "lying headers": (lambda: answering(headers=Lying(list)), "the headers must be a list, not Lying"),
    "lying header": (
        lambda: answering(headers=[Lying(tuple)]),
        "a header must be a tuple (name, value), not Lying",
    ),
    "lying part": (
        lambda: answering(body=[Lying(bytes)]),
        "each part of the response's body must be bytes, not Lying",
    ),
    "lying written": (lambda: writing(Lying(bytes)), "what is given to write() must be bytes, not Lying"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_all_else_is_refused_by_its_field_and_type(serve: Serve, logged: Logged, name: str) -> None:
    make, message = REFUSED[name]
    with serve(make()) as server:
        assert fetch(server.address).status == 500
    assert message in logged.text
