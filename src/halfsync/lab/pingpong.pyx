"""Two threads, or two processes, that hand a byte to and fro through two pipes: what a switch between them costs.

Each side touches a working set of its own at its turn, a byte in each line of the cache. All of it is native: Python
and its GIL would cost more than what is measured. In between, one side does the same work alone, without a switch:
it touches what both would touch, writes a byte to a pipe of its own and reads it back.
"""
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from posix.unistd cimport _exit, close, fork, pipe, read, write

cdef extern from *:
    """
    #include <pthread.h>
    #include <sched.h>
    #include <signal.h>
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/resource.h>
    #include <sys/wait.h>
    #include <time.h>
    #define LINE_BYTES 64
    #define HUGE_BYTES ((size_t)2 << 20)
    static int64_t hs_read_ns(clockid_t clock) {
        struct timespec now;
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static int hs_pin(int cpu) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpu, &only);
        return sched_setaffinity(0, sizeof only, &only);
    }
    /* Map memory in pages of the usual size, or in huge ones if the system gives them, and touch each of its pages.
       Huge pages begin at multiples of their size. Returns NULL if there is no memory. The mapping lasts as long as
       the process, but for hs_unmap. */
    static unsigned char *hs_map(size_t bytes, int huge, void **mapping, size_t *mapped) {
        uintptr_t start;
        *mapped = (huge ? (bytes + 2 * HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES : bytes) + LINE_BYTES;
        *mapping = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (*mapping == MAP_FAILED) return NULL;
        madvise(*mapping, *mapped, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        start = (uintptr_t)*mapping;
        if (huge) start = (start + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
        for (size_t at = 0; at < bytes; at += LINE_BYTES) ((volatile unsigned char *)start)[at] = 1;
        return (unsigned char *)start;
    }
    static void hs_touch(unsigned char *set, size_t bytes) {
        for (size_t at = 0; at < bytes; at += LINE_BYTES) ((volatile unsigned char *)set)[at]++;
    }
    /* The voluntary and the involuntary switches of the calling thread until now. */
    static void hs_switches(int64_t *voluntary, int64_t *involuntary) {
        struct rusage usage;
        getrusage(RUSAGE_THREAD, &usage);
        *voluntary = usage.ru_nvcsw;
        *involuntary = usage.ru_nivcsw;
    }
    /* Start a thread that no signal interrupts. */
    static int hs_start(pthread_t *thread, void *(*run)(void *), void *with) {
        sigset_t all, before;
        int result;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = pthread_create(thread, NULL, run, with);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return result;
    }
    static int hs_reap(int pid) {
        int result, status = 0;
        while ((result = waitpid(pid, &status, 0)) < 0 && errno == EINTR);
        return result < 0 || status != 0;
    }
    static void *hs_shared(size_t bytes) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
    }
    """
    ctypedef unsigned long pthread_t
    ctypedef int clockid_t
    clockid_t CLOCK_MONOTONIC
    clockid_t CLOCK_THREAD_CPUTIME_ID
    int clock_getcpuclockid(int pid, clockid_t *clock) nogil
    int pthread_getcpuclockid(pthread_t thread, clockid_t *clock) nogil
    int64_t read_ns "hs_read_ns" (clockid_t clock) nogil
    int pin "hs_pin" (int cpu) nogil
    unsigned char *map_set "hs_map" (size_t bytes, int huge, void **mapping, size_t *mapped) nogil
    void touch "hs_touch" (unsigned char *set, size_t bytes) nogil
    void switches "hs_switches" (int64_t *voluntary, int64_t *involuntary) nogil
    int start_thread "hs_start" (pthread_t *thread, void *(*run)(void *) noexcept nogil, void *with_) nogil
    int pthread_join(pthread_t thread, void **result) nogil
    int reap "hs_reap" (int pid) nogil
    void *shared_memory "hs_shared" (size_t bytes) nogil
    int munmap(void *memory, size_t bytes) nogil


cdef enum:
    ROUNDS = 8  # that are made before a window looks at the clock
    WELL = 1
    FAILED = 2


# One of the two. It reads from `source`, touches its set, and writes to `sink`.
cdef struct Side:
    int source
    int sink
    int cpu
    int huge
    size_t set_bytes
    unsigned char *set
    void *mapping
    size_t mapped
    int64_t voluntary
    int64_t involuntary


# Both sides, the two pipes (from the first side, and back), and the pipe of the side that works alone.
cdef struct Game:
    Side first
    Side second
    int there[2]
    int back[2]
    int own[2]
    Side alone
    int child
    pthread_t thread
    int threaded
    clockid_t second_clock


# What a window found, in nanoseconds for a turn: of time, and of the processor, on both sides.
cdef struct Window:
    double turn
    double cpu
    double alone


cdef int prepare(Side *side) noexcept nogil:
    if pin(side.cpu) != 0:
        return -1
    side.set = map_set(side.set_bytes, side.huge, &side.mapping, &side.mapped)
    return 0 if side.set != NULL else -1


cdef void unmap(Side *side) noexcept nogil:
    if side.set != NULL:
        munmap(side.mapping, side.mapped)
        side.set = NULL


# Returns 1 if there was a byte that says that the other side is well.
cdef ssize_t take(int source) noexcept nogil:
    cdef char byte = 0
    cdef ssize_t result = read(source, &byte, 1)
    while result < 0 and errno == EINTR:
        result = read(source, &byte, 1)
    return result == 1 and byte == WELL


cdef ssize_t put(int sink, char byte=WELL) noexcept nogil:
    cdef ssize_t result = write(sink, &byte, 1)
    while result < 0 and errno == EINTR:
        result = write(sink, &byte, 1)
    return result


# What the second side does until the first one closes its pipe. It sends a byte once it is prepared, or cannot be.
cdef void *answer(void *given) noexcept nogil:
    cdef Side *side = <Side *> given
    cdef int64_t voluntary, involuntary
    if prepare(side) != 0:
        put(side.sink, FAILED)
        return NULL
    put(side.sink)
    switches(&voluntary, &involuntary)
    while take(side.source) == 1:
        touch(side.set, side.set_bytes)
        if put(side.sink) != 1:
            break
    switches(&side.voluntary, &side.involuntary)
    side.voluntary -= voluntary
    side.involuntary -= involuntary
    unmap(side)
    return NULL


cdef int start_second(Game *game, bint process) noexcept nogil:
    cdef int child
    if not process:
        game.threaded = start_thread(&game.thread, answer, &game.second) == 0
        return pthread_getcpuclockid(game.thread, &game.second_clock) if game.threaded else -1
    child = fork()  # both sides have `game`, so that only one of them may write the child's pid to it
    if child == 0:
        # With these open it would not notice that the first side has closed them, or has ended.
        close(game.there[1])
        close(game.back[0])
        answer(&game.second)
        _exit(0)
    if child < 0:
        return -1
    game.child = child
    close(game.there[0])
    close(game.back[1])
    game.there[0] = game.back[1] = -1
    return clock_getcpuclockid(child, &game.second_clock)


cdef int64_t cpu_ns(Game *game) noexcept nogil:
    return read_ns(CLOCK_THREAD_CPUTIME_ID) + read_ns(game.second_clock)


# Fails if the second side has ended.
cdef int hand_over(Game *game, int64_t window_ns, Window *window, int64_t *turns) noexcept nogil:
    cdef Side *side = &game.first
    cdef int64_t cpu = cpu_ns(game), start = read_ns(CLOCK_MONOTONIC), passed = 0, made = 0
    while passed < window_ns:
        for _ in range(ROUNDS):
            touch(side.set, side.set_bytes)
            if put(side.sink) != 1 or take(side.source) != 1:
                return -1
            made += 2
        passed = read_ns(CLOCK_MONOTONIC) - start
    turns[0] += made
    window.turn = <double> passed / <double> made
    window.cpu = <double> (cpu_ns(game) - cpu) / <double> made
    return 0


# The same without a switch. With both sides on one processor, it touches the sets of both in turn, as they would.
cdef int work_alone(Game *game, int64_t window_ns, Window *window) noexcept nogil:
    cdef int64_t cpu = read_ns(CLOCK_THREAD_CPUTIME_ID), start = read_ns(CLOCK_MONOTONIC), passed = 0, made = 0
    while passed < window_ns:
        for _ in range(ROUNDS):
            touch(game.first.set, game.first.set_bytes)
            if put(game.own[1]) != 1 or take(game.own[0]) != 1:
                return -1
            touch(game.alone.set, game.alone.set_bytes)
            if put(game.own[1]) != 1 or take(game.own[0]) != 1:
                return -1
            made += 2
        passed = read_ns(CLOCK_MONOTONIC) - start
    window.alone = <double> (read_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / <double> made
    return 0


cdef int end_second(Game *game) noexcept nogil:
    cdef int failed = 0
    if game.there[1] >= 0:
        close(game.there[1])
        game.there[1] = -1
    if game.threaded:
        failed = pthread_join(game.thread, NULL)
    elif game.child > 0:
        failed = reap(game.child)
    game.threaded = game.child = 0
    return failed


cdef void forget(Game *game) noexcept nogil:
    cdef int *ends = [game.there[0], game.there[1], game.back[0], game.back[1], game.own[0], game.own[1]]
    for at in range(6):
        if ends[at] >= 0:
            close(ends[at])
    if game.alone.set != game.first.set:
        unmap(&game.alone)
    unmap(&game.first)
    munmap(game, sizeof(Game))


cdef Game *new_game(int cpu, int other_cpu, size_t set_bytes, bint huge) except NULL:
    cdef Game *game = <Game *> shared_memory(sizeof(Game))
    if game == NULL:
        raise MemoryError("no memory for a ping-pong")
    game.there[0] = game.there[1] = game.back[0] = game.back[1] = game.own[0] = game.own[1] = -1
    game.first.set_bytes, game.first.huge, game.first.cpu = set_bytes, huge, cpu
    game.second = game.alone = game.first
    game.second.cpu = other_cpu
    if pipe(game.there) != 0 or pipe(game.back) != 0 or pipe(game.own) != 0:
        forget(game)
        raise OSError(errno, "no pipes for a ping-pong")
    game.first.sink, game.second.source = game.there[1], game.there[0]
    game.second.sink, game.first.source = game.back[1], game.back[0]
    return game


cdef int start(Game *game, bint process) noexcept nogil:
    if start_second(game, process) != 0 or prepare(&game.first) != 0:
        return -1
    if game.first.cpu == game.second.cpu:
        if prepare(&game.alone) != 0:
            return -1
    else:
        game.alone.set = game.first.set
    return 0 if take(game.first.source) == 1 else -1


def ping_pong(
    *, bint processes, int cpu, int other_cpu, size_t set_bytes=0, bint huge=False, int windows=8,
    double window_s=0.02
):
    """Hand a byte to and fro between two threads or processes, and return what one turn took in each window.

    The calling thread is the first side and runs on `cpu`, the second on `other_cpu`; the caller's affinity is changed.
    Each touches `set_bytes` at its turn, in huge pages if the system gives them. Returns a dict: `turns_ns`,
    `cpu_ns` and `alone_ns` have for each window how long a turn took; what both sides used of the processor for it,
    which is less across processors, and if others are busy too; and the same of the work alone, without a switch.
    `turns`, and the `voluntary` and `involuntary` switches, are those of both sides in all windows. Raises OSError
    if the second side cannot start, or ends too soon.
    """
    cdef Game *game = new_game(cpu, other_cpu, set_bytes, huge)
    cdef int64_t window_ns = <int64_t> (window_s * 1e9), turns = 0
    cdef int64_t before[2]
    cdef int64_t after[2]
    cdef Window window
    cdef int failed
    found = []
    try:
        with nogil:
            failed = start(game, processes)
            switches(&before[0], &before[1])
        for _ in range(windows):
            with nogil:
                failed = (
                    failed
                    or hand_over(game, window_ns, &window, &turns)
                    or work_alone(game, window_ns, &window)
                )
            if failed:
                raise OSError(errno, "the other side of a ping-pong did not start, or has ended")
            found.append((window.turn, window.cpu, window.alone))
            PyErr_CheckSignals()
        with nogil:
            switches(&after[0], &after[1])
            end_second(game)
        return {
            "turns_ns": [each[0] for each in found],
            "cpu_ns": [each[1] for each in found],
            "alone_ns": [each[2] for each in found],
            "turns": turns,
            "voluntary": after[0] - before[0] + game.second.voluntary,
            "involuntary": after[1] - before[1] + game.second.involuntary,
        }
    finally:
        end_second(game)
        forget(game)
