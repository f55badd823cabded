# The loop of the load generator.
from halfsync.lab.load_records cimport LoadRun

cdef int load_begin(LoadRun *run) noexcept nogil
# Carry the load on until it is over: returns 0. EINTR: a signal came, call again. Another errno: it failed.
cdef int load_drive(LoadRun *run) noexcept nogil
