"""Reloads and upgrades that change the binds: connected clients notice nothing.

The application answers with what it sees of the listener and of the client. The test knows both from its own end of the
connection, whatever process serves by now.
"""

import os
import random
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children, stop
from tests.faults.test_signals import refuses
from tests.wsgi import until

APP = """
import os, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        os.write(2, b"begun\\n")
        while not os.path.exists("go"):
            time.sleep(0.005)
    names = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "wsgi.url_scheme")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(environ[name] or "-" for name in names).encode()]
"""
CLIENT = "192.0.2.9"  # named by a proxy; only those on unix sockets are trusted
WORKERS = 2
THREADS = 32
ROUNDS = int(os.environ.get("HALFSYNC_BINDS", "6"))

pytestmark = pytest.mark.timeout(120 + 20 * ROUNDS)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def free_binds(folder: Path, number: int = 1) -> list[str]:
    """Return addresses that are free: so many of each kind."""
    hosts = [host for host in ("127.0.0.1", "127.0.0.2") for _ in range(number)]
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server((host, 0))).getsockname() for host in hosts]
    return [
        *(f"{host}:{port}" for host, port in found),
        *(f"unix:{folder}/socket{at}" for at in range(number)),
    ]


def tcp(bind: str) -> tuple[str, int]:
    host, _, port = bind.partition(":")
    return host, int(port)


def write_settings(folder: Path, binds: Sequence[str], *lines: str) -> None:
    names = ", ".join(f'"{bind}"' for bind in binds)
    text = [f"bind = [{names}]", f"workers = {WORKERS}", 'forwarded_allow_ips = ["unix"]', *lines]
    (folder / "halfsync.toml").write_text("\n".join(text) + "\n")


class Kept:
    """A connection that stays, and what the application must see of it."""

    def __init__(self, bind: str) -> None:
        self.bind = bind
        if bind.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(bind.removeprefix("unix:"))
            self.sees = f"localhost 443 {CLIENT} https"
        else:
            self._socket = socket.create_connection(tcp(bind))
            host, port = self._socket.getpeername()
            self.sees = f"{host} {port} {self._socket.getsockname()[0]} http"
        self._connection = Connection(self._socket, timeout_s=30)

    def send(self) -> None:
        fields = [("X-Forwarded-For", CLIENT), ("X-Forwarded-Proto", "https")]
        self._connection.send(build("/", fields=fields))

    def check_answer(self) -> None:
        """Read the answer: it must be whole, and the connection stay."""
        response = self._connection.response()
        assert response.status == 200
        assert response.one("Connection") != "close"
        assert response.body.decode() == self.sees, self.bind

    def ask(self) -> None:
        self.send()
        self.check_answer()

    def close(self) -> None:
        self._connection.socket.close()


class Fleet(Serving):
    """A server that has its binds from a file."""

    def __init__(self, folder: Path, model: tuple[str, ...], binds: Sequence[str], *lines: str) -> None:
        self._folder = folder
        self._reloads = 0
        write_settings(folder, binds, *lines)
        # In a pool idle connections end if others wait for their thread.
        super().__init__(folder, APP, *model, "--threads", str(THREADS), bind="")

    def __enter__(self) -> "Fleet":
        self.wait_line(f"all {WORKERS} processes serve")
        return self

    def ask_to_reload(self, binds: Sequence[str], *lines: str) -> None:
        write_settings(self._folder, binds, *lines)
        self._reloads += 1
        self.signal(signal.SIGHUP)
        # Until then a second signal, or another change of the file, would be one with this.
        self.wait_lines("reloading with the current", self._reloads)

    def reload(self, binds: Sequence[str], *lines: str) -> None:
        """Reload with other binds, and wait until no old process accepts."""
        before = self.completed
        self.ask_to_reload(binds, *lines)
        self.wait_lines("the reload is complete", before + 1)

    def wait_ended(self, pids: set[int]) -> None:
        """Wait until none of these processes is left."""
        until(lambda: not pids & children(self.process.pid))

    @property
    def completed(self) -> int:
        return sum("the reload is complete" in line for line in self.lines)

    @property
    def errors(self) -> list[str]:
        return [line for line in self.lines if "ERROR" in line or "Traceback" in line or "failed" in line]


@contextmanager
def keeping(binds: Sequence[str], each: int = 1) -> Iterator[list[Kept]]:
    """Connect to each bind, and ask there."""
    kept = [Kept(bind) for bind in binds for _ in range(each)]
    try:
        for one in kept:
            one.ask()
        yield kept
    finally:
        for one in kept:
            one.close()


def ask_all(kept: Sequence[Kept]) -> None:
    for one in kept:
        one.send()
    for one in kept:
        one.check_answer()


def test_a_connection_keeps_its_server_name_and_port_if_the_binds_change(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """Also one that is handed off twice, by a process that did not have its listener."""
    first, second, unix = free_binds(tmp_path)
    new = free_binds(tmp_path)[0]
    lists = [
        [unix, second, first],
        [new, first],  # without two of them
        [new],
        [new, second, unix, first],
        [f"unix:{tmp_path}/other"],
    ]
    with Fleet(tmp_path, model, [first, second, unix]) as serving, keeping([first, second, unix], 3) as kept:
        for binds in lists:
            serving.reload(binds)
            ask_all(kept)
        assert not serving.errors, "\n".join(serving.lines)


def test_no_idle_connection_is_closed_by_a_reload_that_drops_a_bind(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    stays, goes, unix = free_binds(tmp_path)
    with Fleet(tmp_path, model, [goes, stays, unix]) as serving, keeping([stays, goes, unix], 6) as kept:
        serving.reload([stays])
        assert refuses(tcp(goes))
        ask_all(kept)
        assert not serving.errors, "\n".join(serving.lines)


def test_waiting_clients_of_a_dropped_bind_are_answered_and_idle_ones_stay(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """Several old processes leave one after another: the last of them empties the backlog."""
    stays, goes, unix = free_binds(tmp_path)
    with Fleet(tmp_path, model, [goes, stays, unix]) as serving, keeping([stays, goes, unix], 4) as kept:
        own = children(serving.process.pid)
        for pid in own:
            stop(pid)
        waiting = [Kept(bind) for bind in (goes, unix, stays) for _ in range(5)]
        for one in waiting:
            one.send()
        serving.ask_to_reload([stays])
        serving.wait_lines("reloading", 1)
        until(lambda: len(children(serving.process.pid) - own) == WORKERS)
        for pid in sorted(own):
            os.kill(pid, signal.SIGCONT)
        for one in waiting:
            one.check_answer()
        serving.wait_lines("the reload is complete", 1)
        ask_all([*kept, *waiting])
        for one in waiting:
            one.close()
        assert not serving.errors, "\n".join(serving.lines)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_bind_may_be_dropped_and_added_again_at_once(
    tmp_path: Path, model: tuple[str, ...], kind: str
) -> None:
    stays, *others = free_binds(tmp_path)
    goes = others[kind == "unix"]
    with Fleet(tmp_path, model, [goes, stays]) as serving, keeping([stays, goes], 4) as kept:
        for _ in range(2):
            serving.ask_to_reload([stays])
            serving.ask_to_reload([stays, goes])
        until(lambda: serving.completed > 0)  # of those that another has overtaken nothing is said
        serving.reload([stays, goes])
        ask_all(kept)
        with keeping([stays, goes], 2) as later:
            ask_all(later)
        assert not serving.errors, "\n".join(serving.lines)


def test_a_bind_is_added_again_while_a_process_has_yet_to_close_it(tmp_path: Path) -> None:
    stays, goes, _ = free_binds(tmp_path)
    with Fleet(tmp_path, (), [goes, stays]) as serving:
        own = children(serving.process.pid)
        for pid in own:
            stop(pid)
        serving.ask_to_reload([stays])
        until(lambda: not serving_on(serving.process.pid, tcp(goes)))
        write_settings(tmp_path, [stays, goes])
        serving.signal(signal.SIGHUP)
        for pid in own:
            os.kill(pid, signal.SIGCONT)
        until(lambda: serving_on(serving.process.pid, tcp(goes)) or serving.errors)
        with keeping([stays, goes]) as kept:
            ask_all(kept)
        assert not serving.errors, "\n".join(serving.lines)


def serving_on(pid: int, address: tuple[str, int]) -> bool:
    """Tell whether a process has a listening socket of this address."""
    host, port = address
    entry = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[1] == entry and line[3] == "0A"}
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed just now
            if str(one.readlink()) in inodes:
                return True
    return False


def test_a_bind_is_kept_while_a_process_accepts_on_it(tmp_path: Path, model: tuple[str, ...]) -> None:
    """A bind that comes back before its last process leaves was never gone: what waits there is answered."""
    stays, goes, _ = free_binds(tmp_path)
    with Fleet(tmp_path, model, [goes, stays]) as serving:
        own = children(serving.process.pid)
        (tmp_path / "served.py").write_text(HELD + APP)
        serving.ask_to_reload([stays])
        serving.wait_line("held 1")  # the first of the new ones is ready, the second not
        serving.wait_line("held 2")
        assert serving_on(serving.process.pid, tcp(goes))
        serving.ask_to_reload([stays, goes])
        (tmp_path / "open").touch()
        serving.wait_lines("the reload is complete", 1)
        until(lambda: not own & children(serving.process.pid))
        with keeping([stays, goes]) as kept:
            ask_all(kept)
        assert not serving.errors, "\n".join(serving.lines)


HELD = """
import os, time
number = 1 + os.path.exists("first")
os.close(os.open("first", os.O_CREAT))
os.write(2, f"held {number}\\n".encode())
while number == 2 and not os.path.exists("open"):
    time.sleep(0.005)
"""


def test_a_bind_may_become_the_admin_bind_and_back(tmp_path: Path, model: tuple[str, ...]) -> None:
    public, moves, other = free_binds(tmp_path)
    admin = f'admin_bind = ["{moves}"]'
    with Fleet(tmp_path, model, [moves, public, other]) as serving, keeping([moves, public], 4) as kept:
        serving.reload([public], admin)
        assert fetch(tcp(moves), "/readyz").body == b"ok\n"
        serving.wait_line(f"INFO halfsync: bind is now http://{public}")
        serving.wait_line(f"INFO halfsync: admin_bind is now http://{moves}")
        ask_all(kept)
        serving.reload([public, moves])
        serving.wait_line(f"INFO halfsync: bind is now http://{public}, http://{moves}")
        serving.wait_line("INFO halfsync: admin_bind is now none")
        told = sum("bind has changed" in line for line in serving.lines)
        serving.reload([public, moves])
        assert sum("bind has changed" in line for line in serving.lines) == told
        ask_all(kept)
        with keeping([moves]) as later:
            ask_all(later)
        assert not serving.errors, "\n".join(serving.lines)


def test_a_dropped_admin_bind_is_free_before_the_old_process_has_ended(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    public, admin, other = free_binds(tmp_path)
    line = f'admin_bind = ["{admin}"]'
    with (
        Fleet(tmp_path, model, [public, other], line) as serving,
        Connection(tcp(public), timeout_s=30) as slow,
        keeping([public, other], 3) as kept,
    ):
        assert fetch(tcp(admin), "/readyz").body == b"ok\n"
        slow.send(build("/slow"))
        serving.wait_line("begun")
        serving.reload([public])
        until(lambda: refuses(tcp(admin)))
        serving.reload([other, public], line)
        assert fetch(tcp(admin), "/livez").body == b"ok\n"
        ask_all(kept)
        (tmp_path / "go").touch()
        assert slow.response().status == 200
        assert not serving.errors, "\n".join(serving.lines)


def test_an_upgrade_may_change_the_binds(tmp_path: Path, model: tuple[str, ...]) -> None:
    """Clients that wait on one that the new program does not have are answered; connected ones notice nothing."""
    stays, goes, unix = free_binds(tmp_path)
    new = free_binds(tmp_path)[0]
    with Fleet(tmp_path, model, [goes, stays, unix]) as serving, keeping([stays, goes, unix], 4) as kept:
        own = children(serving.process.pid)
        for pid in own:
            stop(pid)
        waiting = [Kept(bind) for bind in (goes, unix, stays) for _ in range(5)]
        for one in waiting:
            one.send()
        write_settings(tmp_path, [new, stays])
        serving.signal(signal.SIGUSR2)
        serving.wait_line("this program and its processes are shutting down")
        for pid in own:
            os.kill(pid, signal.SIGCONT)
        for one in waiting:
            one.check_answer()
        assert serving.process.wait(30) == 0
        until(lambda: refuses(tcp(goes)))
        ask_all([*kept, *waiting])
        with keeping([new, stays]) as later:
            ask_all(later)
        for one in waiting:
            one.close()
        assert not serving.errors, "\n".join(serving.lines)


def stopped(pid: int) -> bool:
    """Stop a process. False: it has ended, since it was one of those that an earlier reload replaced."""
    try:
        stop(pid)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("seed", range(2))
def test_any_change_of_the_binds_is_noticed_by_no_connection(
    tmp_path: Path, model: tuple[str, ...], seed: int
) -> None:
    """Lists of binds by chance, reloads that overtake each other, and backlogs of those that are dropped."""
    chance = random.Random(f"{seed} {model}")
    places = free_binds(tmp_path, 2)
    binds = chance.sample(places, chance.randint(1, len(places)))
    kept: list[Kept] = []
    with Fleet(tmp_path, model, binds) as serving:
        try:
            for _ in range(ROUNDS):
                kept += [Kept(bind) for bind in binds]
                while len(kept) > THREADS // 2:  # some more wait in backlogs; one process may get them all
                    kept.pop(0).close()
                ask_all(kept)
                old, own = binds, children(serving.process.pid)
                waits = chance.random() < 0.5
                if waits:
                    own = {pid for pid in own if stopped(pid)}
                    waiting = [Kept(bind) for bind in old]
                    for one in waiting:
                        one.send()
                    kept += waiting
                for _ in range(chance.randint(1, 2)):
                    binds = chance.sample(places, chance.randint(1, len(places)))
                    before = serving.completed
                    serving.ask_to_reload(binds)
                if waits:
                    for pid in own:
                        os.kill(pid, signal.SIGCONT)
                    for one in waiting:
                        one.check_answer()
                serving.wait_lines("the reload is complete", before + 1)
                serving.wait_ended(own)
                ask_all(kept)
        finally:
            for one in kept:
                one.close()
        assert not serving.errors, serving.errors
