# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""What is known of connections and requests, as members of the status."""
from libc.stdint cimport int64_t, uint32_t

from halfsync.admin.json_text cimport add_key, add_literal, add_number
from halfsync.native.sync cimport load_llong, load_uint
from halfsync.shared.slots cimport SLOT_EMPTY, SlotRecord, slot_at


cdef void add_figures(Text *text, const AdminView *view) noexcept nogil:
    """Append how many connections are open, and how many requests were served, over all processes."""
    cdef int64_t connections = 0, requests = 0
    cdef uint32_t index
    cdef SlotRecord *slot
    for index in range(load_uint(&view.scoreboard.used)):
        slot = slot_at(view.scoreboard, index)
        if load_uint(&slot.state) != SLOT_EMPTY:
            connections += load_uint(&slot.open)
            requests += load_llong(&slot.requests)
    add_key(text, b"connections")
    add_literal(text, b"{")
    add_key(text, b"open", first=True)
    add_number(text, connections)
    add_literal(text, b"}")
    add_key(text, b"requests")
    add_number(text, requests)
