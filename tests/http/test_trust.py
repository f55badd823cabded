"""Which peers are trusted."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.http.trust import TrustedPeers
from halfsync.testing.proxies import trusts
from tests.proxies import sockaddr


@pytest.mark.parametrize(
    ("networks", "inside", "outside"),
    [
        ([], [], ["127.0.0.1", "::1", ""]),
        (["*"], ["192.0.2.1", "2001:db8::1", ""], []),
        (["unix"], [""], ["127.0.0.1", "::1"]),
        (["127.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", "::7f00:1", ""]),
        (["::1"], ["::1"], ["::2", "127.0.0.1", ""]),
        (["10.0.0.0/8"], ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "9.255.255.255", "::10.0.0.0"]),
        (["192.0.2.64/26"], ["192.0.2.64", "192.0.2.127"], ["192.0.2.63", "192.0.2.128"]),
        (["192.0.2.1/31", "10.1.0.0/17"], ["192.0.2.1", "10.1.127.255"], ["192.0.2.2", "10.1.128.0"]),
        (["2001:db8::/33"], ["2001:db8::", "2001:db8:7fff::"], ["2001:db8:8000::", "2001:db9::"]),
        (["0.0.0.0/0"], ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", ""]),
        (["::/0"], ["2001:db8::1"], ["192.0.2.1", ""]),
    ],
)
def test_a_peer_in_a_network_is_trusted(networks: list[str], inside: list[str], outside: list[str]) -> None:
    peers = TrustedPeers(networks)
    assert [peer for peer in inside if not trusts(peers, sockaddr(peer, 4711))] == []
    assert [peer for peer in outside if trusts(peers, sockaddr(peer, 4711))] == []


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0", "10.0.0.1/x", "UNIX"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|not a network"):
        TrustedPeers([text])


@settings(max_examples=300)
@given(st.data(), st.sampled_from([4, 6]))
def test_networks_are_what_the_standard_library_says(data: st.DataObject, version: int) -> None:
    most = 32 if version == 4 else 128
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    one, other = (
        make(data.draw(st.integers(0, 2**most - 1))),
        make(data.draw(st.integers(0, 2**most - 1))),
    )
    bits = data.draw(st.integers(0, most))
    network = ipaddress.ip_network((str(one), bits), strict=False)
    near = make(int(one) ^ (1 << data.draw(st.integers(0, most - 1))))
    peers = TrustedPeers([str(network)])
    for peer in (one, other, near):
        mapped = getattr(peer, "ipv4_mapped", None)
        assert trusts(peers, sockaddr(str(peer))) == (peer in network and mapped is None)
