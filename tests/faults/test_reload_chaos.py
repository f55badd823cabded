"""Reloads with random changes of the configuration, half of them broken, under load.

After each one everything is new, or everything is as it was: the processes and their number, the settings in effect,
the sockets and their files, the pidfile. No request on the bind that stays is lost, and its idle connections live.
"""

import json
import os
import random
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from tests.client import Connection, Response, build, fetch
from tests.faults.load import APP, Load
from tests.faults.serving import Serving, children
from tests.wsgi import until

RELOADS = int(os.environ.get("HALFSYNC_RELOAD_CHAOS", "14"))
IDLE = 4  # connections
BETWEEN = 10  # requests that are answered between two reloads, at least
ROUND_S = 60.0  # for one reload on a machine with much else to do

pytestmark = pytest.mark.timeout(180 + 30 * RELOADS)

# What the application of a release is, and does while it is loaded.
RELEASE = """
import json, signal, sys, time
TROUBLE
CODE = NUMBER
answer = app
def app(environ, start_response):
    if environ["PATH_INFO"] != "/told":
        return answer(environ, start_response)
    mask = os.umask(0o022)
    os.umask(mask)
    told = {"code": CODE, "umask": mask, "port": environ["SERVER_PORT"]}
    body = json.dumps(told | {"many": environ["wsgi.multithread"]}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
HANG = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: time.sleep(1)"


@dataclass(frozen=True)
class State:
    """A configuration and a release. settings: as in the file. workers: what comes of it, and of what was before."""

    code: int
    settings: dict[str, Any]
    workers: int
    trouble: str = ""
    raw: str = ""  # more of the file

    def write(self, directory: Path) -> None:
        """Make it what the next reload finds."""
        lines = [f"{name} = {toml(value)}\n" for name, value in self.settings.items()]
        put(directory / "halfsync.toml", "".join(lines) + self.raw)
        release = RELEASE.replace("TROUBLE", self.trouble).replace("NUMBER", str(self.code))
        put(directory / "served.py", APP + release)


def put(path: Path, text: str) -> None:
    """Write a file in one step, as a deploy does: a process may read it just now."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def toml(value: object) -> str:
    return json.dumps(value)


@dataclass
class Manager:
    """A service manager that keeps all messages, and checks its rules as they arrive."""

    path: Path
    told: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while message := self._socket.recv(8192):
            with self._heard:
                self.told.append(message.decode())
                self._heard.notify_all()

    def wait(self, kind: str, since: int) -> int:
        """Wait for the first message of a kind, from an index on. Returns its index."""

        def found() -> list[int]:
            places = range(since, len(self.told))
            return [place for place in places if self.told[place].startswith(kind)]

        with self._heard:
            assert self._heard.wait_for(found, ROUND_S), f"no {kind} in {self.told[-10:]}"
            return found()[0]

    def wait_reload(self, since: int) -> str:
        """Wait for the beginning and the end of a reload, and return the message at its end."""
        return self.told[self.wait("READY=1", self.wait("RELOADING=1", since))]


class Chaos:
    """The server, as it should be now, and what is done to it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.taken = socket.create_server(("127.0.0.1", 0))
        ports = []
        with ExitStack() as stack:
            for _ in range(2):
                sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                ports.append(sock.getsockname()[1])
        self.main, self.other = (f"127.0.0.1:{port}" for port in ports)
        self.more = [self.other, f"unix:{directory}/a.sock", f"unix:{directory}/b.sock"]
        self.pidfiles = [str(directory / name) for name in ("one.pid", "two.pid")]
        self.logs = [str(directory / name) for name in ("one.log", "two.log")]
        (directory / "files").mkdir()
        (directory / "files" / "name").write_text("a file")
        self.state = State(1, {"bind": [self.main], "workers": 2, "threads": 32}, 2)
        self.state.write(directory)
        self.counts = {"good": 0, "broken": 0, "double": 0}

    def address(self, bind: str) -> tuple[str, int]:
        host, _, port = bind.rpartition(":")
        return host, int(port)

    def change(self) -> State:
        """Return another configuration: a few random changes."""
        chance, settings = self.chance, dict(self.state.settings)
        choices: dict[str, Callable[[], Any]] = {
            "workers": lambda: chance.choice([1, 2, 3, 4, None]),
            "model": lambda: chance.choice(["proactor", "thread", "pool", "process"]),
            "threads": lambda: chance.randint(24, 40),  # in a pool an idle connection has one
            "boot_timeout": lambda: chance.randint(30, 90),
            "graceful_timeout": lambda: chance.randint(20, 60),
            "drain_delay": lambda: chance.choice([0, 0.1]),
            "keep_alive": lambda: chance.randint(60, 120) + 600,
            "max_requests": lambda: chance.choice([0, 0, 1500]),
            "max_requests_jitter": lambda: chance.randint(0, 500),
            "access_log": lambda: chance.choice([*self.logs, None]),
            "log_format": lambda: chance.choice(["combined", "json"]),
            "umask": lambda: chance.choice(["0022", "0027", "0007", None]),
            "pidfile": lambda: chance.choice([*self.pidfiles, None]),
            "static": lambda: chance.choice([[f"/files={self.directory}/files"], None]),
            "server_header": lambda: chance.choice([True, False]),
            "poller": lambda: chance.choice(["epoll", "poll"]),
            "queue_size": lambda: chance.randint(500, 3000),
            "max_body": lambda: chance.randint(2 << 20, 1 << 30),
            "backlog": lambda: chance.randint(500, 2048),
            "bind": self._change_binds,
            "admin_bind": lambda: chance.choice([["127.0.0.1:0"], None]),
        }
        for name in chance.sample(sorted(choices), chance.randint(1, 6)):
            value = choices[name]()
            if value is None:
                settings.pop(name, None)
            else:
                settings[name] = value
        return State(self.state.code + 1, settings, settings.get("workers", self.state.workers))

    def _change_binds(self) -> list[str]:
        chance, binds = self.chance, list(self.state.settings["bind"])
        absent = [bind for bind in self.more if bind not in binds]
        if absent and chance.random() < 0.5:
            binds.append(chance.choice(absent))
        elif len(binds) > 1:
            binds.remove(chance.choice([bind for bind in binds if bind != self.main]))
        chance.shuffle(binds)
        return binds

    def spoil(self, state: State) -> State:
        """Return a configuration that cannot be used, whatever else it changes."""
        state = replace(
            state, code=self.state.code
        )  # a process that replaces a recycled one loads the present code
        settings = state.settings
        binds = {*settings["bind"], *self.state.settings["bind"]}
        unused = [bind for bind in self.more if bind not in binds]
        new = [*settings["bind"], *unused, f"127.0.0.1:{self.taken.getsockname()[1]}"]
        changed: list[dict[str, Any]] = [
            {"bind": new},
            {"admin_bind": new[-1:]},
            {"user": "nobody-of-this-name"},
            {"group": "nobody-of-this-name"},
            {"pidfile": "/proc/1/pid"},
            {"post_fork": "served:nothing"},
            {"static": ["/x=/nowhere/at/all"]},
            {"temp_dir": "/nowhere/at/all"},
            {"access_log": "/nowhere/at/all"},
            {"warmup": "/nothing", "root_path": "x"},
            {"chdir": "/nowhere/at/all"},
            {"workers": -1},
        ]
        troubles = [
            "raise RuntimeError('of the application')",
            "import nothing_of_this_name",
            "def broken(:",
            "os._exit(7)",
            "sys.exit(0)",
            "os.kill(os.getpid(), signal.SIGKILL)",
            "del app",
        ]
        raws = ["workres = 3\n", "this is no TOML\n", "workers = 3\nworkers = 4\n"]
        # ... and would hang for as long as the good settings let it.
        kind = self.chance.randrange(3 if self.state.settings.get("max_requests") else 4)
        if kind == 0:
            return replace(state, settings=settings | self.chance.choice(changed))
        if kind == 1:
            return replace(
                state,
                trouble=self.chance.choice(troubles),
                settings=settings | {"bind": [*settings["bind"], *unused]},
            )
        if kind == 2:
            return replace(state, raw=self.chance.choice(raws))
        return replace(state, trouble=HANG, settings=settings | {"boot_timeout": 1})


def see(chaos: Chaos, serving: Serving, idle: list[Connection]) -> None:
    """See that the server is as it should be, for whoever asks."""
    state, settings, supervisor = chaos.state, chaos.state.settings, serving.process.pid
    until(lambda: len(children(supervisor)) == state.workers, ROUND_S)
    mask = int(settings.get("umask", "0"), 8) if "umask" in settings else None
    path = f"/small?{state.code}.{chaos.chance.random()}"
    for connection in idle:
        connection.send(build("/told"))
    answers = [connection.response() for connection in idle]
    answers += [fetch(chaos.address(chaos.main), "/told") for _ in range(4)]
    for response in answers:
        see_told(response, state, mask, chaos.address(chaos.main)[1])
    assert fetch(chaos.address(chaos.main), path).body == b"small"
    log = settings.get("access_log")
    if log is not None:
        until(lambda: path in Path(log).read_text(), ROUND_S)
    static = fetch(chaos.address(chaos.main), "/files/name").body
    assert static == (b"a file" if "static" in settings else b"small")
    for pidfile in chaos.pidfiles:
        if settings.get("pidfile") == pidfile:
            assert Path(pidfile).read_text() == f"{supervisor}\n"
        else:
            assert not Path(pidfile).exists()
    for bind in chaos.more:
        see_bind(chaos, bind, state, mask)


def see_told(response: Response, state: State, mask: int | None, port: int | str) -> None:
    told = json.loads(response.body)
    assert (response.status, told["code"]) == (200, state.code)
    assert (response.one("Server") is not None) == state.settings.get("server_header", True)
    assert mask is None or told["umask"] == mask, (told, oct(mask))
    assert told["many"] == (state.settings.get("model", "proactor") != "process"), told
    assert told["port"] == str(port)


def see_bind(chaos: Chaos, bind: str, state: State, mask: int | None) -> None:
    """See that a bind answers if it is there, and that nothing is left of it if not."""
    there = bind in state.settings["bind"]
    if not bind.startswith("unix:"):
        if there:
            see_told(fetch(chaos.address(bind), "/told"), state, mask, chaos.address(bind)[1])
        else:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(chaos.address(bind), timeout=30).close()
        return
    path = bind.removeprefix("unix:")
    assert Path(path).exists() == there
    if there:
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        with Connection(client) as connection:
            connection.send(build("/told"))
            see_told(connection.response(), state, mask, 80)


def hup(serving: Serving, manager: Manager) -> str:
    """Reload, and return the service manager's message at its end."""
    since = len(manager.told)
    serving.signal(signal.SIGHUP)
    return manager.wait_reload(since)


def hup_twice(chaos: Chaos, serving: Serving, manager: Manager, first: State, second: State) -> None:
    """Reload with a state, and with another before that is over."""
    since, reloading = len(manager.told), sum("reloading" in line for line in serving.lines)
    first.write(chaos.directory)
    serving.signal(signal.SIGHUP)
    manager.wait("RELOADING=1", since)
    until(
        lambda: (
            sum("reloading" in line for line in serving.lines) > reloading
            or any("the reload failed" in message for message in manager.told[since:])
        )
    )
    since = len(manager.told)
    second.write(chaos.directory)
    serving.signal(signal.SIGHUP)
    status = manager.wait_reload(since)
    assert "serve" in status and "failed" not in status, (first, second, status)
    if "workers" in second.settings:
        chaos.state = second
    else:  # the first may have counted before the second was read, or not
        workers = int(status.partition("STATUS=")[2].split()[0])
        assert workers in (first.workers, second.workers)
        chaos.state = replace(second, workers=workers)


def test_reloads_with_random_changes_half_of_them_broken(tmp_path: Path) -> None:
    seed = int(os.environ.get("HALFSYNC_RELOAD_CHAOS_SEED", "0")) or random.randrange(2**32)
    print(f"seed {seed}")
    chaos = Chaos(tmp_path, seed)
    with (
        chaos.taken,
        Manager(tmp_path / "notify") as manager,
        Serving(
            tmp_path, (tmp_path / "served.py").read_text(), bind="", more={"NOTIFY_SOCKET": str(manager.path)}
        ) as serving,
        ExitStack() as stack,
    ):
        stack.push(lambda kind, *_: kind and print(chaos.state, *serving.lines[-40:], sep="\n"))
        manager.wait("READY=1", 0)
        idle = [stack.enter_context(Connection(serving.address, timeout_s=ROUND_S)) for _ in range(IDLE)]
        with Load(lambda: serving.address, keeping=3, closing=1, seed=seed, large=False) as load:
            see(chaos, serving, idle)
            for _ in range(RELOADS):
                load.wait_answers(BETWEEN)
                run_one(chaos, serving, manager)
                see(chaos, serving, idle)
            load.wait_answers(BETWEEN)
        print(f"{chaos.counts}: {load.tally.answered} answered, {load.tally.reconnected} closed while idle")
        assert not load.tally.failures, load.tally.reasons()
        assert not load.tally.reconnected
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        manager.wait("STOPPING=1", 0)
    for name in (*chaos.pidfiles, *(bind.removeprefix("unix:") for bind in chaos.more[1:])):
        assert not Path(name).exists()


def run_one(chaos: Chaos, serving: Serving, manager: Manager) -> None:
    """Reload once: with a good state, with a broken one, or with one of these before the other is over."""
    before, kind = children(serving.process.pid), chaos.chance.random()
    good = chaos.change()
    if kind < 0.1:
        chaos.counts["double"] += 1
        other = chaos.change() if chaos.chance.random() < 0.5 else chaos.spoil(chaos.change())
        hup_twice(chaos, serving, manager, other, replace(good, code=good.code + 1))
    elif kind < 0.55:
        chaos.counts["broken"] += 1
        broken = chaos.spoil(good)
        broken.write(chaos.directory)
        status = hup(serving, manager)
        assert "the reload failed" in status, (broken, status)
        chaos.state.write(chaos.directory)
        if not chaos.state.settings.get("max_requests"):
            until(lambda: children(serving.process.pid) == before)
    else:
        chaos.counts["good"] += 1
        good.write(chaos.directory)
        status = hup(serving, manager)
        assert "serve" in status and "failed" not in status, (good, status)
        chaos.state = good
        until(lambda: not before & children(serving.process.pid), ROUND_S)
