"""How a refused client is answered, which status is noted, and what counts it."""

import pytest

from halfsync.testing import rules


@pytest.mark.parametrize(
    ("situation", "answer"),
    [
        ({}, "error"),
        ({"raw": True}, "reset"),
        ({"shakes_hands": True}, "reset"),
        ({"raw": True, "shakes_hands": True}, "reset"),
        ({"awaits_proxy": True}, "end"),
        ({"awaits_proxy": True, "raw": True}, "end"),
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [400, 408, 503])
def test_how_a_client_is_answered(situation: dict[str, bool], answer: str, status: int) -> None:
    answered, noted, _ = rules.refusal(status, **situation)
    assert answered == answer
    assert noted == (status if answer == "error" else 0)


@pytest.mark.parametrize(
    ("status", "counter"),
    [(400, "refused"), (408, "refused"), (413, "refused"), (431, "refused"), (501, "refused"), (503, "shed")],
)
def test_each_refusal_is_counted_once(status: int, counter: str) -> None:
    assert rules.refusal(status)[2] == [counter]
