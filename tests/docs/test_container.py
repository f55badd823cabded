"""The image of docs/deploy/Containerfile, built and run by podman with the options of docs/deploy.md.

What it is made from is not fetched: the base image is this machine's Python with what it needs, under the name that the
Containerfile knows, and pip finds this build of halfsync in it, as a wheel.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pip
import pytest
from tests.client import fetch
from tests.docs.test_deploy import FOLDER, PAGE, content, free_address
from tests.faults.serving import START_TIMEOUT_S
from tests.wsgi import until

import halfsync

PODMAN = shutil.which("podman")
BASE = f"localhost/{content('Containerfile').split()[1]}"
IMAGE = "localhost/shop:1"
WHEELS = "opt/wheels"
RUN = re.search(r"^ +docker run (.+) -p 8000:8000 shop:1$", PAGE.read_text("utf-8"), re.MULTILINE)
OPTIONS = RUN[1].split() if RUN else []
MOST = 4096  # descriptors and processes that a container may have, if the system allows as many
UPLOAD = b"a large body" * 300_000  # which is spooled
APPLICATION = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    length = len(environ["wsgi.input"].read())
    return [f"{os.getppid()} {os.getuid()} {os.getgid()} {length}".encode()]
"""

pytestmark = [
    pytest.mark.skipif(PODMAN is None, reason="podman is not installed"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="the image has no sanitizer"),
    pytest.mark.timeout(300),
]


class Podman:
    """Podman with a store of its own, which is removed in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = [f"--root={folder}/store", f"--runroot={folder}/run", "--cgroup-manager=cgroupfs"]
        if shutil.which("runc"):
            self._store.append("--runtime=runc")  # which, unlike crun, knows every arrangement of cgroups

    def call(self, *arguments: str, stdin: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of podman's, and return what came of it."""
        assert PODMAN
        return subprocess.run(
            [PODMAN, *self._store, *arguments], stdin=stdin, capture_output=True, text=True, check=False
        )

    def do(self, *arguments: str) -> str:
        """Run a command of podman's that must succeed, and return what it printed, logs included."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def close(self) -> None:
        """Remove everything."""
        self.call("rm", "--all", "--force", "--time", "0")
        subprocess.run(["umount", str(self._folder / "store" / "overlay")], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


def limits() -> list[str]:
    """Return options that leave the limits as they are: podman's own may be more than this machine grants."""
    names = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    found = {name: min(MOST, resource.getrlimit(number)[1] % (1 << 63)) for name, number in names.items()}
    return [f"--ulimit={name}={number}:{number}" for name, number in found.items()]


def write_wheel(packed: Distribution, folder: Path) -> None:
    """Make a wheel again of what was installed from one."""
    text = packed.read_text("WHEEL") or ""
    (tag, *_) = re.findall(r"^Tag: (\S+)", text, re.MULTILINE)
    name = packed.metadata["Name"].replace("-", "_")
    with zipfile.ZipFile(folder / f"{name}-{packed.version}-{tag}.whl", "w") as wheel:
        for file in packed.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(str(packed.locate_file(file)), str(file))


def libraries(file: Path) -> list[str]:
    found = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+)", found)


def lay_root(root: Path) -> Path:
    """Lay out a file system with this Python, pip and a shell. Returns the directory of its programs."""

    def place(source: str | Path) -> Path:
        target = root / str(source).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(source, target)
        return target

    stdlib = Path(sysconfig.get_path("stdlib"))
    unneeded = (
        "test",
        "tests",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "config-*",
        "EXTERNALLY-MANAGED",
    )
    shutil.copytree(stdlib, root / str(stdlib).lstrip("/"), ignore=shutil.ignore_patterns(*unneeded))
    python = Path(sys.executable).resolve()
    for file in (place(python), place("/bin/sh"), *stdlib.glob("lib-dynload/*.so")):
        for library in libraries(file):
            place(library)
    programs = root / str(python.parent).lstrip("/")
    if python.name != "python":
        (programs / "python").symlink_to(python.name)
    shutil.copytree(Path(pip.__file__).parent, root / "opt" / "pip" / "pip")
    (programs / "pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    (programs / "pip").chmod(0o755)
    for name in (WHEELS, "tmp", "etc", "proc", "sys", "dev", "run"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    site = Path(halfsync.__file__).parent.parent
    (own,) = Distribution.discover(name="halfsync", path=[str(site)])
    for packed in (own, distribution("click")):
        write_wheel(packed, root / WHEELS)
    return python.parent


def import_base(podman: Podman, folder: Path) -> None:
    """Make the image that the Containerfile begins with."""
    programs = lay_root(folder / "root")
    variables = {
        "PATH": f"{programs}:/usr/local/bin:/bin",
        "PYTHONPATH": "/opt/pip",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": f"/{WHEELS}",
    }
    changes = [f"--change=ENV {name}={value}" for name, value in variables.items()]
    with subprocess.Popen(["tar", "-C", str(folder / "root"), "-c", "."], stdout=subprocess.PIPE) as packing:
        assert packing.stdout
        done = podman.call("import", *changes, "-", BASE, stdin=packing.stdout.fileno())
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Return a podman that has the image."""
    folder = tmp_path_factory.mktemp("podman")
    podman = Podman(folder)
    try:
        import_base(podman, folder)
        tried = podman.call("run", "--rm", "--network=host", *OPTIONS, *limits(), BASE, "python", "-c", "")
        if tried.returncode != 0:
            pytest.skip(f"podman cannot run a container here: {tried.stderr}")
        shop = folder / "shop"
        (shop / "shop").mkdir(parents=True)
        (shop / "shop" / "wsgi.py").write_text(APPLICATION)
        (shop / "requirements.txt").touch()
        file = str(FOLDER / "Containerfile")
        podman.do("build", "--pull=never", "--network=host", "-f", file, "-t", IMAGE, str(shop))
        yield podman
    finally:
        podman.close()


class Container:
    """The container of the documentation, run with further options. It shares the network of this machine."""

    def __init__(self, podman: Podman, *more: str) -> None:
        self._podman = podman
        self.address = free_address()
        bind = "HALFSYNC_BIND={}:{}".format(*self.address)
        options = ("--detach", "--network=host", *limits(), f"--env={bind}", *more)
        self._name = podman.do("run", *OPTIONS, *options, IMAGE).split()[0]
        until(lambda: " serve" in self.log() or not self.runs(), timeout_s=START_TIMEOUT_S)
        assert self.runs(), self.log()

    def log(self) -> str:
        """Return what was printed so far."""
        return self._podman.do("logs", self._name)

    def runs(self) -> bool:
        """Tell whether it has not ended."""
        return self._state("Running") == "true"

    def ask(self, body: bytes = b"") -> list[int]:
        """Return the supervisor's pid, user and group of the process that answers, and the length of the body."""
        response = fetch(self.address, "/", method="POST", body=body)
        assert response.status == 200
        return list(map(int, response.body.split()))

    def stop(self) -> int:
        """Stop it as it is stopped by all, and return its exit code."""
        self._podman.do("stop", "--time", "30", self._name)
        return int(self._state("ExitCode"))

    def _state(self, name: str) -> str:
        return self._podman.do("inspect", "--format", f"{{{{.State.{name}}}}}", self._name).split()[0]


def test_image_serves_as_process_1_from_a_root_that_is_read_only(podman: Podman) -> None:
    assert {"--read-only", "--tmpfs", "--cap-drop", "--memory", "--cpus"} <= set(OPTIONS)
    container = Container(podman)
    assert container.ask() == [1, 10001, 10001, 0]
    assert container.ask(UPLOAD) == [1, 10001, 10001, len(UPLOAD)]
    assert re.search(r"auto: \d workers.*cgroup quota 2.0 CPUs, memory 512 MiB", container.log())
    assert container.stop() == 0
    assert container.log().splitlines()[-1].endswith(" halfsync stopped")


def test_image_serves_as_any_user(podman: Podman) -> None:
    container = Container(podman, "--user", "54321")
    assert container.ask() == [1, 54321, 0, 0]
    assert container.stop() == 0
