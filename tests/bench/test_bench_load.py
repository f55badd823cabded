"""wrk's command line and counts."""

import pytest

from bench import load

COUNTS = (
    "Running 1s test @ http://127.0.0.1:8000/\n  1 threads and 64 connections\n"
    "counts requests=120500 duration_us=1005000 bytes=17231500 connect=0 read=2 write=1 timeout=3 status=7 "
    "p50_us=412 p99_us=1733\n"
)


def test_counts_are_read_exactly() -> None:
    result = load.parse(COUNTS)
    assert result == load.Load(120500, 1.005, 17231500, 412, 1733, 7, 6)
    assert result.errors == 13


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_no_counts_is_an_error_that_says_what_wrk_said(output: str) -> None:
    with pytest.raises(load.LoadError, match="Connection refused" if output else "nothing"):
        load.parse(output)


def test_a_post_passes_its_size_to_the_script() -> None:
    args = load.command("http://h/echo", 16, 3, body_bytes=65536)
    assert args[-3:] == ["http://h/echo", "--", "65536"]
    assert {"-t1", "-c16", "-d3s"} <= set(args)


def test_headers_are_given_one_by_one_and_a_short_load_is_a_second() -> None:
    args = load.command("http://h/", 64, 0.2, headers=("A: 1", "B: 2"))
    assert args[-5:] == ["-H", "A: 1", "-H", "B: 2", "http://h/"]
    assert "-d1s" in args
