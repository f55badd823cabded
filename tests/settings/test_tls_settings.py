"""Settings of TLS that contradict each other, and which binds speak TLS."""

from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.listening.binds import is_secure
from halfsync.settings import Settings


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keyfile": "k"}, "there is no certificate for the key"),
        ({"key_password_file": "p"}, "there is no certificate for the key"),
        ({"certfile": "a,b", "keyfile": "k"}, "1 keys are given, and 2 certificates"),
        ({"bind": "https://:443"}, "https://:443 speaks TLS, and there is no certificate"),
        ({"bind": "http://:80", "certfile": "c"}, "no bind speaks TLS"),
        ({"admin_bind": "https://127.0.0.1:9000"}, "what the server answers about itself has no TLS"),
        ({"certfile": "c", "tls_min_version": "1.1"}, "1.1"),
        ({"certfile": "a\0b"}, "a path or a list of paths"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_options(**options)
    assert says in str(caught.value)


def test_files_are_a_list() -> None:
    made = Settings.from_options(certfile="a.pem, b.pem", keyfile=["a.key", Path("b.key")])
    assert (made.certfile, made.keyfile) == (("a.pem", "b.pem"), ("a.key", "b.key"))
    assert Settings.from_options(certfile=Path("a.pem")).certfile == ("a.pem",)
    assert Settings.from_options(certfile="none").certfile == ()


@pytest.mark.parametrize(
    ("bind", "default", "secure"),
    [
        ("https://:443", False, True),
        ("HTTPS://unix:/run/x.sock", False, True),
        ("http://:80", True, False),
        ("127.0.0.1:80", True, True),
        ("127.0.0.1:80", False, False),
    ],
)
def test_a_bind_says_whether_it_speaks_tls(bind: str, default: bool, secure: bool) -> None:
    assert is_secure(bind, default) is secure
