"""Thin Python wrappers of the handler of static files, for unit tests. Only in checks builds."""
import os

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.unistd cimport close

from halfsync.exchange.exchange cimport (
    Exchange, ExchangePool, Limits, exchange_received, pool_destroy, pool_get, pool_init, pool_put,
)
from halfsync.exchange.native_handler cimport NATIVE_RESPONSE_BYTES, NativeResponse
from halfsync.native.failures cimport checked
from halfsync.static.answer cimport answer_request
from halfsync.static.static_files cimport StaticFiles
from halfsync.static.conditions cimport (
    Codings, RANGE_BEYOND, RANGE_WHOLE, coding_weight, codings_read, codings_reset, date_read, range_read, tags_match,
)
from halfsync.static.files cimport FileLocation, files_find, files_open


def read_date(bytes text not None):
    """Return the time of an HTTP-date, in seconds since 1970, or None if it is not one."""
    cdef int64_t second = 0
    return second if date_read(text, len(text), &second) else None


def match_tags(bytes text not None, bytes tag not None, bint weak):
    return bool(tags_match(text, len(text), tag, len(tag), weak))


def read_range(bytes text not None, int64_t size):
    """Return (first, count), None for the whole, or False if none of the bytes that it asks for exist."""
    cdef int64_t first = 0, count = 0
    cdef int kind = range_read(text, len(text), size, &first, &count)
    if kind == RANGE_WHOLE:
        return None
    if kind == RANGE_BEYOND:
        return False
    return first, count


def weigh_codings(list fields not None):
    """Return the weights of brotli and gzip, in thousandths."""
    cdef Codings codings
    codings_reset(&codings)
    for field in fields:
        codings_read(&codings, field, len(field))
    return coding_weight(&codings, codings.brotli), coding_weight(&codings, codings.gzip)


def find(StaticFiles files not None, bytes path not None):
    """Return the status and the decoded path below its directory, or None if it is under no prefix."""
    cdef FileLocation location
    if not files_find(&files.files, path, len(path), &location):
        return None
    return location.status, location.path[:location.length]


def open_path(StaticFiles files not None, bytes path not None):
    """Return a descriptor of the file at a path. OSError: there is none; ValueError: the path is refused."""
    cdef FileLocation location
    if not files_find(&files.files, path, len(path), &location) or location.status != 0:
        raise ValueError(path)
    return checked(files_open(&files.files, &location))


def answer(StaticFiles files not None, bytes request not None, bint stays=True):
    """Return the whole response to the bytes of a request, or None if it is for the application."""
    cdef ExchangePool pool
    cdef Limits limits
    cdef Exchange *exchange
    cdef NativeResponse made
    cdef char *buffer = <char *> malloc(NATIVE_RESPONSE_BYTES)
    cdef bytes rest
    memset(&limits, 0, sizeof(limits))
    limits.head.request_line = limits.head.field = 60000
    limits.head.fields = 100
    limits.head.head = 200000
    pool_init(&pool)
    exchange = pool_get(&pool)
    try:
        result = exchange_received(exchange, &limits, request, len(request))
        if result != 1:
            raise ValueError(result)
        if not answer_request(&files.files.native_handler, exchange, stays, buffer, &made):
            return None
        rest = b""
        if made.fd >= 0:
            rest = os.pread(made.fd, made.length, made.offset)
            close(made.fd)
        return buffer[:made.ready] + rest
    finally:
        pool_put(&pool, exchange)
        pool_destroy(&pool)
        free(buffer)
