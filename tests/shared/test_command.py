"""The commands to a server that serves: none is taken back, and which of them end connections."""

from itertools import product

from halfsync.testing import rules

ORDER = ("serve", "hand off", "drain", "stop")


def test_a_command_is_only_replaced_by_a_stronger_one() -> None:
    for before, command in product(ORDER, repeat=2):
        stronger = ORDER.index(command) > ORDER.index(before)
        assert rules.give_command(before, command) == (command if stronger else before, stronger)


def test_connections_end_with_their_response_once_the_server_drains() -> None:
    for command, closing_keepalives in product(ORDER, (False, True)):
        closes = rules.closes_after_response(command, closing_keepalives=closing_keepalives)
        assert closes == (closing_keepalives or command in ("drain", "stop"))
