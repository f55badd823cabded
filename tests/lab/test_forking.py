"""The server of processes ends in good order, and limits itself if nothing else does."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest

from halfsync.lab import forking
from halfsync.lab.experiments.zombies import adopting_orphans
from halfsync.lab.forking import REAP_NONE, Order
from tests.lab.children import assert_no_children, await_children, start_server


def test_a_server_that_no_limit_holds_counts_by_itself() -> None:
    order = Order(REAP_NONE, 50, 10, 30)
    code = (
        "import runpy, sys; forking = runpy.run_path(sys.argv[1]); "
        f"print(forking['run'](forking['Order'](**{asdict(order)!r}), False)); forking['reap_all']()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, forking.__file__], capture_output=True, text=True, timeout=60, check=True
    )
    assert "started=30, refused=20, first_refused=30, zombies=30" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_its_children(number: signal.Signals) -> None:
    order = Order(REAP_NONE, 10_000_000, 10, 200)
    with adopting_orphans():
        server = start_server(order)
        await_children(server.pid)
        server.send_signal(number)
        server.communicate(timeout=30)
        assert server.returncode != 0
        assert_no_children()


def test_all_tasks_of_a_user_are_counted() -> None:
    before = forking.tasks_of(os.getuid())
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(200)]
    for thread in threads:
        thread.start()
    assert forking.tasks_of(os.getuid()) >= before + 100  # others of the user may end at this moment
    over.set()
    for thread in threads:
        thread.join()
    assert forking.tasks_of(999_999) == 0


def test_the_kernels_memory_is_some() -> None:
    assert 1_000_000 < forking.kernel_bytes() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
