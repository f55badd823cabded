"""The heads of responses, against the standard library and h11."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfsync.testing import rules

DAYS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59))


@given(DAYS)
@example(datetime(1994, 11, 6, 8, 49, 37))
@example(datetime(2000, 2, 29))
@example(datetime(2038, 1, 19, 3, 14, 8))
def test_a_date_is_written_as_the_standard_library_does(day: datetime) -> None:
    moment = day.replace(microsecond=0, tzinfo=UTC)
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))
    assert rules.date_of(seconds) == format_datetime(moment, usegmt=True)


def test_the_date_is_now() -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)  # the coarse clock lags a little
    date = datetime.strptime(rules.date(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert before - timedelta(seconds=1) <= date <= datetime.now(UTC)


def test_reason_phrases_are_the_registered_ones() -> None:
    registered = {status.value: status.phrase for status in HTTPStatus}
    registered |= {
        413: "Content Too Large",
        414: "URI Too Long",
        416: "Range Not Satisfiable",
    }  # since RFC 9110
    written = {status: phrase for status in range(1000) if (phrase := rules.reason(status))}
    assert written == {status: registered[status] for status in written}
    assert {400, 408, 413, 414, 417, 431, 500, 501, 503, 504, 505} <= set(written)


@pytest.mark.parametrize(
    ("queue", "app", "total", "line"),
    [
        (1_204_999, 3_400_000, 10_000_000_000, b"queue;dur=1.204, app;dur=3.400, total;dur=10000.000"),
        (-1, 0, 1, b"app;dur=0.000, total;dur=0.000"),
        (-1, -1, 12_345, b"total;dur=0.012"),
        (50_000, -1, -1, b"queue;dur=0.050"),
    ],
)
def test_server_timing_has_what_is_known_in_milliseconds(
    queue: int, app: int, total: int, line: bytes
) -> None:
    assert rules.server_timing(queue, app, total) == b"Server-Timing: " + line + b"\r\n"


def test_server_timing_without_durations_is_not_sent() -> None:
    assert rules.server_timing(-1, -1, -1) == b""


@pytest.mark.parametrize("status", [400, 408, 413, 414, 417, 431, 500, 501, 503, 504, 505])
@pytest.mark.parametrize("is_head", [True, False])
@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_an_error_page_is_a_whole_response(status: int, is_head: bool, server: bool, stays: bool) -> None:
    page, sent = rules.error_page(status, server=server, keep_alive_s=12.7, stays=stays, is_head=is_head)
    text = f"{status} {rules.reason(status)}\n".encode()
    response, body = read(page, "HEAD" if is_head else "GET", stays=stays)
    assert (response.status_code, response.reason.decode()) == (status, rules.reason(status))
    assert body == (b"" if is_head else text)
    assert sent == len(body)
    fields = dict(response.headers)
    assert len(fields) == len(list(response.headers)), "no field stands twice"
    assert fields.pop(b"content-length") == str(len(text)).encode()
    assert fields.pop(b"content-type") == b"text/plain; charset=utf-8"
    assert fields.pop(b"connection") == (b"keep-alive" if stays else b"close")
    assert fields.pop(b"keep-alive", None) == (b"timeout=12" if stays else None)
    assert fields.pop(b"retry-after", None) == (b"1" if status == 503 else None)
    assert fields.pop(b"server", None) == (b"halfsync" if server else None)
    assert datetime.strptime(fields.pop(b"date").decode(), "%a, %d %b %Y %H:%M:%S GMT")
    assert fields == {}


def read(page: bytes, method: str, *, stays: bool) -> tuple[h11.Response, bytes]:
    """Read a whole response, with nothing behind it, after which the connection stays or must be closed."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(page)
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert connection.their_state is (h11.DONE if stays else h11.MUST_CLOSE)
    assert connection.trailing_data == (b"", False)
    return response, body


@pytest.mark.parametrize("is_head", [True, False])
def test_a_text_is_measured_and_sent_but_to_head(is_head: bool) -> None:
    page, sent = rules.text_response(405, b"ask with GET\n", is_head=is_head)
    response, body = read(page, "HEAD" if is_head else "GET", stays=True)
    assert dict(response.headers)[b"content-length"] == b"13"
    assert body == (b"" if is_head else b"ask with GET\n")
    assert sent == len(body)


@pytest.mark.parametrize(
    ("keep_alive_s", "announced"),
    [(0.0, None), (0.9, None), (1.0, b"1"), (1.9, b"1"), (75.0, b"75"), (9e9, b"9000000000")],
)
def test_the_keep_alive_timeout_is_sent_in_whole_seconds(
    keep_alive_s: float, announced: bytes | None
) -> None:
    head = rules.empty_head(204, server=False, keep_alive_s=keep_alive_s, stays=True)
    assert b"\r\nConnection: keep-alive\r\n" in head
    line = b"\r\nKeep-Alive: timeout=%b\r\n" % announced if announced else None
    assert line in head if line else b"Keep-Alive:" not in head


@pytest.mark.parametrize("status", [200, 301, 429, 500, 502, 504])
def test_retry_after_goes_with_503_alone(status: int) -> None:
    def head(status: int) -> bytes:
        return rules.empty_head(status, server=True, keep_alive_s=5, stays=False)

    assert b"Retry-After" not in head(status)
    assert b"\r\nRetry-After: 1\r\n" in head(503)


def test_the_interim_response() -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.receive_data(rules.interim())
    event = connection.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert (event.status_code, event.reason, list(event.headers)) == (100, b"Continue", [])
    assert connection.next_event() is h11.NEED_DATA


MEANINGS = {
    "Content-Length": 1,
    "Date": 2,
    "Server": 3,
    "Connection": 4,
    "TE": 5,
    "Trailer": 5,
    "Trailers": 5,
    "Upgrade": 5,
    "Transfer-Encoding": 5,
    "Proxy-Authenticate": 5,
    "Proxy-Authorization": 5,
    "Keep-Alive": 6,
    "Proxy-Connection": 6,
}


@pytest.mark.parametrize("name", MEANINGS)
def test_what_a_field_means(name: str) -> None:
    for spelled in (name, name.lower(), name.upper()):
        assert rules.meaning_of(spelled.encode()) == MEANINGS[name]
    for other in (name + "s", name[:-1], name[:-1] + "_", "x" + name[1:]):
        if other.title() not in {known.title() for known in MEANINGS}:
            assert rules.meaning_of(other.encode()) == 0, other


@given(st.binary(max_size=24))
def test_no_other_field_means_anything(name: bytes) -> None:
    known = {known.lower().encode(): meaning for known, meaning in MEANINGS.items()}
    assert rules.meaning_of(name) == known.get(name.lower(), 0)


def test_which_responses_have_no_body() -> None:
    for status in (200, 201, 205, 206, 301, 404, 500):
        assert (rules.has_no_body(status, False), rules.has_no_body(status, True)) == (False, True)
    for status in (204, 304):
        assert rules.has_no_body(status, False)


@pytest.mark.parametrize(
    ("bodiless", "has_length", "minor", "framing"),
    [
        (True, False, 0, 0),
        (True, True, 1, 0),
        (False, True, 0, 1),
        (False, True, 1, 1),
        (False, False, 1, 2),
        (False, False, 0, 3),
    ],
)
def test_how_the_end_of_a_body_is_shown(bodiless: bool, has_length: bool, minor: int, framing: int) -> None:
    assert rules.framing_of(bodiless, has_length, minor) == framing
