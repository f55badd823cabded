# Why requests were refused: noted by whoever refuses, without the GIL, and logged by a thread that has it.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange cimport Exchange
from halfsync.http.trust cimport CLIENT_BYTES, Trust
from halfsync.native.sync cimport atomic_llong, pthread_mutex_t

cdef enum:
    NOTES_MOST = 20           # that wait to be logged; and what may be logged at once
    SHOWN_BYTES = 200         # of each line that was received

ctypedef struct Note:
    uint8_t client[CLIENT_BYTES]   # sockaddr
    int client_length
    int status                # of the answer; 0: closed without one
    const char *reason
    char lines[2][SHOWN_BYTES]     # the request line, and the line that was refused if that is another
    uint32_t lengths[2]       # of those, as they were received; 0: there is none
    int64_t untold            # refusals before this one that were not noted

# How many may still be noted. In memory that all processes share which refuse for one server.
ctypedef struct Allowance:
    atomic_llong next_ns      # when the next one could be noted if they came at an even pace
    atomic_llong untold       # that were not noted since the last one that was

ctypedef struct Refusals:
    pthread_mutex_t lock      # guards notes and count
    Note notes[NOTES_MOST]
    uint32_t count
    Allowance *allowance
    const Trust *trust        # of what proxies say of a client

# Note a refusal, unless there were too many of late. exchange: NULL where nothing was received. status: of the answer,
# or 0 where there is none. Never blocks. Returns whether there is something to tell.
cdef bint refusals_note(Refusals *refusals, const Exchange *exchange, const uint8_t *address, int address_length,
                        int status) noexcept nogil


cdef class RefusalLog:
    cdef Refusals refusals
    cdef object kept          # what the pointers point to

    cpdef void tell(self) noexcept
