"""What a process says that serves in the foreground."""

import socket
import subprocess
import sys

from tests.faults.serving import environment


def test_a_line_is_one_write_so_that_those_of_several_processes_do_not_mix() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps writes apart
    with ours, theirs:
        program = "from halfsync.foreground import say; say('halfsync says')"
        subprocess.run(
            [sys.executable, "-c", program], env=environment(), stderr=theirs.fileno(), check=True
        )  # unbuffered, as in a container
        assert ours.recv(100) == b"halfsync says\n"
