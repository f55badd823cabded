"""Worker threads whose turns have a deadline, and the monitor that attends to those that are stuck.

If turns have a deadline (request_timeout), a worker holds its request by a lease, which the engine may revoke while the
application has the thread (engine/lease.pyx). The monitor, a separate thread, then logs where that thread is, and
starts another in its place; the old one ends when the application returns. The monitor also logs the refusals of the
engine, which cannot log them itself (observe/refusals.pyx).
"""
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from halfsync.engine.lease cimport LeasedRequest, lease_begin, lease_is_revoked
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.native.sync cimport sem_post, sem_wait
from halfsync.observe.watcher cimport stack_entries, stack_text
from halfsync.pool.request_queue cimport queue_count_in, queue_count_new, queue_count_out

from halfsync.log import ids_text, logger, warn
from halfsync.native.system import Mutex
from halfsync.runtime.threads import Thread

cdef extern from *:
    """
    static __thread void *hs_own_lease;  /* of the calling worker thread; NULL: it has none yet */
    static inline void *hs_get_lease(void) { return hs_own_lease; }
    static inline void hs_set_lease(void *lease) { hs_own_lease = lease; }
    """
    void *get_lease "hs_get_lease" () nogil
    void set_lease "hs_set_lease" (void *lease) nogil

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()


cdef class MonitoredThreads(WorkerThreads):
    """Worker threads that take requests. The subclass says what a turn does."""

    def __init__(self, int threads, *, queue_size, name, bint patient=False):
        super().__init__(threads, queue_size=queue_size, name=name, patient=patient)
        self.available = threads
        self.capacity_lock = Mutex()

    def __dealloc__(self):
        cdef Lease *lease
        while self.leases != NULL:
            lease = self.leases
            self.leases = lease.next
            free(lease)

    cdef Lease *begin_lease(self, Request *request, int64_t now, Taker *taker) noexcept:
        """Begin the lease of a turn, before the worker owns its request. It is held. NULL: memory is short."""
        cdef Lease *lease = self.lease_of_thread()
        request.lease = lease
        if lease != NULL:
            lease_begin(lease, now, request.exchange)
            lease.taker = taker
            request.lease_serial = lease.serial
        return lease

    cdef Lease *lease_of_thread(self) noexcept:
        """Return the lease of the calling thread, a worker of this pool. NULL: memory is short."""
        cdef Lease *lease = <Lease *> get_lease()
        if lease != NULL:
            return lease
        lease = self.spare
        if lease != NULL:
            self.spare = lease.next_spare
        else:
            lease = <Lease *> calloc(1, sizeof(Lease))
            if lease == NULL:
                return NULL
            lease.next = self.leases
            self.leases = lease
        lease.thread = PyThread_get_thread_ident()
        set_lease(lease)
        return lease

    def start_monitor(self):
        """Start the thread that handles stuck threads and logs refusals. RuntimeError: the system refuses it."""
        if self.limit_s > 0 or self.refusals is not None:
            monitor_thread = Thread(self.run_monitor, "halfsync-monitor")
            monitor_thread.start()
            self.monitor_thread = monitor_thread

    def stop_monitor(self):
        """End the monitor. Returns False if it is still in the application's logging (join_logging)."""
        self.closing = True
        if self.monitor_thread is not None:
            sem_post(&self.engine.monitor_wakeup)
            if not self.monitor_thread.join_logging(lambda: self.monitoring):
                return False
            self.monitor_thread = None
        return True

    def run_monitor(self):
        """Replace and log each thread whose turn the engine has ended, and log each refusal, as it happens."""
        cdef Lease *lease
        cdef int64_t since
        while True:
            with nogil:
                while sem_wait(&self.engine.monitor_wakeup) != 0 and errno == EINTR:
                    pass
                since = gate_enter(self.gate)
            gate_leave(self.gate, since)
            if self.closing:
                return
            self.monitoring = True
            lease = self.leases
            while lease != NULL:
                if lease_is_revoked(lease) and not lease.reported:
                    try:
                        self.replace(lease)
                    except BaseException as error:  # noqa: BLE001 - the monitor must survive, for the next stuck thread
                        warn("a stuck thread could not be replaced or logged: %s", type(error).__name__)
                lease = lease.next
            if self.refusals is not None:
                self.refusals.log_notes()
            self.monitoring = False

    cdef int count_stuck(self, int change) except -1:
        """Count a thread that is stuck (1) or has returned (-1). The caller holds `capacity_lock`."""
        self.stuck += change
        if self.scoreboard_slot is not None:
            self.scoreboard_slot.stuck = self.stuck
        return 0

    cdef int count_missing(self):
        """Return how many threads are missing, of those that max_stuck allows. The caller holds `capacity_lock`.

        It counts threads, and does not record which thread replaces which stuck one. So the order in which threads
        become stuck, are replaced and return does not matter.
        """
        return self.size - max(0, self.stuck - self.max_stuck) - self.available

    cdef str name_of(self, unsigned long thread):
        """Return the name of the thread with this identifier."""
        return next((one.name for one in self._threads if one.ident == thread), "a thread")

    cdef int replace(self, Lease *lease) except -1:
        """Count out a newly stuck thread, log its stack, and start another thread if one is missing."""
        cdef LeasedRequest request
        where = self.name_of(lease.thread), stack_text(stack_entries(lease.thread))
        with self.capacity_lock:
            if lease.reported or not lease_is_revoked(lease):
                return 0
            lease.reported = True
            request = lease.request
            queue_count_out(&self.queue, <Taker *> lease.taker)
            self.count_stuck(1)
            self.available -= 1
            fate = "another thread takes its place"
            if self.count_missing() <= 0:
                fate = f"no thread takes its place, since max_stuck is {self.max_stuck}"
            else:
                try:
                    self.drop_ended()
                    self.add_thread()
                    self.available += 1
                    queue_count_new(&self.queue)
                except Exception as error:  # noqa: BLE001 - it must be counted and logged in any case
                    fate = f"no thread takes its place: {error or type(error).__name__}"
        report_stuck(&request, self.limit_s, where, fate)
        return 0

    cdef int return_late(self, Lease *lease) except -1:
        """Return from a turn that the engine has ended. Returns 1 if this thread must end: there are enough others.
        """
        with self.capacity_lock:
            if lease.reported:
                self.count_stuck(-1)
                if self.count_missing() > 0:
                    self.available += 1
                    queue_count_in(&self.queue)
                    return 0
                lease.next_spare = self.spare
                self.spare = lease
                set_lease(NULL)
                return 1
            lease.reported = True  # before the monitor does: there is nothing to replace
        report_stuck(
            &lease.request, self.limit_s, (self.name_of(lease.thread), ""), "it returned before its stack was read")
        return 0


cdef int report_stuck(const LeasedRequest *request, double limit_s, tuple where, str fate) except -1:
    """Log that a request passed its deadline. where: name and stack of its thread. fate: what becomes of the thread."""
    name, stack = where
    text = request.text[:request.text_length].decode("latin-1")
    ids = {
        "request_id": request.id[:request.id_length].decode("ascii"),
        "trace_id": request.trace[:request.trace_length].decode("ascii"),
    }
    logger().error(
        "%s%s took longer than request_timeout, %g s, in %s: %s%s", text, ids_text(ids), limit_s, name, fate,
        f"; it is here:\n{stack.rstrip()}" if stack else "", details=ids)
    return 0
