"""The engine's listeners: whether to accept, how a new connection begins, and how the listeners are closed.

A new connection is accepted while there is room for it, or another can be closed for it. Whether this process accepts
at all, shared/accepting says.
"""
from libc.errno cimport E2BIG, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.admission cimport admit, reject
from halfsync.engine.adoption cimport adopt_all, adopt_one, adoption_close, adoption_watch
from halfsync.engine.connection_close cimport close_now
from halfsync.engine.connection_events cimport shake_hands
from halfsync.engine.connections cimport connection_close, connection_open
from halfsync.engine.deadlines cimport next_check
from halfsync.engine.engine cimport LISTENERS_MAX, Connection, EngineListener, engine_note_refusal
from halfsync.engine.eviction cimport eviction_choose, eviction_close
from halfsync.engine.phases cimport PHASE_HANDSHAKE
from halfsync.engine.poller cimport HANDLE_LISTENER, complete_accept
from halfsync.engine.timers cimport wheel_set
from halfsync.exchange.reasons cimport REASON_PEER
from halfsync.http.trust cimport ADDRESS_BYTES, trust_has
from halfsync.native.sync cimport load_uint
from halfsync.observe.causes cimport measure_refusal
from halfsync.shared.accepting cimport (
    ACCEPT_PAUSE_NS, has_pending_accept, keeps_listener, may_accept, others_accept,
)
from halfsync.shared.command cimport COMMAND_SERVE

cdef enum:
    ADOPTIONS_PER_VISIT = 8  # before other processes and other connections have their turn


cdef bint backlog_waits(void *engine_) noexcept nogil:
    """Return whether a connection waits in the backlog of any listener."""
    cdef Engine *engine = <Engine *> engine_
    cdef int position
    for position in range(engine.listeners_count):
        if has_pending_accept(engine.listeners[position].handle.transport.fd):
            return True
    return False


cdef bint accepts_here(Engine *engine) noexcept nogil:
    """Return whether to accept new connections here. If not, other processes must accept them."""
    return may_accept(engine.scoreboard, engine.slot, backlog_waits, engine, engine.now)


cdef bint on_acceptable(void *engine_, Handle *listener) noexcept nogil:
    """Return whether there is room for a new connection, or an open one can be closed for it."""
    cdef Engine *engine = <Engine *> engine_
    if engine.open < engine.open_max or load_uint(&engine.command) != COMMAND_SERVE:
        return True
    return has_pending_accept(listener.transport.fd) and eviction_choose(engine) != NULL


cdef void evict_for_newcomer(Engine *engine) noexcept nogil:
    """Close a connection if the new one, which was just admitted, is one too many."""
    cdef Connection *connection
    if engine.open > engine.open_max and load_uint(&engine.command) == COMMAND_SERVE:
        connection = eviction_choose(engine)
        if connection != NULL:
            eviction_close(engine, connection)


cdef void begin_handshake(Engine *engine, Connection *connection, bint admitted) noexcept nogil:
    """Begin the handshake of a connection. If it is not admitted, it is rejected after that, or closed at once."""
    if admitted or engine.open <= engine.open_max:
        connection.rejected = not admitted
        if not connection.handle.transport.state.kind.client_begins:
            shake_hands(engine, connection)
    else:
        close_now(engine, connection)


cdef bint on_accepted(void *engine_, Handle *listener, int fd, const void *address, uint32_t length) noexcept nogil:
    """Begin with a new connection. Returns False if there is no room for another.

    A connection is closed for it only once it is admitted: a client past its own limit costs no other client a
    connection.
    """
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection
    cdef uint32_t index
    cdef bint admitted
    if engine.proxies != NULL and not trust_has(engine.proxies, <const unsigned char *> address, <int> length):
        engine.counters.accepted += 1
        engine.counters.refused += 1
        measure_refusal(engine.metrics, 0, REASON_PEER)
        engine_note_refusal(engine, NULL, <const unsigned char *> address, <int> length, 0, REASON_PEER)
        close(fd)
        return True
    index = listener.index - LISTENER_INDEX
    connection = connection_open(engine, fd, NULL if engine.profiles == NULL else &engine.profiles[index], False)
    if connection == NULL:
        close(fd)
        return True
    connection.address_length = <unsigned char> min(length, <uint32_t> ADDRESS_BYTES)
    memcpy(connection.address, address, connection.address_length)
    connection.listener = <uint16_t> index
    connection.awaits_proxy = engine.proxies != NULL
    engine.counters.accepted += 1
    if engine.poller.add(&engine.poller, &connection.handle) < 0:
        connection_close(engine, connection)
        return True
    wheel_set(&engine.wheel, &connection.timer, next_check(engine, connection))
    admitted = engine.clients.limit == 0 or connection.awaits_proxy or admit(engine, connection)
    if connection.phase == PHASE_HANDSHAKE:
        begin_handshake(engine, connection, admitted)
    elif not admitted:
        reject(engine, connection)
    if admitted:
        evict_for_newcomer(engine)
    return accepts_here(engine) and on_acceptable(engine, listener)


cdef void on_accept_failed(void *engine_, Handle *listener, int error) noexcept nogil:
    """Leave new connections in the backlog for a moment: descriptors or memory are short."""
    cdef Engine *engine = <Engine *> engine_
    engine.accept_again = engine.now + ACCEPT_PAUSE_NS


cdef void on_adoptable(void *engine_) noexcept nogil:
    """Adopt a few of the connections in the queue, while there is room."""
    cdef Engine *engine = <Engine *> engine_
    cdef int _visits
    for _visits in range(ADOPTIONS_PER_VISIT):
        if engine.open >= engine.open_max or not accepts_here(engine) or not adopt_one(engine):
            return


cdef void watch_listeners(Engine *engine) noexcept nogil:
    """Watch the listeners only while there is room, or room can be made. Otherwise new connections stay in the backlog.

    Watch the hand-off queue only while there is room. No connection is closed for one in that queue: another process
    may have room for it.
    """
    cdef bint has_room = engine.open < engine.open_max
    cdef bint wanted = (
        load_uint(&engine.command) == COMMAND_SERVE
        and (has_room or engine.now >= engine.eviction.again_ns)
        and engine.now >= engine.accept_again
        and accepts_here(engine)
    )
    cdef EngineListener *listener
    cdef int position
    for position in range(engine.listeners_count):
        listener = &engine.listeners[position]
        if wanted and not listener.is_watched:
            listener.is_watched = engine.poller.add(&engine.poller, &listener.handle) == 0
        elif listener.is_watched and not wanted:
            engine.poller.remove(&engine.poller, &listener.handle)
            listener.is_watched = False
    adoption_watch(engine, wanted and has_room)


cdef void empty_backlog(Engine *engine) noexcept nogil:
    """Accept what waits in the backlog, then close the listeners, so that new connections are refused at once.

    If other processes accept on the same listener, the backlog is left to them. Called again while a listener is left:
    accepting failed, and may succeed once descriptors are free again.
    """
    cdef int position
    cdef bint any
    watch_listeners(engine)
    any = not others_accept(&engine.shared_listeners) or close_shared_listeners(engine)
    if any and engine.now < engine.accept_again:
        return
    if not others_accept(&engine.shared_listeners):
        adopt_all(engine)
    for position in range(engine.listeners_count if any else 0):
        if engine.listeners[position].handle.transport.fd >= 0:
            accept_all(engine, &engine.listeners[position].handle)
    if not any or engine.now >= engine.accept_again:
        engine_close_listeners(engine)


cdef bint close_shared_listeners(Engine *engine) noexcept nogil:
    """Close the listeners on which other processes accept, and stop adopting. Returns True if a listener is left."""
    cdef int position
    cdef bint any = False
    adoption_close(engine)
    for position in range(engine.listeners_count):
        if keeps_listener(&engine.shared_listeners, position):
            any = True
        else:
            close_listener(&engine.listeners[position])
    return any


cdef void accept_all(Engine *engine, Handle *listener) noexcept nogil:
    """Accept everything in the backlog of a listener, or as much as can be accepted now."""
    cdef long long accepted = engine.counters.accepted - 1
    while engine.counters.accepted != accepted:
        accepted = engine.counters.accepted
        complete_accept(&engine.poller, listener)


cdef void close_listener(EngineListener *listener) noexcept nogil:
    if listener.handle.transport.fd >= 0:
        close(listener.handle.transport.fd)
        listener.handle.transport.fd = -1


cdef void engine_close_listeners(Engine *engine) noexcept nogil:
    """Close the engine's copies of the listening sockets. For the engine's thread, or while it does not run."""
    cdef int position
    for position in range(engine.listeners_count):
        close_listener(&engine.listeners[position])
    engine.listeners_count = 0
    adoption_close(engine)


cdef int engine_listen(Engine *engine, int fd) noexcept nogil:
    """Accept from this listening socket too; the engine keeps a copy. Only before the start. Returns 0 or -errno."""
    cdef EngineListener *listener
    cdef int copy
    if engine.listeners_count == LISTENERS_MAX:
        return -E2BIG
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    if copy < 0:
        return -errno
    listener = &engine.listeners[engine.listeners_count]
    memset(listener, 0, sizeof(EngineListener))
    listener.handle.transport.fd = copy
    listener.handle.kind = HANDLE_LISTENER
    listener.handle.index = LISTENER_INDEX + engine.listeners_count
    engine.listeners_count += 1
    return 0
