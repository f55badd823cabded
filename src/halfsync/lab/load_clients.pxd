# The clients of a load: each connects, sends, receives, and knows what became of its request.
from libc.stdint cimport int64_t, uint32_t

from halfsync.lab.load_records cimport LoadClient, LoadRun

cdef void client_open(LoadRun *run, LoadClient *client) noexcept nogil
cdef void client_request(LoadRun *run, LoadClient *client, int64_t due_ns, int path, int64_t now) noexcept nogil
cdef void client_event(LoadRun *run, LoadClient *client, uint32_t events) noexcept nogil
cdef void client_leave(LoadRun *run, LoadClient *client, int64_t now) noexcept nogil
cdef void client_fail(LoadRun *run, LoadClient *client, int reason) noexcept nogil
cdef void client_trickle(LoadRun *run, LoadClient *client) noexcept nogil
cdef void client_close(LoadClient *client) noexcept nogil
cdef int pick_path(LoadRun *run) noexcept nogil
