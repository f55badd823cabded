"""What each worker does now: rows in memory that all processes of a server share.

The thread that runs a turn of the application takes a free row, writes into it what it runs, and frees it at the end.
Reading needs no lock, and no part of the process that writes: a version number before and after the row shows whether
it was whole. So an engine that answers for all processes sees what each worker does, while every worker spins or one
keeps the GIL.

The stack of a thread can be read only with the GIL of its own process. So a reader asks for stacks (`wanted`), and a
thread of each process, its watcher, writes them as text beside the turns (observe/watcher.pyx). A stack is valid for
the turn whose version it has.

Rows of a process that was killed are freed when its slot is cleared.
"""

from libc.string cimport memset, strncpy

from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport load_uint, monotonic_ns, store_uint

from halfsync.runtime.originals import os


cdef class Activity:
    """The rows of one server. Made before its processes are forked, which inherit it. Raises MemoryError."""

    def __cinit__(self):
        self.table = <ActivityTable *> map_shared(sizeof(ActivityTable))
        if self.table == NULL:
            raise MemoryError
        self.table.started_ns = monotonic_ns()

    def __dealloc__(self):
        unmap_shared(self.table, sizeof(ActivityTable))

    def begin_process(self, unsigned int number, name, model, threads, generation):
        """Note that the calling process serves. number: of its slot. name: of the application. threads: the setting."""
        cdef ActivityProcess *process = &self.table.processes[number % PROCESSES_MOST]
        cdef bytes title = name.encode("utf-8", "replace")
        cdef bytes text = model.encode("ascii")
        strncpy(self.table.name, title, NAME_KEPT - 1)
        process.generation = generation
        process.threads = threads if model in ("proactor", "pool") else 0
        process.started_ns = monotonic_ns()
        strncpy(process.model, text, sizeof(process.model) - 1)
        store_uint(&process.pid, os.getpid())

    def end_process(self, unsigned int number):
        """Forget a process that has ended, and free its rows, and those of its children that have ended with it."""
        cdef ActivityProcess *process = &self.table.processes[number % PROCESSES_MOST]
        cdef unsigned int pid = load_uint(&process.pid)
        cdef unsigned int index, owner
        memset(process, 0, sizeof(ActivityProcess))
        for index in range(load_uint(&self.table.used)):
            owner = load_uint(&self.table.rows[index].owner)
            if owner != 0 and (owner == pid or self.table.rows[index].turn.process == number and has_ended(owner)):
                activity_end(&self.table.rows[index], owner)

    def end_child(self, unsigned int pid):
        """Free the rows of a child that has ended: one that was killed in a turn has left its own."""
        cdef unsigned int index
        for index in range(load_uint(&self.table.used)):
            if load_uint(&self.table.rows[index].owner) == pid:
                activity_end(&self.table.rows[index], pid)


cdef bint has_ended(unsigned int pid):
    """Return whether no process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
