"""TLS of a whole server: reloads with new certificates, mistakes at the start, tickets that all processes accept."""

import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tls
from tests.client import Connection, build
from tests.faults.load import APP, Load
from tests.faults.serving import MODELS, Serving, environment

RELOADS = 6
WORKERS = ("--workers", "2")
BETWEEN = 10

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def install(directory: Path) -> tuple[str, ...]:
    """Put a new certificate into place, and return the options that name it."""
    issued = tls.authority().issue()
    for source, name in ((issued.certificate, "cert.pem"), (issued.key, "key.pem")):
        shutil.copy(source, directory / f"{name}.new")
        (directory / f"{name}.new").rename(directory / name)
    return ("--certfile", "cert.pem", "--keyfile", "key.pem")


def connect(address: tuple[str, int], **options: object) -> ssl.SSLSocket:
    sock = tls.wrap(socket.create_connection(address, timeout=30), **options)  # type: ignore[arg-type]
    sock.do_handshake()
    return sock


def serial(address: tuple[str, int]) -> object:
    """Return the number of the certificate that a server shows."""
    with connect(address) as client:
        shown = client.getpeercert()
        assert shown
        return shown["serialNumber"]


def test_reloads_with_new_certificates_cost_no_request(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, APP, *model, *WORKERS, *install(tmp_path)) as serving:
        serving.wait_line("all 2 processes serve")
        before = {serial(serving.address)}
        with Load(lambda: connect(serving.address)) as load:
            for number in range(1, RELOADS + 1):
                load.wait_answers(BETWEEN)
                install(tmp_path)
                serving.signal(signal.SIGHUP)
                serving.wait_lines("the reload is complete", number)
                before.add(serial(serving.address))
            load.wait_answers(BETWEEN)
        assert not load.tally.failures, load.tally.reasons()
        assert len(before) == RELOADS + 1, "each reload showed a new certificate"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


def test_a_reload_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *WORKERS, *install(tmp_path)) as serving:
        serving.wait_line("all 2 processes serve")
        before = serial(serving.address)
        shutil.copy(tls.authority().issue().key, tmp_path / "key.pem")
        serving.signal(signal.SIGHUP)
        assert "'key.pem' does not belong to the certificate 'cert.pem'" in serving.wait_line(
            "does not belong"
        )
        assert serial(serving.address) == before


def test_tickets_are_good_for_all_processes_and_over_reloads(tmp_path: Path) -> None:
    context = tls.authority().client()
    with Serving(tmp_path, APP, "--workers", "3", *install(tmp_path)) as serving:
        serving.wait_line("all 3 processes serve")
        with Connection(connect(serving.address, context=context)) as client:
            client.send(build("/small"))
            client.response()
            assert isinstance(client.socket, ssl.SSLSocket)
            session = client.socket.session
        for _ in range(2):
            for _ in range(8):  # whichever process accepts them
                sock = context.wrap_socket(
                    socket.create_connection(serving.address, timeout=30), server_hostname="localhost",
                    session=session)  # fmt: skip
                assert sock.session_reused
                sock.close()
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--certfile", "missing.pem"), "the certificate 'missing.pem' cannot be read"),
        (("--keyfile", "key.pem"), "there is no certificate for the key"),
        (("--certfile", "key.pem"), "it has a private key only"),
    ],
)
def test_a_mistake_at_the_start_is_one_line(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    install(tmp_path)
    (tmp_path / "served.py").write_text(APP)
    for more in ((), WORKERS):
        done = subprocess.run(
            [sys.executable, "-m", "halfsync", "serve", "served:app", "-b", "127.0.0.1:0", *options, *more],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert done.stderr.count("\n") == 1, done.stderr
        assert says in done.stderr
