"""What reports and terminals say of figures."""

import pytest

from halfsync.lab.wording import duration, labelled, share


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0 %"), (0.004, "0.4 %"), (0.0096, "1 %"), (0.034, "3 %"), (1.2, "120 %")]
)
def test_shares(value: float, text: str) -> None:
    assert share(value) == text


def test_axes_have_their_unit_if_there_is_one() -> None:
    assert labelled("latency", "ms") == "latency (ms)"
    assert labelled("clients", "") == "clients"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "1 s"), (40.4, "40 s"), (59.6, "1 min 00 s"), (130.0, "2 min 10 s")]
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text
