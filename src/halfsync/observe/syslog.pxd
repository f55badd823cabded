# Lines for a syslog: each is a datagram.
from libc.stdint cimport int64_t

cdef enum:
    SYSLOG_LINE_BYTES = 8000  # of one line: rsyslog takes messages of 8 KiB, with their header
    HOST_BYTES = 256

ctypedef struct Syslog:
    bint is_local             # a unix socket, which speaks RFC 3164; else UDP, and RFC 5424
    int priority              # facility and severity
    const char *path          # of the unix socket
    char host[HOST_BYTES]     # the name of this machine

# Send whole lines, and wait for room at most `patience_ns`. Returns how many bytes were taken; errno: why not all were
# (EAGAIN: there was no room). lost: counts lines among those that were not taken after all.
cdef size_t syslog_write(const Syslog *syslog, int fd, int pid, const char *lines, size_t length, int64_t patience_ns,
                         long long *lost) noexcept nogil
cdef void syslog_init(Syslog *syslog, bint is_local, int facility, const char *path, const char *host) noexcept nogil
