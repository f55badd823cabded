"""The table that counts clients' connections, against a plain dict, and what is one client."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.testing.clients import PyClientCounts, client_key
from tests.proxies import sockaddr

NONE, REFUSED = 0, -1
FOUR = [f"10.{number >> 8}.{number & 255}.1" for number in range(1000)]
SIX = [f"2001:db8:{number:x}:{number % 7:x}::1" for number in range(1000)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::192.0.2.1", False),
        ("0.0.0.0", "::", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "::1", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8::1", "2001:db9::1", False),
        ("fe80::1", "fe80::2", True),
        ("::1", "::2", True),
    ],
)
def test_a_client_is_an_ipv4_address_or_the_64_bits_of_an_ipv6_network(
    one: str, other: str, same: bool
) -> None:
    assert (client_key(sockaddr(one, 1)) == client_key(sockaddr(other, 2))) == same
    counts = PyClientCounts(1, 10)
    assert counts.add(sockaddr(one, 1)) > 0
    assert (counts.add(sockaddr(other, 2)) == REFUSED) == same


@given(st.lists(st.ip_addresses(), unique=True, min_size=2, max_size=50))
def test_other_networks_have_other_keys(hosts: list[object]) -> None:
    def network(host: str) -> str:
        packed = sockaddr(host)
        if ":" not in host:
            return packed[4:8].hex()
        return packed[20:24].hex() if packed[8:20].hex() == "0" * 20 + "ffff" else packed[8:16].hex()

    def is_multicast(host: str) -> bool:
        return host.startswith("ff") and ":" in host and len(host.partition(":")[0]) == 4

    texts = [text for text in map(str, hosts) if not is_multicast(text)]
    assert len({client_key(sockaddr(text)) for text in texts}) == len({network(text) for text in texts})


@pytest.mark.parametrize("address", [sockaddr(""), b"", sockaddr("")[:1], sockaddr("192.0.2.1")[:8]])
def test_a_peer_without_an_address_is_not_counted(address: bytes) -> None:
    counts = PyClientCounts(1, 10)
    assert client_key(address) == 0
    assert [counts.add(address) for _ in range(5)] == [NONE] * 5
    counts.remove(NONE)


def test_clients_have_their_limit_each_and_many_fit() -> None:
    hosts = [sockaddr(host) for host in FOUR + SIX]
    counts = PyClientCounts(3, len(hosts))
    places = {host: [counts.add(host) for _ in range(3)] for host in hosts}
    assert len({place for three in places.values() for place in three}) == len(hosts)
    assert all(len(set(three)) == 1 for three in places.values())
    assert all(counts.add(host) == REFUSED for host in hosts)
    for host in hosts[::2]:
        counts.remove(places[host][0])
    assert [counts.add(host) > 0 for host in hosts] == [True, False] * 1000
    for host in hosts:
        for place in places[host]:
            counts.remove(place)
    assert all(counts.add(sockaddr(f"172.16.{n >> 8}.{n & 255}")) > 0 for n in range(len(hosts)))


def test_a_full_table_counts_only_the_clients_that_it_has() -> None:
    counts = PyClientCounts(2, 2)
    one, other, third = (sockaddr(f"192.0.2.{last}") for last in (1, 2, 3))
    places = [counts.add(one), counts.add(other)]
    assert [counts.add(third) for _ in range(3)] == [NONE] * 3
    assert (counts.add(one), counts.add(one)) == (places[0], REFUSED)
    counts.remove(places[1])
    assert [counts.add(third) > 0 for _ in range(3)] == [True, True, False]


def test_a_refused_connection_changes_nothing() -> None:
    counts = PyClientCounts(2, 4)
    host = sockaddr("192.0.2.1")
    places = [counts.add(host), counts.add(host)]
    assert [counts.add(host) for _ in range(1000)] == [REFUSED] * 1000
    for place in places:
        counts.remove(place)
    assert [counts.add(host) > 0 for _ in range(3)] == [True, True, False]


@settings(max_examples=200)
@given(
    limit=st.integers(1, 4),
    capacity=st.integers(1, 12),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=200),
)
def test_it_counts_as_a_dict_does(limit: int, capacity: int, steps: list[tuple[bool, int]]) -> None:
    counts = PyClientCounts(limit, capacity)
    expected: Counter[int] = Counter()
    entered: list[tuple[int, int]] = []
    for enters, which in steps:
        if enters:
            place = counts.add(sockaddr(f"2001:db8:{which}::1" if which % 2 else f"192.0.2.{which}"))
            if expected[which] == limit:
                assert place == REFUSED
            elif expected[which] == 0 and len(+expected) == capacity:
                assert place == NONE
            else:
                assert 0 < place <= capacity
                assert {other == place for client, other in entered if client == which} <= {True}
                expected[which] += 1
                entered.append((which, place))
        elif entered:
            client, place = entered.pop(which % len(entered))
            expected[client] -= 1
            counts.remove(place)
