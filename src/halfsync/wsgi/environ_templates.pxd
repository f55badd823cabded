from cpython.object cimport PyObject

from halfsync.exchange.exchange cimport Exchange
from halfsync.wsgi.body cimport Input
from halfsync.wsgi.request_timeline cimport RequestTimeline

cdef extern from "Python.h":
    Py_ssize_t references "Py_REFCNT" (PyObject *counted)  # of a pointer: an object passed on may count once more


cdef class EnvironTemplates:
    cdef dict template        # the keys of every environ, without SERVER_NAME and SERVER_PORT
    cdef list templates       # the same with them, one dict for each listener of the server
    cdef int templates_count
    cdef Py_ssize_t idle_references  # of what is lent, while no request has it; 0: nothing is lent
    cdef Input empty          # wsgi.input of a request without a body
    cdef RequestTimeline timeline  # halfsync.timeline
    cdef object wait          # halfsync.queue_wait
    cdef str id               # halfsync.request_id
    cdef str id_key           # of the field from which ids are taken; None: requests have no ids

    cdef int set_templates(self, dict template, list servers) except -1
    cdef dict of_server(self, tuple server)
    cdef int place(self, str key, object value) except -1
    cdef int renew_empty(self) except -1
    cdef void take_empty_back(self, dict environ) noexcept
    cdef int add_wait(self, dict environ, double waited_s) except -1
    cdef int renew_wait(self) except -1
    cdef int add_id(self, dict environ, const Exchange *exchange) except -1
    cdef int renew_id(self) except -1
    cdef RequestTimeline begin_timeline(self, dict environ, Exchange *exchange)
    cdef int renew_timeline(self) except -1
    cdef void end_timeline(self, RequestTimeline timeline) noexcept
