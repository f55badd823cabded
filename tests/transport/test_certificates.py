"""Certificates and keys: one clear line for each mistake."""

import datetime
import logging
import subprocess
from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.settings import Settings
from halfsync.transport import certificates
from halfsync.transport.certificates import load_tls
from tests import tls
from tests.sharing import foreign_environment
from tests.tls import Issued


@pytest.fixture
def issued() -> Issued:
    return tls.authority().issue()


def problem_of(**settings: object) -> str:
    """Return why TLS cannot begin with these settings, which must be so."""
    with pytest.raises(UsageError) as caught:
        load_tls(Settings.from_options(**settings))
    assert caught.value.remedy
    return caught.value.problem


def openssl(*arguments: object) -> None:
    subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, env=foreign_environment()
    )


def test_without_a_certificate_there_is_no_tls() -> None:
    assert load_tls(Settings.from_options()) is None


def test_certificate_and_key_may_be_in_one_file(issued: Issued) -> None:
    assert load_tls(Settings.from_options(certfile=str(issued.both))) is not None


def test_a_missing_library_is_named(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfsync.transport.tls.load_library", lambda: "libssl.so.3: not there")
    assert "OpenSSL 3, which cannot be loaded: libssl.so.3" in problem_of(certfile=str(issued.both))


def test_a_file_that_is_missing(issued: Issued, tmp_path: Path) -> None:
    missing = str(tmp_path / "no.pem")
    assert missing in problem_of(certfile=missing)
    assert "the key" in problem_of(certfile=str(issued.certificate), keyfile=missing)
    assert "the password file" in problem_of(certfile=str(issued.both), key_password_file=missing)


def test_a_file_without_what_it_must_hold(issued: Issued, tmp_path: Path) -> None:
    (tmp_path / "der").write_bytes(b"\x30\x82\x01\x00")
    assert "no PEM file" in problem_of(certfile=str(tmp_path / "der"))
    assert "a private key only" in problem_of(certfile=str(issued.key))
    assert "no private key in" in problem_of(certfile=str(issued.certificate))


def test_a_file_that_openssl_cannot_read(issued: Issued, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_bytes(issued.certificate.read_bytes()[:200] + b"\n-----END CERTIFICATE-----\n")
    assert "cannot be used" in problem_of(certfile=str(broken), keyfile=str(issued.key))
    broken.write_bytes(issued.key.read_bytes()[:100] + b"\n-----END PRIVATE KEY-----\n")
    assert "cannot be read" in problem_of(certfile=str(issued.certificate), keyfile=str(broken))


def test_a_key_of_another_certificate(issued: Issued) -> None:
    other = tls.authority().issue()
    assert "does not belong" in problem_of(certfile=str(issued.certificate), keyfile=str(other.key))


def test_an_encrypted_key(issued: Issued, tmp_path: Path) -> None:
    key, password = tmp_path / "key.pem", tmp_path / "password"
    openssl("pkey", "-in", issued.key, "-aes256", "-passout", "pass:secret", "-out", key)
    files = {"certfile": str(issued.certificate), "keyfile": str(key)}
    assert "there is no password" in problem_of(**files)
    password.write_text("wrong\n")
    assert "the password does not fit" in problem_of(**files, key_password_file=str(password))
    password.write_text("\n")
    assert "no password in its first line" in problem_of(**files, key_password_file=str(password))
    password.write_text("secret\nmore\n")
    assert load_tls(Settings.from_options(**files, key_password_file=str(password))) is not None


def test_a_chain_in_the_wrong_order(issued: Issued, tmp_path: Path) -> None:
    other = tls.authority().issue()
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issued.certificate.read_bytes() + other.certificate.read_bytes())
    assert "certificate 2" in problem_of(certfile=str(chain), keyfile=str(issued.key))


def test_a_chain_up_to_the_authority(issued: Issued, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(
        issued.certificate.read_bytes() + tls.authority().trust(tmp_path / "ca.pem").read_bytes()
    )
    assert load_tls(Settings.from_options(certfile=str(chain), keyfile=str(issued.key))) is not None


def test_an_expired_certificate() -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3, hours=1)
    expired = tls.authority().issue(not_before=past - datetime.timedelta(days=5), not_after=past)
    assert "expired 3 days ago" in problem_of(certfile=str(expired.both))


def test_a_certificate_of_the_future() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2, hours=1)
    future = tls.authority().issue(not_before=soon, not_after=soon + datetime.timedelta(days=9))
    assert "becomes valid in 2 days" in problem_of(certfile=str(future.both))


def test_a_warning_before_it_expires(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "logger", lambda: logging.getLogger("certificates"))
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5, hours=1)
    short = tls.authority().issue(not_after=soon)
    assert load_tls(Settings.from_options(certfile=str(short.both))) is not None
    assert "expires in 5 days" in caplog.text


@pytest.mark.parametrize("setting", ["ciphers", "ciphersuites", "curves"])
def test_names_that_openssl_does_not_know(issued: Issued, setting: str) -> None:
    assert "'NO-SUCH-NAME'" in problem_of(certfile=str(issued.both), **{setting: "NO-SUCH-NAME"})
