# Memory into which request bodies are received. A reader that takes a whole body may keep it.
from halfsync.native.sync cimport pthread_mutex_t

cdef enum:
    BLOCK_BYTES = 64 * 1024   # the longest body that a block holds
    BLOCK_LEAST = 32 * 1024   # the shortest: if the application keeps the block, at most half of it is wasted
    BLOCKS_MAX = 16           # number of blocks at most: 1 MiB

ctypedef struct Block:
    void *owner               # object that the memory belongs to; for the maker of the block
    char *data                # BLOCK_BYTES, plus the exchange's BODY_SLACK

# Any thread may take and give blocks.
ctypedef struct BlockPool:
    pthread_mutex_t lock      # guards the rest
    Block blocks[BLOCKS_MAX]
    int length                # number of blocks that wait to be used
    int made                  # number of blocks that wait, are lent, or are being made

cdef void blocks_init(BlockPool *pool) noexcept nogil
cdef bint blocks_take(BlockPool *pool, Block *block) noexcept nogil
cdef bint blocks_want(BlockPool *pool) noexcept nogil
cdef void blocks_unwant(BlockPool *pool) noexcept nogil
cdef bint blocks_give(BlockPool *pool, const Block *block) noexcept nogil
cdef void blocks_destroy(BlockPool *pool) noexcept nogil
