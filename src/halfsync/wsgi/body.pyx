"""`wsgi.input`: the body of a request, as an application reads it."""
from io import BufferedIOBase, UnsupportedOperation

cimport cython
from libc.errno cimport EINTR, errno
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close as close_fd, pread

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno

from halfsync.native.checks cimport COUNT_BUFFER, count
from halfsync.native.forks cimport copies, is_forked_copy
from halfsync.wsgi.body_blocks cimport grow, take_whole

cdef enum:
    WINDOW_BYTES = 64 * 1024  # of a body on disk, held in memory to read it by line


@cython.freelist(16)
cdef class Input:
    """A request's whole body, in memory or in its file: an io.BufferedIOBase for one thread at a time.

    Reads never block on the client, and return b"" at the body's end (`wsgi.input_terminated` is true). The body is
    closed when its request ends. A thread of the application may still be reading then: everything that is used without
    the GIL belongs to this object, and its last user frees it.
    """

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        self.release_file()

    cdef void shut(self, int state) noexcept:
        """Close the body, if it is open. state: an InputState."""
        if self.state != INPUT_OPEN:
            return
        self.state = state
        self.exchange = NULL
        self.length = 0
        if self.fd < 0:
            self.window = NULL
            self.window_length = 0
            self.whole = None
        elif self.reading == 0:
            self.release_file()

    cdef void release_file(self) noexcept:
        """Close the file of a body on disk, which no thread reads, and free its window."""
        if self.fd >= 0:
            close_fd(self.fd)
            self.fd = -1
            if self.window != NULL:
                free(self.window)
                count(COUNT_BUFFER, -1)
            self.window = NULL
            self.window_length = 0

    cdef int check_open(self) except -1:
        if self.state != INPUT_OPEN:
            raise ValueError(
                "I/O operation on closed file" + (": the request has ended" if self.state == INPUT_ENDED else ""))
        return 0

    cdef int64_t read_disk(self, char *target, int64_t size, bint whole) except -1:
        """Read at the position without the GIL, and return the number of bytes. whole: fewer than `size` is an OSError.

        The body may be closed during the read.
        """
        cdef int64_t position = self.position
        cdef int64_t done = 0
        cdef ssize_t got
        self.reading += 1
        with nogil:
            while done < size:
                got = pread(self.fd, target + done, size - done, position + done)
                if got > 0:
                    done += got
                    if not whole:
                        break
                elif got == 0 or errno != EINTR:
                    break
        self.reading -= 1
        if self.state != INPUT_OPEN and self.reading == 0:
            self.release_file()
        if done == 0 or (whole and done < size):
            PyErr_SetFromErrno(OSError)
        return done

    cdef int load_window(self) except -1:
        """Move the window to hold the byte at the position, which must not be the end."""
        cdef int64_t position = self.position
        cdef int64_t got
        if self.window_at <= position < self.window_at + self.window_length:
            return 0
        if self.window == NULL:
            self.window = <char *> malloc(WINDOW_BYTES)
            if self.window == NULL:
                raise MemoryError
            count(COUNT_BUFFER, 1)
        got = self.read_disk(self.window, WINDOW_BYTES, False)
        self.check_open()
        self.window_at = self.position = position
        self.window_length = got
        return 0

    cdef int fill(self, char *target, int64_t size) except -1:
        """Copy the next `size` bytes, which must be there, and move the position after them."""
        cdef int64_t position = self.position
        if self.fd < 0:
            memcpy(target, self.window + position, size)
        else:
            self.read_disk(target, size, True)
        self.position = position + size
        return 0

    cdef bytes take(self, int64_t size):
        """Return the next `size` bytes, or what is left. size: negative: all that is left."""
        cdef int64_t left = self.length - self.position
        cdef bytes data
        cdef bint whole
        self.check_open()
        if size < 0 or size > left:
            size = left
        if size <= 0:
            return b""
        # A copy that the application has forked must not touch the pool: a thread that is not there may hold its lock.
        whole = size == self.length and self.fd < 0 and not is_forked_copy(self.began)
        if whole and self.whole is None and self.exchange.block.owner != NULL:
            self.whole = take_whole(self.exchange)
            self.window = PyBytes_AS_STRING(self.whole)
        elif whole and self.whole is None and self.exchange.blocks != NULL:
            grow(self.exchange.blocks)
        if whole and self.whole is not None:
            self.position = size
            return self.whole
        data = PyBytes_FromStringAndSize(NULL, size)
        self.fill(PyBytes_AS_STRING(data), size)
        return data

    cdef bytes take_line(self, int64_t size):
        """Return the next line with its end, cut at `size` bytes unless `size` is negative."""
        cdef int64_t left, available
        cdef const char *start
        cdef const char *end
        cdef list pieces = None
        cdef bytes piece = b""
        self.check_open()
        if size < 0 or size > self.length - self.position:
            size = self.length - self.position
        left = size
        while left > 0:
            self.load_window()
            start = self.window + (self.position - self.window_at)
            available = min(self.window_at + self.window_length - self.position, left)
            end = <const char *> memchr(start, b"\n", available)
            if end != NULL:
                available = end - start + 1
            piece = PyBytes_FromStringAndSize(start, available)
            self.position += available
            left -= available
            if end != NULL or left == 0:
                break
            if pieces is None:
                pieces = []
            pieces.append(piece)
        if pieces is None:
            return piece
        pieces.append(piece)
        return b"".join(pieces)

    def read(self, size=-1, /):
        """Return up to `size` bytes, or all that is left if size is negative or None."""
        cdef Py_ssize_t most = -1 if size is None else size  # this type rejects floats
        return self.take(most)

    def read1(self, size=-1, /):
        """Return up to `size` bytes, or a piece of what is left if size is negative or None."""
        cdef Py_ssize_t most = -1 if size is None else size
        return self.take(most if most >= 0 else WINDOW_BYTES)

    def readinto(self, buffer, /):
        """Fill a buffer with the bytes that are left, and return their number."""
        cdef Py_buffer view
        cdef int64_t size
        self.check_open()
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        except BufferError:
            raise TypeError(f"a body is read into a writable buffer, not {type(buffer).__name__}") from None
        try:
            size = min(<int64_t> view.len, max(self.length - self.position, <int64_t> 0))
            if size > 0:
                self.fill(<char *> view.buf, size)
        finally:
            PyBuffer_Release(&view)
        return size

    def readinto1(self, buffer, /):
        """Do the same as readinto, since all of the body is there."""
        return self.readinto(buffer)

    def readline(self, size=-1, /):
        """Return the next line, with its end if it has one; at most `size` bytes of it."""
        cdef Py_ssize_t most = -1 if size is None else size
        return self.take_line(most)

    def readlines(self, hint=-1, /):
        """Return the lines that are left; with a hint above 0, only until they have that many bytes."""
        cdef Py_ssize_t most = -1 if hint is None else hint
        cdef int64_t total = 0
        cdef list lines = []
        while most <= 0 or total < most:
            line = self.take_line(-1)
            if not line:
                break
            total += len(line)
            lines.append(line)
        return lines

    def __iter__(self):
        self.check_open()
        return self

    def __next__(self):
        line = self.take_line(-1)
        if not line:
            raise StopIteration
        return line

    def seek(self, offset, whence=0, /):
        """Set the position, from the start (0), the current position (1) or the end (2), and return it.

        It may be past the end. A position before the start becomes the start, but a negative offset from the start is a
        ValueError.
        """
        cdef Py_ssize_t by = offset
        cdef int origin = whence
        cdef int64_t base = 0
        self.check_open()
        if origin == 0 and by < 0:
            raise ValueError(f"negative seek value {by}")
        if origin == 1:
            base = self.position
        elif origin == 2:
            base = self.length
        elif origin != 0:
            raise ValueError(f"invalid whence ({origin}, should be 0, 1 or 2)")
        if by > INT64_MAX - base:
            raise OverflowError("new position too large")
        self.position = max(base + by, <int64_t> 0)
        return self.position

    def tell(self):
        """Return the position, in bytes from the start."""
        self.check_open()
        return self.position

    def readable(self):
        """Return True."""
        self.check_open()
        return True

    def seekable(self):
        """Return True, since the whole body is there."""
        self.check_open()
        return True

    def writable(self):
        """Return False."""
        self.check_open()
        return False

    def isatty(self):
        """Return False."""
        self.check_open()
        return False

    def flush(self):
        """Do nothing, since nothing is written."""
        self.check_open()

    def fileno(self):
        """Raise io.UnsupportedOperation: a body has no descriptor of its own."""
        raise UnsupportedOperation("fileno")

    def detach(self):
        """Raise io.UnsupportedOperation: there is no raw stream below."""
        raise UnsupportedOperation("detach")

    def write(self, data, /):
        """Raise io.UnsupportedOperation."""
        raise UnsupportedOperation("write")

    def writelines(self, lines, /):
        """Raise io.UnsupportedOperation."""
        raise UnsupportedOperation("write")

    def truncate(self, size=None, /):
        """Raise io.UnsupportedOperation."""
        raise UnsupportedOperation("truncate")

    @property
    def closed(self):
        """Whether the body was closed, or its request has ended."""
        return self.state != INPUT_OPEN

    def close(self):
        """Close the body. Later calls of its methods raise ValueError."""
        self.shut(INPUT_CLOSED)

    def __enter__(self):
        self.check_open()
        return self

    def __exit__(self, *_exc_info):
        self.close()


BufferedIOBase.register(Input)


cdef Input input_for(Exchange *exchange):
    """Return the input for a complete request. Raises OSError if descriptors are short."""
    cdef Input body = Input.__new__(Input)
    if exchange.body == NULL and exchange.body_length > 0:
        body.fd = fcntl(exchange.spool.fd, F_DUPFD_CLOEXEC, 3)
        if body.fd < 0:
            PyErr_SetFromErrno(OSError)
    body.exchange = exchange
    body.began = copies[0]
    body.length = exchange.body_length
    body.window = exchange.body
    body.window_length = exchange.body_length if exchange.body != NULL else 0
    return body
