from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange


cdef enum InputState:
    INPUT_OPEN
    INPUT_CLOSED              # by the application
    INPUT_ENDED               # with its request


cdef class Input:
    cdef Exchange *exchange   # NULL: the body is closed
    cdef int fd               # a copy for a body on disk, since another thread may read past the turn; or -1
    cdef int64_t position     # of the next byte to read
    cdef int64_t length
    cdef char *window         # bytes of the body: all of it, in memory, or a piece of the file, allocated here
    cdef int64_t window_at    # where the window begins
    cdef int64_t window_length
    cdef unsigned int began   # `copies` of the process that has the request
    cdef bytes whole          # the bytes object given to the application, if the body is in its memory; or None
    cdef int state            # InputState
    cdef int reading          # threads that read the file without the GIL

    cdef void shut(self, int state) noexcept
    cdef void release_file(self) noexcept
    cdef int check_open(self) except -1
    cdef int64_t read_disk(self, char *target, int64_t size, bint whole) except -1
    cdef int load_window(self) except -1
    cdef int fill(self, char *target, int64_t size) except -1
    cdef bytes take(self, int64_t size)
    cdef bytes take_line(self, int64_t size)


cdef Input input_for(Exchange *exchange)
