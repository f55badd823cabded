"""The table of connections."""

from halfsync.testing.ownership import CONNECTION_BYTES


def test_record_of_a_connection_is_small() -> None:
    """An idle connection costs the server this, and nothing else: a field more is paid by each of thousands."""
    assert CONNECTION_BYTES <= 208
