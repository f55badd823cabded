# What is known of connections and requests, as members of the status. See figures.pyx.
from halfsync.admin.answer cimport AdminView
from halfsync.admin.json_text cimport Text

cdef void add_figures(Text *text, const AdminView *view) noexcept nogil
