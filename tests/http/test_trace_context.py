"""The trace id in traceparent, by the rules and the examples of W3C Trace Context, 3.2."""

import pytest

from halfsync.testing.request_ids import trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def found(*values: str) -> str | None:
    """Return the trace id of a request with these fields."""
    lines = "".join(f"traceparent: {value}\r\n" for value in values)
    return trace_id(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"  00-{TRACE}-{PARENT}-01\t",
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
        f"01-{TRACE}-{PARENT}-01-",
    ],
)
def test_a_valid_field_has_a_trace(value: str) -> None:
    assert found(value) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        TRACE,
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01.what",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-001",
        f"0x-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE}_{PARENT}-01",
        f"00_{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}_01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f'"00-{TRACE}-{PARENT}-01"',
    ],
)
def test_an_invalid_field_has_none(value: str) -> None:
    assert found(value) is None


def test_no_field_or_several_have_none() -> None:
    assert found() is None
    assert found(f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01") is None


def test_the_name_may_be_in_any_case() -> None:
    assert (
        trace_id(f"GET / HTTP/1.1\r\nHost: a\r\nTraceParent: 00-{TRACE}-{PARENT}-01\r\n\r\n".encode())
        == TRACE
    )
