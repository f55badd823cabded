"""Upgrades under load, with any signal to either program at any moment: nothing is lost.

After each one the programs are let come to rest. Then either one is left, which has all that there is (both sockets,
the pidfile, the watchdog, a queue by which a reload moves idle connections), or the signal has ended the service, in
order.
"""

import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import Connection
from tests.faults.load import APP, Failure, Load
from tests.faults.serving import MODELS, Serving, children
from tests.faults.test_upgrades import ask, wait_gone
from tests.supervisor.test_upgrade import pid_in
from tests.wsgi import until

UPGRADES = int(os.environ.get("HALFSYNC_UPGRADES", "10"))
EACH = max(2, UPGRADES // len(MODELS))
SIGNALS = (
    None,
    signal.SIGTERM,
    signal.SIGTERM,
    signal.SIGKILL,
    signal.SIGKILL,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
CUTTING = (signal.SIGINT, signal.SIGQUIT)  # what the program that is sent one runs is cut
# What is waited for before the signal: a time, or what one of the programs says.
MOMENTS = (
    None,
    None,
    None,
    "processes? serves?$",
    "its processes are shutting down$",
    "this program is the server now",
)
LATEST_S = 0.8  # after that an upgrade is over, on a machine with nothing else to do
IDLE = 6
REST_S = 0.5  # for which nothing changes
OPTIONS = ("--workers", "2", "--threads", "32", "--graceful-timeout", "20s", "--boot-timeout", "20s")

pytestmark = pytest.mark.timeout(120 + 20 * EACH)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Manager:
    """A service manager, which notes the process that fed its watchdog last, and when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.main = 0  # the main process, by the last message
        self.fed: dict[int, float] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            data, rights, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            sender = int.from_bytes(rights[0][2][:4], "little") if rights else 0
            if data == b"over":
                return
            if data == b"WATCHDOG=1":
                self.fed[sender] = time.monotonic()
            elif data.startswith(b"MAINPID="):
                self.main = int(data[8:])

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.connect(str(self.path))
            last.send(b"over")
        self._thread.join()
        self._socket.close()


class Service:
    """The service through all of its programs; one that was ended is started again."""

    def __init__(self, folder: Path, model: tuple[str, ...], manager: Manager) -> None:
        self.pidfile, self.path, self.manager = folder / "pid", folder / "socket", manager
        self._folder, self._model, self._port = folder, model, 0
        self._programs: list[int] = []
        self.serving: Serving | None = None

    def start(self) -> None:
        """Start it, at the same addresses as before."""
        files = ("-b", f"unix:{self.path}", "--pidfile", str(self.pidfile))
        more = {"NOTIFY_SOCKET": str(self.manager.path), "WATCHDOG_USEC": "200000"}
        self.serving = Serving(
            self._folder, APP, *self._model, *OPTIONS, *files, bind=f"127.0.0.1:{self._port}", more=more
        ).__enter__()
        self._port = self.serving.address[1]
        self.serving.wait_line("all 2 processes serve")
        self._programs = [self.serving.process.pid]
        self.manager.main = self.serving.process.pid

    @property
    def lines(self) -> list[str]:
        assert self.serving is not None
        return self.serving.lines

    def connect(self) -> tuple[str, int] | socket.socket:
        """Return an address to connect to, or a connection: by either of its sockets."""
        if random.random() < 0.5:
            return "127.0.0.1", self._port
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(self.path))
        except OSError:
            made.close()
            raise
        return made

    def programs(self) -> list[int]:
        """Return the programs that live, oldest first."""
        for line in self.lines:
            for pid in map(int, re.findall(r"upgrading: process (\d+) starts", line)):
                if pid not in self._programs:
                    self._programs.append(pid)
        return [pid for pid in self._programs if is_program(pid)]

    def rest(self) -> int:
        """Wait until nothing changes. Returns the program that is left; 0: none."""
        deadline, since, before = time.monotonic() + 90, time.monotonic(), None
        while time.monotonic() < deadline:
            live = self.programs()
            if not live:
                return 0
            state = (live, pid_in(self.pidfile), len(self.lines))
            if state != before:
                since, before = time.monotonic(), state
            elif len(live) == 1 and time.monotonic() - since > REST_S and self._answers():
                return live[0]
            time.sleep(0.01)
        raise AssertionError(f"no rest: {self.programs()}")

    def _answers(self) -> bool:
        """Return whether a process accepts: one that only finishes what it has does not."""
        with suppress(OSError, AssertionError), Connection(("127.0.0.1", self._port)) as connection:
            ask(connection)
            return True
        return False

    def check_one(self, owner: int) -> None:
        """See that the program that is left has all that there is."""
        assert pid_in(self.pidfile) == owner
        assert self.manager.main == owner
        fed = self.manager.fed.get(owner, 0.0)
        until(lambda: self.manager.fed.get(owner, 0.0) > fed)
        assert max(self.manager.fed, key=lambda pid: self.manager.fed[pid]) == owner
        assert self.path.is_socket()
        kept = [Connection(("127.0.0.1", self._port)) for _ in range(IDLE)]
        for connection in kept:
            ask(connection)
        before = children(owner)
        os.kill(owner, signal.SIGHUP)
        until(lambda: children(owner) - before)
        wait_gone(before)
        for connection in kept:
            ask(connection)
            connection.socket.close()

    def check_none(self, number: signal.Signals | None) -> None:
        """See that an end was in order, and start it again."""
        if number != signal.SIGKILL:
            assert not self.path.exists()
            assert not self.pidfile.exists()
        self.stop()
        self.start()

    def stop(self) -> None:
        """End whatever is left."""
        assert self.serving is not None
        assert not [line for line in self.lines if "the server keeps running" in line], self.lines
        self.serving.__exit__(None, None, None)


def is_program(pid: int) -> bool:
    """Tell whether a program lives. Its number may be in use again, by another one."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"served:app" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_allowed(
    failure: Failure, number: signal.Signals | None, sent: float, over: float, ended: bool
) -> bool:
    """Return whether a signal that was sent and handled at these times may have lost a request.

    ended: the service ended by it. What it had received before a SIGTERM is answered even so.
    """
    if ended and failure.begun > sent:
        return True
    if number == signal.SIGKILL:
        return failure.connected < sent
    return number in CUTTING and failure.connected < over


def test_upgrades_with_any_signal_at_any_moment(tmp_path: Path, model: tuple[str, ...]) -> None:
    seed = int(os.environ.get("HALFSYNC_SEED", "0")) or random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    manager = Manager(tmp_path / "notify")
    service = Service(tmp_path, model, manager)
    service.start()
    lost: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    try:
        with Load(service.connect, keeping=4, closing=2, seed=chance.randrange(1, 2**32)) as load:
            for number in range(EACH):
                load.wait_answers(10)
                upgrade(number, chance, service, load, lost, outcomes)
            load.wait_answers(10)
        answered, again = load.tally.answered, load.tally.reconnected
        print(f"{answered} answered, {again} closed while idle; {dict(outcomes)}; allowed: {dict(lost)}")
    finally:
        assert service.serving is not None
        print("\n".join(service.lines[-60:]))
        service.serving.__exit__(None, None, None)
        manager.close()


def upgrade(
    number: int,
    chance: random.Random,
    service: Service,
    load: Load,
    lost: Counter[str],
    outcomes: Counter[str],
) -> None:
    """Upgrade once, send a signal to a process, and check the outcome."""
    load.tally.failures.clear()
    (old,) = service.programs()
    said = len(service.lines)
    os.kill(old, signal.SIGUSR2)
    moment = chance.choice(MOMENTS)
    delay = chance.random() * (LATEST_S if moment is None else 0.02)
    if moment is not None:
        until(lambda: any(re.search(moment, line) for line in service.lines[said:]), 60)
    time.sleep(delay)  # the moment of the signal, which no event shows
    known = service.programs() or [old]
    victim, what = chance.choice([known[0], known[-1]]), chance.choice(SIGNALS)
    whose = "the old" if victim == old else "the new"
    print(f"{number}: {what.name if what else 'nothing'} to {whose} one, {moment or 'after'} {delay:.3f} s")
    sent = time.monotonic()
    if what is not None:
        with suppress(ProcessLookupError):
            os.kill(victim, what)
    owner = service.rest()
    over = time.monotonic()
    judge(load, what, sent, over, not owner, lost)
    if owner:
        outcomes["old goes on" if owner == old else "new serves"] += 1
        load.tally.failures.clear()
        service.check_one(owner)
        load.wait_answers(10)
        assert not load.tally.failures, load.tally.reasons()
    else:
        outcomes["ended"] += 1
        service.check_none(what)
        # Requests that were tried in between fail once more.
        load.wait_answers(10)


def judge(
    load: Load, what: signal.Signals | None, sent: float, over: float, ended: bool, lost: Counter[str]
) -> None:
    """See that no request was lost that was promised."""
    failures = list(load.tally.failures)
    wrong = [one for one in failures if not is_allowed(one, what, sent, over, ended)]
    assert not wrong, [
        f"{one.reason}, connected {one.connected - sent:.3f}, begun {one.begun - sent:.3f}" for one in wrong
    ]
    lost[what.name if what else "none"] += len([one for one in failures if one.begun < over and not ended])
