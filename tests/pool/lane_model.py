"""The rule of decisions/0039 in plain Python, without any of the structures that make it fast."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LaneSpec:
    """What a lane is allowed. Its fields are in the order in which the native queue takes them."""

    guaranteed: int
    most: int
    limit: int
    priority: int

    def __iter__(self):  # type: ignore[no-untyped-def]
        """Give the fields, as a tuple has them."""
        return iter((self.guaranteed, self.most, self.limit, self.priority))


@dataclass(eq=False)
class Waiting:
    """An item that was put. client 0: of none. old: it expires as soon as its lane is overloaded."""

    lane: int
    client: int
    old: bool = False
    ticket: int = -1


@dataclass
class Model:
    """What waits, oldest first, and the turns under way, by their worker."""

    lanes: list[LaneSpec]
    threads: int
    share: int
    waiting: list[Waiting] = field(default_factory=list)
    turns: dict[object, Waiting] = field(default_factory=dict)
    overloaded: set[int] = field(default_factory=set)

    def busy(self, lane: int) -> int:
        """Return the number of turns in a lane."""
        return sum(one.lane == lane for one in self.turns.values())

    def in_lane(self, lane: int) -> list[Waiting]:
        """Return what waits in a lane."""
        return [one for one in self.waiting if one.lane == lane]

    def has_room(self, lane: int) -> bool:
        """Return whether another item may wait in a lane."""
        return len(self.in_lane(lane)) < self.lanes[lane].limit

    def may_begin(self, lane: int) -> bool:
        """Return whether an idle worker may begin a turn in a lane."""
        spec, busy = self.lanes[lane], self.busy(lane)
        if busy >= spec.most:
            return False
        reserved = sum(max(0, one.guaranteed - self.busy(number)) for number, one in enumerate(self.lanes))
        return busy < spec.guaranteed or self.threads - len(self.turns) > reserved

    def is_passed_over(self, item: Waiting) -> bool:
        """Return whether the client of an item holds its share of the threads."""
        held = sum(one.client == item.client for one in self.turns.values())
        return self.share > 0 and item.client != 0 and held >= self.share

    def due(self) -> Waiting | None:
        """Return what an idle worker takes."""
        allowed = [one for one in self.waiting if self.may_begin(one.lane)]
        allowed = [one for one in allowed if not self.is_passed_over(one)] or allowed
        if not allowed:
            return None
        highest = max(self.lanes[one.lane].priority for one in allowed)
        first = next(one for one in allowed if self.lanes[one.lane].priority == highest)
        in_lane = [one for one in allowed if one.lane == first.lane]
        return in_lane[-1] if first.lane in self.overloaded else first

    def look(self, worker: object) -> Waiting | None:
        """Let a worker end its turn and take what is due. Lanes that it finds empty are no longer overloaded."""
        self.turns.pop(worker, None)
        self.overloaded &= {one.lane for one in self.waiting}
        item = self.due()
        if item is not None:
            self.waiting.remove(item)
            self.turns[worker] = item
        return item

    def expired(self) -> Waiting | None:
        """Take out what waits too long in an overloaded lane, the first lane first."""
        for lane in sorted(self.overloaded):
            items = self.in_lane(lane)
            if items and items[0].old:
                self.waiting.remove(items[0])
                return items[0]
        return None
