# Memory that request bodies are received into, and that whoever reads one whole may keep.
from halfsync.native.sync cimport pthread_mutex_t

cdef enum:
    BLOCK_BYTES = 64 * 1024   # the longest body that a block holds
    BLOCK_LEAST = 32 * 1024   # the shortest: kept by the application, a block wastes no more than it holds
    BLOCKS_MAX = 16           # that there may be: 1 MiB

ctypedef struct Block:
    void *owner               # what the memory belongs to; for whoever made the block
    char *data                # BLOCK_BYTES, and the exchange's BODY_SLACK

# Any thread may take and give.
ctypedef struct BlockPool:
    pthread_mutex_t lock      # guards the rest
    Block blocks[BLOCKS_MAX]
    int length                # of those, how many wait to be used
    int made                  # wait, are lent, or are being made

cdef void blocks_init(BlockPool *pool) noexcept nogil
cdef bint blocks_take(BlockPool *pool, Block *block) noexcept nogil
cdef bint blocks_want(BlockPool *pool) noexcept nogil
cdef void blocks_unwant(BlockPool *pool) noexcept nogil
cdef bint blocks_give(BlockPool *pool, const Block *block) noexcept nogil
cdef void blocks_destroy(BlockPool *pool) noexcept nogil
