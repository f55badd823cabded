# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Do handshakes that compute in a few native threads, so that none holds up the engine (decisions/0041).

The engine waits for the client, as for any other connection: it keeps the deadline, and watches the socket. Only the
step that follows goes to one of these threads. A connection has one request, and that changes hands as for a turn of
the application: engine -> queue -> worker -> returned. So the engine touches neither the connection nor its transport
meanwhile, and what happens on the socket is noted in the owner's word.

The list of waiting connections is bounded: past that a new handshake fails at once. A thread never waits for a client,
never takes the GIL, and holds the lock only to take the first of the list.
"""
from libc.stdint cimport uint32_t

from halfsync.engine.engine cimport (
    HANDSHAKE_DONE, HANDSHAKE_FAILED, HANDSHAKE_THREADS, HANDSHAKE_WANTS_READ, HANDSHAKE_WANTS_WRITE, Connection,
    Handshakes, connection_of, engine_return,
)
from halfsync.engine.ownership cimport owner_submit, owner_take
from halfsync.native.checks cimport check
from halfsync.native.sync cimport (
    init_uint, load_uint, pthread_join, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, sem_destroy, sem_init, sem_post, sem_wait, start_thread, store_uint,
)
from halfsync.transport.transport cimport WANT_READ, WANT_WRITE, transport_handshake

cdef enum:
    STACK_BYTES = 256 * 1024


cdef bint handshake_submit(Engine *engine, Request *request) noexcept nogil:
    """Leave the next step of a handshake to a thread. Returns False if too many wait: the engine keeps the request."""
    cdef Handshakes *all = &engine.handshakes
    cdef bint full
    check(all.threads_count > 0, "a handshake is left to threads that do not run")
    pthread_mutex_lock(&all.lock)
    full = all.waiting >= <uint32_t> HANDSHAKES_WAITING_MAX
    if not full:
        owner_submit(&request.owner, False)
        request.next = NULL
        if all.last != NULL:
            all.last.next = request
        else:
            all.first = request
        all.last = request
        all.waiting += 1
    pthread_mutex_unlock(&all.lock)
    if not full:
        sem_post(&all.wakeup)
    return not full


cdef Request *take(Handshakes *all) noexcept nogil:
    """Take the first request of the list, and own it. NULL: none waits."""
    cdef Request *request
    pthread_mutex_lock(&all.lock)
    request = all.first
    if request != NULL:
        all.first = request.next
        if all.first == NULL:
            all.last = NULL
        all.waiting -= 1
        request.next = NULL
        owner_take(&request.owner)
    pthread_mutex_unlock(&all.lock)
    return request


cdef int step(Connection *connection) noexcept nogil:
    """Do a step of a handshake. Returns a HandshakeEnd."""
    cdef int result = transport_handshake(&connection.handle.transport)
    if result == WANT_READ:
        return HANDSHAKE_WANTS_READ
    if result == WANT_WRITE:
        return HANDSHAKE_WANTS_WRITE
    return HANDSHAKE_DONE if result == 0 else HANDSHAKE_FAILED


cdef void *run(void *engine_) noexcept nogil:
    """Do steps of handshakes until the engine ends. Those that wait then are given back undone."""
    cdef Engine *engine = <Engine *> engine_
    cdef Request *request
    cdef bint ending
    while True:
        if sem_wait(&engine.handshakes.wakeup) != 0:
            continue  # interrupted
        ending = load_uint(&engine.handshakes.ending) != 0
        request = take(&engine.handshakes)
        while request != NULL:
            request.end = HANDSHAKE_FAILED if ending else step(connection_of(request))
            engine_return(engine, request)
            request = take(&engine.handshakes) if ending else NULL
        if ending:
            return NULL


cdef int handshakes_begin(Engine *engine) noexcept nogil:
    """Start the threads. Once only, before the engine's. Returns 0 or -errno, and then none runs."""
    cdef Handshakes *all = &engine.handshakes
    cdef int result = 0
    cdef int _number
    pthread_mutex_init(&all.lock, NULL)
    sem_init(&all.wakeup, 0, 0)
    init_uint(&all.ending, 0)
    all.first = all.last = NULL
    all.waiting = 0
    for _number in range(HANDSHAKE_THREADS):
        result = start_thread(&all.threads[all.threads_count], run, engine, b"halfsync-tls", STACK_BYTES)
        if result < 0:
            handshakes_end(engine)
            return result
        all.threads_count += 1
    return 0


cdef void handshakes_end(Engine *engine) noexcept nogil:
    """End the threads, and wait for that: as long as a step takes at most. The engine's thread must not submit more."""
    cdef Handshakes *all = &engine.handshakes
    cdef int number, _number
    if all.threads_count == 0:
        return
    store_uint(&all.ending, 1)
    for _number in range(all.threads_count):
        sem_post(&all.wakeup)
    for number in range(all.threads_count):
        pthread_join(all.threads[number], NULL)
    all.threads_count = 0
    sem_destroy(&all.wakeup)
    pthread_mutex_destroy(&all.lock)
