"""A thread that has the GIL and is no worker: it reads the stacks of workers.

Each serving process has one, of whatever model, if it is asked about its workers (`admin_bind`) or logs slow requests
(`slow_request`). It waits without the GIL for one of two things: that somebody wants the stacks of all processes
(`wanted` in shared/activity.pxd), which it then writes as text beside the turns; or that a turn becomes slow, whose
stack it logs. It does not poll: a turn that has not begun yet cannot be slow before `slow_request` is over.

If a worker keeps the GIL, this thread waits for it as all others do. Whoever wants the stacks sees that they are not
there yet, and need not wait.
"""
import sys

from libc.string cimport memcpy

from halfsync.native.sync cimport add_uint, load_uint, monotonic_ns
from halfsync.observe.client cimport address_parts, address_text
from halfsync.shared.activity cimport (
    PATH_KEPT, STACK_KEPT, Activity, ActivityRequest, activity_read, version_close, version_open, word_wait, word_wake,
)

from halfsync.log import ids_text, logger, warn
from halfsync.runtime.originals import os, signal
from halfsync.runtime.threads import Thread, enumerate_threads, is_whole

cdef enum:
    FRAMES_MOST = 100  # of a stack, the innermost ones

cdef int64_t LONGEST_NS = 60000000000  # of a wait for nothing in particular


cdef list stack_entries(unsigned long thread):
    """Return where a thread is. See the .pxd."""
    cdef list entries = []
    try:
        frame = sys._current_frames().get(thread)
        while frame is not None and len(entries) < FRAMES_MOST:
            code = frame.f_code
            entries.append((code.co_filename, frame.f_lineno, code.co_name))
            frame = frame.f_back
        entries.reverse()
    except MemoryError:
        return []
    return entries


cdef str stack_text(list entries):
    """Return the text of a stack. See the .pxd."""
    try:
        import traceback  # noqa: PLC0415 - needed only in trouble

        return "".join(traceback.format_list([(*entry, None) for entry in entries]))
    except BaseException:  # noqa: BLE001 - what it is for must be logged in any case
        return ""


cdef bytes shortened(bytes text):
    """Return the end of the text of a stack, as much as is kept of it: the innermost calls."""
    if len(text) <= STACK_KEPT:
        return text
    text = text[len(text) - STACK_KEPT + 6:]
    return b"  ...\n" + text[text.find(b"\n") + 1:]


cdef str thread_name(unsigned long thread):
    """Return the name of the thread with this number. An application may have replaced the lock of threading's list."""
    known = enumerate_threads() if is_whole() else ()
    return next((one.name for one in known if one.ident == thread), "its thread")


cdef dict request_ids(const ActivityRequest *request):
    """Return the ids of what a turn runs."""
    return {
        "request_id": request.id[:request.id_length].decode("ascii"),
        "trace_id": request.trace[:request.trace_length].decode("ascii"),
    }


cdef str request_name(const ActivityRequest *request):
    """Return what a turn runs, for which client, and with which ids."""
    cdef bytes path = request.path[:min(request.path_length, <uint32_t> PATH_KEPT)]
    cdef bytes method = request.method[:request.method_length]
    what = f"{method.decode('ascii', 'backslashreplace')} {path.decode('ascii', 'backslashreplace')}"
    if request.method_length == 0:
        what = "a turn"
    host, _ = address_parts(request.address, request.address_length)
    return f"{what} of {address_text(host, 0)}{ids_text(request_ids(request))}"


cdef class Watcher:
    """Reads the stacks of this process's workers when they are wanted, and logs those of slow turns.

    Its owner starts it in the process that serves, once, and stops it.
    """

    def __init__(self, Activity activity not None, unsigned int process, double slow_s):
        """process: the number of this process's slot. slow_s: turns that take longer are logged; 0: none is."""
        self.pinned = activity
        self.activity.table = activity.table
        self.activity.process = process
        self.slow_s = slow_s
        self.slow_ns = <int64_t> (slow_s * 1e9)

    def start(self):
        """Start its thread. RuntimeError: the system refuses it."""
        self.pid = os.getpid()
        self.answered = load_uint(&self.activity.table.wanted)
        thread = Thread(self.run, "halfsync-watcher")
        thread.start()
        self.thread = thread

    def forget(self, unsigned int pid):
        """Free the rows of a child of this process that has ended."""
        (<Activity> self.pinned).end_child(pid)

    def stop(self):
        """End its thread. Returns False if that is still in the application's logging (join_logging)."""
        if self.thread is None:
            return True
        self.closing = True
        add_uint(&self.activity.table.wanted, 1)
        word_wake(&self.activity.table.wanted)
        if not self.thread.join_logging(lambda: self.working):
            return False
        self.thread = None
        return True

    def run(self):
        """Do what is due, until it is stopped. It receives no signals: they are the main thread's."""
        cdef uint32_t index
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self.closing:
            with nogil:
                self.wait()
            self.working = True
            try:
                if load_uint(&self.activity.table.wanted) != self.answered and not self.closing:
                    self.write_stacks()
                for index in range(self.late_count):
                    self.log_slow(&self.late[index])
            except BaseException as error:  # noqa: BLE001 - memory may be short; other turns must be watched
                warn("the stack of a worker could not be read or logged: %s", type(error).__name__)
            self.working = False

    cdef void wait(self) noexcept nogil:
        """Wait until stacks are wanted, a turn is slow, or it is stopped."""
        cdef int64_t ns
        while True:
            ns = self.find_late()
            if self.closing or self.late_count > 0 or load_uint(&self.activity.table.wanted) != self.answered:
                return
            word_wait(&self.activity.table.wanted, self.answered, ns)

    cdef int64_t find_late(self) noexcept nogil:
        """Find the turns that are slow now and were not found before. Returns in how many ns to look again."""
        cdef int64_t now = monotonic_ns()
        cdef int64_t again = now + self.slow_ns  # a turn that begins now is not slow before that
        cdef Late *late
        cdef uint32_t index
        self.late_count = 0
        if self.slow_ns == 0:
            return LONGEST_NS
        for index in range(load_uint(&self.activity.table.used)):
            late = &self.late[self.late_count]
            if (
                activity_read(&self.activity.table.rows[index], &late.turn, &late.version) != self.pid
                or self.logged[index] == late.version
            ):
                continue
            if late.turn.since_ns + self.slow_ns > now:
                again = min(again, late.turn.since_ns + self.slow_ns)
                continue
            self.logged[index] = late.version
            late.index = index
            self.late_count += 1
            if self.late_count == LATE_MOST:
                return 0
        return max(again - now, <int64_t> 0)

    cdef bint is_over(self, ActivityRow *row, unsigned int version) noexcept nogil:
        """Return whether a turn of this process has ended."""
        return load_uint(&row.version) != version or load_uint(&row.owner) != self.pid

    cdef int write_stacks(self) except -1:
        """Write the stack of each turn of this process."""
        cdef ActivityTurn turn
        cdef unsigned int version
        cdef uint32_t index
        self.answered = load_uint(&self.activity.table.wanted)
        for index in range(load_uint(&self.activity.table.used)):
            if activity_read(&self.activity.table.rows[index], &turn, &version) == self.pid:
                self.write_stack(&self.activity.table.rows[index], &turn, version)
        return 0

    cdef int write_stack(self, ActivityRow *row, const ActivityTurn *turn, unsigned int version) except -1:
        """Write the stack of a turn, unless that has ended."""
        cdef list entries = stack_entries(turn.thread)
        cdef bytes text
        if self.is_over(row, version):
            return 0  # this may be the stack of the next turn
        text = shortened(stack_text(entries).encode("utf-8", "backslashreplace"))
        version_open(&row.stack_version)
        row.stack.turn = version
        row.stack.answers = self.answered
        row.stack.length = len(text)
        memcpy(row.stack.text, <const char *> text, len(text))
        version_close(&row.stack_version)
        return 0

    cdef int log_slow(self, const Late *late) except -1:
        """Log a slow turn, with its stack. It may have ended by the time that this thread got the GIL."""
        cdef list entries = stack_entries(late.turn.thread)
        cdef double seconds = (monotonic_ns() - late.turn.since_ns) * 1e-9
        if self.is_over(&self.activity.table.rows[late.index], late.version):
            logger().warning(
                "%s took longer than slow_request, %g s, and ended before its stack could be read: it may have kept "
                "the GIL", request_name(&late.turn.request), self.slow_s, details=request_ids(&late.turn.request))
        else:
            logger().warning(
                "%s has taken %.1f s so far (slow_request is %g s); %s is here:\n%s",
                request_name(&late.turn.request), seconds, self.slow_s, thread_name(late.turn.thread),
                stack_text(entries).rstrip(), details=request_ids(&late.turn.request))
        return 0
