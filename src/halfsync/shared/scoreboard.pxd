from halfsync.shared.slots cimport BoardRecord, Place, SeatRecord

cdef class Board:
    cdef BoardRecord *record
    cdef readonly int size

cdef class Seat:
    cdef readonly Board board
    cdef SeatRecord *record
    cdef Place place
    cdef readonly int number
    cdef readonly object capsule   # of the place: what a model takes it by; it lives as long as the seat
