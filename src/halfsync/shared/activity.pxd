# What each worker does now, in memory that all processes of a server share: a row for each turn of the application.
# The thread that runs a turn writes its row, any process reads it, and none waits for another. See activity.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, strncpy

from halfsync.http.request_id cimport REQUEST_ID_BYTES
from halfsync.http.trace_context cimport TRACE_ID_BYTES
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.native.sync cimport add_uint, atomic_uint, cas_uint, load_uint, store_uint

cdef extern from *:
    """
    #include <linux/futex.h>
    #include <stdatomic.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    /* Between a version and what it guards. */
    static inline void hs_fence_write(void) { atomic_thread_fence(memory_order_release); }
    static inline void hs_fence_read(void) { atomic_thread_fence(memory_order_acquire); }

    /* Wait, in any process, while the word has this value, but at most this long. It may also return for nothing. */
    static inline void hs_word_wait(_Atomic unsigned int *word, unsigned int value, int64_t ns) {
        struct timespec time = {ns / 1000000000, ns % 1000000000};
        syscall(SYS_futex, word, FUTEX_WAIT, value, &time, NULL, 0);
    }
    static inline void hs_word_wake(_Atomic unsigned int *word) {
        syscall(SYS_futex, word, FUTEX_WAKE, 0x7FFFFFFF, NULL, NULL, 0);
    }
    """
    void fence_write "hs_fence_write" () noexcept nogil
    void fence_read "hs_fence_read" () noexcept nogil
    void word_wait "hs_word_wait" (atomic_uint *word, unsigned int value, int64_t ns) noexcept nogil
    void word_wake "hs_word_wake" (atomic_uint *word) noexcept nogil

cdef enum:
    ACTIVITY_ROWS = 1024      # turns at one time, of all processes together; those beyond are served and not seen
    METHOD_KEPT = 16          # bytes of a method
    PATH_KEPT = 192           # bytes of a path
    STACK_KEPT = 7680         # bytes of the text of a stack
    REFUSALS_KEPT = 32        # the last refusals
    REASON_KEPT = 96          # bytes of a reason
    NAME_KEPT = 96            # bytes of the application's name
    PROCESSES_MOST = 8192     # as the scoreboard's slots
    READ_TRIES = 64           # of a row that is being written

# What names a request, where it lies: as far as it was understood.
ctypedef struct RequestNames:
    const char *method
    uint32_t method_length    # 0: of a stream, which has no method and no path
    const char *path          # as received, without the query
    uint32_t path_length
    const char *id
    uint32_t id_length        # 0: it has none
    const char *trace         # TRACE_ID_BYTES; NULL: it belongs to none

# What is kept of a request.
ctypedef struct ActivityRequest:
    uint32_t path_length      # as received; PATH_KEPT of it are kept
    uint8_t method_length     # as in RequestNames
    uint8_t address_length
    uint8_t id_length         # 0: it has none
    uint8_t trace_length      # 0: it belongs to none
    char method[METHOD_KEPT]
    char path[PATH_KEPT]      # as received, without the query: to be escaped where it is written out
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the client
    char id[REQUEST_ID_BYTES]
    char trace[TRACE_ID_BYTES]

# A turn, as it began.
ctypedef struct ActivityTurn:
    int64_t since_ns          # when a worker took the request
    unsigned long thread      # Python's number of the thread
    uint32_t process          # number of its process's slot
    ActivityRequest request

# Where the thread of a turn was, as text.
ctypedef struct ActivityStack:
    uint32_t turn             # version of the turn that it belongs to
    uint32_t answers          # `wanted` that it answers
    uint32_t length
    char text[STACK_KEPT]

# A version is odd while what it guards is written. Then it is another one than before.
ctypedef struct ActivityRow:
    atomic_uint owner         # pid of the process whose thread has the row; 0: it is free
    atomic_uint version       # of turn; written by the thread that has the row
    ActivityTurn turn
    atomic_uint stack_version  # of stack; written by the watcher of that process
    ActivityStack stack

ctypedef struct ActivityRefusal:
    int64_t at_ns
    int status                # of the answer; 0: the connection was closed without one
    ActivityRequest request   # as far as it was understood
    char reason[REASON_KEPT]  # terminated

ctypedef struct RefusalRow:
    atomic_uint version       # even: 2 * the number of the refusal in it, from 1; odd: it is being written
    ActivityRefusal refusal

# What a process says of itself before it serves. Cleared with its slot.
ctypedef struct ActivityProcess:
    atomic_uint pid           # written last; 0: there is no process, or it does not serve yet
    uint32_t generation       # 0: there is no supervisor
    uint32_t threads          # 0: as many as there are connections
    int64_t started_ns
    char model[12]            # terminated

ctypedef struct ActivityTable:
    int64_t started_ns
    char name[NAME_KEPT]      # of the application; terminated, and to be escaped
    atomic_uint used          # rows, from the first on, that may be in use
    atomic_uint wanted        # how often stacks were wanted: the watchers of all processes wait for a change
    atomic_uint refused       # refusals so far
    RefusalRow refusals[REFUSALS_KEPT]
    ActivityProcess processes[PROCESSES_MOST]
    ActivityRow rows[ACTIVITY_ROWS]


cdef inline bint version_begins(atomic_uint *version, unsigned int *before) noexcept nogil:
    """Begin to read what a version guards. Returns False if it is being written."""
    before[0] = load_uint(version)
    return before[0] & 1 == 0


cdef inline bint version_holds(atomic_uint *version, unsigned int before) noexcept nogil:
    """Return whether nothing was written since the reading began."""
    fence_read()
    return load_uint(version) == before


cdef inline void version_open(atomic_uint *version) noexcept nogil:
    """Begin to write. Only by the one that may write."""
    store_uint(version, load_uint(version) | 1)
    fence_write()


cdef inline void version_close(atomic_uint *version) noexcept nogil:
    """End the writing."""
    store_uint(version, (load_uint(version) | 1) + 1)


cdef inline bint take_row(ActivityTable *table, uint32_t index, unsigned int pid) noexcept nogil:
    """Take a row if it is free."""
    cdef unsigned int free = 0
    cdef unsigned int used
    if load_uint(&table.rows[index].owner) != 0 or not cas_uint(&table.rows[index].owner, &free, pid):
        return False
    used = load_uint(&table.used)
    while used <= index and not cas_uint(&table.used, &used, index + 1):
        pass
    return True


cdef inline ActivityRow *activity_take(ActivityTable *table, uint32_t *hint, unsigned int pid) noexcept nogil:
    """Return a free row, which is the calling thread's from now on, or NULL. hint: the index of its last row."""
    cdef uint32_t index
    if take_row(table, hint[0], pid):
        return &table.rows[hint[0]]
    for index in range(ACTIVITY_ROWS):
        if take_row(table, index, pid):
            hint[0] = index
            return &table.rows[index]
    return NULL


cdef inline void keep_names(ActivityRequest *request, const RequestNames *names) noexcept nogil:
    """Copy method, path and ids."""
    request.method_length = min(names.method_length, <uint32_t> METHOD_KEPT)
    memcpy(request.method, names.method, request.method_length)
    request.path_length = names.path_length
    memcpy(request.path, names.path, min(names.path_length, <uint32_t> PATH_KEPT))
    request.id_length = min(names.id_length, <uint32_t> REQUEST_ID_BYTES)
    memcpy(request.id, names.id, request.id_length)
    request.trace_length = 0 if names.trace == NULL else TRACE_ID_BYTES
    if names.trace != NULL:
        memcpy(request.trace, names.trace, TRACE_ID_BYTES)


cdef inline void keep_client(ActivityRequest *request, const uint8_t *address, uint32_t length) noexcept nogil:
    """Copy the address of the client."""
    request.address_length = min(length, <uint32_t> ADDRESS_BYTES)
    memcpy(request.address, address, request.address_length)


cdef inline void activity_begin(
    ActivityRow *row, uint32_t process, unsigned long thread, int64_t since_ns, const RequestNames *names,
    const uint8_t *address, uint32_t address_length
) noexcept nogil:
    """Write what a turn runs into the calling thread's row."""
    cdef ActivityTurn *turn = &row.turn
    version_open(&row.version)
    turn.since_ns = since_ns
    turn.thread = thread
    turn.process = process
    keep_names(&turn.request, names)
    keep_client(&turn.request, address, address_length)
    version_close(&row.version)


cdef inline void activity_name_client(ActivityRow *row, const uint8_t *address, uint32_t length) noexcept nogil:
    """Write the address of the client, once the fields of its proxy are read."""
    version_open(&row.version)
    keep_client(&row.turn.request, address, length)
    version_close(&row.version)


cdef inline void activity_end(ActivityRow *row, unsigned int pid) noexcept nogil:
    """Free the calling thread's row."""
    row.turn.since_ns = 0  # so that no reader takes this turn for that of the next owner
    cas_uint(&row.owner, &pid, 0)  # it may have been freed already, with all of this process


cdef inline unsigned int activity_read(ActivityRow *row, ActivityTurn *turn, unsigned int *version) noexcept nogil:
    """Copy the turn in a row. Returns the pid of its process; 0: no turn is under way, or it is being written."""
    cdef unsigned int owner
    cdef int _try
    for _try in range(READ_TRIES):
        owner = load_uint(&row.owner)
        if owner == 0:
            return 0
        if version_begins(&row.version, version):
            turn[0] = row.turn
            if version_holds(&row.version, version[0]):
                return owner if turn.since_ns > 0 else 0
    return 0


cdef inline bint stack_read(ActivityRow *row, ActivityStack *stack) noexcept nogil:
    """Copy the stack in a row. Returns False if it is being written."""
    cdef unsigned int version
    if not version_begins(&row.stack_version, &version):
        return False
    memcpy(stack, &row.stack, sizeof(ActivityStack))
    return version_holds(&row.stack_version, version)


cdef inline void refusal_keep(
    ActivityTable *table, int64_t now, int status, const char *reason, const RequestNames *names,
    const uint8_t *address, uint32_t address_length
) noexcept nogil:
    """Keep a refusal in place of the oldest one. Never waits: if that is being written, this one is not kept."""
    cdef unsigned int number = add_uint(&table.refused, 1)
    cdef RefusalRow *row = &table.refusals[number % REFUSALS_KEPT]
    cdef ActivityRefusal *kept = &row.refusal
    cdef unsigned int version
    if not version_begins(&row.version, &version) or not cas_uint(&row.version, &version, version | 1):
        return
    fence_write()
    kept.at_ns = now
    kept.status = status
    keep_names(&kept.request, names)
    keep_client(&kept.request, address, address_length)
    strncpy(kept.reason, reason, REASON_KEPT - 1)
    store_uint(&row.version, 2 * number + 2)


cdef inline bint refusal_read(RefusalRow *row, ActivityRefusal *refusal) noexcept nogil:
    """Copy a refusal. Returns False if there is none, or if it is being written."""
    cdef unsigned int version
    if not version_begins(&row.version, &version) or version == 0:
        return False
    refusal[0] = row.refusal
    return version_holds(&row.version, version)


# A process's number and its table: what a bridge and a watcher need.
ctypedef struct ActivityRef:
    ActivityTable *table      # NULL: nothing is noted
    uint32_t process

cdef class Activity:
    cdef ActivityTable *table
