"""The socket check: it finds each way in which code could bypass the transport."""

from pathlib import Path

import pytest
from tools.check_sockets import main

C_CODE = '''cdef extern from *:
    """
    static int hs_end(int fd) { return shutdown(fd, SHUT_WR); }
    """
    int end "hs_end" (int fd)
'''


def faults(root: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    code = main([str(root)])
    lines = capsys.readouterr().err.splitlines()
    assert code == (1 if lines else 0)
    return lines


def test_this_repository_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        'cdef extern from "<sys/socket.h>" nogil:\n    ssize_t recv(int fd, void *data, size_t length, int flags)\n',
        'cdef extern from "<sys/socket.h>" nogil:\n    ssize_t c_send "send" (int fd, const void *data)\n',
        "cdef int end(int fd):\n    return shutdown(fd, 1)\n",
        "cdef int look(int fd):\n    return f(fd, MSG_PEEK)\n",
        "cdef int put(int fd):\n    return sendfile(fd, 1, NULL, 2)\n",
        C_CODE,
    ],
    ids=["recv", "send", "shutdown", "peek", "sendfile", "c"],
)
def test_a_call_past_the_transport_is_found(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(faults(tmp_path, "engine/some.pyx", text, capsys)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("transport/plain.pyx", "cdef int end(int fd):\n    return shutdown(fd, 1)\n"),
        ("shared/handoff_queue.pyx", "cdef int put(int fd):\n    return sendmsg(fd, NULL, 1)\n"),
        ("engine/some.pyx", '"""It calls recv(2), and shutdown(2)."""\n# send(fd)\n'),
        (
            "engine/some.pyx",
            "cdef int send(int a):\n    return 0\nsend(1)\nsink.send(sink, 1)\ntransport_send(1)\n",
        ),
    ],
    ids=["transport", "queue", "prose", "own"],
)
def test_sockets_that_are_no_clients_are_allowed(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faults(tmp_path, name, text, capsys) == []
