from halfsync.static.files cimport Files


cdef class StaticFiles:
    cdef Files files
    cdef readonly object capsule   # of the NativeHandler: gives it to a model, and keeps it alive
    cdef object pinned             # what the pointers point to
