"""Dates, reason phrases and refusals, against the standard library and h11."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfsync.testing import pieces

REFUSALS = [400, 408, 413, 414, 417, 431, 500, 501, 503, 505]
DAYS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59))


@given(DAYS)
@example(datetime(1994, 11, 6, 8, 49, 37))
@example(datetime(2000, 2, 29))
@example(datetime(2038, 1, 19, 3, 14, 8))
def test_a_date_is_written_as_the_standard_library_does(day: datetime) -> None:
    moment = day.replace(microsecond=0, tzinfo=UTC)
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))
    assert pieces.date_of(seconds) == format_datetime(moment, usegmt=True)


def test_the_date_is_now() -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)  # the coarse clock lags a little
    date = datetime.strptime(pieces.date(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert before - timedelta(seconds=1) <= date <= datetime.now(UTC)


def test_reason_phrases_are_the_registered_ones() -> None:
    registered = {status.value: status.phrase for status in HTTPStatus}
    registered |= {
        413: "Content Too Large",
        414: "URI Too Long",
        416: "Range Not Satisfiable",
    }  # since RFC 9110
    written = {status: phrase for status in range(1000) if (phrase := pieces.reason(status))}
    assert written == {status: registered[status] for status in written}
    assert set(REFUSALS) <= set(written)


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("with_body", [True, False])
@pytest.mark.parametrize("server", [True, False])
def test_a_refusal_is_a_whole_response(status: int, with_body: bool, server: bool) -> None:
    method = "GET" if with_body else "HEAD"
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(pieces.refusal(status, with_body, server))
    head = connection.next_event()
    assert isinstance(head, h11.Response)
    assert (head.status_code, head.reason.decode()) == (status, pieces.reason(status))
    fields = dict(head.headers)
    text = f"{status} {pieces.reason(status)}\n".encode()
    assert fields.pop(b"content-length") == str(len(text)).encode()
    assert fields.pop(b"content-type") == b"text/plain; charset=utf-8"
    assert fields.pop(b"connection") == b"close"
    assert fields.pop(b"retry-after", None) == (b"1" if status == 503 else None)
    assert fields.pop(b"server", None) == (b"halfsync" if server else None)
    assert datetime.strptime(fields.pop(b"date").decode(), "%a, %d %b %Y %H:%M:%S GMT")
    assert fields == {}
    if with_body:
        body = connection.next_event()
        assert isinstance(body, h11.Data)
        assert bytes(body.data) == text
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.their_state is h11.MUST_CLOSE
    assert connection.trailing_data == (b"", False)
