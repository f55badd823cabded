"""`wsgi.file_wrapper`: a file that an application returns, and which files the server may send itself."""
import sys
from io import BufferedRandom, BufferedReader, FileIO, SEEK_CUR, UnsupportedOperation

from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close as close_fd

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/stat.h>
    #include <unistd.h>

    /* Return the size of a regular file that can be read from this offset to its end; -1 for any other descriptor. As
       a test, its last byte is read, and none may follow: files in /proc and /sys report wrong sizes, and a descriptor
       may be write-only. */
    static int64_t hs_readable_size(int fd, int64_t offset) {
        struct stat status;
        char last[2];
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size <= offset) return -1;
        return pread(fd, last, 2, status.st_size - 1) == 1 ? status.st_size : -1;
    }
    """
    int64_t readable_size "hs_readable_size" (int fd, int64_t offset) nogil

cdef tuple PLAIN_FILES = (FileIO, BufferedReader, BufferedRandom)  # types that return the bytes of their descriptor
cdef frozenset RAW_ATTRIBUTES = frozenset({"name"})  # set on a raw file by open(); any other may be a changed method


cdef int copy_regular(int fd, int64_t offset, int64_t *size) noexcept:
    """Return a copy of a descriptor. See the .pxd."""
    cdef int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    if copy >= 0:
        with nogil:
            size[0] = readable_size(copy, offset)
        if size[0] < 0:
            close_fd(copy)
            return -1
    return copy


cdef class FileWrapper:
    """`wsgi.file_wrapper`. If an application returns it, the server sends a regular file itself, and iterates others.

    filelike: has `read`, and may have `close`. block_size: bytes of each read when iterated.
    """

    def __init__(self, filelike, Py_ssize_t block_size=65536):
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def close(self):
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()

    # A middleware that sends a part of the file (werkzeug) calls these to skip what comes before it.

    def seekable(self):
        """Return whether the position in the file can be set."""
        seekable = getattr(self.filelike, "seekable", None)
        return seekable() if seekable is not None else hasattr(self.filelike, "seek")

    def seek(self, offset, whence=0):
        """Set the position in the file, as io.IOBase.seek does. Raises io.UnsupportedOperation if it has none."""
        return self.method_of_file("seek")(offset, whence)

    def tell(self):
        """Return the position in the file. Raises io.UnsupportedOperation if it has none."""
        return self.method_of_file("tell")()

    cdef object method_of_file(self, str name):
        method = getattr(self.filelike, name, None)
        if method is None:
            raise UnsupportedOperation(name)
        return method

    cdef tuple place(self):
        """Return the descriptor whose bytes read() returns, and its position, or None if read() must be called.

        The response must be what read() would return (PEP 3333). An application's fileno() or tell() does not prove
        that: a file that decompresses has the descriptor of the compressed one. So only the standard library's own
        files count, or an object whose `read` is the read() of such a file.
        """
        try:
            read = own_file(self.filelike).read
            file = getattr(read, "__self__", None)
            kind = next((kind for kind in PLAIN_FILES if isinstance(file, kind)), None)
            if kind is None or self.block_size == 0 or read != kind.read.__get__(file):
                return None
            if kind is FileIO:
                return FileIO.fileno(file), FileIO.tell(file)
            raw = kind.raw.__get__(file)
            if type(raw) is not FileIO or not vars(raw).keys() <= RAW_ATTRIBUTES:
                return None
            if kind is BufferedRandom:
                BufferedRandom.flush(file)  # what was written must be sent too
            # If other code has moved the descriptor, the bytes read ahead are not those before its position.
            position = kind.seek(file, 0, SEEK_CUR)
            return (FileIO.fileno(raw), position) if kind.tell(file) == position else None
        except Exception:  # noqa: BLE001 - then read() is called, which raises it again or succeeds
            return None


cdef object own_file(object filelike):
    """Return the file of a tempfile.NamedTemporaryFile whose `read` was not replaced, or else `filelike`."""
    wrapper = getattr(sys.modules.get("tempfile"), "_TemporaryFileWrapper", None)
    return filelike.file if type(filelike) is wrapper and "read" not in vars(filelike) else filelike
