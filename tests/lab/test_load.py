"""What a load may be."""

import pytest

from halfsync.lab.load import Load


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"port": 0}, "port is 0"),
        ({"port": 65536}, "port is 65536"),
        ({"connections": -1}, "below 0"),
        ({"duration_s": 0.0}, "duration_s is 0.0"),
        ({"slow_s": 0.0}, "slow_s is 0.0"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 1.0, "connections": 0}, "an open loop needs a connection"),
        ({"more": 1}, "give a rate"),
        ({"patience_s": 0.0}, "patience_s is 0.0"),
        ({"paths": ()}, "paths is"),
        ({"paths": (("a", 1.0),)}, "must begin with /"),
        ({"paths": (("/a b", 1.0),)}, "must begin with /"),
        ({"paths": (("/a\r\nX: y", 1.0),)}, "must begin with /"),
        ({"paths": (("/", 0.0),)}, "a weight above 0"),
    ],
)
def test_what_cannot_be_sent_is_an_error_that_says_why(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Load(**{"port": 80, "connections": 1, "duration_s": 1.0, **fields})  # type: ignore[arg-type]


def test_further_connections_alone_are_enough_for_an_open_loop() -> None:
    assert Load(80, 0, 1.0, rate=1.0, more=1).more == 1
