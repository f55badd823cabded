"""Ownership of a connection: every interleaving of a worker, its lease and the engine (decisions/0012)."""

import pytest

from tests.engine.ownership_model import (
    AnySerial,
    Protocol,
    ReturnedIsStillTheWorkers,
    SeizedWithoutALook,
    Violation,
    can_rest,
    explore,
)


def test_no_interleaving_breaks_a_rule_or_loses_a_connection() -> None:
    follow = explore(Protocol())
    print(len(follow), "states")
    assert len(follow) > 1000, "the model does not reach what it is there for"
    assert can_rest(follow) == set(follow)


@pytest.mark.parametrize(
    ("protocol", "what"),
    [
        (ReturnedIsStillTheWorkers, "without its exchange|freed that is in the list"),
        (SeizedWithoutALook, "without its exchange|freed that is in the list"),
        (AnySerial, "another connection|no worker has|cut that is complete"),
    ],
)
def test_each_rule_is_needed(protocol: type[Protocol], what: str) -> None:
    with pytest.raises(Violation, match=what):
        explore(protocol())
