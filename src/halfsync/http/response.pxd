# Pieces of a response head that need no application: status lines, dates, refusals.

cdef enum:
    DATE_BYTES = 29           # Sun, 06 Nov 1994 08:49:37 GMT
    REFUSAL_BYTES = 512       # enough for any refusal
    RETRY_AFTER_S = 1         # told with every 503: the queue is full, or memory or descriptors are short

# The Date field's value, for now, in DATE_BYTES of the calling thread's own; good until its next call.
cdef const char *date_now() noexcept nogil

# The same for any second since 1970, terminated, into `size` bytes: more than DATE_BYTES.
cdef void write_date(long second, char *out, size_t size) noexcept nogil

# The reason phrase registered for a status, or "".
cdef const char *reason_phrase(int status) noexcept nogil

# Write a whole response that refuses a request and closes. Returns its bytes.
cdef int write_refusal(char *out, int status, bint with_body, bint server, int *body_bytes) noexcept nogil
