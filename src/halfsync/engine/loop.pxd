from libc.stdint cimport uint32_t

from halfsync.engine.engine cimport Connection, Engine
from halfsync.shared.slots cimport SlotRef

cdef int engine_open(Engine *engine, bint use_poll) noexcept nogil
cdef int engine_attach(Engine *engine, const SlotRef *slot) noexcept nogil
cdef int engine_start(Engine *engine) noexcept nogil
cdef void engine_join(Engine *engine) noexcept nogil
cdef void engine_sweep(Engine *engine) noexcept nogil
cdef Connection *engine_next_closed(Engine *engine, uint32_t *index) noexcept nogil
cdef void engine_close(Engine *engine) noexcept nogil
