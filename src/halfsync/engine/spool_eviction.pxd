# Make room when workers wait for room in the spool. For the engine's thread.
from halfsync.engine.engine cimport Engine

cdef void evict_stalled_client(Engine *engine) noexcept nogil
