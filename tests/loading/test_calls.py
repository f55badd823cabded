"""Whether something can be called, and with which arguments."""

from typing import Any

import pytest

from halfsync.errors import LoadError
from halfsync.loading.calls import mistake_in_arguments, require_callable


def test_what_cannot_be_called_is_rejected_with_its_type() -> None:
    assert require_callable(len, "len", origin="here", remedy="none") is len
    with pytest.raises(LoadError, match="'x' is of type int, which cannot be called"):
        require_callable(1, "x", origin="here", remedy="name a function")


def test_a_mistake_in_the_arguments_is_found_before_the_call() -> None:
    def two(first: Any, second: Any) -> None:
        raise AssertionError("it was called")

    assert mistake_in_arguments(two, 1, 2) is None
    assert "second" in str(mistake_in_arguments(two, 1))


def test_what_has_no_signature_may_take_anything() -> None:
    class Odd:
        __signature__ = "none"

        def __call__(self) -> None:
            raise AssertionError("it was called")

    assert mistake_in_arguments(Odd(), 1, 2) is None
