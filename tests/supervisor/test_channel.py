"""Messages between a supervisor and its processes."""

from halfsync.native.system import readable
from halfsync.supervisor.channel import Channel


def test_words_come_whole_and_in_order() -> None:
    one, other = Channel.pair()
    for word in ("ready 7", "outcome 3 0"):
        one.tell(word)
    assert readable([other.fd], 1) == [other.fd]
    assert [other.next(), other.next(), other.next()] == ["ready 7", "outcome 3 0", None]
    assert not other.lost
    one.close()
    other.close()


def test_end_of_the_other_is_noticed_after_its_last_word() -> None:
    one, other = Channel.pair()
    one.tell("ready")
    one.close()
    assert readable([other.fd], 1) == [other.fd]
    assert other.next() == "ready" and not other.lost
    assert other.next() is None and other.lost and other.fd == -1
    assert other.next() is None
    other.tell("hand_off")  # to no process
    other.close()


def test_an_end_that_does_not_read_blocks_nothing() -> None:
    one, other = Channel.pair()
    for _ in range(10_000):
        one.tell("reopen")
    assert one.is_full
    assert other.next() == "reopen"
    one.close()
    other.close()


def test_a_word_without_room_is_sent_once_there_is_room() -> None:
    one, other = Channel.pair()
    while not one.is_full:
        one.tell("reopen")
    for _ in range(3):  # which say no more than one
        one.tell("drain")
        one.tell("reopen")
    heard = []
    while (word := other.next()) is not None:
        heard.append(word)
        one.go_on()
    assert not one.is_full
    assert heard[-2:] == ["reopen", "drain"] and heard.count("drain") == 1
    one.close()
    other.close()
