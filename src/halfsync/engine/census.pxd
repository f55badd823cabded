# What the engine measures of itself, once a cycle of its loop, if metrics are on.
from halfsync.engine.engine cimport Engine

cdef void measure_cycle(Engine *engine) noexcept nogil
