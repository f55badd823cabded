"""The loop of a load: when requests are due, what counts, and which clients send them."""

import math
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from statistics import mean, variance

import pytest

from halfsync.lab.load import Load
from tests.lab.scripted import Scripted, accounted, played

DURATION_S = 0.5


def test_even_arrivals_are_due_at_equal_distances(peer: Scripted) -> None:
    # At 100 per second the last one is due 10 ms before the end.
    outcome = played(Load(peer.port, 16, DURATION_S, warm_up_s=0.1, rate=100.0, even=True, grace_s=30.0))
    assert outcome.due == 50
    assert accounted(outcome) == 50
    assert outcome.elapsed_s == DURATION_S


def test_random_arrivals_are_those_of_a_poisson_process() -> None:
    # No server is needed: each request fails at once, and how many are due is a matter of the seed alone.
    due = [played(Load(1, 1, 0.1, warm_up_s=0, rate=2000.0, seed=seed)).due for seed in range(30)]
    assert due[3] == played(Load(1, 1, 0.1, warm_up_s=0, rate=2000.0, seed=3)).due
    assert mean(due) == pytest.approx(200, rel=0.05)
    assert (
        0.5 < variance(due) / mean(due) < 1.6
    )  # 1 for a Poisson process; between regular arrivals there is none


def test_requests_of_the_warm_up_do_not_count(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 4, 0.2, warm_up_s=0.2, rate=100.0, even=True, grace_s=30.0))
    # In the warm-up 19 are due, and the one at its end counts.
    assert outcome.due == 20
    assert sum(map(len, peer.asked)) == 39 - outcome.unsent


def test_requests_of_the_cool_down_do_not_count(peer: Scripted) -> None:
    load = Load(peer.port, 4, 0.2, warm_up_s=0.1, rate=100.0, even=True, cool_down_s=0.5, grace_s=30.0)
    outcome = played(load)
    assert outcome.due == accounted(outcome) == 20
    assert sum(map(len, peer.asked)) > 40
    assert outcome.elapsed_s == 0.2


def test_a_closed_loop_goes_on_in_the_cool_down(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 1, 0.2, warm_up_s=0, cool_down_s=0.5, grace_s=30.0))
    assert outcome.due == outcome.answered > 0
    assert sum(map(len, peer.asked)) > outcome.due


def test_paths_are_asked_for_by_their_weights_in_an_order_that_the_seed_gives(peer: Scripted) -> None:
    paths = (("/", 3.0), ("/odd", 1.0))
    orders = []
    for seed in (7, 7, 8):
        peer.asked.clear()
        played(
            Load(peer.port, 1, 1.0, warm_up_s=0, rate=300.0, even=True, paths=paths, seed=seed, grace_s=30.0)
        )
        orders.append([path for asked in peer.asked for path in asked])
    least = min(map(len, orders))
    assert orders[0][:least] == orders[1][:least] != orders[2][:least]
    # Of 299, less those that a busy machine leaves unsent, three of four: within five standard deviations.
    share = Counter(orders[0])["/"] / len(orders[0])
    assert abs(share - 0.75) < 5 * math.sqrt(0.75 * 0.25 / len(orders[0]))


def test_requests_go_round_all_connections(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 5, 0.5, warm_up_s=0, rate=50.0, even=True, grace_s=30.0))
    numbers = [len(asked) for asked in peer.asked]
    assert len(numbers) == outcome.open == 5
    assert sum(numbers) == outcome.answered
    assert (
        max(numbers) - min(numbers) <= 1 or outcome.late_s > 0.01
    )  # a late one may find other connections busy


def test_latencies_count_from_when_requests_were_due(peer: Scripted) -> None:
    def hold(sock: object) -> None:
        if not held.is_set():
            held.set()
            time.sleep(0.4)  # the stall itself, at the first request

    held = threading.Event()
    peer.replies["/"] = type(peer.replies["/"])(peer.replies["/"].pieces, act=hold)
    outcome = played(Load(peer.port, 1, 0.3, warm_up_s=0, rate=100.0, even=True, grace_s=30.0))
    # One connection: the others waited for it, until the end.
    assert (outcome.answered, outcome.unsent) == (1, 28)
    assert outcome.latencies.max_s >= 0.4
    held.clear()
    outcome = played(Load(peer.port, 1, 0.6, warm_up_s=0, rate=100.0, even=True, grace_s=30.0))
    assert outcome.answered + outcome.unsent == 59
    # Half of them were due in the stall, by 0.2 s before its end on average; each was sent after it.
    assert outcome.latencies.at["90"] > 0.2 > outcome.uncorrected.at["50"]
    assert outcome.latencies.mean_s > outcome.uncorrected.mean_s


def test_bytes_and_processor_of_the_time_that_counts_are_reported(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 2, 0.5, warm_up_s=0.1, rate=50.0, even=True, grace_s=30.0))
    size = sum(map(len, peer.replies["/"].pieces))
    assert outcome.received_bytes % size == 0
    assert (
        0 < outcome.received_bytes <= size * (outcome.answered + 6)
    )  # with those that the warm-up left over
    assert 0 < outcome.busy < 0.5


def test_it_waits_and_does_not_poll(peer: Scripted) -> None:
    before = time.thread_time()
    played(Load(peer.port, 10, 1.0, warm_up_s=0, rate=5.0, slow=5, slow_s=0.5))
    assert time.thread_time() - before < 0.25


def test_handlers_of_signals_run_meanwhile(peer: Scripted) -> None:
    # In a program of its own: a signal is for the first thread of a process.
    script = f"""
import os, signal, threading
from halfsync.lab.generating import requests_of
from halfsync.lab.generator import Generator
from halfsync.lab.load import Load
load = Load({peer.port}, 1, 60.0, paths=(("/never", 1.0),))
def end(number, frame): raise KeyboardInterrupt
signal.signal(signal.SIGUSR1, end)
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
try:
    Generator(load, requests_of(load)).play()
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout == "interrupted\n"
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
