"""Starting this program again beside itself (SIGUSR2), with its sockets and its hand-off queue.

At a stop, a service manager (systemd) waits for a main process only if that was its own child when it became the main
process. So the new program must not remain a child of the old one. An intermediary process starts it, waits while it
boots, and reports its exit code. Once the intermediary has ended, the new program is a child of the process that adopts
orphans.

inheritance.py has what the new program gets. The service manager's variables are set for the new program too.
takeover.py has the words of the two programs, and which of them owns what until when.
"""

from __future__ import annotations

import errno
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from halfsync.errors import reason_of
from halfsync.host.preflight import GIVEN
from halfsync.listening.activation import pass_on
from halfsync.loading.variables import outside
from halfsync.native.system import readable
from halfsync.runtime.forking import fork, restore, unblock
from halfsync.runtime.originals import os, signal, socket
from halfsync.runtime.output import STANDARD, say
from halfsync.runtime.signals import forget_signals
from halfsync.supervisor.channel import WORD_BYTES, Channel
from halfsync.supervisor.inheritance import by_descriptor, describe_gift, descriptors_in
from halfsync.supervisor.programs import Successor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from halfsync.host.directory import StartDirectory
    from halfsync.listening.listeners import Listener
    from halfsync.runtime.forking import Mask
    from halfsync.supervisor.programs import Queue

DESCRIPTORS = 65_536  # if the system has no limit
LOOK_S = 0.02  # between two checks whether a booting program has ended


def start_successor(
    listeners: Mapping[str, Sequence[Listener]],
    passed: Mapping[int, int],
    handoff_queue: Queue,
    *,
    start: StartDirectory,
    umask: int,
    ignored: Collection[int],
    config: str | None,
    variables: Callable[[int], Mapping[str, str]],
) -> Successor:
    """Run this program's command line again, with the same sockets. Raises OSError.

    passed: as for `Sockets`. start: the directory in which this program was started. umask and ignored: its umask then,
    and the signals that it ignored then. config: the file of the settings. variables: returns what to add to the
    environment of a process with this pid.
    """
    ours, theirs = Channel.pair()
    gift = describe_gift(listeners, passed, handoff_queue, channel=theirs, config=config)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undoing:
        undoing.callback(ours.close)
        undoing.callback(near.close)
        try:
            intermediary, mask = fork()
            if intermediary == 0:
                _run_intermediary(far, lambda: _become(gift, start, umask, ignored, variables))
        finally:
            theirs.close()
            far.close()
        pid = _receive_pid(near, mask)
        undoing.pop_all()
    return Successor(
        pid=pid, channel=ours, intermediary=intermediary, control=near, given=by_descriptor(listeners)
    )


def _receive_pid(near: socket.socket, mask: Mask) -> int:
    """Return the pid of the new program, which the intermediary sends. Restores the signal mask. Raises OSError."""
    pid = 0
    try:
        pid = int(near.recv(WORD_BYTES) or -errno.EAGAIN)
        restore(mask)
    except BaseException:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)  # else it would assume that this process is dead, and serve
        restore(mask)
        raise
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return pid


def _run_intermediary(old: socket.socket, become: Callable[[], NoReturn]) -> NoReturn:
    """Start the new program, tell the old one its pid and its exit code, and end when the old one stops listening.

    This process keeps nothing else open, so that no other process takes it for the new program or the old one.
    """
    try:
        forget_signals()
        try:
            pid, _ = fork()
        except OSError as error:
            old.send(b"%d" % -(error.errno or errno.EAGAIN), socket.MSG_NOSIGNAL)
            os._exit(1)
        if pid == 0:
            become()
        unblock()
        kept = old.fileno()
        os.closerange(STANDARD, kept)
        os.closerange(kept + 1, max(os.sysconf("SC_OPEN_MAX"), DESCRIPTORS))
        old.send(b"%d" % pid, socket.MSG_NOSIGNAL)
        ended = 0
        while not ended and not readable([kept], LOOK_S):
            ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            old.send(b"%d" % os.waitstatus_to_exitcode(status), socket.MSG_NOSIGNAL)
    finally:
        os._exit(0)


def _become(
    gift: dict[str, object],
    start: StartDirectory,
    umask: int,
    ignored: Collection[int],
    variables: Callable[[int], Mapping[str, str]],
) -> NoReturn:
    """Become the new program. If that fails, end the process."""
    try:
        forget_signals()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)  # which stays so in the new program
        unblock()
        activation, passed = pass_on(os.getpid())
        for descriptor in {*descriptors_in(gift), *passed}:
            os.set_inheritable(descriptor, True)
        start.enter()
        os.umask(umask)
        environ = {**outside(), **variables(os.getpid()), **activation, GIVEN: json.dumps(gift)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
    except OSError as error:
        say(f"halfsync: {sys.executable} cannot be started again: {reason_of(error)}", "ERROR")
    finally:
        os._exit(1)
