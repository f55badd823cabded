# The owner of a request: one word, and the functions that change it. Each asserts the old owner, and that the table in
# phases.pxd has the change. decisions/0012 says what each owner may do, also with the lease of a worker's turn.
#
# A request changes hands through the request queue (engine -> queue -> worker) and the reply (worker -> returned ->
# engine, or worker -> engine at once). While the engine is not the owner, it adds OWNER_EVENT if something happened on
# the connection: it must look at the connection as soon as it owns the request.
from halfsync.engine.phases cimport (
    OWNER_ENGINE, OWNER_EVENT, OWNER_MASK, OWNER_QUEUE, OWNER_RETURNED, OWNER_WORKER, owner_is, owner_may,
)
from halfsync.native.checks cimport check
from halfsync.native.sync cimport add_uint, atomic_uint, cas_uint, load_uint, store_uint


# The engine's side.

cdef inline bint owner_note_event(atomic_uint *word) noexcept nogil:
    """Note that something happened on the connection. Returns True, and notes nothing, if the engine owns it."""
    cdef unsigned int owner = load_uint(word)
    while owner != OWNER_ENGINE:
        if cas_uint(word, &owner, owner | OWNER_EVENT):
            return False
    return True


cdef inline void owner_submit(atomic_uint *word, bint event) noexcept nogil:
    """Engine -> queue: before it is put there. event: something happened that the engine must look at later."""
    check(
        owner_is(word, OWNER_ENGINE) and owner_may(OWNER_ENGINE, OWNER_QUEUE, c"E"),
        "a request is queued that the engine does not own")
    store_uint(word, OWNER_QUEUE + OWNER_EVENT if event else OWNER_QUEUE)


cdef inline void owner_withdraw(atomic_uint *word) noexcept nogil:
    """Queue -> engine: the queue refused it, or gave it back."""
    check(
        owner_is(word, OWNER_QUEUE) and owner_may(OWNER_QUEUE, OWNER_ENGINE, c"E"),
        "a request is withdrawn that was not in the queue")
    store_uint(word, OWNER_ENGINE)


cdef inline void owner_take_back(atomic_uint *word) noexcept nogil:
    """Returned -> engine: it was taken out of the list."""
    check(
        owner_is(word, OWNER_RETURNED) and owner_may(OWNER_RETURNED, OWNER_ENGINE, c"E"),
        "a request is taken back that was not returned")
    store_uint(word, OWNER_ENGINE)


cdef inline bint owner_seize(atomic_uint *word) noexcept nogil:
    """Worker -> engine, without the worker. The engine must hold the lease of the worker's turn.

    Returns False if the worker returned the request before the lease was held: it is then in the list.
    """
    if not owner_is(word, OWNER_WORKER):
        check(owner_is(word, OWNER_RETURNED), "a request is seized that no worker has")
        return False
    check(owner_may(OWNER_WORKER, OWNER_ENGINE, c"E"), "the engine may not seize a request")
    store_uint(word, OWNER_ENGINE)
    return True


# The worker's side.

cdef inline void owner_take(atomic_uint *word) noexcept nogil:
    """Queue -> worker: it was taken out of the queue."""
    cdef unsigned int owner = add_uint(word, OWNER_WORKER - OWNER_QUEUE)
    check(
        owner & OWNER_MASK == OWNER_QUEUE and owner_may(OWNER_QUEUE, OWNER_WORKER, c"W"),
        "a worker takes a request that was not in the queue")


cdef inline bint owner_release(atomic_uint *word) noexcept nogil:
    """Worker -> engine. Returns False if something happened that the engine must look at: then call owner_return."""
    cdef unsigned int owner = OWNER_WORKER
    check(owner_may(OWNER_WORKER, OWNER_ENGINE, c"W"), "a worker may not release a request")
    if cas_uint(word, &owner, OWNER_ENGINE):
        return True
    check(owner == OWNER_WORKER + OWNER_EVENT, "a request is released by a thread that does not own it")
    return False


cdef inline void owner_return(atomic_uint *word) noexcept nogil:
    """Worker -> returned: before it is put into the list. It belongs to neither side until it is taken back."""
    cdef unsigned int owner = add_uint(word, OWNER_RETURNED - OWNER_WORKER)
    check(
        owner & OWNER_MASK == OWNER_WORKER and owner_may(OWNER_WORKER, OWNER_RETURNED, c"W"),
        "a request is returned by a thread that does not own it")


cdef inline void owner_defer(atomic_uint *word) noexcept nogil:
    """Engine -> returned: the engine itself puts it into the list, to continue with it in the loop's next cycle."""
    check(
        owner_is(word, OWNER_ENGINE) and owner_may(OWNER_ENGINE, OWNER_RETURNED, c"E"),
        "a request is deferred that the engine does not own")
    store_uint(word, OWNER_RETURNED)
