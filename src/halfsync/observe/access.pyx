"""The access log: one line for each request, and the thread that writes them.

The engine and the workers format a line and append it to a buffer in memory; a separate thread writes the buffer to the
file, or sends them to a syslog. So neither waits for a slow disk or for a pipe without a reader. Lines that find no
room in the buffer, or that a full disk refuses, are dropped; the log says how many once its file takes data again.
"""

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_CLOEXEC
from posix.unistd cimport close

from halfsync.exchange.exchange cimport exchange_body_sent
from halfsync.exchange.timeline cimport timeline_waited_ns
from halfsync.http.forwarded cimport ForwardedInfo
from halfsync.http.trust cimport TrustedPeers
from halfsync.runtime.originals import os
from halfsync.log import warn
from halfsync.native.checks cimport COUNT_BUFFER, count
from halfsync.native.forks cimport forks, is_forked
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    add_llong, add_uint, load_uint, monotonic_ns, pthread_cond_destroy, pthread_cond_init, pthread_cond_signal,
    pthread_cond_wait, pthread_join, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, sleep_ns, start_thread, store_uint, swap_llong,
)
from halfsync.native.writing cimport set_errno, write_within
from halfsync.observe.access_format cimport LINE_BYTES, AccessFormat
from halfsync.observe.access_line cimport Line, line_format
from halfsync.observe.client cimport find_client
from halfsync.observe.logfile import STANDARD_OUTPUT, open_log
from halfsync.observe.syslog cimport SYSLOG_LINE_BYTES, syslog_init, syslog_write
from halfsync.runtime.output import counted
from halfsync.settings.log_kinds import FACILITY_NUMBERS, find_syslog

cdef extern from *:
    """
    #include <fcntl.h>
    #include <unistd.h>

    /* Open a file to append, which another process has made. Never waits for the reader of a pipe. */
    static int hs_log_open_again(const char *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0)
            fcntl(fd, F_SETFL, O_APPEND);
        return fd;
    }
    """
    int open_again "hs_log_open_again" (const char *path) nogil
    int dup3(int fd, int other, int flags) nogil
    int getpid() nogil

cdef enum:
    STACK_BYTES = 128 * 1024  # of the writer's thread
    PAUSE_NS = 10000000  # between the first line in an empty buffer and the write
    LOOK_NS = 100000000  # between two checks whether the log is closed, while the file takes nothing
    LAST_NS = 1000000000  # longest wait for a file that takes nothing, at the end or without a writer thread
    BUFFER_BYTES = 1024 * 1024  # of lines that wait: about 8,000


cdef void log_request(AccessLogRecord *log, Entry *entry) noexcept nogil:
    """Append a line for a request. For any thread. Never blocks on the file, if there is a writer thread."""
    cdef Line line
    cdef bint first
    entry.pid = log.pid if log.pid else getpid()
    line_format(&line, entry, log.format)
    if log.direct:
        follow_reopening(log)
        write_lines(log, line.text, line.length)
        return
    pthread_mutex_lock(&log.lock)
    first = log.length == 0
    if log.length + line.length <= BUFFER_BYTES:
        memcpy(log.lines + log.length, line.text, line.length)
        log.length += line.length
    else:
        log.dropped += 1
    pthread_mutex_unlock(&log.lock)
    if first:
        pthread_cond_signal(&log.filled)


cdef void log_exchange(
    AccessLogRecord *log, const Exchange *exchange, const uint8_t *address, int address_length, int64_t now
) noexcept nogil:
    """Append a line for an exchange that was completed or cut at `now` ns. As log_request."""
    cdef Entry entry
    cdef ForwardedInfo info
    entry.exchange = exchange
    entry.address = address
    entry.address_length = address_length
    find_client(exchange, log.trust, &info, &entry.address, &entry.address_length)
    entry.status = exchange.status
    entry.outcome = exchange.outcome.kind
    entry.reason = exchange.outcome.reason
    entry.sent = exchange_body_sent(exchange)
    entry.queue_ns = timeline_waited_ns(&exchange.timeline, now)
    entry.total_ns = now - exchange.timeline.first_byte_ns
    log_request(log, &entry)


cdef void log_unheard(
    AccessLogRecord *log, const uint8_t *address, int address_length, int status, int64_t sent, int outcome,
    const char *reason
) noexcept nogil:
    """Append a line for a peer that was refused before any byte of its request was received. As log_request."""
    cdef Entry entry
    memset(&entry, 0, sizeof(entry))
    entry.address = address
    entry.address_length = address_length
    entry.status = status
    entry.sent = sent
    entry.outcome = outcome
    entry.reason = reason
    log_request(log, &entry)


cdef bint is_ended(AccessLogRecord *log) noexcept nogil:
    cdef bint ended
    pthread_mutex_lock(&log.lock)
    ended = log.ended
    pthread_mutex_unlock(&log.lock)
    return ended


cdef size_t write_some(AccessLogRecord *log, const char *data, size_t length, int64_t patience_ns) noexcept nogil:
    """Write, and wait for room at most this long. Returns how many bytes were taken; errno: why not all were."""
    cdef long long lost = 0
    cdef size_t done
    cdef int error
    if log.syslog == NULL:
        return write_within(log.fd, data, length, patience_ns)
    done = syslog_write(log.syslog, log.fd, log.pid if log.pid else getpid(), data, length, patience_ns, &lost)
    if lost > 0:
        error = errno
        add_llong(&log.losses.lines, lost)
        set_errno(error)
    return done


cdef size_t write_all(AccessLogRecord *log, const char *data, size_t length) noexcept nogil:
    """Write to a file that may be slow. Returns the number of bytes that it took; if not all, it refuses the rest.

    If the file takes nothing, the writer thread waits until the log is closed, and LAST_NS longer. Without a writer
    thread, the caller waits LAST_NS once, and not again until the file has taken data.
    """
    cdef size_t done = 0
    cdef int64_t until = 0
    if log.direct:
        done = write_some(log, data, length, 0 if load_uint(&log.losses.stalled) else LAST_NS)
        store_uint(&log.losses.stalled, done < length and errno == EAGAIN)
        return done
    while True:
        done += write_some(log, data + done, length - done, LOOK_NS)
        if done == length or errno != EAGAIN:
            return done
        if until == 0 and is_ended(log):
            until = monotonic_ns() + LAST_NS
        if 0 < until <= monotonic_ns():
            return done


cdef bint write_losses(AccessLogRecord *log) noexcept nogil:
    """Write how many lines were dropped, if any. Return False if the file does not take that note either."""
    cdef char note[128]
    cdef int length
    cdef size_t done
    cdef long long lines = swap_llong(&log.losses.lines, 0)
    if lines == 0:
        return True
    length = snprintf(
        note, sizeof(note), b"%shalfsync: %lld %s dropped: %s was too slow or refused %s\n",
        <const char *> (b"\n" if load_uint(&log.losses.torn) else b""), lines,
        <const char *> (b"line was" if lines == 1 else b"lines were"),
        <const char *> (b"this file" if log.syslog == NULL else b"the syslog"),
        <const char *> (b"it" if lines == 1 else b"them"))
    done = write_all(log, note, length)
    if done == <size_t> length:
        store_uint(&log.losses.torn, 0)
        return True
    if done > 0:
        store_uint(&log.losses.torn, 1)
    add_llong(&log.losses.lines, lines)
    return False


cdef void follow_reopening(AccessLogRecord *log) noexcept nogil:
    """Reopen the file if another process that writes to it has done so. If that fails, keep the open one.

    For processes that were forked with the log, as in the model `process`.
    """
    cdef unsigned int seen = load_uint(&log.losses.reopenings)
    cdef int fd
    if seen == log.reopenings or log.path == NULL:
        return
    log.reopenings = seen
    fd = open_again(log.path)
    if fd >= 0:
        dup3(fd, log.fd, O_CLOEXEC)
        close(fd)


cdef void write_lines(AccessLogRecord *log, const char *lines, size_t length) noexcept nogil:
    """Write whole lines. Lines that the file refuses are counted, and reported before the next ones."""
    cdef size_t done = 0
    cdef size_t position
    cdef long long lost = 0
    if write_losses(log):
        done = write_all(log, lines, length)
    if done == length:
        return
    if done > 0:
        store_uint(&log.losses.torn, lines[done - 1] != b"\n")
    for position in range(done, length):
        lost += lines[position] == b"\n"
    add_llong(&log.losses.lines, lost)


cdef void *run(void *log_) noexcept nogil:
    """Run the writer thread: take the lines in the buffer, write them, and wait for more, until the end."""
    cdef AccessLogRecord *log = <AccessLogRecord *> log_
    cdef char *taken
    cdef size_t length
    cdef uint64_t dropped
    cdef bint ended = False
    while not ended:
        pthread_mutex_lock(&log.lock)
        while log.length == 0 and not log.ended:
            pthread_cond_wait(&log.filled, &log.lock)
        ended = log.ended
        if not ended:
            pthread_mutex_unlock(&log.lock)
            sleep_ns(PAUSE_NS)  # collects a few more lines for one write
            pthread_mutex_lock(&log.lock)
            ended = log.ended
        taken = log.lines
        log.lines = log.writing
        log.writing = taken
        length = log.length
        dropped = log.dropped
        log.length = log.dropped = 0
        pthread_mutex_unlock(&log.lock)
        write_lines(log, taken, length)
        if dropped > 0:
            add_llong(&log.losses.lines, <long long> dropped)
            write_losses(log)
    return NULL


cdef class AccessLog:
    """An access log to a file, to standard output for "-", or to a syslog. Closed by its owner once no thread logs."""

    def __cinit__(self, *_args, **_kwargs):
        memset(&self.log, 0, sizeof(self.log))
        self.log.fd = -1

    def __init__(self, settings, int fd, bint direct=False, TrustedPeers trusted=None):
        """Write to a copy of this descriptor, in a thread that is started now. Raises OSError if descriptors are short.

        direct: there is no writer thread, and each line is written when it is logged; for processes that must start no
        thread, but may be forked. trusted: the peers whose forwarded fields are believed.
        """
        self.target = settings.access_log
        self.log.losses = <Losses *> map_shared(sizeof(Losses))
        if self.log.losses == NULL:
            raise MemoryError
        self.set_up(settings, trusted)
        self.log.direct = direct
        self.log.pid = 0 if direct else getpid()
        self.log.fd = os.dup(fd)
        if direct:
            return
        self.log.lines = <char *> malloc(BUFFER_BYTES)
        self.log.writing = <char *> malloc(BUFFER_BYTES)
        if self.log.lines == NULL or self.log.writing == NULL:
            raise MemoryError
        count(COUNT_BUFFER, 2)
        pthread_mutex_init(&self.log.lock, NULL)
        pthread_cond_init(&self.log.filled, NULL)
        if start_thread(&self.log.thread, run, &self.log, b"halfsync-log", STACK_BYTES) != 0:
            raise RuntimeError("the access log's thread cannot be started")
        self.running = True
        self.forks = forks[0]

    cdef int set_up(self, object settings, TrustedPeers trusted) except -1:
        """Set what does not change, from the settings."""
        cdef AccessFormat form
        cdef bytes path, host
        syslog = find_syslog(self.target)
        form = AccessFormat(settings.log_format, LINE_BYTES if syslog is None else SYSLOG_LINE_BYTES)
        self.log.format = &form.format
        if trusted is not None:
            self.log.trust = &trusted.trust
        path = os.fsencode(self.target if syslog is None else syslog.path)
        self.pinned = (form, trusted, path)
        if syslog is not None:
            host = os.fsencode(os.uname().nodename)
            syslog_init(
                &self.syslog, bool(syslog.path), FACILITY_NUMBERS[settings.syslog_facility], path, host)
            self.log.syslog = &self.syslog
        elif self.target != STANDARD_OUTPUT:
            self.log.path = path
        return 0

    def reopen(self):
        """Reopen the file by its name, or connect to the syslog again. If it raises OSError, what is open is kept.

        Forked processes that write to the file do the same with their next line.
        """
        cdef int fd
        if self.target == STANDARD_OUTPUT:
            return
        fd = open_log(self.target)
        os.dup2(fd, self.log.fd, inheritable=False)
        os.close(fd)
        self.log.reopenings = 1 + add_uint(&self.log.losses.reopenings, 1)

    def close(self):
        """Write what is left, and end. Losses that the file could not report go to the server's log."""
        cdef long long lost
        self.end()
        if self.log.losses != NULL:
            lost = swap_llong(&self.log.losses.lines, 0)
            if lost > 0:
                warn("the access log lost %s at its end: they were refused", counted(lost, "line", "lines"))

    cdef void end(self) noexcept:
        """Let the writer thread write what is left, and wait for its end."""
        if not self.running or is_forked(self.forks):  # a forked process does not have the thread
            return
        self.running = False
        pthread_mutex_lock(&self.log.lock)
        self.log.ended = True
        pthread_mutex_unlock(&self.log.lock)
        pthread_cond_signal(&self.log.filled)
        with nogil:
            pthread_join(self.log.thread, NULL)
        pthread_cond_destroy(&self.log.filled)
        pthread_mutex_destroy(&self.log.lock)

    def __dealloc__(self):
        self.end()
        if self.log.lines != NULL:
            free(self.log.lines)
            free(self.log.writing)
            count(COUNT_BUFFER, -2)
        if self.log.fd >= 0:
            os.close(self.log.fd)
        unmap_shared(self.log.losses, sizeof(Losses))
