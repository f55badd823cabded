"""Metrics of a server under load: no request is lost or counted twice, no count goes back, and the answer is prompt."""

import json
import os
import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.admin.exposed import Series, gone_back, scrape, value
from tests.client import Connection, CutError, build, fetch
from tests.echo import Echo
from tests.faults.load import APP, Load
from tests.faults.serving import MODELS, Serving, children, free_port
from tests.wsgi import until

RELOADS = int(os.environ.get("HALFSYNC_METRICS_RELOADS", "10"))
BETWEEN = 20  # requests that are answered between two reloads, at least
PROMPT_S = 0.010
HOLD_S = int(os.environ.get("HALFSYNC_HOLD", "2"))
QUESTIONS = 15  # of each kind, while the application keeps its threads
THREADS = 2

BUSY_APP = f"""
import ctypes, os
usleep = ctypes.PyDLL(None).usleep  # a C call through PyDLL keeps the GIL
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        usleep({HOLD_S} * 1_000_000)
    while environ["PATH_INFO"] == "/spin" and not os.path.exists("go"):
        pass
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

# Generations of a server: lanes come, go, change their names and their order, and the last has only the default one.
LANES = [
    {"small": "/small", "large": "/large"},
    {"large": "/large", "echo": "/echo", "small": "/small"},
    {"little": "/small", "echo": "/echo"},
    {},
]
LANED = """
workers = 2
threads = 4
"""
LIMITED = """
workers = 1
queue_timeout = "300ms"
[lanes.slow]
paths = ["/spin"]
max_threads = 1
queue_size = 1
"""

pytestmark = pytest.mark.timeout(120 + 10 * RELOADS)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Scraping:
    """Scrapes again and again, as a context manager, and keeps what has gone back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.number = 0
        self.faults: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Scraping":
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before: Series = {}
        while not self._over.wait(0.02):
            try:
                now = scrape(self.address)
            except (OSError, CutError):  # the process that had the connection has ended
                continue
            self.faults += gone_back(before, now)
            before = now
            self.number += 1


def requests(series: Series) -> float:
    return value(series, "halfsync_requests_total")


def test_no_count_goes_back_and_no_request_is_lost_through_reloads(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    admin = ("127.0.0.1", free_port())
    options = (*model, "--workers", "4", "--admin-bind", f"{admin[0]}:{admin[1]}")
    with Serving(tmp_path, APP, *options) as serving:
        serving.wait_line("all 4 processes serve")
        with Load(lambda: serving.address) as load, Scraping(admin) as scraping:
            for number in range(1, RELOADS + 1):
                load.wait_answers(BETWEEN)
                serving.signal(signal.SIGHUP)
                serving.wait_lines("the reload is complete", number)
            load.wait_answers(BETWEEN)
        print(f"{load.tally.answered} answered, {scraping.number} scrapes")
        assert not load.tally.failures, load.tally.reasons()
        assert not scraping.faults, scraping.faults[:5]
        assert scraping.number > RELOADS
        # A request counts once its response is sent: the last ones may be about to.
        until(lambda: requests(scrape(admin)) >= load.tally.answered)
        series = scrape(admin)
        answered = load.tally.answered
        assert requests(series) == value(series, "halfsync_requests_total", outcome="ok") == answered
        assert value(series, "halfsync_response_seconds_count") == answered
        assert value(series, "halfsync_application_seconds_count") == answered
        assert value(series, "halfsync_request_bytes_count") == answered
        assert value(series, "halfsync_process_restarts_total", cause="reload") == 4 * RELOADS
        assert value(series, "halfsync_process_restarts_total") == 4 * RELOADS
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


def test_what_a_killed_process_has_counted_stays(tmp_path: Path, model: tuple[str, ...]) -> None:
    admin = ("127.0.0.1", free_port())
    options = (*model, "--workers", "2", "--admin-bind", f"{admin[0]}:{admin[1]}")
    with Serving(tmp_path, APP, *options) as serving:
        serving.wait_line("all 2 processes serve")
        for number in (1, 2, 3):
            for _ in range(10):
                assert fetch(serving.address).status == 200
            until(partial(has_counted, admin, 10 * number))
            before = scrape(admin)
            victim = min(children(serving.process.pid))
            os.kill(victim, signal.SIGKILL)
            serving.wait_line(f"process {victim} was killed")
            until(lambda: value(scrape_again(admin), "halfsync_processes", state="serving") == 2)
            after = scrape(admin)
            assert not list(gone_back(before, after))
            assert requests(after) == 10 * number
            assert value(after, "halfsync_process_restarts_total", cause="crash") == number
        assert value(after, "halfsync_connections") == value(after, "halfsync_threads_busy") == 0


def has_counted(admin: tuple[str, int], number: int) -> bool:
    return requests(scrape(admin)) == number


def scrape_again(admin: tuple[str, int]) -> Series:
    """Scrape; if the process that has the connection was killed, again."""
    while True:
        try:
            return scrape(admin)
        except (OSError, AssertionError):
            time.sleep(0.01)


def answers(admin: tuple[str, int], echo: Echo) -> dict[str, list[float]]:
    """Return how much longer each answer took than an echo at that time, by path, in seconds, the fastest first.

    Each has its own connection.
    """
    took: dict[str, list[float]] = {"/livez": [], "/readyz": [], "/metrics": []}
    for _ in range(QUESTIONS):
        for path, times in took.items():
            since = time.monotonic()
            assert fetch(admin, path).status == 200
            times.append(time.monotonic() - since - echo.ask())
    return {path: sorted(times) for path, times in took.items()}


def test_answers_are_prompt_while_workers_spin_and_while_one_holds_the_gil(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    admin = ("127.0.0.1", free_port())
    threads = ("--threads", str(THREADS)) if "thread" not in model and "process" not in model else ()
    with (
        Serving(tmp_path, BUSY_APP, *model, *threads, "--admin-bind", f"{admin[0]}:{admin[1]}") as serving,
        Echo() as echo,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(Connection(serving.address, timeout_s=60)) for _ in range(THREADS)]
        for client in clients:
            client.send(build("/spin"))
        until(lambda: value(scrape(admin), "halfsync_threads_busy") == THREADS)
        spinning = answers(admin, echo)
        (tmp_path / "go").touch()
        assert [client.response().status for client in clients] == [200] * THREADS
        until(lambda: value(scrape(admin), "halfsync_threads_busy") == 0)
        since = time.monotonic()
        clients[0].send(build("/hold"))
        until(lambda: value(scrape(admin), "halfsync_threads_busy") == 1)
        holding = answers(admin, echo)
        assert time.monotonic() - since < HOLD_S  # all of them came during the hold
        assert clients[0].response().status == 200
    for took in (spinning, holding):
        print({path: [round(times[0] * 1000, 1), round(times[-1] * 1000, 1)] for path, times in took.items()})
        # The machine may have been busy with something else; an answer that waits for the GIL takes seconds.
        assert all(times[QUESTIONS // 4] < PROMPT_S for times in took.values()), took


def test_the_life_of_connections_and_requests_is_shown(tmp_path: Path) -> None:
    admin = ("127.0.0.1", free_port())
    options = ("--threads", "1", "--queue-size", "1", "--admin-bind", f"{admin[0]}:{admin[1]}")
    with Serving(tmp_path, BUSY_APP, *options) as serving, ExitStack() as stack:

        def connect() -> Connection:
            return stack.enter_context(Connection(serving.address, timeout_s=60))

        def connections(state: str) -> float:
            return value(scrape(admin), "halfsync_connections", state=state)

        idle, half, running, queued, shed = (connect() for _ in range(5))
        idle.send(build("/"))
        assert idle.response().status == 200
        until(lambda: connections("idle") == 1 and connections("new") == 4)
        half.send(b"GET / HTTP/1.1\r\nHost")
        until(lambda: connections("receiving") == 1)
        running.send(build("/spin"))
        until(lambda: connections("running") == 1)
        queued.send(build("/", method="POST", body=b"x" * 1000))
        until(lambda: connections("queued") == 1)
        shed.send(build("/"))
        assert shed.response().status == 503
        series = scrape(admin)
        assert value(series, "halfsync_queue_length") == value(series, "halfsync_threads_busy") == 1
        assert value(series, "halfsync_threads") == 1
        until(lambda: value(scrape(admin), "halfsync_queue_age_seconds") > 0.2)
        assert value(series, "halfsync_requests_total", method="GET", status="5xx", outcome="shed") == 1
        assert value(series, "halfsync_refusals_total", cause="queue_size") == 1
        malformed = connect()
        malformed.send(b"GET / HTTP/1.1\r\n\r\n")
        assert malformed.response().status == 400
        until(lambda: value(scrape(admin), "halfsync_refusals_total", cause="malformed") == 1)
        (tmp_path / "go").touch()
        assert (running.response().status, queued.response().status) == (200, 200)
        until(lambda: value(scrape(admin), "halfsync_requests_total", outcome="ok") == 3)
        series = scrape(admin)
        assert value(series, "halfsync_queue_age_seconds") == value(series, "halfsync_queue_length") == 0
        assert value(series, "halfsync_queue_wait_seconds_sum") > 0.2
        assert value(series, "halfsync_application_seconds_sum") > 0.2
        assert value(series, "halfsync_request_bytes_sum") == 1000
        assert value(series, "halfsync_connections_accepted_total") == 6
        assert value(series, "halfsync_gil_wait_seconds_count") > 0
        assert value(series, "halfsync_engine_lag_seconds_count") > 0


@pytest.mark.parametrize("name", ["thread", "pool", "process"])
def test_connections_that_have_threads_or_processes_are_shown(tmp_path: Path, name: str) -> None:
    admin = ("127.0.0.1", free_port())
    threads = ("--threads", "5") if name == "pool" else ()
    options = (*MODELS[name], *threads, "--admin-bind", f"{admin[0]}:{admin[1]}")
    with Serving(tmp_path, BUSY_APP, *options) as serving, ExitStack() as stack:

        def shown() -> dict[str, float]:
            series = scrape(admin)
            states = ("new", "idle", "receiving", "queued", "running")
            numbers = {state: value(series, "halfsync_connections", state=state) for state in states}
            assert value(series, "halfsync_connections") == sum(numbers.values())
            assert value(series, "halfsync_threads_busy") == numbers["running"]
            return {state: number for state, number in numbers.items() if number}

        idle, _new, half, running = (
            stack.enter_context(Connection(serving.address, timeout_s=60)) for _ in range(4)
        )
        idle.send(build("/"))
        assert idle.response().status == 200
        until(lambda: shown() == {"idle": 1, "new": 3})
        half.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        running.send(build("/spin"))
        until(lambda: shown() == {"idle": 1, "new": 1, "receiving": 1, "running": 1})
        (tmp_path / "go").touch()
        assert running.response().status == 200
        until(lambda: shown() == {"idle": 2, "new": 1, "receiving": 1})
        half.send(b" and h")
        assert half.response().status == 200
        for connection in (idle, running, half):
            connection.socket.close()
        until(lambda: shown() == {"new": 1})
        assert value(scrape(admin), "halfsync_requests_total", outcome="ok") == 3


def with_lanes(lanes: dict[str, str]) -> str:
    """Return settings with these lanes, each with a path. {}: with the default one only, for a client's share."""
    tables = [f'[lanes.{name}]\npaths = ["{path}"]\n' for name, path in lanes.items()]
    return LANED + ("".join(tables) or "client_share = 0.9\n")


def taken(series: Series) -> float:
    return value(series, "halfsync_lane_requests_taken_total")


def lanes_with(series: Series, name: str) -> set[str]:
    """Return the lanes of which a family has samples."""
    return {dict(labels)["lane"] for each, labels in series if each == f"halfsync_lane_{name}"}


def test_no_count_of_a_lane_goes_back_and_none_is_lost_whatever_lanes_a_reload_brings(tmp_path: Path) -> None:
    admin = ("127.0.0.1", free_port())
    settings = tmp_path / "halfsync.toml"
    settings.write_text(with_lanes(LANES[0]))
    with Serving(tmp_path, APP, "--admin-bind", f"{admin[0]}:{admin[1]}") as serving:
        serving.wait_line("all 2 processes serve")
        with Load(lambda: serving.address) as load, Scraping(admin) as scraping:
            for number in range(1, RELOADS + 1):
                load.wait_answers(BETWEEN)
                settings.write_text(with_lanes(LANES[number % len(LANES)]))
                serving.signal(signal.SIGHUP)
                serving.wait_lines("the reload is complete", number)
            load.wait_answers(BETWEEN)
        answered = load.tally.answered
        print(f"{answered} answered, {scraping.number} scrapes")
        assert not load.tally.failures, load.tally.reasons()
        assert not scraping.faults, scraping.faults[:5]
        assert taken(scrape(admin)) == answered
        names = {"default", "small", "large", "echo", "little"}
        assert lanes_with(scrape(admin), "requests_taken_total") == names
        assert all(value(scrape(admin), "halfsync_lane_requests_taken_total", lane=name) for name in names)
        assert value(scrape(admin), "halfsync_lane_requests_refused_total") == 0

        # Without lanes, and in a model that has none, they keep what they have counted, and show no more than that.
        settings.write_text(LANED.replace("threads = 4", 'model = "thread"'))
        serving.signal(signal.SIGHUP)
        serving.wait_lines("the reload is complete", RELOADS + 1)
        assert fetch(serving.address, "/small").status == 200
        assert taken(scrape(admin)) == answered
        until(lambda: lanes_with(scrape(admin), "threads_busy") == set())
        settings.write_text(with_lanes({"small": "/small"}))
        serving.signal(signal.SIGHUP)
        serving.wait_lines("the reload is complete", RELOADS + 2)
        before = value(scrape(admin), "halfsync_lane_requests_taken_total", lane="small")
        assert fetch(serving.address, "/small").status == 200
        assert value(scrape(admin), "halfsync_lane_requests_taken_total", lane="small") == before + 1
        until(lambda: lanes_with(scrape(admin), "threads_busy") == {"default", "small"})


def test_what_a_lane_does_and_refuses_is_in_metrics_and_status(tmp_path: Path) -> None:
    admin = ("127.0.0.1", free_port())
    (tmp_path / "halfsync.toml").write_text(LIMITED)

    def shown() -> list[list[dict[str, object]]]:
        """Return each lane, as the status shows it, and as metrics do."""
        lanes = json.loads(fetch(admin, "/status").body)["lanes"]
        series = scrape(admin)

        def metric(name: str, lane: object, **more: str) -> float:
            return value(series, f"halfsync_lane_{name}", lane=str(lane), **more)

        measured = [
            {
                "name": lane,
                "waiting": metric("queue_length", lane),
                "running": metric("threads_busy", lane),
                "taken": metric("requests_taken_total", lane),
                "shed": metric("requests_refused_total", lane, outcome="shed"),
                "expired": metric("requests_refused_total", lane, outcome="expired"),
            }
            for lane in sorted(lanes_with(series, "queue_length"))
        ]
        return [[{key: each for key, each in one.items() if key != "oldest"} for one in lanes], measured]

    default = {"name": "default", "waiting": 0, "running": 0, "taken": 0, "shed": 0, "expired": 0}
    with (
        Serving(tmp_path, BUSY_APP, "--admin-bind", f"{admin[0]}:{admin[1]}") as serving,
        ExitStack() as stack,
    ):
        running, waiting, shed = (stack.enter_context(Connection(serving.address)) for _ in range(3))
        assert shown() == [[default, default | {"name": "slow"}]] * 2
        running.send(build("/spin"))
        slow = default | {"name": "slow", "running": 1, "taken": 1}
        until(lambda: shown() == [[default, slow]] * 2)
        waiting.send(build("/spin"))
        until(lambda: value(scrape(admin), "halfsync_lane_queue_age_seconds", lane="slow") > 0)
        shed.send(build("/spin"))
        assert [shed.response().status, waiting.response().status] == [503, 503]
        slow |= {"shed": 1, "expired": 1}
        until(lambda: shown() == [[default, slow]] * 2)
        assert value(scrape(admin), "halfsync_lane_queue_age_seconds") == 0
        (tmp_path / "go").touch()
        assert running.response().status == 200
        assert fetch(serving.address).status == 200
        until(lambda: shown() == [[default | {"taken": 1}, slow | {"running": 0}]] * 2)
