# Which lane of the request queue a request belongs to, by its method and path. decisions/0039 has the rule.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.pool.lane_records cimport LANES_MOST

cdef enum:
    LANE_PATH_BYTES = 8192    # of a path; a longer one belongs to the least lane

cdef enum LaneRuleKind:
    RULE_EXACT                # the path is this one
    RULE_PREFIX               # the path begins with this
    RULE_ANY                  # whatever the path is

ctypedef struct LaneRule:
    const char *path
    uint32_t length
    uint8_t kind              # LaneRuleKind
    uint8_t lane
    const char **methods      # terminated
    uint32_t methods_count    # 0: every method

ctypedef struct LaneRules:
    LaneRule *rules           # the first that fits counts
    uint32_t count
    const char **methods      # of all rules
    uint8_t ranks[LANES_MOST]  # of each lane; a request that can be read in two ways goes to the lane of lower rank
    uint8_t least             # the lane of the lowest rank

cdef uint8_t lane_of(const LaneRules *rules, const Exchange *exchange) noexcept nogil
cdef uint8_t lane_for(const LaneRules *rules, const char *method, uint32_t method_length, const char *raw,
                      uint32_t length) noexcept nogil


cdef class LaneTable:
    cdef LaneRules rules
    cdef object pinned        # what the pointers point to
    cdef readonly tuple names  # of the lanes, by their index
