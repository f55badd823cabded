"""What all tests of the command line need."""

import pytest

from halfsync.runtime import output


@pytest.fixture(autouse=True)
def no_server_has_set_up_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin as a process does: standard error becomes a log only once a server is set up."""
    monkeypatch.setattr(output, "_dress", None)
