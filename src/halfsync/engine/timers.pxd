# A hashed timer wheel for deadlines that mostly do not fire.
from libc.stdint cimport int64_t, uint16_t, uint64_t

cdef enum:
    TICK_SHIFT = 24           # a tick is 2**24 ns: 16.8 ms
    SLOTS = 1024              # one revolution of the wheel: 17.2 s
    WORDS = 16                # of 64 bits, one bit a slot

# One deadline. Its owner has it, and may move it later without telling the wheel.
ctypedef struct Timer:
    Timer *next               # NULL: in no slot
    Timer *previous
    uint64_t tick             # the tick that its slot stands for

ctypedef struct Wheel:
    uint64_t tick             # every slot before this tick has been looked at
    uint64_t occupied[WORDS]
    Timer slots[SLOTS]        # list heads

cdef void wheel_init(Wheel *wheel, int64_t now) noexcept nogil
cdef void wheel_set(Wheel *wheel, Timer *timer, int64_t deadline) noexcept nogil
cdef void wheel_clear(Wheel *wheel, Timer *timer) noexcept nogil
cdef Timer *wheel_due(Wheel *wheel, int64_t now) noexcept nogil
cdef int64_t wheel_next(Wheel *wheel, int64_t now) noexcept nogil
