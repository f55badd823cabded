"""The access log: one line for each request, in the combined format or as JSON.

The engine and the workers format a line and append it to a buffer in memory; a separate thread writes the buffer to the
file. So neither waits for a slow disk or for a pipe without a reader. Lines that find no room in the buffer, or that a
full disk refuses, are dropped; the log says how many as soon as its file takes data again. Bytes from the client that
are not printable ASCII are escaped, so no request can forge a line. The length of each text, with its escapes, is
limited, so every line is complete. No text depends on the locale that an application has set.
"""

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_CLOEXEC
from posix.unistd cimport close

from halfsync.exchange.exchange cimport exchange_begin, exchange_knows_target, exchange_line
from halfsync.http.forwarded cimport forwarded_read
from halfsync.http.grammar cimport word_is
from halfsync.http.parser cimport Field, Head
from halfsync.http.trust cimport TrustedPeers, trust_has
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
from halfsync.native.writing cimport write_within
from halfsync.observe.secrets cimport shown_bytes
from halfsync.observe.logfile import STANDARD_OUTPUT, open_log
from halfsync.runtime.output import counted

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>

    /* Open a file to append, which another process has made. Never waits for the reader of a pipe. */
    static int hs_log_open_again(const char *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0)
            fcntl(fd, F_SETFL, O_APPEND);
        return fd;
    }

    static void hs_log_address(const void *address, int length, char *text, size_t room) {
        struct sockaddr_in four = {0};
        struct sockaddr_in6 six = {0};  /* copies: in a record the address may be unaligned */
        memcpy(&four, address, (size_t)length < sizeof(four) ? (size_t)length : sizeof(four));
        memcpy(&six, address, (size_t)length < sizeof(six) ? (size_t)length : sizeof(six));
        text[0] = '-';
        text[1] = 0;
        if (length >= (int)sizeof(four) && four.sin_family == AF_INET)
            inet_ntop(AF_INET, &four.sin_addr, text, room);
        else if (length >= (int)sizeof(six) && six.sin6_family == AF_INET6)
            inet_ntop(AF_INET6, &six.sin6_addr, text, room);
    }

    static _Thread_local time_t hs_log_second = -1;
    static _Thread_local char hs_log_times[2][40];
    static const char hs_log_months[12][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    };

    /* Return the time now, as [23/Nov/2026:14:00:00 +0000] or 2026-11-23T14:00:00+0000. */
    static const char *hs_log_time(int json) {
        struct timespec now;
        struct tm local;
        char form[40];
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec != hs_log_second) {
            localtime_r(&now.tv_sec, &local);
            snprintf(form, sizeof(form), "[%%d/%s/%%Y:%%H:%%M:%%S %%z]", hs_log_months[local.tm_mon % 12]);
            strftime(hs_log_times[0], 40, form, &local);
            strftime(hs_log_times[1], 40, "%Y-%m-%dT%H:%M:%S%z", &local);
            hs_log_second = now.tv_sec;
        }
        return hs_log_times[json];
    }
    """
    void address_text "hs_log_address" (const void *address, int length, char *text, size_t room) nogil
    const char *time_text "hs_log_time" (int json) nogil
    int open_again "hs_log_open_again" (const char *path) nogil
    int dup3(int fd, int other, int flags) nogil

cdef enum:
    STACK_BYTES = 128 * 1024  # of the writer's thread
    PAUSE_NS = 10000000  # between the first line in an empty buffer and the write
    LOOK_NS = 100000000  # between two checks whether the log is closed, while the file takes nothing
    LAST_NS = 1000000000  # longest wait for a file that takes nothing, at the end or without a writer thread
    BUFFER_BYTES = 1024 * 1024  # of lines that wait: about 8,000
    VERSION_BYTES = 9  # of a space and HTTP/1.1, the end of a valid request line
    LINE_BYTES = 16 * 1024  # of one line: four texts and the bytes between them
    TEXT_MOST = 2048  # bytes of one text from the client that are logged
    ESCAPED_MOST = 3800  # of such a text in the line, with its escapes

# A line being built. Bytes past its room are dropped.
ctypedef struct Line:
    char text[LINE_BYTES]
    size_t length


cdef void add_text(Line *line, const char *text, size_t length) noexcept nogil:
    """Append a text unchanged."""
    length = min(length, LINE_BYTES - line.length)
    memcpy(line.text + line.length, text, length)
    line.length += length


cdef void add_escaped(Line *line, const char *text, size_t length, bint json) noexcept nogil:
    """Append a client's text, with the quote, the backslash and all but printable ASCII escaped in hexadecimal.

    A text that is too long is cut, but never in the middle of an escape.
    """
    cdef char escaped[8]
    cdef size_t position
    cdef size_t escape = 6 if json else 4
    cdef size_t end = min(line.length + ESCAPED_MOST, <size_t> LINE_BYTES)
    cdef unsigned char byte
    for position in range(min(length, <size_t> TEXT_MOST)):
        byte = <unsigned char> text[position]
        if 32 <= byte < 127 and byte != b'"' and byte != b"\\":
            if line.length == end:
                break
            add_text(line, text + position, 1)
        else:
            if line.length + escape > end:
                break
            add_text(line, escaped, snprintf(
                escaped, sizeof(escaped), <const char *> (b"\\u%04x" if json else b"\\x%02x"), <unsigned int> byte))


cdef void add_field(Line *line, const Exchange *exchange, const char *lower, uint32_t length, bint json) noexcept nogil:
    """Append the value of the request's first field with this name, or "-"."""
    cdef uint32_t position
    cdef const Field *field
    if exchange != NULL:
        for position in range(exchange.head.fields_count):
            field = &exchange.head.fields[position]
            if field.name_length == length and word_is(exchange.data + field.name, lower, length):
                add_escaped(line, exchange.data + field.value, field.value_length, json)
                return
    add_text(line, b"-", 1)


cdef void add_request_line(Line *line, const Exchange *exchange, bint json) noexcept nogil:
    """Append method, target and version, or an invalid request line as received, or "-" if nothing was received.

    An invalid line may be any field, so only the part that `shown_bytes` allows is logged.
    """
    cdef const Head *head
    cdef uint32_t begin, shown, length = 0
    if exchange == NULL or not exchange_knows_target(exchange):
        if exchange != NULL:
            begin = exchange_begin(exchange)
            length = exchange_line(exchange, begin)
            shown = shown_bytes(exchange.data + begin, length)
            add_escaped(line, exchange.data + begin, shown, json)
            if shown < length:
                add_text(line, b" ...", 4)
        if length == 0:
            add_text(line, b"-", 1)
        return
    head = &exchange.head
    add_escaped(line, exchange.data + head.method, head.method_length, json)
    add_text(line, b" ", 1)
    add_escaped(line, exchange.data + head.target, head.target_length, json)
    add_text(line, exchange.data + head.target + head.target_length, VERSION_BYTES)


cdef int write_seconds(char *out, size_t room, int64_t ns) noexcept nogil:
    """Write a duration in seconds, with a decimal point in every locale. Returns its length."""
    cdef long long microseconds = max(ns, <int64_t> 0) // 1000
    return snprintf(out, room, b"%lld.%06lld", microseconds // 1000000, microseconds % 1000000)


cdef void format_combined(Line *line, const Entry *entry, const char *address) noexcept nogil:
    """Format a line as Apache httpd's combined format, then the seconds in the queue and in all."""
    cdef char numbers[96]
    cdef char queue_s[32]
    cdef char total_s[32]
    write_seconds(queue_s, sizeof(queue_s), entry.queue_ns)
    write_seconds(total_s, sizeof(total_s), entry.total_ns)
    add_text(line, numbers, snprintf(numbers, sizeof(numbers), b"%s - - %s \"", address, time_text(False)))
    add_request_line(line, entry.exchange, False)
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers), b"\" %d %lld \"", entry.status, <long long> entry.sent))
    add_field(line, entry.exchange, b"referer", 7, False)
    add_text(line, b"\" \"", 3)
    add_field(line, entry.exchange, b"user-agent", 10, False)
    add_text(line, numbers, snprintf(numbers, sizeof(numbers), b"\" %s %s", queue_s, total_s))


cdef void format_json(Line *line, const Entry *entry, const char *address) noexcept nogil:
    """Format a line as one JSON object. Texts from the client are latin-1."""
    cdef char numbers[192]
    cdef char queue_s[32]
    cdef char total_s[32]
    write_seconds(queue_s, sizeof(queue_s), entry.queue_ns)
    write_seconds(total_s, sizeof(total_s), entry.total_ns)
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers), b"{\"time\": \"%s\", \"remote\": \"%s\", \"request\": \"", time_text(True), address))
    add_request_line(line, entry.exchange, True)
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers),
        b"\", \"status\": %d, \"bytes\": %lld, \"queue_s\": %s, \"total_s\": %s, \"referer\": \"",
        entry.status, <long long> entry.sent, queue_s, total_s))
    add_field(line, entry.exchange, b"referer", 7, True)
    add_text(line, b"\", \"agent\": \"", 13)
    add_field(line, entry.exchange, b"user-agent", 10, True)
    add_text(line, b"\"}", 2)


cdef void log_request(AccessLogRecord *log, const Entry *entry) noexcept nogil:
    """Append a line for a request. For any thread. Never blocks on the file, if there is a writer thread."""
    cdef Line line
    cdef char address[64]
    cdef bint first
    line.length = 0
    address_text(entry.address, entry.address_length, address, sizeof(address))
    if log.json:
        format_json(&line, entry, address)
    else:
        format_combined(&line, entry, address)
    line.length = min(line.length, <size_t> LINE_BYTES - 1)
    add_text(&line, b"\n", 1)
    if log.direct:
        follow(log)
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
    entry.sent = exchange.sent
    entry.queue_ns = exchange.taken_ns - exchange.framed_ns if exchange.taken_ns > 0 else 0
    entry.total_ns = now - exchange.started_ns
    log_request(log, &entry)


cdef void log_unheard(
    AccessLogRecord *log, const uint8_t *address, int address_length, int status, int64_t sent
) noexcept nogil:
    """Append a line for a peer that was refused before any byte of its request was received. As log_request."""
    cdef Entry entry
    memset(&entry, 0, sizeof(entry))
    entry.address = address
    entry.address_length = address_length
    entry.status = status
    entry.sent = sent
    log_request(log, &entry)


cdef void find_client(
    const Exchange *exchange, const Trust *trust, ForwardedInfo *info, const uint8_t **address, int *address_length
) noexcept nogil:
    """Replace the peer's address by its client's, if trusted proxies report one. info: memory for that address."""
    if exchange.client_length > 0:
        address[0] = exchange.client
        address_length[0] = exchange.client_length
    elif (  # it was refused before its fields were read
        not exchange.forwarded_seen and exchange.head.length > 0 and trust != NULL
        and trust_has(trust, address[0], address_length[0])
    ):
        forwarded_read(&exchange.head, exchange.data, trust, info)
        if info.address_length > 0:
            address[0] = info.address
            address_length[0] = info.address_length


cdef bint is_ended(AccessLogRecord *log) noexcept nogil:
    cdef bint ended
    pthread_mutex_lock(&log.lock)
    ended = log.ended
    pthread_mutex_unlock(&log.lock)
    return ended


cdef size_t write_all(AccessLogRecord *log, const char *data, size_t length) noexcept nogil:
    """Write to a file that may be slow. Returns the number of bytes that it took; if not all, it refuses the rest.

    If the file takes nothing, the writer thread waits until the log is closed, and LAST_NS longer. Without a writer
    thread, the caller waits LAST_NS once, and not again until the file has taken data.
    """
    cdef size_t done = 0
    cdef int64_t until = 0
    if log.direct:
        done = write_within(log.fd, data, length, 0 if load_uint(&log.losses.stalled) else LAST_NS)
        store_uint(&log.losses.stalled, done < length and errno == EAGAIN)
        return done
    while True:
        done += write_within(log.fd, data + done, length - done, LOOK_NS)
        if done == length or errno != EAGAIN:
            return done
        if until == 0 and is_ended(log):
            until = monotonic_ns() + LAST_NS
        if 0 < until <= monotonic_ns():
            return done


cdef bint tell_losses(AccessLogRecord *log) noexcept nogil:
    """Write how many lines were dropped, if any. Return False if the file does not take that note either."""
    cdef char note[128]
    cdef int length
    cdef size_t done
    cdef long long lines = swap_llong(&log.losses.lines, 0)
    if lines == 0:
        return True
    length = snprintf(
        note, sizeof(note), b"%shalfsync: %lld %s dropped: this file was too slow or refused %s\n",
        <const char *> (b"\n" if load_uint(&log.losses.torn) else b""), lines,
        <const char *> (b"line was" if lines == 1 else b"lines were"),
        <const char *> (b"it" if lines == 1 else b"them"))
    done = write_all(log, note, length)
    if done == <size_t> length:
        store_uint(&log.losses.torn, 0)
        return True
    if done > 0:
        store_uint(&log.losses.torn, 1)
    add_llong(&log.losses.lines, lines)
    return False


cdef void follow(AccessLogRecord *log) noexcept nogil:
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
    if tell_losses(log):
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
            tell_losses(log)
    return NULL


cdef class AccessLog:
    """An access log to a file, or to standard output for "-". Its owner closes it once no thread logs."""

    def __cinit__(self, *_args, **_kwargs):
        memset(&self.log, 0, sizeof(self.log))
        self.log.fd = -1

    def __init__(self, path, int fd, bint json, bint direct=False, TrustedPeers trusted=None):
        """Write to a copy of this descriptor, in a thread that is started now. Raises OSError if descriptors are short.

        path: of the file, to reopen it. direct: there is no writer thread, and each line is written when it is logged;
        for processes that must start no thread. trusted: the peers whose forwarded fields are believed.
        """
        self.log.losses = <Losses *> map_shared(sizeof(Losses))
        if self.log.losses == NULL:
            raise MemoryError
        self.pinned = trusted
        if trusted is not None:
            self.log.trust = &trusted.trust
        self.log.json = json
        self.log.direct = direct
        if path != STANDARD_OUTPUT:
            self.path = os.fsencode(path)
            self.log.path = self.path
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

    def reopen(self):
        """Reopen the file by its name, and replace the open one. If it raises OSError, the open one is kept.

        Forked processes that write to the file do the same with their next line.
        """
        cdef int fd
        if self.path is None:
            return
        fd = open_log(self.path)
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
                lines = counted(lost, "line was", "lines were")
                warn("of the access log %s dropped at the end: its file refused them", lines)

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
