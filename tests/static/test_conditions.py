"""Conditions, ranges and codings: the texts of the fields, against a plain model and the standard library."""

import calendar
import time
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("halfsync.testing.static", reason="only the checks build has faces of native pieces")

from halfsync.testing.static import match_tags, read_date, read_range, weigh_codings

SECONDS = st.integers(0, 253402300799)  # to the end of the year 9999
FAR_OFF = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 5.6.7


@pytest.mark.parametrize(
    "text",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
    ],
)
def test_each_of_the_three_forms_is_read(text: bytes) -> None:
    assert read_date(text) == FAR_OFF


@given(SECONDS)
def test_every_second_is_read_in_the_form_that_servers_send(second: int) -> None:
    assert read_date(formatdate(second, usegmt=True).encode()) == second


@given(SECONDS)
def test_every_second_is_read_in_the_form_of_asctime(second: int) -> None:
    assert read_date(time.asctime(time.gmtime(second)).encode()) == second


@given(st.integers(-40 * 365, 40 * 365), st.integers(0, 86_399))
def test_years_of_two_digits_are_near_today(days: int, of_day: int) -> None:
    second = calendar.timegm((*time.gmtime()[:3], 0, 0, 0)) + days * 86_400 + of_day
    text = time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(second))
    assert read_date(text.encode()) == second


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 31 Nov 1994 08:49:37 GMT",
        b"Sun, 29 Feb 1900 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08-49-37 GMT",
        b"Sun, 06 Nov 19\xb94 08:49:37 GMT",
        b"Sunday, 06 Nov 94 08:49:37 GMT",
        b"Funday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov 6 08:49:37 1994",
        b"1994-11-06T08:49:37Z",
    ],
)
def test_an_invalid_date_is_none(text: bytes) -> None:
    assert read_date(text) is None


@given(st.binary(max_size=40))
def test_any_date_is_read_as_the_library_reads_it(text: bytes) -> None:
    second = read_date(text)
    if second is not None:
        assert parsedate_to_datetime(text.decode()).timestamp() == second


@pytest.mark.parametrize(
    ("text", "strong", "weak"),
    [
        (b"*", True, True),
        (b'"a"', True, True),
        (b'W/"a"', False, True),
        (b'"b", "a"', True, True),
        (b'W/"b",W/"a"', False, True),
        (b',, "a" ,', True, True),
        (b'"b"', False, False),
        (b'"a', False, False),
        (b"a", False, False),
        (b'w/"a"', False, False),
        (b'"b" garbage "a"', False, False),
        (b'"x,y", "a"', True, True),
        (b"", False, False),
        (b'"A"', False, False),
        (b'"aa"', False, False),
    ],
)
def test_entity_tags_are_found_in_lists(text: bytes, strong: bool, weak: bool) -> None:
    assert match_tags(text, b'"a"', False) is strong
    assert match_tags(text, b'"a"', True) is weak


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        (b"bytes=0-0", 10, (0, 1)),
        (b"bytes=0-9", 10, (0, 10)),
        (b"bytes=0-99", 10, (0, 10)),
        (b"bytes=9-", 10, (9, 1)),
        (b"bytes=-1", 10, (9, 1)),
        (b"bytes=-10", 10, (0, 10)),
        (b"bytes=-11", 10, (0, 10)),
        (b"BYTES=2-3", 10, (2, 2)),
        (b"bytes=2-3,", 10, (2, 2)),
        (b"bytes= 2-3 ", 10, (2, 2)),
        (b"bytes=0002-0003", 10, (2, 2)),
        (b"bytes=" + b"0" * 40 + b"2-" + b"9" * 40, 10, (2, 8)),
        (b"bytes=-" + b"9" * 40, 10, (0, 10)),
        (b"bytes=" + b"9" * 40 + b"-", 10, False),
        (b"bytes=10-", 10, False),
        (b"bytes=10-11", 10, False),
        (b"bytes=-0", 10, False),
        (b"bytes=0-", 0, False),
        (b"bytes=-1", 0, None),
        (b"bytes=3-2", 10, None),
        (b"bytes=", 10, None),
        (b"bytes=-", 10, None),
        (b"bytes=1", 10, None),
        (b"bytes=a-b", 10, None),
        (b"bytes=1-2x", 10, None),
        (b"bytes=1 - 2", 10, None),
        (b"bytes=--1", 10, None),
        (b"bytes=0-1,3-4", 10, None),
        (b"bytes=0-1,-1", 10, None),
        (b"seconds=0-1", 10, None),
        (b"bytes 0-1", 10, None),
        (b"", 10, None),
    ],
)
def test_ranges(text: bytes, size: int, expected: tuple[int, int] | bool | None) -> None:
    assert read_range(text, size) == expected


NUMBERS = st.one_of(st.none(), st.integers(0, 30), st.integers(0, 10**20))


@given(NUMBERS, NUMBERS, st.integers(0, 20))
def test_a_range_equals_a_slice(first: int | None, last: int | None, size: int) -> None:
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    content = bytes(range(size))
    if first is None and last is None:
        wanted: bytes | None = content
    elif first is None:
        assert last is not None
        wanted = None if last == 0 else content[max(0, size - last) :]
    elif last is not None and last < first:
        wanted = content
    else:
        wanted = None if first >= size else content[first : None if last is None else last + 1]
    found = read_range(text.encode(), size)
    if found is None:
        assert wanted == content
    elif found is False:
        assert wanted is None
    else:
        assert isinstance(found, tuple)
        assert content[found[0] : found[0] + found[1]] == wanted
        assert found[1] > 0


@pytest.mark.parametrize(
    ("fields", "brotli", "gzip"),
    [
        ([], 0, 0),
        ([b""], 0, 0),
        ([b"gzip, deflate, br"], 1000, 1000),
        ([b"gzip;q=0.5, br;q=0.25"], 250, 500),
        ([b"gzip;q=0, br"], 1000, 0),
        ([b"GZIP; Q=1.000"], 0, 1000),
        ([b"x-gzip"], 0, 1000),
        ([b"*"], 1000, 1000),
        ([b"*;q=0.3, br;q=0"], 0, 300),
        ([b"identity, gzip;q=0.5"], 0, 0),
        ([b"identity;q=0.2, gzip;q=0.5"], 0, 500),
        ([b"br"], 1000, 0),
        ([b"br", b"gzip;q=0.1"], 1000, 100),
        ([b"gzip;q=2"], 0, 0),
        ([b"gzip;q=1.5"], 0, 0),
        ([b"gzip;q=0.1234"], 0, 0),
        ([b"gzip;level=1"], 0, 0),
        ([b"gzipped, brotli"], 0, 0),
    ],
)
def test_codings_are_weighed(fields: list[bytes], brotli: int, gzip: int) -> None:
    assert weigh_codings(fields) == (brotli, gzip)
