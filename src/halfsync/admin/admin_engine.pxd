from halfsync.admin.answer cimport AdminView
from halfsync.engine.engine cimport Engine
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.spool cimport Store
from halfsync.http.response_head cimport ServerFields

# The engine knows only its first member.
ctypedef struct AdminHandler:
    NativeHandler native_handler
    ServerFields fields
    AdminView view


cdef class AdminEngine:
    cdef Engine *engine
    cdef Store *store
    cdef AdminHandler handler
    cdef int read_fd
    cdef bint started
    cdef unsigned int forks   # `forks` of the process that started it
    cdef object pinned        # what the pointers point to
