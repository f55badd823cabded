"""Threads, and waiting, in C: an application that changes the modules threading and select has no effect here."""
from libc.errno cimport EAGAIN, EINTR, ETIMEDOUT, errno
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from halfsync.native.descriptors cimport LOW_END as C_LOW_END, LOW_OURS as C_LOW_OURS
from halfsync.native.poll cimport POLLIN, poll, pollfd
from halfsync.native.sync cimport (
    monotonic_ns, pthread_mutex_destroy, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, sem_destroy,
    sem_init, sem_post, sem_t,
)
from halfsync.amounts import LONGEST_S

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil
    unsigned long PyThread_start_new_thread(void (*run)(void *) noexcept nogil, void *argument) noexcept
    const unsigned long PYTHREAD_INVALID_THREAD_ID

cdef extern from "<sys/resource.h>" nogil:
    ctypedef unsigned long rlim_t
    struct rlimit:
        rlim_t rlim_cur
        rlim_t rlim_max
    const int RLIMIT_NOFILE
    int getrlimit(int resource, rlimit *limit)
    int setrlimit(int resource, const rlimit *limit)

cdef extern from *:
    """
    #include <errno.h>
    #include <semaphore.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    static void hs_init_recursive(pthread_mutex_t *mutex) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }

    /* The system's text for an error, in English: strerror(3) follows the locale. Since glibc 2.32. */
    extern const char *strerrordesc_np(int number) __attribute__((weak));
    static const char *hs_reason(int number) {
        const char *text = strerrordesc_np ? strerrordesc_np(number) : NULL;
        return text ? text : strerror(number);
    }

    static int hs_is_first_thread(void) { return syscall(SYS_gettid) == getpid(); }

    /* Take a semaphore, at most until `deadline` (monotonic); negative: no limit. Returns 0, or -1 (errno). */
    static int hs_sem_take(sem_t *semaphore, int64_t deadline) {
        struct timespec until;
        if (deadline < 0)
            return sem_wait(semaphore);
    #if defined(__GLIBC__) && __GLIBC_PREREQ(2, 30)
        until.tv_sec = deadline / 1000000000;
        until.tv_nsec = deadline % 1000000000;
        return sem_clockwait(semaphore, CLOCK_MONOTONIC, &until);
    #else
        int64_t left = deadline - hs_monotonic_ns();
        if (left <= 0) {
            if (sem_trywait(semaphore) == 0)
                return 0;
            errno = ETIMEDOUT;
            return -1;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        left += until.tv_nsec;
        until.tv_sec += left / 1000000000;
        until.tv_nsec = left % 1000000000;
        return sem_timedwait(semaphore, &until);
    #endif
    }
    """
    void init_recursive "hs_init_recursive" (pthread_mutex_t *mutex) nogil
    int sem_trywait(sem_t *semaphore) nogil
    bint is_first_thread "hs_is_first_thread" () nogil
    const char *english_reason "hs_reason" (int number) nogil
    const char *strerror(int number) nogil
    int sem_take "hs_sem_take" (sem_t *semaphore, int64_t deadline) nogil

LOW_OURS, LOW_END = C_LOW_OURS, C_LOW_END


cdef int64_t deadline_after(timeout) except? -2:
    """Return the time this many seconds from now, on the monotonic clock in ns; -1: never."""
    if timeout is None or timeout > LONGEST_S:
        return -1
    return monotonic_ns() + <int64_t> (max(0.0, timeout) * 1e9)


def readable(descriptors, timeout=None):
    """Wait until one of these descriptors can be read, at most `timeout` seconds, and return those that can.

    Uses poll(2): select(2) cannot name a descriptor above 1023, and an embedding program may have that many. Signal
    handlers run in between, and the wait continues.
    """
    cdef list watched = list(descriptors)
    cdef Py_ssize_t number = len(watched), position
    cdef int64_t deadline = deadline_after(timeout), left
    cdef int milliseconds, ready
    cdef pollfd *entries = <pollfd *> malloc(max(number, 1) * sizeof(pollfd))
    if entries == NULL:
        raise MemoryError
    try:
        for position in range(number):
            entries[position].fd = watched[position]
            entries[position].events = POLLIN
            entries[position].revents = 0
        while True:
            milliseconds = -1
            if deadline >= 0:
                left = max(<int64_t> 0, deadline - monotonic_ns())
                milliseconds = <int> min((left + 999999) // 1000000, <int64_t> INT_MAX)
            with nogil:
                ready = poll(entries, number, milliseconds)
            if ready > 0 or (ready == 0 and monotonic_ns() >= deadline >= 0):
                return [watched[position] for position in range(number) if entries[position].revents] if ready else []
            if ready < 0 and errno not in (EINTR, EAGAIN):
                raise OSError(errno, "poll failed")
            PyErr_CheckSignals()
    finally:
        free(entries)


cdef class Semaphore:
    """A semaphore for threads of the system. Any thread may call its methods."""

    cdef sem_t semaphore

    def __cinit__(self, unsigned int value):
        sem_init(&self.semaphore, 0, value)

    def __dealloc__(self):
        sem_destroy(&self.semaphore)

    def acquire(self, timeout=None):
        """Take a permit, waiting at most `timeout` seconds. False: there was none in time. Signal handlers run."""
        cdef int64_t deadline
        cdef int result
        if sem_trywait(&self.semaphore) == 0:
            return True
        deadline = deadline_after(timeout)
        while True:
            with nogil:
                result = sem_take(&self.semaphore, deadline)
            if result == 0:
                return True
            if errno == ETIMEDOUT:
                return False
            PyErr_CheckSignals()

    def release(self):
        """Give a permit back."""
        sem_post(&self.semaphore)


cdef class Mutex:
    """A lock for threads of the system, as a context manager. The thread that holds it may take it again."""

    cdef pthread_mutex_t mutex

    def __cinit__(self):
        init_recursive(&self.mutex)

    def __dealloc__(self):
        pthread_mutex_destroy(&self.mutex)

    def __enter__(self):
        with nogil:
            pthread_mutex_lock(&self.mutex)
        return self

    def __exit__(self, *_exc_info):
        pthread_mutex_unlock(&self.mutex)


cdef void live(void *argument) noexcept nogil:
    """Run a new thread: call the function that was given to it."""
    with gil:
        call(<PyObject *> argument)


cdef void call(PyObject *given) noexcept:
    """Call a function. An exception is printed, since there is no caller to handle it."""
    function = <object> given
    Py_DECREF(function)
    function()


def start_thread(function):
    """Call a function in a new thread that Python's threading does not know. RuntimeError: the system refuses a thread.

    The interpreter must not end before the thread runs: the caller must wait for that.
    """
    Py_INCREF(function)
    if PyThread_start_new_thread(live, <void *> function) == PYTHREAD_INVALID_THREAD_ID:
        Py_DECREF(function)
        raise RuntimeError("can't start new thread")


def raise_descriptor_limit(rlim_t wanted):
    """Raise the limit on open descriptors to `wanted`, as far as the system allows it. Returns the limit.

    Does not use Python's module `resource`, since applications often have a module of that name.
    """
    cdef rlimit limit
    if getrlimit(RLIMIT_NOFILE, &limit) == 0 and limit.rlim_cur < wanted:  # "unlimited" is the largest number
        limit.rlim_cur = min(wanted, limit.rlim_max)
        setrlimit(RLIMIT_NOFILE, &limit)
    if getrlimit(RLIMIT_NOFILE, &limit) != 0:
        raise OSError(errno, "the limit on descriptors cannot be read")
    return limit.rlim_cur


def get_ident():
    """Return the identifier of the calling thread, as in threading: not that of a greenlet."""
    return PyThread_get_thread_ident()


def reason_in_english(int number, text):
    """Return the system's text for an error in English, if `text` is its text in the locale's language; else `text`."""
    if text != strerror(number).decode("utf-8", "replace"):
        return text
    return english_reason(number).decode("ascii", "replace")


def in_main_thread():
    """Return whether the calling thread is the process's first one, to which Python delivers signals."""
    return is_first_thread()
