"""Blocks of memory that become bytes objects, for bodies that an application reads whole: see exchange/blocks.pyx."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from halfsync.exchange.blocks cimport (
    BLOCK_BYTES, Block, blocks_destroy, blocks_give, blocks_init, blocks_take, blocks_unwant, blocks_want,
)
from halfsync.exchange.exchange cimport BODY_SLACK

cdef extern from "Python.h":
    void Py_SET_SIZE(object sized, Py_ssize_t size)


cdef class BodyBlocks:
    """A pool of such blocks. The model owns it, and keeps it longer than any exchange that may hold a block."""

    def __cinit__(self):
        blocks_init(&self.pool)
        self.ready = True

    def __dealloc__(self):
        cdef Block block
        if self.ready:
            while blocks_take(&self.pool, &block):
                Py_DECREF(<object> <PyObject *> block.owner)
            blocks_destroy(&self.pool)


cdef int add_block(BlockPool *pool) except -1:
    """Add a block that is counted already."""
    cdef Block block
    cdef bytes memory = PyBytes_FromStringAndSize(NULL, BLOCK_BYTES + BODY_SLACK)
    block.owner = <void *> memory
    block.data = PyBytes_AS_STRING(memory)
    if blocks_give(pool, &block):
        Py_INCREF(memory)
    return 0


cdef int grow(BlockPool *pool) except -1:
    """Add one block, if the pool may have it."""
    if blocks_want(pool):
        try:
            add_block(pool)
        except MemoryError:
            blocks_unwant(pool)
            raise
    return 0


cdef bytes take_whole(Exchange *exchange):
    """Return the body as the bytes object that it was received into, and remove it from the exchange.

    Until now only its block refers to the object, so its size can still be set.
    """
    cdef bytes data = <bytes> <PyObject *> exchange.block.owner
    add_block(exchange.blocks)  # if memory is short, nothing has changed
    Py_DECREF(data)  # the block's reference
    exchange.block.owner = NULL
    exchange.body = NULL
    Py_SET_SIZE(data, exchange.body_length)
    PyBytes_AS_STRING(data)[exchange.body_length] = 0
    exchange.body_length = 0
    return data
