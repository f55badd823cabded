"""The directories that a server serves, and the content types of their files, as native code reads them."""
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from halfsync.http.response_head cimport server_fields_init, server_fields_show
from halfsync.native.checks cimport COUNT_BUFFER, count
from halfsync.static.answer cimport answer_request
from halfsync.static.files cimport EXTENSION_BYTES, Mount, TypeSlot, type_hash

cdef enum:
    TYPE_LINE_BYTES = 256


cdef class StaticFiles:
    """The directories that a server serves. Read-only once made, so any thread may answer from it.

    Owned by its server, which closes it once no thread of a model uses it.
    """

    def __init__(
        self, mounts, types, *, bint symlinks=False, bint walks=False, bint server_header=True,
        double keep_alive_s=0, int64_t max_age_s=0, bint server_timing=False, bytes id_field=None
    ):
        """Take over the descriptors. mounts: the prefix and directory of each.

        types: by extension, in lower case: the field line, and whether such files compress. b"" is for all other
        extensions. id_field: the field in which error pages have the id of their request; None: they have none.
        """
        cdef Files *files = &self.files
        cdef Mount *mount
        cdef uint32_t slots = 64
        memset(files, 0, sizeof(Files))
        while slots < 2 * len(types):
            slots *= 2
        files.native_handler.answer = answer_request
        files.mounts = <Mount *> calloc(len(mounts), sizeof(Mount))
        files.types = <TypeSlot *> calloc(slots, sizeof(TypeSlot))
        count(COUNT_BUFFER, 2)
        files.types_mask = slots - 1
        if files.mounts == NULL or files.types == NULL:
            raise MemoryError
        ordered = sorted(mounts, key=lambda each: -len(each[0]))
        self.pinned = (ordered, dict(types))
        for prefix, fd in ordered:
            mount = &files.mounts[files.mounts_count]
            mount.prefix = prefix
            mount.prefix_length = len(prefix)
            mount.fd = fd
            files.mounts_count += 1
        for extension, (line, compresses) in self.pinned[1].items():
            self._add_type(extension, line, compresses)
        files.symlinks = symlinks
        files.walks = walks
        server_fields_init(&files.fields, server_header, keep_alive_s)
        server_fields_show(&files.fields, server_timing, NULL if id_field is None else <const char *> id_field)
        files.max_age_s = max_age_s
        self.capsule = PyCapsule_New(&self.files, b"halfsync.static", NULL)

    def _add_type(self, bytes extension, bytes line, bint compresses):
        cdef TypeSlot slot
        cdef uint32_t position
        if len(extension) > EXTENSION_BYTES or len(line) > TYPE_LINE_BYTES:
            return  # it counts as unknown
        memset(&slot, 0, sizeof(slot))
        memcpy(slot.extension, <const char *> extension, len(extension))
        slot.line = line
        slot.line_length = len(line)
        slot.compresses = compresses
        if not extension:
            self.files.unknown = slot
            return
        position = type_hash(slot.extension) & self.files.types_mask
        while self.files.types[position].extension[0] != 0:
            position = (position + 1) & self.files.types_mask
        self.files.types[position] = slot

    def close(self):
        """Close the directories. No model may answer from them after this."""
        cdef int position
        for position in range(self.files.mounts_count):
            close(self.files.mounts[position].fd)
        self.files.mounts_count = 0

    def __dealloc__(self):
        self.close()
        if self.files.mounts != NULL:
            free(self.files.mounts)
            free(self.files.types)
            count(COUNT_BUFFER, -2)
