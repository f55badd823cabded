# When a trusted proxy received a request: X-Request-Start, and how long ago that was by our clock.
from libc.stdint cimport INT64_MAX, int64_t, uint8_t

from halfsync.http.parser cimport Head
from halfsync.http.trust cimport Trust, trust_has
from halfsync.native.sync cimport realtime_ns

cdef enum:
    CLOCK_WINDOW_NS = 30000000000

# How far the clocks of the proxies are behind ours, with what every request takes from there to here: the least age
# that was seen lately. It is taken off each age, so that only time that a request has lost is left. A clock that is
# ahead of ours is not corrected for: one request from the future would make all others old. Used by one thread.
ctypedef struct ProxyClock:
    int64_t least_ns          # in this window; INT64_MAX: none was seen
    int64_t before_ns         # in the window before it
    int64_t since_ns          # monotonic: when this window began


cdef inline void proxy_clock_init(ProxyClock *clock) noexcept nogil:
    """Begin with no age seen."""
    clock.least_ns = clock.before_ns = INT64_MAX
    clock.since_ns = 0


cdef inline int64_t proxy_clock_note(ProxyClock *clock, int64_t now, int64_t age_ns) noexcept nogil:
    """Return how long a request waited at its proxies. now: monotonic. age_ns: by the two clocks; may be negative."""
    age_ns = max(age_ns, <int64_t> 0)
    if now - clock.since_ns >= CLOCK_WINDOW_NS:
        clock.before_ns = clock.least_ns if now - clock.since_ns < 2 * CLOCK_WINDOW_NS else INT64_MAX
        clock.least_ns = INT64_MAX
        clock.since_ns = now
    clock.least_ns = min(clock.least_ns, age_ns)
    return age_ns - min(clock.least_ns, clock.before_ns)


# Read the field. now: ns since 1970. Returns False if it is not there, not a time, or a day or more from now.
cdef bint request_start_age(const Head *head, const char *data, int64_t now, int64_t *age_ns) noexcept nogil


cdef inline bint forwarded_age(
    const Trust *forwarders, const uint8_t *address, int address_length, const Head *head, const char *data,
    int64_t *age_ns
) noexcept nogil:
    """Read how long ago the proxy that sends a request received it, by the two clocks. False: that is not known.

    forwarders: the proxies whose fields are believed; NULL: none are. address: of the peer.
    """
    return (
        forwarders != NULL and trust_has(forwarders, address, address_length)
        and request_start_age(head, data, realtime_ns(), age_ns)
    )
