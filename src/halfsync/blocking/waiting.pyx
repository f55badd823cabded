# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The one place where a thread that serves a connection blocks: in poll(2), until a monotonic deadline.

It is called without the GIL. Besides the socket it watches the wakeup pipes (`wakeups.pyx`), and, while the connection
idles, the eviction descriptor: in the pool it says that other connections wait for this thread, and in a forked child
it carries its signals.
"""
from libc.errno cimport EINTR, errno
from libc.string cimport memset
from posix.unistd cimport read

from halfsync.blocking.records cimport has_sigterm
from halfsync.native.poll cimport POLLIN, POLLOUT, poll, poll_ms, pollfd
from halfsync.native.sync cimport add_uint, load_uint, monotonic_ns, sub_uint
from halfsync.pool.request_queue cimport queue_is_short
from halfsync.shared.command cimport COMMAND_STOP
from halfsync.transport.transport cimport WANT_WRITE, transport_pending

cdef int64_t SLICE_NS = 2000000  # the longest wait on an idle connection while others wait for its thread


cdef bint others_wait(DriverRecord *driver) noexcept nogil:
    """Tell whether connections wait for a thread and none is free."""
    return driver.waiting != NULL and queue_is_short(driver.waiting)


cdef bint eviction_requested(DriverRecord *driver) noexcept nogil:
    """Tell whether to give up the idle connection. In the pool a request is for one thread, and may come late."""
    cdef unsigned long long number
    cdef unsigned char signals[64]
    if driver.waiting == NULL:
        read(driver.eviction_fd, signals, sizeof(signals))
        return has_sigterm(driver)
    return read(driver.eviction_fd, &number, sizeof(number)) > 0 and others_wait(driver)


cdef int wait(
    DriverRecord *driver, Transport *transport, int want, int64_t deadline, bint watch_drain, bint watch_eviction
) noexcept nogil:
    """Wait until a connection is ready, and check it at least once. Returns a WaitResult.

    want: what the transport waits for: WANT_WRITE, or anything else for bytes to receive. watch_drain: watch the pipe
    that signals a drain or a hand-off. watch_eviction: watch for others that wait for this thread.
    """
    cdef pollfd watched[4]
    cdef int count = 4 if watch_drain or watch_eviction else 2
    cdef int happened
    memset(watched, 0, sizeof(watched))
    if want != WANT_WRITE and transport_pending(transport) > 0:
        return WAIT_READY
    watched[0].fd = transport.fd
    watched[0].events = POLLOUT if want == WANT_WRITE else POLLIN
    watched[1].fd = driver.stop_fd
    watched[2].fd = driver.drain_fd if watch_drain else -1
    watched[3].fd = driver.eviction_fd if watch_eviction else -1
    watched[1].events = watched[2].events = watched[3].events = POLLIN
    while True:
        happened = poll(watched, count, poll_ms(deadline - monotonic_ns()))
        if happened < 0:
            if errno == EINTR:
                continue
            return WAIT_STOPPED
        if watched[0].revents:
            return WAIT_READY
        if watched[1].revents:
            if load_uint(&driver.shared.command) == COMMAND_STOP:
                return WAIT_STOPPED
            watched[1].fd = -1  # no command: the parent is dead, and requests under way can be finished
        if watched[2].revents:
            return WAIT_WOKEN
        if watched[3].revents and eviction_requested(driver):
            return WAIT_WOKEN
        if happened == 0 and monotonic_ns() >= deadline:
            return WAIT_TIMEOUT


cdef int wait_idle(
    DriverRecord *driver, Transport *transport, int want, int64_t deadline, bint watch_drain
) noexcept nogil:
    """Wait for bytes on an idle connection, only briefly if others wait for its thread. Returns a WaitResult.

    want: as for `wait`. It counts itself as a watcher before it checks whether others wait: one that comes after that
    check finds it counted, and requests an eviction.
    """
    cdef int waited
    add_uint(&driver.idle_watchers, 1)
    if others_wait(driver):
        deadline = min(deadline, monotonic_ns() + SLICE_NS)
    waited = wait(driver, transport, want, deadline, watch_drain, True)
    sub_uint(&driver.idle_watchers, 1)
    return waited
