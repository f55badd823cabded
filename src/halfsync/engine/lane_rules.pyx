"""Which lane of the request queue a request belongs to, by its method and its path.

The path is decoded once, as the application sees it. If it has empty segments, "." or "..", it can be read in two ways:
as it is, and resolved. The request then goes to the lesser of the two lanes, so that no spelling of a path leads to a
better lane than the plain one.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memmove, memset

from halfsync.http.grammar cimport decode_path, method_is
from halfsync.http.parser cimport head_path
from halfsync.native.checks cimport COUNT_BUFFER, count
from halfsync.pool.lane_records cimport LANE_DEFAULT


cdef inline uint32_t segment_end(const char *path, uint32_t start, uint32_t length) noexcept nogil:
    cdef const char *slash = <const char *> memchr(path + start, c'/', length - start)
    return length if slash == NULL else <uint32_t> (slash - path)


cdef inline bint is_dots(const char *segment, uint32_t length) noexcept nogil:
    """Return whether a segment is "." or ".."."""
    return 0 < length <= 2 and segment[0] == c'.' and segment[length - 1] == c'.'


cdef inline bint is_plain(const char *path, uint32_t length) noexcept nogil:
    """Return whether a path that begins with a slash reads the same when it is resolved."""
    cdef uint32_t start = 1
    cdef uint32_t end
    while start < length:
        end = segment_end(path, start, length)
        if end == start or is_dots(path + start, end - start):
            return False
        start = end + 1
    return True


cdef inline uint32_t resolve(char *path, uint32_t length) noexcept nogil:
    """Remove empty segments, "." and ".." from a path that begins with a slash (RFC 3986 5.2.4). Returns its length."""
    cdef uint32_t done = 0  # what is resolved, without a slash at its end
    cdef uint32_t start = 1
    cdef uint32_t end = 0
    cdef bint named = False  # the last segment was a name
    while start <= length:
        end = segment_end(path, start, length)
        named = end > start and not is_dots(path + start, end - start)
        if named:
            path[done] = c'/'
            memmove(path + done + 1, path + start, end - start)
            done += 1 + end - start
        elif end - start == 2:
            while done > 0:
                done -= 1
                if path[done] == c'/':
                    break
        start = end + 1
    if not named:
        path[done] = c'/'
        done += 1
    return done


cdef inline bint has_method(const LaneRule *rule, const char *method, uint32_t length) noexcept nogil:
    cdef uint32_t index
    if rule.methods_count == 0:
        return True
    for index in range(rule.methods_count):
        if method_is(method, length, rule.methods[index]):
            return True
    return False


cdef inline bint has_path(const LaneRule *rule, const char *path, uint32_t length) noexcept nogil:
    if rule.kind == RULE_ANY:
        return True
    if length < rule.length or (rule.kind == RULE_EXACT and length > rule.length):
        return False
    return memcmp(rule.path, path, rule.length) == 0


cdef uint8_t find(
    const LaneRules *rules, const char *method, uint32_t method_length, const char *path, uint32_t length
) noexcept nogil:
    """Return the lane of a path that is read as it is."""
    cdef const LaneRule *rule
    cdef uint32_t index
    for index in range(rules.count):
        rule = &rules.rules[index]
        if has_path(rule, path, length) and has_method(rule, method, method_length):
            return rule.lane
    return LANE_DEFAULT


cdef uint8_t lane_for(
    const LaneRules *rules, const char *method, uint32_t method_length, const char *raw, uint32_t length
) noexcept nogil:
    """Return the lane of a method and a path that is not decoded. A path may be empty."""
    cdef char path[LANE_PATH_BYTES]
    cdef uint8_t lane, other
    if length > LANE_PATH_BYTES:
        return rules.least
    length = <uint32_t> decode_path(raw, length, path)
    lane = find(rules, method, method_length, path, length)
    if is_plain(path, length):
        return lane
    length = resolve(path, length)
    other = find(rules, method, method_length, path, length)
    return lane if rules.ranks[lane] <= rules.ranks[other] else other


cdef uint8_t lane_of(const LaneRules *rules, const Exchange *exchange) noexcept nogil:
    """Return the lane of a complete request."""
    cdef uint32_t length
    cdef const char *path = head_path(&exchange.head, exchange.data, &length)
    return lane_for(rules, exchange.data + exchange.head.method, exchange.head.method_length, path, length)


cdef class LaneTable:
    """The rules of a server's lanes. Read-only once made, so any thread may use it."""

    def __init__(self, lanes):
        """lanes: the `Lane` records of the settings, the default one first."""
        cdef LaneRules *rules = &self.rules
        cdef LaneRule *rule
        cdef const char **method
        cdef uint32_t index
        memset(rules, 0, sizeof(LaneRules))
        patterns = sorted(
            (pattern for number, lane in enumerate(lanes) for pattern in patterns_of(number, lane)),
            key=lambda one: (one[0], -len(one[1]), not one[2]))
        self.pinned = patterns
        self.names = tuple([lane.name for lane in lanes])
        rules.rules = <LaneRule *> calloc(len(patterns) + 1, sizeof(LaneRule))
        rules.methods = <const char **> calloc(sum([len(one[2]) for one in patterns]) + 1, sizeof(char *))
        count(COUNT_BUFFER, 1)
        if rules.rules == NULL or rules.methods == NULL:
            raise MemoryError
        method = rules.methods
        for kind, path, methods, number in patterns:
            rule = &rules.rules[rules.count]
            rules.count += 1
            rule.kind = kind
            rule.path = path
            rule.length = len(path)
            rule.lane = number
            rule.methods = method
            rule.methods_count = len(methods)
            for text in methods:
                method[0] = text
                method += 1
        ranked = sorted(range(len(lanes)), key=lambda number: rank_of(lanes[number]))
        for index, number in enumerate(ranked):
            rules.ranks[<int> number] = index
        rules.least = ranked[0]

    def __dealloc__(self):
        if self.rules.rules != NULL or self.rules.methods != NULL:
            free(self.rules.rules)
            free(self.rules.methods)
            count(COUNT_BUFFER, -1)


def patterns_of(number, lane):
    """Return what belongs to a lane: the kind of each rule, its path, its methods, and the lane's number."""
    methods = tuple([method.encode("ascii") for method in lane.methods])
    if not lane.paths:
        return [(RULE_ANY, b"", methods, number)] if methods else []
    encoded = [path.encode("utf-8") for path in lane.paths]
    return [
        (RULE_PREFIX, path[:-1], methods, number) if path.endswith(b"/*") else (RULE_EXACT, path, methods, number)
        for path in encoded
    ]


def rank_of(lane):
    """Return by what lanes are compared, the least first, if a request may belong to either."""
    return lane.priority, float("inf") if lane.max_threads is None else lane.max_threads, lane.threads
