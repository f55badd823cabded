"""A laboratory on this machine."""

import time

import pytest

from halfsync.lab import machine
from halfsync.lab.laboratory import Laboratory, Wanted


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory(machine.read(), Wanted(), time.monotonic() + 600)
