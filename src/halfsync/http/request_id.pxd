# The id of a request: taken from a field that a trusted proxy has set, or made here.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.parser cimport Head
from halfsync.http.trust cimport Trust, TrustedPeers

cdef enum:
    REQUEST_ID_BYTES = 128    # of an id that is taken
    MADE_ID_BYTES = 32        # of one that is made
    ID_FIELD_BYTES = 64       # of the name of the field: the most that the settings allow

# Where ids come from. Read-only once made.
ctypedef struct IdSource:
    const Trust *trust        # the peers whose ids are taken; NULL: none
    uint32_t name_length
    char name[ID_FIELD_BYTES]  # of the field, in lower case

# Write the id of a request, at most REQUEST_ID_BYTES, and return its length. head: as far as it was parsed. address:
# sockaddr of the peer. is_sent: set to whether the request has the field, from any peer.
cdef uint32_t request_id_of(const IdSource *source, const Head *head, const char *data, const uint8_t *address,
                            int address_length, char *id, uint8_t *is_sent) noexcept nogil


cdef class RequestIds:
    cdef IdSource source
    cdef TrustedPeers trusted
