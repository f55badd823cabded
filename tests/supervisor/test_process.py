"""How a serving process handles its supervisor's orders, and its death."""

import socket
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from halfsync.admin.admin_server import AdminServer
from halfsync.orders import DRAIN, FINISH, HAND_OFF, REOPEN, handoff_order, positions_in
from halfsync.server import Server
from halfsync.shared.scoreboard import Scoreboard
from halfsync.supervisor.channel import WORD_BYTES, Channel
from halfsync.supervisor.process import SupervisorOrders


class Situation:
    """A process with its orders, its supervisor's end of their channel, and the queue of connections."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.theirs, self.ours = Channel.pair()
        self.reading, self.writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.slot = Scoreboard(1).slot(0)
        self.orders = SupervisorOrders(self.ours, server, self.slot, self.writing)


@pytest.fixture
def situation() -> Iterator[Situation]:
    with Server(lambda *_: [], bind=["127.0.0.1:0"]) as server:
        made = Situation(server)
        yield made
        for end in (made.theirs, made.ours, made.reading, made.writing):
            end.close()


def test_orders_come_one_at_a_time(situation: Situation) -> None:
    situation.theirs.tell(HAND_OFF)
    situation.theirs.tell(DRAIN)
    assert [situation.orders.next(), situation.orders.next(), situation.orders.next()] == [
        HAND_OFF,
        DRAIN,
        None,
    ]


def test_an_order_to_hand_off_names_the_exclusive_listeners() -> None:
    for exclusive in ([], [0], [1, 5], list(range(200))):
        order, _, listeners = handoff_order(exclusive).partition(" ")
        assert order == HAND_OFF and len(handoff_order(exclusive)) < WORD_BYTES
        assert positions_in(listeners) == exclusive


def test_the_admin_server_stops_when_the_server_hands_off(situation: Situation) -> None:
    admin_server = Mock(spec=AdminServer)
    orders = SupervisorOrders(
        situation.ours, situation.server, situation.slot, situation.writing, admin_server=admin_server
    )
    orders.obeyed(REOPEN)
    assert not admin_server.stop_listening.called  # they answer until others do
    orders.obeyed(f"{HAND_OFF} 1")
    orders.obeyed(DRAIN)
    assert admin_server.stop_listening.call_count == 1
    situation.slot.note_closed()
    admin_server.descriptors.return_value = [7]  # it has not closed them all
    orders.next()
    assert situation.theirs.next() is None
    admin_server.descriptors.return_value = []
    orders.next()
    assert situation.theirs.next() == "quiesced"


def test_the_supervisor_learns_of_sigterm_to_a_process(situation: Situation) -> None:
    situation.orders.report_sigterm()
    assert situation.theirs.next() == "sigterm"


def test_without_its_supervisor_a_serving_process_finishes_and_ends_hand_offs(
    situation: Situation,
) -> None:
    situation.writing.send(b"a connection")
    situation.theirs.close()
    assert situation.orders.next() == FINISH
    assert situation.orders.next() is None  # it is said once
    with pytest.raises(BrokenPipeError):
        situation.writing.send(b"another one")
    assert situation.reading.recv(64) == b"a connection"  # what is in the queue is adopted still


def test_without_its_supervisor_a_process_that_hands_off_goes_on(situation: Situation) -> None:
    situation.orders.obeyed(HAND_OFF)
    situation.theirs.close()
    assert situation.orders.next() == FINISH
    situation.writing.send(b"a connection")


@pytest.mark.parametrize("order", [HAND_OFF, f"{HAND_OFF} 3", DRAIN])
def test_a_process_reports_once_that_it_accepts_no_more(situation: Situation, order: str) -> None:
    assert situation.orders.poll_interval() is None
    situation.orders.obeyed(order)
    poll_interval = situation.orders.poll_interval()
    assert poll_interval is not None and poll_interval < 0.01
    situation.orders.next()
    assert situation.theirs.next() is None  # no client is connected, but one may come
    situation.slot.note_closed()
    situation.orders.next()
    assert situation.theirs.next() == "quiesced"
    situation.orders.obeyed(DRAIN)
    situation.orders.next()
    assert situation.theirs.next() is None and situation.orders.poll_interval() is None
