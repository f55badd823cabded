# Locks, semaphores, atomics and the clocks, declared once for every native module.
from libc.stdint cimport int64_t, uint32_t


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_attr_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *cond, void *attributes)
    int pthread_cond_destroy(pthread_cond_t *cond)
    int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
    int pthread_cond_signal(pthread_cond_t *cond)
    int pthread_cond_broadcast(pthread_cond_t *cond)

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    int sem_init(sem_t *semaphore, int shared, unsigned int value)
    int sem_destroy(sem_t *semaphore)
    int sem_post(sem_t *semaphore)
    int sem_wait(sem_t *semaphore)

# The C11 atomics that are used. Every operation is sequentially consistent.
cdef extern from "<stdatomic.h>" nogil:
    ctypedef struct atomic_uchar:
        pass
    ctypedef struct atomic_uint:
        pass
    ctypedef struct atomic_llong:
        pass
    ctypedef struct atomic_pointer "_Atomic(void *)":
        pass
    unsigned char load_uchar "atomic_load" (atomic_uchar *where)
    void store_uchar "atomic_store" (atomic_uchar *where, unsigned char value)
    void init_uchar "atomic_init" (atomic_uchar *where, unsigned char value)
    bint cas_uchar "atomic_compare_exchange_strong" (
        atomic_uchar *where, unsigned char *expected, unsigned char value)
    unsigned int load_uint "atomic_load" (atomic_uint *where)
    void store_uint "atomic_store" (atomic_uint *where, unsigned int value)
    void init_uint "atomic_init" (atomic_uint *where, unsigned int value)
    unsigned int swap_uint "atomic_exchange" (atomic_uint *where, unsigned int value)
    unsigned int add_uint "atomic_fetch_add" (atomic_uint *where, unsigned int value)
    unsigned int sub_uint "atomic_fetch_sub" (atomic_uint *where, unsigned int value)
    bint cas_uint "atomic_compare_exchange_strong" (atomic_uint *where, unsigned int *expected, unsigned int value)
    long long load_llong "atomic_load" (atomic_llong *where)
    void store_llong "atomic_store" (atomic_llong *where, long long value)
    void init_llong "atomic_init" (atomic_llong *where, long long value)
    long long add_llong "atomic_fetch_add" (atomic_llong *where, long long value)
    long long swap_llong "atomic_exchange" (atomic_llong *where, long long value)
    bint cas_llong "atomic_compare_exchange_strong" (atomic_llong *where, long long *expected, long long value)
    void *load_pointer "atomic_load" (atomic_pointer *where)
    void init_pointer "atomic_init" (atomic_pointer *where, void *value)
    void *swap_pointer "atomic_exchange" (atomic_pointer *where, void *value)
    bint cas_pointer "atomic_compare_exchange_weak" (atomic_pointer *where, void **expected, void *value)

cdef extern from *:
    """
    #include <pthread.h>
    #include <signal.h>
    #include <stdatomic.h>
    #include <stdint.h>
    #include <time.h>
    static inline int64_t hs_monotonic_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    /* Return ns since 1970. It may be set back: for what is compared with other clocks, or shown. */
    static inline int64_t hs_realtime_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static inline void hs_sleep(int64_t ns) {
        struct timespec time = {ns / 1000000000, ns % 1000000000};
        nanosleep(&time, NULL);
    }
    /* Start a thread with a small stack that receives no signals. Returns 0 or -errno. */
    static inline int hs_start_thread(
        pthread_t *thread, void *(*run)(void *), void *argument, const char *name, size_t stack_bytes
    ) {
        sigset_t all, before;
        pthread_attr_t attributes;
        int result;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, stack_bytes);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = pthread_create(thread, &attributes, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        if (result == 0)
            pthread_setname_np(*thread, name);
        return -result;
    }
    """
    int64_t monotonic_ns "hs_monotonic_ns" () noexcept nogil
    int64_t realtime_ns "hs_realtime_ns" () noexcept nogil
    void sleep_ns "hs_sleep" (int64_t ns) noexcept nogil
    int start_thread "hs_start_thread" (
        pthread_t *thread, void *(*run)(void *) noexcept nogil, void *argument, const char *name,
        size_t stack_bytes) noexcept nogil
