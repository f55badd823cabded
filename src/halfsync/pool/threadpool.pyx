"""Threads made in advance that run jobs from a bounded queue.

`WorkerThreads` is the machinery: threads, the queue, and the rule that a worker keeps the GIL while the queue
has work for it, and gives it up only to sleep. `ThreadPool` is the public pool of plain jobs on top of it; the
workers of the proactor model are its other user. Neither knows sockets or models.
"""
from contextlib import suppress
from dataclasses import dataclass

from libc.stdint cimport int64_t
from libc.string cimport memset

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from halfsync.native.counting cimport count_shared, counted
from halfsync.native.forks cimport copies, end_process, exit_forked_copy, forks, is_forked, is_forked_copy
from halfsync.native.gate cimport gate_enter, gate_leave, gate_open
from halfsync.native.sync cimport monotonic_ns
from halfsync.pool.request_queue cimport (
    TAKEN_CLOSED, TAKEN_ITEM, queue_close, queue_destroy, queue_init, queue_length, queue_put, queue_sleep,
    queue_try_take, queue_wake,
)

from halfsync.amounts import count, seconds
from halfsync.runtime.originals import monotonic
from halfsync.runtime.threads import Thread, report

cdef enum:
    THREADS_MOST = 1 << 15  # by default the system has no more thread numbers
    QUEUE_MOST = 1 << 24


@dataclass(frozen=True, slots=True)
class ThreadPoolStatistics:
    """What a pool has done up to one moment."""

    queued: int  # jobs that wait now
    running: int  # jobs under way now
    done: int  # jobs that returned
    refused: int  # jobs that append did not take, because the queue was full or closed
    failed: int  # jobs that raised
    waited: float  # seconds that jobs spent in the queue, summed over all that were taken from it


cdef class WorkerThreads:
    """Threads that take items from one queue, one item a turn. One owner makes and closes them.

    patient: the owner calls queue_check, as a patient queue needs.
    """

    def __init__(self, threads, *, queue_size, name, bint patient=False):
        threads = count(threads, "threads", 1, THREADS_MOST)
        queue_size = count(queue_size, "queue_size", 1, QUEUE_MOST)
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if self.queue.slots != NULL:
            raise RuntimeError("these threads were made already")
        self.own_running = 0
        self.running = &self.own_running
        self.began, self.forks = copies[0], forks[0]
        self.size = threads
        self.name = str(name)
        self._threads = []
        if queue_init(&self.queue, queue_size, patient) < 0:
            raise MemoryError

    def __dealloc__(self):
        if self.queue.slots != NULL and not is_forked(self.forks):  # in a fork, a missing thread may hold the lock
            self.empty()
            queue_destroy(&self.queue)

    cdef int turn(self, QueueSlot *slot, Taker *taker) except -1:
        """Do what one item asks for. An exception is reported and counted as failed; the thread continues.

        taker: of the calling thread. Returns 0, or 1 if the thread must end because another one has taken its place.
        """
        raise NotImplementedError

    cdef void discard(self, void *item) noexcept:
        """Release an item that no thread will take. Also called while the object is freed."""

    cdef void measure(self, SlotMetrics *metrics, bint turns) noexcept:
        """Show the queue and the threads in these metrics, and how long they wait for the GIL. Before the start.

        turns: a turn of theirs is one of the application.
        """
        metrics.gauges.threads = self.size
        self.queue.gauge = &metrics.gauges.queue
        if turns:
            self.running = &metrics.gauges.busy
        gate_open(&self.own_gate, 0)
        self.own_gate.waits = &metrics.gil_wait
        self.gate = &self.own_gate

    cdef void empty(self) noexcept:
        """Discard what is left in the queue. No thread may be left that could take it."""
        cdef QueueSlot slot
        cdef Taker taker
        memset(&taker, 0, sizeof(taker))
        queue_close(&self.queue)
        while queue_try_take(&self.queue, &taker, &slot) == TAKEN_ITEM:
            self.discard(slot.item)

    def start(self):
        """Start the threads. Raises RuntimeError if the system refuses one; those already started then end."""
        self.began, self.forks = copies[0], forks[0]
        try:
            for _ in range(self.size):
                self.add_thread()
        except BaseException:
            self.close(None)
            raise

    cdef int add_thread(self) except -1:
        """Start another thread. Raises RuntimeError if the system refuses it."""
        thread = Thread(self._work, f"{self.name}-{self._started + 1}")
        thread.start()
        self._started += 1
        self._threads.append(thread)
        return 0

    cdef int drop_ended(self) except -1:
        """Drop the threads that have ended."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return 0

    def _work(self):
        """Take items and run their turns until the queue is closed and empty. Runs in each worker thread.

        A copy of the process that a turn has forked ends here: the original takes what waits in the queue.
        """
        cdef QueueSlot slot
        cdef Taker taker
        cdef int taken
        cdef int64_t since
        memset(&taker, 0, sizeof(taker))
        while True:
            exit_forked_copy(self.began)
            taken = queue_try_take(&self.queue, &taker, &slot)
            if taken == TAKEN_ITEM:
                count_shared(self.running, 1)
                try:
                    if self.turn(&slot, &taker):
                        return
                    self._done += 1
                except BaseException as error:  # noqa: BLE001 - a job may raise anything; the thread must outlive it
                    if is_forked_copy(self.began):
                        end_process(error)
                    self._failed += 1
                    with suppress(BaseException):  # memory may be too short for the call
                        report(error, self.name)
                finally:
                    count_shared(self.running, -1)
            elif taken == TAKEN_CLOSED:
                return
            else:
                with nogil:
                    queue_sleep(&self.queue, &taker)
                    since = gate_enter(self.gate)
                gate_leave(self.gate, since)

    cdef bint only_caller_left(self):
        """Return whether close waits only for its own caller, which is one of the threads."""
        return len(self._threads) == 1 and self._threads[0].is_current

    def close(self, timeout=None):
        """Refuse further items, let the threads finish what is queued, and join them.

        timeout: seconds for all threads together, as `amounts.seconds` returns them. None waits without limit, but
        not if one of the threads itself calls: two that close their own pool would wait for each other for ever.
        Returns True if every thread has ended, False if time ran out first. Calling again continues the wait, also
        after a signal handler has raised.
        """
        deadline = None if timeout is None else monotonic() + timeout
        if is_forked(self.forks):
            return True  # a fork has none of the threads
        queue_close(&self.queue)
        if deadline is not None or not any(thread.is_current for thread in self._threads):
            for thread in list(self._threads):  # a copy, since another caller may replace the list
                if not thread.is_current:
                    thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
        self.drop_ended()
        if not self._threads:
            self.empty()  # threads that were killed from outside leave items behind
        return not self._threads


cdef class JobThreads(WorkerThreads):
    """The threads of a `ThreadPool`. They hold this, not the pool, so that a forgotten pool is collected."""

    cdef int turn(self, QueueSlot *slot, Taker *taker) except -1:
        job = <object> <PyObject *> slot.item
        Py_DECREF(job)
        job()
        return 0

    cdef void discard(self, void *item) noexcept:
        Py_DECREF(<object> <PyObject *> item)


cdef class ThreadPool:
    """A bounded pool of threads for plain jobs: callables without arguments, run first in, first out.

    Any thread may call any method. As a context manager it closes on exit, and waits for what is queued. A pool that is
    collected without having been closed ends its threads once they have run what is queued; one that still exists when
    the interpreter ends does not run it.

    A process that was forked since has none of the threads, whatever forked it. There `append` takes nothing and
    returns False, `close` has nothing to wait for and returns True, and `statistics` raises RuntimeError.
    """

    def __init__(self, threads, *, queue_size=1024, name="pool"):
        """Start `threads` threads (1 to 32768) over a queue for `queue_size` jobs (1 to 16777216).

        name: prefix of the threads' names, before a number. Raises TypeError for sizes that are not integers,
        ValueError for sizes out of range, and RuntimeError if the system refuses a thread; then no thread is left.
        """
        cdef JobThreads workers
        if self._workers is not None:
            raise RuntimeError("this pool was made already")
        workers = JobThreads(threads, queue_size=queue_size, name=name)
        workers.start()
        self._workers = workers

    def __del__(self):
        if self._workers is not None and not is_forked(self._workers.forks):
            queue_close(&self._workers.queue)

    @property
    def size(self):
        """Threads made in advance."""
        return self._made().size

    @property
    def name(self):
        """Prefix of the threads' names."""
        return self._made().name

    cdef JobThreads _made(self):
        if self._workers is None:
            raise RuntimeError("ThreadPool.__init__ was not called")
        return self._workers

    def append(self, job):
        """Put a job at the end of the queue. Returns False at once if the queue is full or the pool is closed.

        job: a callable without arguments; its result is dropped. What it raises goes to threading.excepthook
        and is counted as failed. Raises TypeError if it cannot be called.
        """
        cdef JobThreads threads = self._made()
        if not callable(job):
            raise TypeError(f"a job must be callable, not {type(job).__name__}")
        if is_forked(threads.forks):
            return False
        Py_INCREF(job)
        if queue_put(&threads.queue, <void *> job, monotonic_ns(), 0) < 0:
            Py_DECREF(job)
            return False
        queue_wake(&threads.queue)
        return True

    def close(self, timeout=None):
        """Take no more jobs, let the threads run what is queued, and join them.

        timeout: seconds for all threads together, any real number. None, infinity and more than thirty years wait
        without limit, but not if a job of this pool calls, because it would wait for itself; a negative number does
        not wait. Returns True if every thread has ended, False if time ran out first. Calling again continues the
        wait, also after an exception such as KeyboardInterrupt has ended it. Raises TypeError for a timeout that is not
        a number, and ValueError for NaN; then nothing has changed.
        """
        return self._made().close(seconds(timeout))

    def statistics(self):
        """Return a frozen `ThreadPoolStatistics`. Raises RuntimeError if another process made the pool."""
        cdef JobThreads threads = self._made()
        if is_forked(threads.forks):  # a thread that is missing here may hold the queue's lock
            raise RuntimeError("this pool belongs to the process that made it, from which this one was forked")
        return ThreadPoolStatistics(
            queued=queue_length(&threads.queue), running=counted(threads.running), done=threads._done,
            refused=threads.queue.refused, failed=threads._failed, waited=threads.queue.waited_ns / 1e9,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        self.close()
