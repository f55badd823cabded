"""A stack of equal blocks of memory, made by somebody who may make them.

The engine receives a body without the GIL, yet what the application wants of it is a Python object. So the bridge makes
such objects, under the GIL, and lends their memory as blocks; the engine receives into a block and knows
no more of it. When the application reads the body whole it is given the object itself: not a byte is copied, and the
bridge makes another. Without a block (there are few, and only for bodies of a certain size) a body lies in memory of
its exchange and is copied when it is read; that it was is the reason to make one block more, up to BLOCKS_MAX.
"""
from halfsync.native.sync cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)


cdef void blocks_init(BlockPool *pool) noexcept nogil:
    """Make an empty pool."""
    pthread_mutex_init(&pool.lock, NULL)
    pool.length = pool.made = 0


cdef bint blocks_take(BlockPool *pool, Block *block) noexcept nogil:
    """Take the block that was given last, which the processor's cache knows best. Returns False when there is none."""
    cdef bint found
    pthread_mutex_lock(&pool.lock)
    found = pool.length > 0
    if found:
        pool.length -= 1
        block[0] = pool.blocks[pool.length]
    pthread_mutex_unlock(&pool.lock)
    return found


cdef bint blocks_want(BlockPool *pool) noexcept nogil:
    """Count one block more, for the caller to make and give. Returns False when there are as many as there may be."""
    cdef bint more
    pthread_mutex_lock(&pool.lock)
    more = pool.made < BLOCKS_MAX
    if more:
        pool.made += 1
    pthread_mutex_unlock(&pool.lock)
    return more


cdef void blocks_unwant(BlockPool *pool) noexcept nogil:
    """Take back what blocks_want has counted: there was no memory to make it."""
    pthread_mutex_lock(&pool.lock)
    pool.made -= 1
    pthread_mutex_unlock(&pool.lock)


cdef bint blocks_give(BlockPool *pool, const Block *block) noexcept nogil:
    """Give a block to use. Returns False when the pool is full: it is still the caller's."""
    cdef bint taken
    pthread_mutex_lock(&pool.lock)
    taken = pool.length < BLOCKS_MAX
    if taken:
        pool.blocks[pool.length] = block[0]
        pool.length += 1
    pthread_mutex_unlock(&pool.lock)
    return taken


cdef void blocks_destroy(BlockPool *pool) noexcept nogil:
    """Let go of a pool that nobody uses any more, once its blocks have been taken."""
    pthread_mutex_destroy(&pool.lock)
