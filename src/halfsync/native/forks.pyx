"""Forks by the application: which signal handlers the child has, and how a copy of the server ends.

The server's own forks go through `halfsync.runtime.forking.fork`, which marks them (`own_fork`). Every other fork is
the application's. Its child has a copy of the server's state, and must not act as the server (decisions/0024):

- From the first moment, each signal that the server catches has its default in the child, or the handler that the
  application itself has set. The child writes nothing to the server's signal pipe.
- The child is a *copy*: `copies` counts the application's forks that led to a process. Each place that calls the
  application compares this number before and after. If it differs, the process is a copy, and ends at once, silently.

pthread_atfork(3) does all of this, so it does not matter which library forks. A process made by vfork(2),
posix_spawn(3) or subprocess executes another program at once, which resets the signals to their defaults.
"""

cdef extern from "forks.h" nogil:
    unsigned int hs_copies
    unsigned int hs_forks
    int hs_own_fork
    int hs_watch_forks()
    int hs_catch(int number, int kind)
    int hs_raise(int number)
    int hs_is_caught(int number)
    int hs_disposition(int number)
    void hs_see(int number)
    int hs_put_back(int number)
    void hs_release(int number)
    int hs_take()
    void hs_note_session()
    int hs_reports_closed_terminal(int sender)

cdef extern from *:
    """
    static int hs_has_noted(int number) { return atomic_load(&hs_waiting[number]) != 0; }
    static int hs_sender(int number) { return atomic_load(&hs_senders[number]); }
    static int hs_set_signal_fd(int fd) { return atomic_exchange(&hs_signal_fd, fd); }
    """
    bint hs_has_noted(int number) nogil
    int hs_sender(int number) nogil
    int hs_set_signal_fd(int fd) nogil

cdef extern from "<unistd.h>" nogil:
    void c_exit "_exit" (int code)

# What happens to a caught signal: it is dropped; it waits to be taken, once; or as often as it arrived; or it waits,
# once, until it is caught anew.
DROPPED, NOTED, COUNTED, HELD = 1, 2, 3, 4
# What the system has for a signal.
DEFAULT, IGNORED, HANDLED = 0, 1, 2

copies = &hs_copies
forks = &hs_forks
if hs_watch_forks() != 0:
    raise MemoryError("the system has no memory to watch forks")


cdef bint is_noted(int number) noexcept nogil:
    """Return whether a signal waits to be taken."""
    return hs_has_noted(number)


cdef void end_process(object error) noexcept:
    """End this process without its exit handlers, with the exit code that Python would use. error: what it raised."""
    cdef int code = 0
    if error is not None:
        code = 1
        try:
            if isinstance(error, SystemExit):
                if error.code is None:
                    code = 0
                elif isinstance(error.code, int):
                    code = error.code & 0xFF
        except BaseException:  # noqa: BLE001 - a class of the application may do anything; the process ends anyway
            pass
    c_exit(code)


def count_copies():
    """Return how many forks by the application led to this process."""
    return copies[0]


def count_forks():
    """Return how many forks, by the application and by the server, led to this process."""
    return forks[0]


def end_copy(unsigned int began, error=None):
    """End this process if it is a copy of the one in which `count_copies` was `began`. error: what it raised."""
    if copies[0] != began:
        end_process(error)


def own_fork(bint own):
    """Set whether the next forks of this thread are the server's."""
    global hs_own_fork
    hs_own_fork = own


def catch_signal(int number, int kind):
    """Catch a signal natively from now on. Returns its previous kind, 0 if it was not caught. Raises OSError."""
    cdef int before = hs_catch(number, kind)
    if before < 0:
        raise OSError(-before, f"signal {number} cannot be caught")
    return before


def raise_signal(int number):
    """Call the handler in Python's table for a signal that is caught, until it is caught again. Raises OSError.

    If one waits, the handler is called for it at once. Call this after that handler is set. A copy has what there was
    before the signal was caught, as with any other.
    """
    cdef int failed = hs_raise(number)
    if failed < 0:
        raise OSError(-failed, f"signal {number} cannot be caught")


def is_signal_caught(int number):
    """Return whether a signal is caught, and no handler was set for it since."""
    return bool(hs_is_caught(number))


def look_at_signal(int number):
    """Return what the system has for a signal or, if it is caught, had before: DEFAULT, IGNORED or HANDLED.

    Python's table does not know the handlers that native code has set.
    """
    return hs_disposition(number)


def is_handler_replaced(int number, set_again):
    """Return whether native code has replaced the handler that Python's table has.

    set_again: sets the table's handler again. The native handler stays. The signal must be blocked.
    """
    hs_see(number)
    set_again()
    return bool(hs_put_back(number))


def release_signal(int number):
    """Restore what a signal had before it was caught, unless a handler was set for it since."""
    hs_release(number)


def take_signal():
    """Take a signal that waits, and return its number; 0: none waits. Counted ones come first, then the oldest."""
    return hs_take()


def note_terminal():
    """Note that a terminal controls this process, if one does, for `reports_closed_terminal`."""
    hs_note_session()


def reports_closed_terminal(int number):
    """Return whether the last signal with this number, a SIGHUP, reports a closed terminal, and is not an order."""
    return bool(hs_reports_closed_terminal(hs_sender(number)))


def set_signal_fd(int fd):
    """Write the number of each signal to this non-blocking descriptor; -1: nowhere. Returns the previous one."""
    return hs_set_signal_fd(fd)
