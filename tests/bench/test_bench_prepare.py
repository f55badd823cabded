"""What the preparation does if something cannot be installed or made."""

import sys
from pathlib import Path

import pytest
from bench.running import without_folders
from bench.servers import ARMS, Kit

from bench import prepare


def test_a_failed_attempt_is_its_last_complaint() -> None:
    script = "import sys; sys.exit('looking\\nnot found')"
    assert prepare.attempt([sys.executable, "-c", script], 30) == "not found"
    assert prepare.attempt([sys.executable, "-c", ""], 30) == ""
    assert "No such file" in prepare.attempt(["/nowhere/at-all"], 30)
    assert "timed out" in prepare.attempt([sys.executable, "-c", "import time; time.sleep(60)"], 0.01)


def test_a_peer_that_cannot_be_installed_does_not_affect_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(args: list[str], timeout_s: float) -> str:
        return "no wheel" if "fastwsgi" in args else ""

    monkeypatch.setattr(prepare, "attempt", attempt)
    problems = prepare.peers(tmp_path)
    reasons = {arm.name: prepare.missing_for(arm, problems) for arm in ARMS}
    assert {name: reason for name, reason in reasons.items() if reason} == {
        "fastwsgi": "could not be installed: no wheel"
    }
    assert list(tmp_path.iterdir()) == []  # no stamp: the next run tries again


def test_without_an_environment_every_peer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "attempt", lambda args, timeout_s: "no ensurepip")
    problems = prepare.peers(tmp_path / "venv")
    assert all("no ensurepip" in prepare.missing_for(arm, problems) for arm in ARMS if arm.packages)


def test_the_stand_in_of_a_reply_announces_a_close(tmp_path: Path) -> None:
    prepare.default_replies(Kit("python", (), tmp_path, tmp_path))
    replies = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(replies) == {"reply-hello.bin", "reply-hello-close.bin", "reply-10k.bin", "reply-echo.bin"}
    closing = [name for name, reply in replies.items() if b"\r\nConnection: close\r\n" in reply]
    assert closing == ["reply-hello-close.bin"]
    assert all(reply.count(b"\r\n\r\n") == 1 for reply in replies.values())


@pytest.mark.parametrize(
    ("requirement", "name"), [("granian", "granian"), ("setuptools<81", "setuptools"), ("a[b]>=2", "a")]
)
def test_the_name_in_a_requirement(requirement: str, name: str) -> None:
    assert prepare.package_of(requirement) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr/local/bin/python3: No module named x", "python3: No module named x"),
        ("cannot open '/a-b/c.d/e'", "cannot open 'e'"),
        ("http://127.0.0.1:80/file and a/b", "http://127.0.0.1:80/file and a/b"),
    ],
)
def test_messages_lose_the_folders_of_this_machine(text: str, shown: str) -> None:
    assert without_folders(text) == shown
