# What a server was commanded to do with its connections, for every model. The word is shared by all threads, or
# processes, that serve: they read it whenever a connection comes to rest.
from halfsync.native.sync cimport atomic_uint, cas_uint, load_uint

# Each is stronger than those before it.
cdef enum Command:
    COMMAND_SERVE
    COMMAND_HANDOFF           # accept no more; hand off connections that come to rest; then end
    COMMAND_DRAIN             # accept no more; finish what was received; then end
    COMMAND_STOP              # end now


cdef inline bint command_give(atomic_uint *command, unsigned int stronger) noexcept nogil:
    """Give a command. Returns False if that one, or a stronger one, was given before."""
    cdef unsigned int given = load_uint(command)
    while given < stronger:
        if cas_uint(command, &given, stronger):
            return True
    return False


cdef inline bint closes_after_response(unsigned int command, bint closing_keepalives) noexcept nogil:
    """Return whether each connection must end with its response: the server ends, or is about to.

    closing_keepalives: the server serves, and lets its connections end.
    """
    return command > COMMAND_HANDOFF or closing_keepalives
