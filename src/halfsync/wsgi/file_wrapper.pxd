from libc.stdint cimport int64_t


cdef class FileWrapper:
    cdef readonly object filelike
    cdef readonly Py_ssize_t block_size

    cdef object method_of_file(self, str name)
    cdef tuple place(self)

# Return a copy of a descriptor, and the size of its file, if that is a regular one which can be read from this offset
# to its end; else -1.
cdef int copy_regular(int fd, int64_t offset, int64_t *size) noexcept
