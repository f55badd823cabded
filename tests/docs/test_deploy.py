"""The files of docs/deploy: each is checked by the program that it is for, and run if possible."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, build, fetch
from tests.conformance.test_nginx import HAPROXY, needs_nginx, nginx
from tests.conformance.test_wsgi_request import tell, told_by
from tests.conftest import Serve
from tests.faults.serving import EXIT_TIMEOUT_S, environment
from tests.wsgi import until

from halfsync.settings import BY_NAME
from halfsync.settings.kinds import Duration

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
PAGE = FOLDER.parent / "deploy.md"
VERIFY = shutil.which("systemd-analyze")
KUBECTL = shutil.which("kubectl")
UNIX = "unix:/run/halfsync.sock"

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


def content(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


@contextmanager
def haproxy(folder: Path, text: str, address: tuple[str, int]) -> Iterator[None]:
    """Run HAProxy with a configuration until it listens at an address, and end it."""
    assert HAPROXY
    config = folder / "haproxy.cfg"
    config.write_text(text)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", str(config)], stdout=log, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(address) == 0

    try:
        until(listens)
        yield
    finally:
        process.terminate()
        process.wait(EXIT_TIMEOUT_S)


def free_address() -> tuple[str, int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address: tuple[str, int] = free.getsockname()
    return address


FORGED = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"), ("Forwarded", "for=6.6.6.6")]


def check_told(told: dict[str, Any], address: tuple[str, int]) -> None:
    """Check what reaches the application if a client sends forged fields."""
    assert (told["REMOTE_ADDR"], told["REQUEST_METHOD"]) == ("127.0.0.1", "GET")
    assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("http", "test.example")
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("test.example", str(address[1]))
    assert "HTTP_FORWARDED" not in told


@needs_nginx
def test_nginx_serves_a_request(serve: Serve, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/x.sock"
    text = content("nginx.conf").replace(UNIX, "127.0.0.1:8000")
    with serve(tell, bind=bind) as server, nginx(tmp_path, "http", text, bind) as address:
        with Connection(address) as connection:
            for _ in range(2):
                connection.send(build(fields=FORGED))
                check_told(told_by(connection.response()), address)
        assert server.statistics()["accepted"] == 1  # nginx keeps its connection, too


@needs_haproxy
def test_haproxy_takes_the_file() -> None:
    assert HAPROXY
    done = subprocess.run(
        [HAPROXY, "-c", "-f", str(FOLDER / "haproxy.cfg")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr


@needs_haproxy
def test_haproxy_serves_a_request(serve: Serve, tmp_path: Path) -> None:
    address = free_address()
    with serve(tell) as server:
        text = content("haproxy.cfg").replace("bind :80\n", f"bind 127.0.0.1:{address[1]}\n")
        text = text.replace("127.0.0.1:8000", "{}:{}".format(*server.address))
        with haproxy(tmp_path, text, address), Connection(address) as connection:
            for _ in range(2):
                connection.send(build(fields=FORGED))
                check_told(told_by(connection.response()), address)


@pytest.mark.skipif(VERIFY is None, reason="systemd-analyze is not on this machine")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    assert VERIFY
    for name in ("halfsync.service", "halfsync.socket"):
        text = content(name).replace("/opt/shop/venv/bin/halfsync", sys.executable)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [VERIFY, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_waits_longer_than_the_server_drains() -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", content("halfsync.service"), re.MULTILINE))
    duration = Duration()
    assert duration.convert(unit["TimeoutStopSec"]) > BY_NAME["graceful_timeout"].default
    assert unit["ExecReload"].endswith("-HUP $MAINPID")
    named = re.search(r"^FileDescriptorName=(\w+)$", content("halfsync.socket"), re.MULTILINE)
    assert named
    assert f"`--bind systemd:{named[1]}`" in PAGE.read_text("utf-8")


def test_every_setting_that_is_named_exists() -> None:
    for path in (PAGE, *sorted(FOLDER.iterdir())):
        text = path.read_text("utf-8")
        variables = {name.lower() for name in re.findall(r"\bHALFSYNC_([A-Z_]+)\b", text)}
        assert variables <= set(BY_NAME), path
    flags = {name.replace("-", "_") for name in re.findall(r"`--([a-z-]+)", PAGE.read_text("utf-8"))}
    assert flags - {"init", "cpus", "memory"} <= set(BY_NAME)  # those are the container tools'


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine")
def test_kubernetes_objects() -> None:
    assert KUBECTL
    said = subprocess.run(
        [KUBECTL, "annotate", "--local", "-f", str(FOLDER / "kubernetes.yaml"), "tested=yes", "-o", "json"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    objects: dict[str, Any] = {}
    while said:
        one, end = json.JSONDecoder().raw_decode(said)
        objects[one["kind"]] = one["spec"]
        said = said[end:].strip()
    pod = objects["Deployment"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    values = {one["name"].removeprefix("HALFSYNC_").lower(): one["value"] for one in container["env"]}
    for name, value in values.items():
        if name in BY_NAME:
            BY_NAME[name].convert(value, name)
    duration = Duration()
    together = duration.convert(values["drain_delay"]) + duration.convert(values["graceful_timeout"])
    assert pod["terminationGracePeriodSeconds"] > together
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert asked == {
        "startup": {"path": "/readyz", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
    }
    assert values["admin_bind"].endswith(f":{ports['admin']}")
    assert objects["Service"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert f"HALFSYNC_BIND=0.0.0.0:{ports['http']} " in content("Containerfile")


# A container in all that matters here: its own process 1, a root and an application that cannot be written to, a tmpfs.
CONTAINER = """
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$1/tmp"
mount -o remount,ro,bind /
cd "$1"
shift
exec setpriv --reuid 54321 --regid 54321 --clear-groups --no-new-privs "$@"
"""
CAPABILITIES = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")

APP = """
import os
def app(environ, start_response):
    size = len(environ["wsgi.input"].read())
    try:
        open("written", "w")
        problem = "none"
    except OSError as error:
        problem = error.strerror
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{size} {os.getuid()} {os.getpid()} {os.getppid()} {problem}".encode()]
"""


def containers_problem() -> str:
    """Say why nothing like a container can be made here; empty: it can."""
    if os.getuid() != 0:
        return "only root may make what is like a container"
    if not shutil.which("unshare") or not shutil.which("setpriv"):
        return "unshare and setpriv are not on this machine"
    probe = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-o", "remount,ro,bind", "/"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"namespaces cannot be made here: {done.stderr.strip()}" if done.returncode else ""


def container_environment() -> dict[str, str]:
    """Read the variables that the Containerfile sets."""
    text = content("Containerfile").replace("\\\n", " ")
    found = re.search(r"^ENV (.*)$", text, re.MULTILINE)
    assert found
    return dict(pair.split("=", 1) for pair in found[1].split())


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="hs") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_as_in_a_container(public_path: Path, tmp_path: Path) -> None:
    if problem := containers_problem():
        pytest.skip(problem)
    (public_path / "tmp").mkdir()
    (public_path / "served.py").write_text(APP)
    host, port = free_address()
    variables = container_environment() | {
        "HALFSYNC_BIND": f"{host}:{port}",
        "HALFSYNC_TEMP_DIR": str(public_path / "tmp"),
    }
    assert {f"HALFSYNC_{name}" for name in ("BIND", "WORKERS", "TEMP_DIR")} <= set(variables)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-ec", CONTAINER, "sh", str(public_path), *CAPABILITIES),
                *(sys.executable, "-m", "halfsync", "serve", "served:app"),
            ],
            env=environment() | variables,
            stderr=log,
        )

    def listens() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((host, port)) == 0

    try:
        until(listens)
        body = b"x" * 1_000_000  # more than stays in memory
        answer = fetch((host, port), "/", method="POST", body=body).body.decode()
        size, user, own, parent, problem = answer.split(maxsplit=4)
        assert (int(size), int(user), problem) == (len(body), 54_321, "Read-only file system")
        assert "1" in (own, parent)  # it is process 1, or a worker of that
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0, (tmp_path / "log").read_text()
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait(EXIT_TIMEOUT_S)


def test_the_page_names_every_file() -> None:
    page = PAGE.read_text("utf-8")
    for path in FOLDER.iterdir():
        assert f"(deploy/{path.name})" in page
