# The access log: a line for each request, written by a thread of its own.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.trust cimport Trust, TrustedPeers
from halfsync.native.sync cimport atomic_llong, atomic_uint, pthread_cond_t, pthread_mutex_t, pthread_t
from halfsync.observe.access_format cimport Format
from halfsync.observe.access_value cimport Entry
from halfsync.observe.syslog cimport Syslog

# The lines that are missing in a log's file. In memory shared by all processes that write to it.
ctypedef struct Losses:
    atomic_llong lines        # lines dropped since the last note of losses
    atomic_uint torn          # whether the file ends in the middle of a line
    atomic_uint reopenings    # how often the file was reopened
    atomic_uint stalled       # whether the file took nothing the last time; used without a writer thread

ctypedef struct AccessLogRecord:
    pthread_mutex_t lock      # guards what changes below, but fd and losses
    pthread_cond_t filled     # signalled when an empty buffer gets its first line, and at the end
    int fd
    const char *path          # NULL: standard output, or a syslog
    const Syslog *syslog      # NULL: fd is not connected to one
    unsigned int reopenings   # the count of Losses when fd was opened
    const Format *format
    int pid                   # of the process that has the log; 0: there are several
    bint direct               # each thread writes its own lines: there is no writer thread
    char *lines               # lines that the writer has not taken yet
    char *writing             # lines that it writes; swapped with `lines`
    size_t length             # bytes in lines
    Losses *losses
    const Trust *trust        # the peers whose forwarded fields are believed; NULL: none
    uint64_t dropped          # lines that found no room since the writer last took some
    bint ended
    pthread_t thread

cdef void log_request(AccessLogRecord *log, Entry *entry) noexcept nogil
cdef void log_unheard(AccessLogRecord *log, const uint8_t *address, int address_length, int status,
                      int64_t sent, int outcome, const char *reason) noexcept nogil
cdef void log_exchange(AccessLogRecord *log, const Exchange *exchange, const uint8_t *address, int address_length,
                       int64_t now) noexcept nogil


cdef class AccessLog:
    cdef AccessLogRecord log
    cdef bint running
    cdef unsigned int forks           # `forks` of the process that has the writer
    cdef Syslog syslog
    cdef str target           # a path, "-" or a syslog
    cdef object pinned        # what the pointers point to

    cdef int set_up(self, object settings, TrustedPeers trusted) except -1
    cdef void end(self) noexcept
