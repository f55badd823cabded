"""What an old program gives to the new one: it is found, made ready, and taken once."""

import os
import socket

from halfsync.host.preflight import GIVEN
from halfsync.listening.opening import open_listeners
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.inheritance import inherit


def test_what_is_inherited_is_taken_once() -> None:
    environ = {"OTHER": "1"}
    assert inherit(environ) is None
    (listener,) = open_listeners(["127.0.0.1:0"], 1)
    address = listener.socket.getsockname()
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = Channel.pair()
    kept = [os.dup(one) for one in (listener.socket.fileno(), receiver.fileno(), sender.fileno(), theirs.fd)]
    environ[GIVEN] = (
        f'{{"pid": 7, "listeners": {{":0": [[{kept[0]}, null]]}}, "handover": [{kept[1]}, {kept[2]}], '
        f'"channel": {kept[3]}}}'
    )
    legacy = inherit(environ)
    assert legacy is not None and environ == {"OTHER": "1"}
    assert not any(os.get_inheritable(descriptor) for descriptor in kept)
    assert legacy.listeners[":0"][0].socket.getsockname() == address
    legacy.channel.tell("serves")
    assert ours.next() == "serves"
    legacy.listeners[":0"][0].socket.close()
    legacy.channel.close()
    for end_ in (*legacy.handoff_queue, receiver, sender, listener.socket):
        end_.close()
    ours.close()
    theirs.close()
