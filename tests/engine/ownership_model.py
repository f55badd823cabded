"""A model of one request, its worker and the engine, in which every interleaving can be tried.

The owner word, the lease and the list of returned requests are the compiled ones (`testing/ownership`); what
surrounds them, that is what each thread does between two of their operations, is written here as steps. A step is what
no other thread can come between. `explore` tries each step that is possible in each state, until no state is new.

The request's connection has a record that is used again (`life` counts its clients), an exchange and perhaps an outbox.
The worker has one lease for all of its turns; some of these are turns on another connection, of which the model
knows no more. A step that breaks a rule raises `Violation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from halfsync.testing.ownership import (
    HOLD_TAKEN,
    OWNER_ENGINE,
    OWNER_QUEUE,
    OWNER_RETURNED,
    OWNER_WORKER,
    Turn,
)

State = tuple[int, int, int, int, bool]  # see Turn.save

REQUESTS = 3  # on this connection
OTHERS = 2  # of the worker's turns on others
LIVES = 2  # clients that use the record, one after another


class Violation(AssertionError):  # noqa: N818 - that is what it is
    """A thread did what the protocol must not let it do."""


class Phase(Enum):
    """The phases of a connection and its request in phases.pxd, as far as they matter here."""

    IDLE = "idle"
    TURN = "turn"
    SENDING = "sending"
    DONE = "done"
    LINGER = "linger"
    FREE = "free"


class Exchange(Enum):
    """What the record has of the request under way."""

    NONE = "none"
    CONNECTION = "connection"
    OUTBOX = "outbox"  # with the end of the response


class Outbox(Enum):
    """What an outbox is, to the record or to the worker."""

    NONE = "none"
    OPEN = "open"  # the worker adds to it
    FINISHED = "finished"
    ABANDONED = "abandoned"  # the record has given it up, and the worker has not


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the compiled words do not hold."""

    phase: Phase = Phase.IDLE
    exchange: Exchange = Exchange.NONE
    outbox: Outbox = Outbox.NONE
    life: int = 0
    has_lease: bool = False  # the record points to the lease
    engine: str = "loop"  # where the engine is
    worker: str = "free"  # where the worker is
    worker_life: int = -1  # the client of its turn
    worker_has_exchange: bool = False  # and the record has not
    worker_outbox: Outbox = Outbox.NONE
    requests: int = 0
    others: int = 0


class Protocol:
    """The rules as they are. What a rule is good for, a subclass without it shows."""

    def __init__(self) -> None:
        self.native = Turn()

    def give_back(self) -> None:
        """Put the worker's request into the list."""
        self.native.give_back()

    def take_back(self) -> None:
        """Take it out."""
        self.native.take_back()

    def seize(self) -> bool:
        """Take it from the worker whose lease the engine holds."""
        return self.native.seize()

    def serial(self, state: State) -> int:
        """Return the serial number by which the engine asks for the lease."""
        return state[3]


class ReturnedIsStillTheWorkers(Protocol):
    """The owner word says WORKER until the engine takes the connection out of the list."""

    def give_back(self) -> None:
        self.native.link(OWNER_WORKER)

    def take_back(self) -> None:
        self.native.force(OWNER_ENGINE)


class SeizedWithoutALook(Protocol):
    """The engine relies on the owner word as it was before it held the lease."""

    def seize(self) -> bool:
        self.native.force(OWNER_ENGINE)
        return True


class AnySerial(Protocol):
    """The engine takes the lease of whatever turn the worker is in."""

    def serial(self, state: State) -> int:
        return state[2]


def demand(condition: object, what: str) -> None:
    """Raise Violation unless the condition holds."""
    if not condition:
        raise Violation(what)


class Model:
    """The steps of both threads."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.native = protocol.native

    def steps(self, world: World) -> list[Callable[[World], World]]:
        """Return what can happen next. Called, as each step is, with the native part of the state restored."""
        return [getattr(self, name) for name in (*self._engine_steps(world), *self._worker_steps(world))]

    # The engine.

    def _engine_steps(self, world: World) -> list[str]:
        if world.engine != "loop":
            return [world.engine]
        owner = self.native.owner
        phase = self._note_released(world).phase
        names = ["event"] if world.phase is not Phase.FREE else ["accept"] if world.life + 1 < LIVES else []
        if owner == OWNER_ENGINE and phase is Phase.IDLE and world.requests < REQUESTS:
            names += ["submit", "defer"]
        if owner == OWNER_QUEUE and world.worker != "take":
            names.append("withdraw")
        if self.native.is_linked:
            names.append("swap_list")
        if owner == OWNER_ENGINE and world.phase is Phase.SENDING and world.outbox is Outbox.FINISHED:
            names.append("end_response")
        if world.phase is not Phase.FREE and world.has_lease:
            names.append("timer")
        return names

    def accept(self, world: World) -> World:
        """Use the free record for another client."""
        demand(not self.native.is_linked, "a record is used again while it is in the list")
        self.native.open_record()
        return replace(world, phase=Phase.IDLE, life=world.life + 1, has_lease=False)

    def event(self, world: World) -> World:
        """See the client leave."""
        if not self.native.note_event() or world.phase is Phase.SENDING:
            return world
        return self._close(world)

    def submit(self, world: World) -> World:
        """Put a complete request into the queue."""
        world = self._note_released(world)
        self.native.submit()
        return replace(world, phase=Phase.TURN, exchange=Exchange.CONNECTION, requests=world.requests + 1)

    def withdraw(self, world: World) -> World:
        """Take a request out of the queue that has waited for too long, and refuse it."""
        self.native.withdraw()
        return self._close(replace(world, exchange=Exchange.NONE))

    def defer(self, world: World) -> World:
        """Go on with an idle connection later."""
        world = self._note_released(world)
        self.native.defer()
        return world

    def swap_list(self, world: World) -> World:
        """Take the list of returned requests."""
        self.native.unlink()
        return replace(world, engine="on_returned")

    def on_returned(self, world: World) -> World:
        """Take the connection back, and go on as its phase says."""
        demand(world.phase is not Phase.FREE, "a free record was returned")
        self.protocol.take_back()
        world = self._note_released(replace(world, engine="loop"))
        return self._close(world) if world.phase is Phase.LINGER else world

    def end_response(self, world: World) -> World:
        """Take the exchange back with the end of the response, and be idle."""
        demand(world.exchange is Exchange.OUTBOX, "a finished outbox has no exchange")
        return replace(world, phase=Phase.IDLE, exchange=Exchange.NONE, outbox=Outbox.NONE)

    def timer(self, world: World) -> World:
        """Look at the owner when the deadline of the turn is over."""
        owner = self.native.owner
        if owner == OWNER_WORKER:
            return replace(world, engine="hold_turn")
        if owner == OWNER_ENGINE and world.phase is Phase.SENDING:
            return replace(world, engine="hold_response")
        return world

    def hold_turn(self, world: World) -> World:
        """Hold the lease, if the application has the thread."""
        held = self.native.hold(self.protocol.serial(self.native.save())) == HOLD_TAKEN
        return replace(world, engine="seize" if held else "loop")

    def seize(self, world: World) -> World:
        """Take the connection, unless the worker had returned it."""
        owner = self.native.owner
        demand(owner in (OWNER_WORKER, OWNER_RETURNED), "a connection is seized that no worker has")
        if not self.protocol.seize():
            return replace(world, engine="release_lease")
        demand(world.exchange is Exchange.CONNECTION, "the deadline of a request without its exchange")
        world = replace(world, exchange=Exchange.NONE, worker_has_exchange=True, has_lease=False)
        return replace(self._close(world), engine="revoke")

    def release_lease(self, world: World) -> World:
        """Leave the turn to its worker."""
        self.native.release_lease()
        return replace(world, engine="loop")

    def hold_response(self, world: World) -> World:
        """Hold the lease, if the application still makes the response; then cut that."""
        if self.native.hold(self.protocol.serial(self.native.save())) != HOLD_TAKEN:
            return replace(world, engine="loop")
        demand(world.outbox is Outbox.OPEN, "a response is cut that is complete")
        return replace(self._close(replace(world, has_lease=False)), engine="revoke")

    def revoke(self, world: World) -> World:
        """Say that the turn is over."""
        self.native.revoke()
        return replace(world, engine="loop")

    def _note_released(self, world: World) -> World:
        """Let a connection be idle whose worker is done with its request."""
        released = self.native.owner == OWNER_ENGINE and world.phase is Phase.DONE
        return replace(world, phase=Phase.IDLE) if released else world

    def _close(self, world: World) -> World:
        """Close the connection and free its record."""
        demand(self.native.owner == OWNER_ENGINE, "a record is freed that the engine does not own")
        demand(not self.native.is_linked, "a record is freed that is in the list")
        demand(world.exchange is not Exchange.CONNECTION, "a record is freed with its exchange")
        if world.outbox is Outbox.OPEN:
            world = replace(world, worker_outbox=Outbox.ABANDONED)
        return replace(world, phase=Phase.FREE, outbox=Outbox.NONE, exchange=Exchange.NONE)

    # The worker.

    def _worker_steps(self, world: World) -> list[str]:
        engine_holds = world.engine in ("seize", "release_lease", "revoke")
        claims = world.worker.startswith(("acquire", "end_turn"))
        if world.worker == "free":
            names = ["begin"] if self.native.owner == OWNER_QUEUE else []
            return names + (["begin_other"] if world.others < OTHERS else [])
        if claims and engine_holds:
            return []  # it waits for the engine, which never waits for it
        if world.worker == "application":
            return ["answer_whole", *(["answer_rest_later"] if world.worker_outbox is Outbox.NONE else [])]
        if world.worker == "other":
            return ["end_other"]
        if world.worker == "give_back":
            return ["release", "give_back"]
        return [world.worker]

    def begin_other(self, world: World) -> World:
        """Begin a turn on another connection, and let the application have the thread."""
        self.native.begin()
        self.native.release_lease()
        return replace(world, worker="other", others=world.others + 1)

    def end_other(self, world: World) -> World:
        """End it."""
        demand(self.native.end(), "the turn of another connection was ended")
        return replace(world, worker="free")

    def begin(self, world: World) -> World:
        """Begin a turn on this connection: write the lease into the record, which is still the queue's."""
        self.native.begin()
        self.native.note_serial()
        return replace(world, worker="take", worker_life=world.life, has_lease=True)

    def take(self, world: World) -> World:
        """Own the request."""
        self.native.take()
        return replace(world, worker="open_turn")

    def open_turn(self, world: World) -> World:
        """Let the application have the thread."""
        self.native.release_lease()
        return replace(world, worker="application")

    def answer_whole(self, world: World) -> World:
        """The application has made all of it."""
        return replace(world, worker="end_turn")

    def answer_rest_later(self, world: World) -> World:
        """The application has made more than the socket takes."""
        return replace(world, worker="acquire_to_switch")

    def acquire_to_switch(self, world: World) -> World:
        """Hold the connection, and give it an outbox."""
        if not self.native.acquire():
            return replace(world, worker="end_turn")
        self._touch(world)
        return replace(
            world,
            worker="switch_to_outbox",
            worker_has_exchange=True,
            worker_outbox=Outbox.OPEN,
            phase=Phase.SENDING,
            exchange=Exchange.NONE,
            outbox=Outbox.OPEN,
        )

    def switch_to_outbox(self, world: World) -> World:
        """Give the request back to the engine."""
        demand(not self.native.is_linked, "a connection is returned twice")
        self.protocol.give_back()
        return replace(world, worker="open_turn")

    def end_turn(self, world: World) -> World:
        """End the turn, as far as the engine has not ended it."""
        whole = self.native.end()
        if world.worker_outbox is not Outbox.NONE:
            return replace(world, worker="finish_outbox")
        if not whole:
            demand(world.worker_has_exchange, "the exchange of an ended turn is not the worker's")
            return replace(world, worker="free", worker_has_exchange=False)
        self._touch(world)
        return replace(world, worker="give_back", exchange=Exchange.NONE, phase=Phase.DONE)

    def finish_outbox(self, world: World) -> World:
        """Put the end into the outbox, and the exchange with it unless the client is gone."""
        demand(world.worker_has_exchange, "the exchange of a response is not the worker's")
        if world.worker_outbox is Outbox.OPEN:
            demand(world.outbox is Outbox.OPEN, "an outbox is finished that its connection has not")
            world = replace(world, outbox=Outbox.FINISHED, exchange=Exchange.OUTBOX)
        return replace(world, worker="free", worker_has_exchange=False, worker_outbox=Outbox.NONE)

    def release(self, world: World) -> World:
        """Give the request back without a word, unless something happened."""
        self.native.release()
        return replace(world, worker="free")

    def give_back(self, world: World) -> World:
        """Give it back so that the engine looks at it."""
        demand(not self.native.is_linked, "a connection is returned twice")
        self.protocol.give_back()
        return replace(world, worker="free")

    def _touch(self, world: World) -> None:
        demand(
            world.phase is not Phase.FREE and world.life == world.worker_life,
            "a worker touches another's record",
        )
        demand(self.native.owner == OWNER_WORKER, "a worker touches what it does not own")


def explore(protocol: Protocol) -> dict[tuple[State, World], list[tuple[State, World]]]:
    """Return every state that can come to be, with the states that may follow. Raises Violation."""
    model = Model(protocol)
    native = protocol.native
    start = (native.save(), World())
    follow: dict[tuple[State, World], list[tuple[State, World]]] = {}
    open_states = [start]
    while open_states:
        state = open_states.pop()
        if state in follow:
            continue
        follow[state] = []
        native.restore(state[0])
        for step in model.steps(state[1]):
            native.restore(state[0])
            world = step(state[1])
            follow[state].append((native.save(), world))
        open_states += follow[state]
    return follow


def can_rest(follow: dict[tuple[State, World], list[tuple[State, World]]]) -> set[tuple[State, World]]:
    """Return the states from which one can be reached in which nothing is under way."""
    before: dict[tuple[State, World], list[tuple[State, World]]] = {}
    for state, following in follow.items():
        for after in following:
            before.setdefault(after, []).append(state)
    found = {state for state in follow if is_rest(*state)}
    open_states = list(found)
    while open_states:
        for earlier in before.get(open_states.pop(), []):
            if earlier not in found:
                found.add(earlier)
                open_states.append(earlier)
    return found


def is_rest(native: State, world: World) -> bool:
    """Tell whether nothing is under way, and nothing is left over."""
    return (
        world.engine == "loop"
        and world.worker == "free"
        and native[0] == OWNER_ENGINE
        and not native[4]
        and world.phase in (Phase.IDLE, Phase.DONE, Phase.FREE)
        and world.exchange is Exchange.NONE
        and world.outbox is Outbox.NONE
        and world.worker_outbox is Outbox.NONE
        and not world.worker_has_exchange
    )
