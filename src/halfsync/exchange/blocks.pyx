"""A stack of blocks of memory, all of one size, made by a caller that may make Python objects.

The engine receives a body without the GIL, but the application wants a Python object. So the bridge makes such objects
under the GIL, and lends their memory as blocks; the engine receives into a block and knows nothing else about it. If
the application reads the whole body, it is given the object itself: no byte is copied, and the bridge makes another
block. There are few blocks, and only for bodies of a certain size. A body without a block lies in memory of its
exchange, and is copied when it is read; each such copy is the reason to make one more block, up to BLOCKS_MAX.
"""
from halfsync.native.sync cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)


cdef void blocks_init(BlockPool *pool) noexcept nogil:
    """Initialize an empty pool."""
    pthread_mutex_init(&pool.lock, NULL)
    pool.length = pool.made = 0


cdef bint blocks_take(BlockPool *pool, Block *block) noexcept nogil:
    """Take the block that was given last, likely to be in the processor's cache. Returns False if there is none."""
    cdef bint found
    pthread_mutex_lock(&pool.lock)
    found = pool.length > 0
    if found:
        pool.length -= 1
        block[0] = pool.blocks[pool.length]
    pthread_mutex_unlock(&pool.lock)
    return found


cdef bint blocks_want(BlockPool *pool) noexcept nogil:
    """Count one more block, for the caller to make and give. Returns False if BLOCKS_MAX are counted."""
    cdef bint more
    pthread_mutex_lock(&pool.lock)
    more = pool.made < BLOCKS_MAX
    if more:
        pool.made += 1
    pthread_mutex_unlock(&pool.lock)
    return more


cdef void blocks_unwant(BlockPool *pool) noexcept nogil:
    """Undo blocks_want: there was no memory to make the block."""
    pthread_mutex_lock(&pool.lock)
    pool.made -= 1
    pthread_mutex_unlock(&pool.lock)


cdef bint blocks_give(BlockPool *pool, const Block *block) noexcept nogil:
    """Give a block to use. Returns False if the pool is full: the caller still owns the block."""
    cdef bint taken
    pthread_mutex_lock(&pool.lock)
    taken = pool.length < BLOCKS_MAX
    if taken:
        pool.blocks[pool.length] = block[0]
        pool.length += 1
    pthread_mutex_unlock(&pool.lock)
    return taken


cdef void blocks_destroy(BlockPool *pool) noexcept nogil:
    """Free a pool that is no longer used, once its blocks have been taken."""
    pthread_mutex_destroy(&pool.lock)
