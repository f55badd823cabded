# Commands to an engine, and what they do. engine_command: any thread; the others: the engine's.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Engine

cdef void engine_command(Engine *engine, int command) noexcept nogil
cdef bint finish_connections(Engine *engine, unsigned int command) noexcept nogil
cdef int64_t command_wait(Engine *engine, unsigned int command) noexcept nogil
