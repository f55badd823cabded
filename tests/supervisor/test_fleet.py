"""The state machine of serving processes, in a world of its own: no process is forked, and time is a number."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.orders import CLOSE_KEEPALIVES, HAND_OFF
from halfsync.shared.scoreboard import RESTARTS
from halfsync.supervisor.actions import (
    Abandoned,
    Action,
    Counts,
    Exit,
    Failed,
    Kill,
    Recall,
    Say,
    Settled,
    Start,
    Tell,
)
from halfsync.supervisor.backoff import PAUSE_MOST_S
from halfsync.supervisor.children import KILL_AFTER_S, FleetSettings, ProcessPhase
from halfsync.supervisor.fleet import RECALL_S, Fleet, FleetState
from halfsync.supervisor.vacancies import CROWD

BOOT_S, GRACE_S = 60.0, 30.0


@dataclass
class World:
    """Carries out the fleet's actions at once, and keeps them."""

    fleet: Fleet
    now: float = 100.0
    next_pid: int = 1
    told: list[tuple[int, str]] = field(default_factory=list)
    recalled: list[int] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    said: list[Say] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    abandoned: list[int] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    exit: int | None = None
    keeps: bool = True  # no process ends before another can replace it

    def turn(self, *, short: bool = False) -> list[Action]:
        """Carry out what is decided; short: of memory, so that nothing can be started."""
        actions = self.fleet.decide(self.now)
        for action in actions:
            match action:
                case Start() if short:
                    self.fleet.not_started("no memory", self.now)
                case Start():
                    self.check_start(action)
                    self.fleet.started(self.next_pid, action, self.now)
                    self.next_pid += 1
                case Tell(pid, what):
                    assert pid in self.fleet.children
                    self.told.append((pid, what))
                case Recall(pid):
                    assert pid in self.fleet.children
                    self.recalled.append(pid)
                case Kill(pid):
                    assert pid in self.fleet.children
                    self.killed.append(pid)
                case Say():
                    self.said.append(action)
                case Counts(generation):
                    self.counted.append(generation)
                case Abandoned(generation):
                    self.abandoned.append(generation)
                case Settled(generation):
                    self.settled.append(generation)
                case Failed():
                    self.failed.append(action)
                case Exit(code):
                    assert not self.fleet.children
                    self.exit = code
        self.check_dues()
        return actions

    def check_start(self, start: Start) -> None:
        fleet = self.fleet
        assert start.generation in (fleet.generations.target, fleet.generations.proven)
        assert start.number not in {child.number for child in fleet.children.values()}
        assert start.place >= 1
        assert len(fleet.of(ProcessPhase.BOOTING, ProcessPhase.READY)) <= fleet.wanted, (
            "more than one beside those wanted"
        )
        if fleet.of(ProcessPhase.READY) or len(fleet.of(ProcessPhase.BOOTING)) > 1:
            assert len(fleet.children) <= CROWD * fleet.wanted, "a crowd"

    def check_dues(self) -> None:
        """See that each process that does not serve is killed some day, and that some process serves, or will."""
        fleet = self.fleet
        for child in fleet.children.values():
            assert child.phase is ProcessPhase.READY or child.due < float("inf"), child
        if fleet.state in (FleetState.SERVING, FleetState.DRAIN_DELAY) and not fleet.of(
            ProcessPhase.BOOTING, ProcessPhase.READY
        ):
            assert fleet.due() < float("inf"), "no process serves, and none will"

    def pids(self, *phases: ProcessPhase) -> list[int]:
        return [child.pid for child in self.fleet.of(*phases)]

    def boot(self) -> None:
        """Let all started processes become ready, and all that got an order end, until nothing changes."""
        for _ in range(10_000):
            before = len(self.pids(ProcessPhase.READY))
            moved = bool(self.turn())
            for pid in self.pids(ProcessPhase.BOOTING):
                self.fleet.ready(pid, self.now)
                moved = True
            for pid in self.pids(ProcessPhase.HANDING_OFF, ProcessPhase.RECALLED, ProcessPhase.KILLED):
                self.fleet.ended(pid, -9 if pid in self.killed else 0, self.now)
                moved = True
            if self.keeps:
                assert len(self.pids(ProcessPhase.READY)) >= min(before, self.fleet.wanted)
            if not moved:
                if self.fleet.due() in (self.now, float("inf")):
                    return
                self.now = self.fleet.due()
        raise AssertionError("it never comes to rest")


def make(wanted: int = 3, drain_delay: float = 0.0, persists: bool = False) -> World:
    return World(Fleet(FleetSettings(wanted, BOOT_S, GRACE_S, drain_delay), persists=persists))


def running(wanted: int = 3, drain_delay: float = 0.0, persists: bool = False) -> World:
    world = make(wanted, drain_delay, persists)
    world.boot()
    world.now += 10
    world.told.clear()
    assert world.settled == [1]
    return world


def words(told: Iterable[tuple[int, str]]) -> list[str]:
    return [what for _, what in told]


def test_first_process_starts_alone_and_the_others_when_it_is_ready() -> None:
    world = make(4)
    world.turn()
    assert world.pids(ProcessPhase.BOOTING) == [1]
    world.turn()
    assert world.pids(ProcessPhase.BOOTING) == [1]
    world.fleet.ready(1, world.now)
    world.turn()
    assert world.pids(ProcessPhase.BOOTING) == [2, 3, 4]
    assert sorted(child.number for child in world.fleet.children.values()) == [1, 2, 3, 4]


@pytest.mark.parametrize(("code", "exits"), [(3, 3), (2, 2), (4, 4), (1, 3), (0, 3), (-11, 3)])
def test_first_generation_that_cannot_start_ends_with_the_reason(code: int, exits: int) -> None:
    world = make()
    world.turn()
    world.fleet.ended(1, code, world.now)
    world.turn()
    assert world.exit == exits
    assert "cannot serve" in world.said[-1].text


def test_first_process_that_hangs_is_killed_and_ends_it() -> None:
    world = make()
    world.turn()
    assert world.fleet.due() == world.now + BOOT_S
    world.now += BOOT_S
    world.turn()
    assert world.killed == [1]
    world.fleet.ended(1, -9, world.now)
    world.turn()
    assert world.exit == 3
    assert "not ready within 60 s" in world.said[-1].text


def reload_twice(world: World, *, at_once: bool = False) -> int:
    """Ask for a reload, and for another once the first has started a process. Returns that one."""
    world.fleet.reload(at_once=at_once)
    world.turn()
    (begun,) = world.pids(ProcessPhase.BOOTING)
    world.fleet.reload(at_once=at_once)
    world.turn()
    return begun


def test_reload_replaces_one_after_the_other_and_each_only_by_a_ready_one() -> None:
    world = running(3)
    assert world.fleet.reload() == 2
    for round_ in range(3):
        world.turn()
        (new,) = world.pids(ProcessPhase.BOOTING)
        assert world.pids(ProcessPhase.HANDING_OFF) == [] and len(world.told) == round_
        world.turn()
        assert world.pids(ProcessPhase.BOOTING) == [new]
        world.fleet.ready(new, world.now)
        world.turn()
        (leaving,) = world.pids(ProcessPhase.HANDING_OFF)
        assert leaving == round_ + 1 and world.told[-1] == (leaving, HAND_OFF)
        world.fleet.ended(leaving, 0, world.now)
    world.turn()
    assert world.settled == [1, 2]
    assert {child.generation for child in world.fleet.children.values()} == {2}
    assert len(world.fleet.children) == 3


def test_reload_is_complete_when_no_old_process_takes_requests() -> None:
    world = running(2)
    world.fleet.reload()
    for old in (1, 2):
        world.turn()
        world.fleet.ready(world.pids(ProcessPhase.BOOTING)[0], world.now)
        world.turn()
        assert world.told[-1] == (old, HAND_OFF)
    world.fleet.quiesced(2)
    world.fleet.quiesced(77)  # which has ended before its message was read
    world.turn()
    assert world.settled == [1]
    world.fleet.quiesced(1)
    world.turn()
    assert world.settled == [1, 2] and world.pids(ProcessPhase.HANDING_OFF) == [1, 2]


@pytest.mark.parametrize("how", ["quiesced", "ended"])
def test_reload_is_not_complete_while_one_of_another_generation_may_have_begun_to_serve(how: str) -> None:
    world = running(1)
    recalled = reload_twice(world)
    world.fleet.ready(world.pids(ProcessPhase.BOOTING)[0], world.now)
    world.turn()
    world.fleet.quiesced(1)
    world.turn()
    assert world.settled == [1] and world.pids(ProcessPhase.RECALLED) == [recalled]
    if how == "quiesced":
        world.fleet.quiesced(recalled)
    else:
        world.fleet.ended(recalled, -12, world.now)
    world.turn()
    assert world.settled == [1, 3]


def test_reload_whose_first_process_fails_does_not_replace_the_old_ones() -> None:
    world = running(2)
    world.fleet.reload()
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    world.fleet.ended(new, 3, world.now)
    world.boot()
    assert "the reload failed" in world.said[-1].text and world.told == []
    assert {child.generation for child in world.fleet.children.values()} == {1}
    assert world.fleet.reload() == 3
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {3}


def test_second_reload_recalls_what_the_first_has_started() -> None:
    world = running(2)
    new = reload_twice(world)
    assert world.recalled == [new] and world.killed == []
    world.fleet.ready(new, world.now)  # its word was on the way
    world.turn()
    assert world.told == [(new, HAND_OFF)]
    world.fleet.ready(new, world.now)
    world.fleet.ended(new, 0, world.now)
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {3}
    assert not [line for line in world.said if line.level == "error"]


def test_reload_at_once_hands_off_before_the_new_processes_are_ready() -> None:
    world = running(3)
    world.keeps = False
    assert world.fleet.reload(at_once=True) == 2
    world.turn()
    assert world.told == [(1, HAND_OFF), (2, HAND_OFF), (3, HAND_OFF)]
    assert world.pids(ProcessPhase.READY) == [] and len(world.pids(ProcessPhase.BOOTING)) == 1
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {2}
    assert len(world.fleet.children) == 3 and world.settled == [1, 2]


def test_second_reload_at_once_recalls_what_the_first_has_started() -> None:
    world = running(2)
    world.keeps = False
    new = reload_twice(world, at_once=True)
    assert world.recalled == [new] and words(world.told) == [HAND_OFF, HAND_OFF]
    world.fleet.ended(new, -15, world.now)
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {3}


@pytest.mark.parametrize("how", ["drain", "quit"])
def test_a_recalled_process_is_waited_for_at_the_end_and_killed_if_it_stays(how: str) -> None:
    world = running(1)
    recalled = reload_twice(world)
    assert world.recalled == [recalled]
    world.told.clear()
    if how == "drain":
        world.fleet.drain(world.now)
    else:
        world.fleet.quit()
    world.turn()
    assert (recalled, how) in world.told and recalled not in world.killed
    for pid in set(world.fleet.children) - {recalled}:
        world.fleet.ended(pid, 0, world.now)
    world.now = world.fleet.due()
    world.turn()
    assert recalled in world.killed
    world.fleet.ended(recalled, -9, world.now)
    world.turn()
    assert world.exit == 0


def test_leavers_of_a_reload_at_once_have_time_to_finish() -> None:
    world = running(1)
    world.fleet.reload(at_once=True)
    world.turn()
    world.fleet.ready(2, world.now)
    world.now += GRACE_S
    world.turn()
    assert world.killed == []
    world.now = world.fleet.due()
    world.turn()
    assert world.killed == [1]


def test_reload_at_once_that_fails_goes_back_to_the_code_before() -> None:
    world = running(2)
    world.keeps = False
    world.fleet.reload(at_once=True)
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    world.fleet.ended(new, 3, world.now)
    world.told.clear()
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {1}
    assert world.told == [] and len(world.fleet.children) == 2


@pytest.mark.parametrize("first", [True, False])
def test_a_persistent_fleet_retries_a_process_that_cannot_start(first: bool) -> None:
    world = make(2, persists=True) if first else running(2, persists=True)
    world.keeps = False
    generation = 1 if first else world.fleet.reload(at_once=True)
    for number in range(1, 5):
        world.turn()
        (new,) = world.pids(ProcessPhase.BOOTING)
        world.fleet.ended(new, 9, world.now)
        world.turn()
        assert world.pids(ProcessPhase.BOOTING) == [] and world.exit is None
        assert world.failed == [Failed(generation, 9, "ended with exit code 9 before it was ready")] * number
        world.now = min(world.fleet.due(), world.now + PAUSE_MOST_S)
    assert world.fleet.reload(at_once=True) == generation + 1
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {generation + 1}


def test_a_persistent_fleet_ends_if_nothing_can_be_served() -> None:
    world = make(2, persists=True)
    world.turn()
    world.fleet.ended(1, 2, world.now)
    world.turn()
    world.fleet.fail(2)
    assert world.fleet.due() < world.now
    world.turn()
    assert world.exit == 2


def test_crashed_process_is_replaced_at_once_and_a_recycled_one_only_when_another_is_ready() -> None:
    world = running(2)
    world.fleet.ended(1, -11, world.now)
    world.turn()
    assert len(world.pids(ProcessPhase.BOOTING)) == 1 and "killed by signal 11" in world.said[-1].text
    world.boot()
    world.fleet.recycle(2, "has served enough", "max_requests")
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    assert world.told == []
    world.fleet.ready(new, world.now)
    world.turn()
    assert world.told == [(2, HAND_OFF)]


def test_each_process_that_is_replaced_or_ends_early_is_counted_once_by_cause() -> None:
    world = running(2)
    world.fleet.ended(1, -11, world.now)
    world.turn()
    world.fleet.ended(world.pids(ProcessPhase.BOOTING)[0], 1, world.now)
    assert world.fleet.restarts == {"crash": 1, "failed": 1}
    world.now = world.fleet.due()
    world.turn()
    world.boot()
    world.fleet.recycle(2, "is large", "max_rss")
    world.fleet.recycle(2, "was told to end", "signal")
    world.boot()
    assert world.fleet.restarts == {"crash": 1, "failed": 1, "max_rss": 1}
    world.fleet.resize(-1)
    world.turn()
    assert world.fleet.restarts["resize"] == 1
    world.now += GRACE_S + KILL_AFTER_S + 1
    world.turn()
    assert world.fleet.restarts["overdue"] == 1
    world.now += KILL_AFTER_S + 1
    world.turn()  # it is killed again
    assert world.fleet.restarts["overdue"] == 1
    world.fleet.reload()
    world.boot()
    assert world.fleet.restarts["reload"] == 1
    assert set(world.fleet.restarts) <= set(RESTARTS)


def test_pauses_grow_while_processes_die_early_and_end_when_one_lives() -> None:
    world = running(1)
    pauses = []
    pid = 1
    for _ in range(12):
        world.fleet.ended(pid, -11, world.now)
        world.turn()
        started = world.pids(ProcessPhase.BOOTING)
        pauses.append(0.0 if started else world.fleet.due() - world.now)
        world.now += pauses[-1]
        world.turn()
        (pid,) = world.pids(ProcessPhase.BOOTING)
        world.fleet.ready(pid, world.now)
    assert pauses[0] == 0.0 and pauses[1] == pytest.approx(0.1)
    assert pauses[1:] == sorted(pauses[1:]) and pauses[-1] == pytest.approx(PAUSE_MOST_S)
    world.now += 5
    world.fleet.ended(pid, -11, world.now)
    world.turn()
    assert len(world.pids(ProcessPhase.BOOTING)) == 1


def test_later_starts_that_fail_are_tried_again() -> None:
    world = running(2)
    world.fleet.ended(1, -9, world.now)
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    world.fleet.ended(new, 3, world.now)
    world.turn()
    assert world.exit is None and world.pids(ProcessPhase.BOOTING) == []
    assert "retrying in 0.1 s" in world.said[-1].text
    world.boot()
    assert len(world.pids(ProcessPhase.READY)) == 2


def test_no_process_to_be_had_is_tried_again() -> None:
    world = make(1)
    (start,) = world.fleet.decide(world.now)
    assert isinstance(start, Start)
    world.fleet.not_started("out of memory", world.now)
    assert [type(action) for action in world.fleet.decide(world.now)] == [Say]
    world.boot()
    assert len(world.pids(ProcessPhase.READY)) == 1


def test_number_of_processes_follows_what_is_wanted() -> None:
    world = running(2)
    world.fleet.resize(1)
    world.boot()
    assert len(world.pids(ProcessPhase.READY)) == 3
    for _ in range(5):
        world.fleet.resize(-1)
    world.boot()
    assert world.fleet.wanted == 1 and len(world.pids(ProcessPhase.READY)) == 1


def test_reload_is_complete_while_old_processes_still_hand_off() -> None:
    world = running(4)
    world.fleet.wanted = 1
    generation = world.fleet.reload()
    world.turn()
    (first,) = world.pids(ProcessPhase.BOOTING) or [0]
    world.fleet.ready(first, world.now)
    world.turn()  # nothing more happens by itself: no process ends
    assert world.pids(ProcessPhase.READY) == [first]
    assert len(world.pids(ProcessPhase.HANDING_OFF)) == 4
    for pid in world.pids(ProcessPhase.HANDING_OFF):
        world.fleet.quiesced(pid)
    world.turn()
    assert world.settled[-1] == generation


def places(world: World) -> list[int]:
    """Return the places of those that serve."""
    return sorted(child.place for child in world.fleet.of(ProcessPhase.READY))


def test_successor_has_the_place_of_the_one_that_it_replaces() -> None:
    world = running(3)
    for event in ("reload", "tired", "killed", "reload"):
        before = {child.pid: child.place for child in world.fleet.of(ProcessPhase.READY)}
        pid = next(pid for pid, place in before.items() if place == 2)
        if event == "reload":
            world.fleet.reload()
        elif event == "tired":
            world.fleet.recycle(pid, "has served enough", "max_requests")
        else:
            world.fleet.ended(pid, -9, world.now)
        world.boot()
        world.now += 10
        after = {child.pid: child.place for child in world.fleet.of(ProcessPhase.READY)}
        assert sorted(after.values()) == [1, 2, 3]
        if event != "reload":
            assert [place for new, place in after.items() if new not in before] == [2]
    assert len(places(world)) == 3


def test_replacement_has_its_place_from_its_start_and_the_old_process_ends_first() -> None:
    world = running(3)
    world.fleet.recycle(2, "has served enough", "max_requests")
    world.turn()
    (new,) = world.fleet.of(ProcessPhase.BOOTING)
    assert new.place == world.fleet.children[2].place
    world.fleet.recycle(1, "has served enough", "max_requests")
    world.fleet.ready(new.pid, world.now)
    world.turn()
    assert world.told == [(2, HAND_OFF)]  # and not the older one, whose place is free


def test_number_of_processes_is_changed_at_its_end() -> None:
    world = running(3)
    first = next(child.pid for child in world.fleet.of(ProcessPhase.READY) if child.place == 1)
    world.fleet.ended(first, -9, world.now)
    world.boot()
    world.fleet.resize(-1)
    world.boot()
    assert places(world) == [1, 2]
    world.fleet.resize(2)
    world.boot()
    assert places(world) == [1, 2, 3, 4]


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_a_process_that_gets_sigterm_is_not_replaced_while_all_end(delay: float) -> None:
    world = running(2, drain_delay=delay)
    world.fleet.drain(world.now)
    for pid in world.pids(ProcessPhase.READY):
        world.fleet.recycle(pid, "was told to end", "signal")
    world.turn()
    assert not world.said
    assert not world.pids(ProcessPhase.BOOTING)


@pytest.mark.parametrize(
    ("by", "line"), [(-1, "1 serving process is wanted"), (1, "3 serving processes are wanted")]
)
def test_wanted_number_is_logged(by: int, line: str) -> None:
    world = running(2)
    world.fleet.resize(by)
    world.turn()
    assert [said.text for said in world.said] == [line]


@pytest.mark.parametrize("by", [-1, 1])
def test_number_that_is_wanted_stays_once_all_are_to_end(by: int) -> None:
    world = running(2, drain_delay=5.0)
    world.fleet.drain(world.now)
    world.turn()
    world.said.clear()
    world.fleet.resize(by)  # no process ends yet
    world.turn()
    assert world.fleet.wanted == 2 + by and "wanted" in world.said[0].text
    world.now = world.fleet.due()
    world.turn()
    for quits in (False, True):
        if quits:
            world.fleet.quit()
        world.said.clear()
        world.fleet.resize(by)
        world.turn()
        (said,) = world.said
        assert (said.level, world.fleet.wanted) == ("warning", 2 + by)
        assert said.text.endswith("is unchanged: shutting down")


def test_leaver_that_does_not_end_is_killed() -> None:
    world = running(1)
    world.fleet.reload()
    world.turn()
    world.fleet.ready(2, world.now)
    world.turn()
    assert world.fleet.due() > world.now + GRACE_S
    world.now = world.fleet.due()
    world.turn()
    assert world.killed == [1]


def test_drain_first_closes_keepalives_then_drains_all_and_ends_with_the_last() -> None:
    world = running(2, drain_delay=5.0)
    world.fleet.drain(world.now)
    world.turn()
    assert words(world.told) == [CLOSE_KEEPALIVES, CLOSE_KEEPALIVES] and world.fleet.due() == world.now + 5
    world.fleet.ended(1, -9, world.now)
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    world.fleet.ready(new, world.now)
    world.turn()
    assert world.told[-1] == (new, CLOSE_KEEPALIVES)
    world.now += 5
    world.turn()
    assert words(world.told[-2:]) == ["drain", "drain"]
    world.fleet.ended(2, 0, world.now)
    world.turn()
    assert world.exit is None
    world.fleet.ended(new, 0, world.now)
    world.turn()
    assert world.exit == 0


def test_second_drain_quits_and_a_process_that_stays_is_killed() -> None:
    world = running(2)
    world.fleet.drain(world.now)
    world.turn()
    world.fleet.drain(world.now)
    world.turn()
    assert words(world.told) == ["drain", "drain", "quit", "quit"]
    world.now = world.fleet.due()
    world.turn()
    assert sorted(world.killed) == [1, 2]
    for pid in (1, 2):
        world.fleet.ended(pid, -9, world.now)
    world.turn()
    assert world.exit == 0


@pytest.mark.parametrize("how", ["drain", "quit"])
def test_nothing_is_started_by_the_turn_that_ends_all(how: str) -> None:
    world = running(2)
    world.fleet.ended(1, -9, world.now)
    world.fleet.recycle(2, "was told to end", "signal")
    if how == "drain":
        world.fleet.drain(world.now)
    else:
        world.fleet.quit()
    world.turn()
    assert list(world.fleet.children) == [2] and world.told == [(2, how)]
    world.fleet.ended(2, 0, world.now)
    world.turn()
    assert world.exit == 0


def test_drain_before_anything_serves_ends_at_once() -> None:
    world = make(2)
    world.turn()
    world.fleet.drain(world.now)
    world.turn()
    assert world.recalled == [1] and not world.killed  # it may just have begun to serve
    world.fleet.ended(1, -9, world.now)
    world.turn()
    assert world.exit == 0


def test_reloads_wait_while_too_many_processes_hand_off() -> None:
    world = running(2)
    for _ in range(20):
        world.fleet.reload()
        for _ in range(6):
            world.turn()
            for pid in world.pids(ProcessPhase.BOOTING):
                world.fleet.ready(pid, world.now)
    assert len(world.fleet.children) <= 2 * 4 + 1
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {21}


def fleet_settings(
    workers: int, boot: float = BOOT_S, grace: float = GRACE_S, delay: float = 0.0
) -> FleetSettings:
    return FleetSettings(workers, boot, grace, delay)


def begin(world: World, wanted: FleetSettings | None = None) -> int:
    """Ask for a reload, and return its first process, which starts."""
    world.fleet.reload(wanted)
    world.turn()
    (new,) = [
        child.pid
        for child in world.fleet.of(ProcessPhase.BOOTING)
        if child.generation == world.fleet.generations.target
    ]
    return new


NEW = fleet_settings(1, 7.0, 8.0, 9.0)


def test_nothing_of_a_new_generation_is_used_before_its_first_process_is_ready() -> None:
    world = running(4)
    before = world.fleet.fleet_settings
    new = begin(world, NEW)
    assert (world.fleet.fleet_settings, world.fleet.wanted, world.counted) == (before, 4, [1])
    assert world.fleet.children[new].due == world.now + 7.0  # but it is judged by its own
    world.fleet.ready(new, world.now)
    assert (world.fleet.fleet_settings, world.fleet.wanted) == (NEW, 1)
    actions = world.turn()
    assert world.counted == [1, 2]
    assert isinstance(actions[0], Counts)  # and only then others are ordered to hand off
    assert words(world.told) == [HAND_OFF] * 4


@pytest.mark.parametrize("how", ["ended", "hung"])
def test_failed_reload_changes_nothing(how: str) -> None:
    world = running(4)
    before = world.fleet.fleet_settings
    for generation in (2, 3):
        new = begin(world, NEW)
        if how == "ended":
            world.fleet.ended(new, 3, world.now)
        else:
            world.now += 7.0
        world.boot()
        assert world.abandoned == list(range(2, generation + 1))
        assert (world.fleet.fleet_settings, world.fleet.wanted, world.fleet.generations.target) == (
            before,
            4,
            1,
        )
        assert len(world.pids(ProcessPhase.READY)) == 4 and world.told == []
        assert world.fleet.generations.is_settled
    if how == "hung":
        assert "was not ready within 7 s" in world.said[-1].text
    world.fleet.ended(1, -11, world.now)
    world.turn()
    (replacement,) = world.fleet.of(ProcessPhase.BOOTING)
    assert (replacement.generation, replacement.due) == (1, world.now + BOOT_S)
    world.boot()
    begin(world, fleet_settings(4))
    world.boot()
    assert world.fleet.wanted == 4 and len(world.pids(ProcessPhase.READY)) == 4


def test_process_has_the_time_that_its_own_settings_give_it() -> None:
    world = running(1)
    new = begin(world, fleet_settings(1, grace=1.0))
    world.fleet.ready(new, world.now)
    world.turn()
    assert world.fleet.children[1].due == world.now + GRACE_S + KILL_AFTER_S
    world.fleet.drain(world.now)
    world.turn()
    assert world.fleet.children[new].due == world.now + 1.0 + KILL_AFTER_S
    assert world.fleet.children[1].due == world.now + GRACE_S + KILL_AFTER_S


def test_drain_delay_is_that_of_the_settings_that_count() -> None:
    world = running(1, drain_delay=5.0)
    begin(world, NEW)
    world.fleet.drain(world.now)
    world.turn()
    assert world.fleet.due() == world.now + 5.0


@pytest.mark.parametrize("proves", [True, False])
def test_number_that_was_changed_while_a_reload_starts(proves: bool) -> None:
    world = running(2)
    new = begin(world, fleet_settings(5))
    world.fleet.resize(1)
    world.turn()
    assert world.fleet.wanted == 3 and len(world.pids(ProcessPhase.BOOTING)) == 2
    if proves:
        world.fleet.ready(new, world.now)
    else:
        world.fleet.ended(new, 3, world.now)
    world.boot()
    assert world.fleet.wanted == len(world.pids(ProcessPhase.READY)) == (6 if proves else 3)


def test_what_a_signal_could_not_change_does_not_count_against_the_next_number() -> None:
    world = running(2)
    new = begin(world, fleet_settings(4))
    for _ in range(5):
        world.fleet.resize(-1)
    world.turn()
    assert world.fleet.wanted == 1
    world.fleet.ready(new, world.now)
    world.boot()
    assert world.fleet.wanted == len(world.pids(ProcessPhase.READY)) == 3


def test_number_that_settings_do_not_change_stays_as_it_was_made() -> None:
    world = running(2)
    world.fleet.resize(1)
    world.fleet.reload(fleet_settings(2))
    world.boot()
    assert world.fleet.wanted == 3
    world.fleet.reload(fleet_settings(1))
    world.boot()
    assert world.fleet.wanted == 1


def test_process_that_ends_while_a_reload_starts_is_replaced_by_one_of_before() -> None:
    world = running(2)
    new = begin(world, fleet_settings(1))
    world.fleet.ended(1, -11, world.now)
    world.turn()
    (deputy,) = [child for child in world.fleet.of(ProcessPhase.BOOTING) if child.pid != new]
    assert (deputy.generation, deputy.due) == (1, world.now + BOOT_S)
    world.fleet.ended(deputy.pid, -11, world.now)  # it is tried again, as always
    world.now += PAUSE_MOST_S
    world.turn()
    (deputy,) = [child for child in world.fleet.of(ProcessPhase.BOOTING) if child.pid != new]
    world.fleet.ready(deputy.pid, world.now)
    world.turn()
    assert world.pids(ProcessPhase.READY) == [2, deputy.pid] and world.recalled == []
    world.fleet.ended(deputy.pid, -11, world.now + 10)
    world.turn()
    (deputy,) = [child for child in world.fleet.of(ProcessPhase.BOOTING) if child.pid != new]
    world.fleet.ready(new, world.now)
    world.turn()
    assert world.recalled == [deputy.pid]
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {2}


def test_reload_that_fails_while_it_starts_does_not_end_the_start() -> None:
    world = make(2)
    world.turn()
    world.fleet.reload(NEW)
    world.turn()
    (first, second) = (*world.recalled, *world.pids(ProcessPhase.BOOTING))
    world.fleet.ended(first, -12, world.now)
    world.fleet.ended(second, 3, world.now)
    world.turn()
    assert world.exit is None and world.abandoned == [2]
    world.boot()
    assert len(world.pids(ProcessPhase.READY)) == 2 and {
        child.generation for child in world.fleet.children.values()
    } == {1}


def test_word_of_the_first_of_two_reloads_counts_if_it_came_before_the_second_began() -> None:
    world = running(2)
    new = begin(world, fleet_settings(3))
    world.fleet.reload(fleet_settings(2))
    world.fleet.ready(new, world.now)
    world.turn()
    assert world.counted == [1, 2] and world.fleet.wanted == 3
    (newer,) = [child.pid for child in world.fleet.of(ProcessPhase.BOOTING) if child.generation == 3]
    world.fleet.ended(newer, 3, world.now)
    world.boot()
    assert world.abandoned == [3] and world.fleet.generations.target == 2
    assert len(world.pids(ProcessPhase.READY)) == 3 and world.settled == [1, 2]


def crowd(world: World, leaving: int) -> None:
    """Have so many processes that leave, and take long for it."""
    while len(world.pids(ProcessPhase.HANDING_OFF)) < leaving:
        world.fleet.resize(leaving - len(world.pids(ProcessPhase.HANDING_OFF)))
        world.turn()
        for pid in world.pids(ProcessPhase.BOOTING):
            world.fleet.ready(pid, world.now)
        world.turn()
        while world.fleet.wanted > 1:
            world.fleet.resize(-1)
        world.turn()


@pytest.mark.parametrize("leaving", [8, 32])
@pytest.mark.parametrize("after", ["", "reload", "hung reload"])
def test_crowd_does_not_keep_the_only_replacement_from_starting(leaving: int, after: str) -> None:
    world = running(1)
    crowd(world, leaving)
    if after:
        world.fleet.reload()
        world.turn()
        assert world.pids(ProcessPhase.BOOTING) == []  # it waits: one serves
    (serving,) = world.pids(ProcessPhase.READY)
    world.now += 1
    world.fleet.ended(serving, -9, world.now)
    world.turn()
    (new,) = world.fleet.of(ProcessPhase.BOOTING)
    assert new.generation == 1  # which is known to be good
    if after == "hung reload":
        world.now = new.due
        world.turn()
        world.now += PAUSE_MOST_S
        world.turn()
        (new,) = world.fleet.of(ProcessPhase.BOOTING)
    world.fleet.ready(new.pid, world.now)
    world.turn()
    assert world.pids(ProcessPhase.READY) == [new.pid] and len(world.pids(ProcessPhase.BOOTING)) == 0
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {2 if after else 1}


def test_with_too_many_processes_one_to_be_recycled_serves_on() -> None:
    world = running(1)
    crowd(world, 8)
    (serving,) = world.pids(ProcessPhase.READY)
    world.fleet.recycle(serving, "has served enough", "max_requests")
    world.turn()
    assert world.pids(ProcessPhase.READY) == [serving] and world.pids(ProcessPhase.BOOTING) == []
    world.boot()
    assert serving not in world.fleet.children and len(world.pids(ProcessPhase.READY)) == 1


@pytest.mark.parametrize("at_once", [False, True])
def test_hung_boot_is_not_started_again_while_it_dies(at_once: bool) -> None:
    world = running(2)
    world.keeps = False
    world.fleet.reload(fleet_settings(2, boot=5.0), at_once=at_once)
    world.turn()
    (new,) = world.pids(ProcessPhase.BOOTING)
    world.now += 5.0
    world.turn()
    world.turn()
    assert world.killed == [new] and world.abandoned == [2]
    assert not [
        child for child in world.fleet.children.values() if child.generation == 2 and child.pid != new
    ]
    world.now += KILL_AFTER_S
    world.turn()
    assert world.killed == [new, new]  # once more, for what it is worth
    world.fleet.ended(new, -9, world.now)
    world.boot()
    assert {child.generation for child in world.fleet.children.values()} == {1}


def test_hung_replacement_is_tried_again_after_a_pause() -> None:
    world = running(1)
    world.fleet.ended(1, -11, world.now)
    world.turn()
    (hung,) = world.pids(ProcessPhase.BOOTING)
    world.now += BOOT_S
    world.turn()
    world.turn()
    assert world.killed == [hung] and world.pids(ProcessPhase.BOOTING) == []
    assert "retrying in 0.1 s" in world.said[-1].text
    world.now += 0.1
    world.turn()  # though the other is not reaped: it may wait for a disk
    assert len(world.pids(ProcessPhase.BOOTING)) == 1


@pytest.mark.parametrize("then", ["", "ready", "drain", "quit"])
def test_recalled_process_has_a_time_to_end_whatever_it_does_with_signals(then: str) -> None:
    world = running(1)
    recalled = reload_twice(world)
    child = world.fleet.children[recalled]
    assert child.due == world.now + RECALL_S
    if then == "ready":
        world.fleet.ready(recalled, world.now)
        world.turn()
        assert child.phase is ProcessPhase.HANDING_OFF and child.due == world.now + GRACE_S + KILL_AFTER_S
    elif then == "drain":
        world.fleet.drain(world.now)
        world.turn()
        assert child.due == world.now + RECALL_S
    elif then == "quit":
        world.fleet.quit()
        world.turn()
        assert child.due == world.now + KILL_AFTER_S
    world.now = child.due
    world.turn()
    assert recalled in world.killed


def test_recalled_process_that_says_it_serves_as_all_drain_may_finish() -> None:
    world = running(1)
    recalled = reload_twice(world)
    world.fleet.drain(world.now)
    world.turn()
    world.fleet.ready(recalled, world.now)
    world.turn()
    child = world.fleet.children[recalled]
    assert child.phase is ProcessPhase.ENDING and child.due == world.now + GRACE_S + KILL_AFTER_S


EVENTS = (
    "reload",
    "change",
    "hang",
    "renew",
    "crash",
    "early",
    "fail",
    "ready",
    "tire",
    "more",
    "fewer",
    "end",
    "wait",
    "no process",
    "turn",
)


@settings(max_examples=400)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), max_size=60),
    st.sampled_from(["", "drain", "quit"]),
    st.booleans(),
)
def test_the_fleet_settles_whatever_happens(
    wanted: int, events: list[tuple[str, int]], end: str, persists: bool
) -> None:
    """Whatever happens, in any order: once nothing more fails, all wanted processes serve."""
    world = running(wanted, persists=persists)
    world.keeps = not any(event == "renew" for event, _ in events)
    for event, which in events:
        before = world.fleet.generations.proven, world.fleet.wanted, world.fleet.fleet_settings
        happen(world, event, which)
        if event not in ("more", "fewer") and world.fleet.generations.proven == before[0]:
            assert before[1:] == (world.fleet.wanted, world.fleet.fleet_settings), (
                "something counts that was never ready"
            )
        ready = len(world.pids(ProcessPhase.READY))
        told = len(world.told)
        world.turn()
        if world.keeps and len(world.told) > told:
            assert ready > world.fleet.wanted, "one was told to leave before another could take its place"
    if not end:
        world.boot()
        children = world.fleet.children.values()
        assert len(children) == world.fleet.wanted
        assert {child.phase for child in children} == {ProcessPhase.READY}
        assert {child.generation for child in children} == {world.fleet.generations.target}
        assert world.settled[-1] == world.fleet.generations.target
        assert not any(child.recycle_reason for child in children)
        return
    if end == "drain":
        world.fleet.drain(world.now)
    else:
        world.fleet.quit()
    world.turn()
    for pid in list(world.fleet.children):
        world.fleet.ended(pid, -9 if pid in world.killed else 0, world.now)
    world.turn()
    assert world.exit == 0 and world.fleet.state is FleetState.OVER


def happen(world: World, event: str, which: int) -> None:  # noqa: PLR0912 - a table of events
    """Let one thing happen, to one of the processes that it can happen to."""

    def one(*phases: ProcessPhase) -> int | None:
        pids = world.pids(*phases)
        return pids[which % len(pids)] if pids else None

    fleet = world.fleet
    match event:
        case "reload":
            fleet.reload()
        case "change":
            fleet.reload(fleet_settings(which % 3 + 1, boot=2.0**which, grace=which))
        case "hang":
            if booting := fleet.of(ProcessPhase.BOOTING):
                world.now = max(world.now, booting[which % len(booting)].due)
        case "renew":
            fleet.reload(at_once=True)
        case "more":
            fleet.resize(1)
        case "fewer":
            fleet.resize(-1)
        case "wait":
            world.now += 2.0**which
        case "no process":
            world.turn(short=True)
        case "ready":
            if pid := one(ProcessPhase.BOOTING):
                fleet.ready(pid, world.now)
        case "fail":
            if pid := one(ProcessPhase.BOOTING):
                fleet.ended(pid, which, world.now)
        case "tire":
            if pid := one(ProcessPhase.READY):
                fleet.recycle(pid, "is tired", "max_lifetime")
        case "crash" | "early":
            world.now += 3 if event == "crash" else 0
            if pid := one(ProcessPhase.READY):
                fleet.ended(pid, -11, world.now)
        case "end":
            if pid := one(ProcessPhase.HANDING_OFF, ProcessPhase.RECALLED, ProcessPhase.KILLED):
                fleet.ended(pid, -9 if pid in world.killed else 0, world.now)
