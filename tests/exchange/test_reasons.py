"""The reasons of refusals: each has its own text, in the order of their numbers."""

from halfsync.testing.rules import ALL_REASONS, REASONS


def test_each_reason_has_a_text_of_its_own() -> None:
    assert all(ALL_REASONS)
    assert len(set(ALL_REASONS)) == len(ALL_REASONS) > len(REASONS)


def test_the_texts_are_in_the_order_of_the_numbers() -> None:
    assert REASONS == {
        "PEER": "proxy_allow_ips does not name it",
        "CONNECTIONS": "queue_size connections wait already",
        "ROOM": "its connection was closed to make room for a new one",
        "APPLICATION": "the application failed",
        "STOP": "the server stopped",
    }
    assert (ALL_REASONS[0], ALL_REASONS[-1]) == (REASONS["PEER"], REASONS["STOP"])
