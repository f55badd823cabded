# How native code's failures become exceptions.
from cpython.exc cimport PyErr_SetFromErrno
from libc cimport errno


cdef inline int checked(int result) except -1:
    """Return the result of a function that returns -errno if it fails. Raises OSError if it has."""
    if result < 0:
        errno.errno = -result
        PyErr_SetFromErrno(OSError)
    return result
