"""Fixtures of the lab's tests."""

from collections.abc import Iterator

import pytest

from tests.lab.scripted import Scripted, scripted


@pytest.fixture
def peer() -> Iterator[Scripted]:
    """Return a server that does what a path says."""
    with scripted() as running:
        yield running
