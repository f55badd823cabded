"""The recommendation says what it gains and why, and its file is one that halfsync accepts."""

import tomllib
from pathlib import Path

import pytest

from halfsync.lab.samples import Figure
from halfsync.lab.tune.candidates import DEFAULT, Candidate, Capacity
from halfsync.lab.tune.choosing import Finalist, Recommendation, choose, file, why
from halfsync.lab.tune.scalability import Scalability
from halfsync.lab.tune.turns import Turn
from halfsync.settings import resolve

CAPACITY = Capacity(Turn(0.004, 0.003, 0.0027), Scalability(250.0, 0.6, 0.0), processors=2)


def finalist(candidate: Candidate, goodput: float, spread: float = 0.02) -> Finalist:
    rate = Figure(goodput, goodput * (1 - spread), goodput * (1 + spread), 3)
    return Finalist(candidate, rate, Figure(0.05, 0.04, 0.06, 3))


def choice(*finalists: Finalist, capacity: Capacity = CAPACITY) -> Recommendation:
    return choose(finalists, capacity, 800.0, 1.0)


def test_the_best_is_chosen() -> None:
    best = finalist(Candidate(workers=2, threads=8), 640.0)
    found = choice(best, finalist(DEFAULT, 330.0))
    assert found.best == best
    assert found.gain.mid == pytest.approx(640 / 330)


def test_of_the_tied_the_preferred_is_chosen() -> None:
    lean = finalist(Candidate(workers=2, threads=4, queue_size=320), 625.0)
    assert (
        choice(finalist(Candidate(workers=4, threads=8), 640.0), lean, finalist(DEFAULT, 330.0)).best == lean
    )


def test_the_default_is_chosen_if_nothing_is_better() -> None:
    found = choice(finalist(Candidate(workers=2, threads=8), 340.0), finalist(DEFAULT, 330.0))
    assert found.is_default
    assert why(found).startswith("The default, proactor, 1 process of 4 threads, is as good as anything")


def test_the_default_must_be_measured() -> None:
    with pytest.raises(ValueError, match="default"):
        choice(finalist(Candidate(workers=2), 340.0))


def test_the_reasons_are_said() -> None:
    text = why(choice(finalist(Candidate(workers=2, threads=8), 640.0), finalist(DEFAULT, 330.0)))
    assert text == (
        "Take proactor, 2 processes of 8 threads: of 800 requests per second, from clients that wait for 1 s, it "
        "answers 640 (627 to 653) per second in time, and the default, proactor, 1 process of 4 threads, 330 (323 to "
        "337), 1.94 times as many. A request takes 4 ms: it computes for 3 ms, waits for 1 ms, and for 2.7 ms keeps "
        "other threads of its process from going on. So one process can answer 370 per second, with 1 thread busy, and "
        "2 processors 667."
    )


def test_a_lock_is_named() -> None:
    capacity = Capacity(Turn(0.010, 0.0002, 0.005), Scalability(100.0, 0.5, 0.0), processors=1)
    text = why(choice(finalist(DEFAULT, 190.0), capacity=capacity))
    assert "by a lock, or by the GIL held in a wait" in text
    assert text.endswith("and 1 processor 5,000.")


def test_what_was_not_met_is_not_claimed() -> None:
    capacity = Capacity(
        Turn(0.020, 0.0001, 0.0001, is_measured=False), Scalability(50.0, 0.0, 0.0), processors=2
    )
    text = why(choice(finalist(DEFAULT, 190.0), capacity=capacity))
    assert "for at most 0.1 ms keeps other threads" in text
    assert text.endswith(
        "No number of threads was too many for one process; 2 processors have time for 20,000 per second."
    )


def test_a_default_that_answers_nothing_is_no_fault() -> None:
    text = why(choice(finalist(Candidate(workers=2), 100.0), finalist(DEFAULT, 0.0)))
    assert "times as many" not in text


@pytest.mark.parametrize(
    "candidate",
    [
        DEFAULT,
        Candidate(workers=2, threads=16, queue_size=320),
        Candidate("pool", 1, 64),
    ],
)
def test_the_file_is_accepted_and_says_what_was_chosen(candidate: Candidate, tmp_path: Path) -> None:
    found = choice(finalist(candidate, 640.0), *([] if candidate == DEFAULT else [finalist(DEFAULT, 100.0)]))
    path = tmp_path / "halfsync.toml"
    path.write_text(file(found, "shop.wsgi:application", ["/cart", "/cart", "/"]))
    settings = resolve({"config": str(path)})
    assert settings.model == candidate.model
    assert settings.workers == (candidate.workers if candidate.workers > 1 else None)
    assert (settings.threads, settings.queue_size) == (candidate.threads, candidate.queue_size)
    first, *others = path.read_text().splitlines()
    assert first == "# Written by `halfsync tune shop.wsgi:application --path /cart --path /`."
    assert all(len(line) <= 120 for line in others)
    assert set(tomllib.loads(path.read_text())) <= {"model", "workers", "threads", "queue_size"}
