# End a connection with an answer of the server's own, or after its last response.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord

cdef void refuse(DriverRecord *driver, BlockingConnection *connection, int status) noexcept nogil
cdef bint may_stay_after(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef void count_request(DriverRecord *driver) noexcept nogil
cdef bint refuse_and_stay(DriverRecord *driver, BlockingConnection *connection, int reason,
                          int retry_after_s) noexcept nogil
cdef bint finish_response(DriverRecord *driver, BlockingConnection *connection, bint stays) noexcept nogil
cdef void linger(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
# Count a refusal, and note its reason. answer: how the client is answered, an Answer. reason: a Reason (refusal_text).
cdef void note_refusal(DriverRecord *driver, BlockingConnection *connection, int answer, int status,
                       int reason) noexcept nogil
cdef void report_cut(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef bint shed(DriverRecord *driver, BlockingConnection *connection, int reason) noexcept nogil
cdef bint discard(BlockingConnection *connection) noexcept nogil
