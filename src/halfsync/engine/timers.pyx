"""A hashed timer wheel (Varghese and Lauck, 1987, scheme 6), lazy about deadlines that move later.

Every request moves its connection's deadline, nearly always later, and few deadlines fire. So a timer stays in the slot
of an early deadline, and does not know the deadline itself. When the slot's time has come, the caller of `wheel_due`
checks the current deadline, and sets the timer again if it has not passed. A deadline further away than one revolution
of the wheel is checked once in each. Deadlines fire at most two ticks late, never early. The wheel belongs
to the engine's thread.
"""

cdef extern from *:
    int trailing_zeros "__builtin_ctzll" (unsigned long long word) noexcept nogil


cdef void wheel_init(Wheel *wheel, int64_t now) noexcept nogil:
    """Initialize an empty wheel whose time is `now`."""
    cdef int slot
    wheel.tick = <uint64_t> now >> TICK_SHIFT
    for slot in range(WORDS):
        wheel.occupied[slot] = 0
    for slot in range(SLOTS):
        wheel.slots[slot].next = wheel.slots[slot].previous = &wheel.slots[slot]


cdef void wheel_set(Wheel *wheel, Timer *timer, int64_t deadline) noexcept nogil:
    """Set a deadline. Does nothing if the timer is already in an earlier slot."""
    cdef uint64_t tick = (<uint64_t> deadline >> TICK_SHIFT) + 1
    cdef Timer *head
    if timer.next != NULL:
        if timer.tick <= tick:
            return
        wheel_clear(wheel, timer)
    tick = min(max(tick, wheel.tick), wheel.tick + SLOTS - 1)
    timer.tick = tick
    head = &wheel.slots[tick & (SLOTS - 1)]
    timer.next = head
    timer.previous = head.previous
    head.previous.next = timer
    head.previous = timer
    wheel.occupied[(tick & (SLOTS - 1)) >> 6] |= <uint64_t> 1 << (tick & 63)


cdef void wheel_clear(Wheel *wheel, Timer *timer) noexcept nogil:
    """Remove a timer from its slot, if it is in one."""
    cdef uint64_t slot
    if timer.next == NULL:
        return
    timer.next.previous = timer.previous
    timer.previous.next = timer.next
    timer.next = timer.previous = NULL
    slot = timer.tick & (SLOTS - 1)
    if wheel.slots[slot].next == &wheel.slots[slot]:
        wheel.occupied[slot >> 6] &= ~(<uint64_t> 1 << (slot & 63))


cdef Timer *wheel_due(Wheel *wheel, int64_t now) noexcept nogil:
    """Take out the next timer whose slot's time has come. NULL: none is left up to now. Its deadline may be later."""
    cdef uint64_t target = <uint64_t> now >> TICK_SHIFT
    cdef uint64_t slot
    cdef Timer *timer
    while True:
        slot = wheel.tick & (SLOTS - 1)
        timer = wheel.slots[slot].next
        if timer != &wheel.slots[slot]:
            wheel_clear(wheel, timer)
            return timer
        if wheel.tick >= target:
            return NULL
        wheel.tick += 1


cdef int64_t wheel_next(Wheel *wheel, int64_t now) noexcept nogil:
    """Return ns from now until the next occupied slot's time; -1: none is occupied."""
    cdef uint64_t ahead = 0
    cdef uint64_t tick, word
    while ahead < SLOTS:
        tick = wheel.tick + ahead
        word = wheel.occupied[(tick & (SLOTS - 1)) >> 6] >> (tick & 63)
        if word == 0:
            ahead += 64 - (tick & 63)
        elif word & 1:
            return max(<int64_t> 0, <int64_t> (tick << TICK_SHIFT) - now)
        else:
            ahead += trailing_zeros(word)
    return -1
