# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The templates of environs, and what in them is lent to one request at a time.

To make an object for each request, put it into the environ and free it again costs a few hundred instructions. So one
object of each kind lies in the templates, from which it gets into each environ. Its number of references shows whether
the request has it alone, or another request or the application has it too; then the request gets one of its own.
"""
from cpython.dict cimport PyDict_Copy, PyDict_SetItem
from cpython.float cimport PyFloat_FromDouble
from cpython.object cimport PyObject

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.request_id cimport MADE_ID_BYTES
from halfsync.wsgi.body cimport INPUT_ENDED, INPUT_OPEN, Input
from halfsync.wsgi.field_names cimport text_of
from halfsync.wsgi.request_timeline cimport RequestTimeline

cdef extern from *:
    """
    #include <string.h>

    /* Tell whether a str has so many references and no others: those of the table of interned ones do not count. */
    static inline int hs_is_writable(PyObject *text, Py_ssize_t references) {
        return Py_REFCNT(text) == references && !PyUnicode_CHECK_INTERNED(text);
    }

    static inline void hs_set_float(PyObject *number, double value) {
        ((PyFloatObject *)number)->ob_fval = value;
    }

    /* Replace the characters of an ASCII str by as many. Its hash is computed when it is needed. */
    static inline void hs_write_anew(PyObject *text, const char *data, Py_ssize_t length) {
        memcpy(PyUnicode_DATA(text), data, (size_t)length);
        ((PyASCIIObject *)text)->hash = -1;
    }
    """
    bint is_writable "hs_is_writable" (PyObject *text, Py_ssize_t references)
    void set_float "hs_set_float" (PyObject *number, double value)
    void write_anew "hs_write_anew" (PyObject *text, const char *data, Py_ssize_t length)

cdef str SERVER_NAME = "SERVER_NAME"
cdef str SERVER_PORT = "SERVER_PORT"
cdef str URL_SCHEME = "wsgi.url_scheme"
cdef str WSGI_INPUT = "wsgi.input"
cdef str REQUEST_ID = "halfsync.request_id"
cdef str TIMELINE = "halfsync.timeline"
cdef str QUEUE_WAIT = "halfsync.queue_wait"


cdef class EnvironTemplates:
    """The dicts that are copied for each environ. Used under the GIL."""

    cdef int set_templates(self, dict template, list servers) except -1:
        """Make the templates. servers: as for `EnvironFactory`."""
        self.template = template
        self.templates = [self.of_server(server) for server in servers]
        self.templates_count = len(self.templates)
        self.idle_references = 2 + self.templates_count  # those of an attribute, and of each dict
        return 0

    cdef dict of_server(self, tuple server):
        """Return a new environ with the template's keys and the names of this server."""
        cdef dict environ = PyDict_Copy(self.template)
        environ[SERVER_NAME], environ[SERVER_PORT] = server[:2]
        if len(server) > 2:
            environ[URL_SCHEME] = server[2]
        return environ

    cdef int place(self, str key, object value) except -1:
        """Put an object that an attribute has into the templates."""
        self.template[key] = value
        for environ in self.templates:
            environ[key] = value
        return 0

    # --- the input of requests without a body ---

    cdef int renew_empty(self) except -1:
        """Replace the empty input by a new one."""
        self.empty = Input.__new__(Input)
        return self.place(WSGI_INPUT, self.empty)

    cdef void take_empty_back(self, dict environ) noexcept:
        """Take the empty input back from an environ whose turn has ended; if it was used or kept, close it for good.

        All references to the environ but the caller's one are the application's.
        """
        cdef Input lent = self.empty
        if (
            lent.state == INPUT_OPEN and lent.position == 0 and references(<PyObject *> environ) == 1
            and references(<PyObject *> lent) == self.idle_references + 2
        ):
            return
        try:
            self.renew_empty()
        except MemoryError:
            self.idle_references = 0
        lent.shut(INPUT_ENDED)

    # --- the wait: a float that is written anew ---

    cdef int add_wait(self, dict environ, double waited_s) except -1:
        """Put the seconds that a request has waited for a worker into its environ."""
        if references(<PyObject *> self.wait) == self.idle_references + 1:
            set_float(<PyObject *> self.wait, waited_s)
        else:
            PyDict_SetItem(environ, QUEUE_WAIT, waited_s)
            self.renew_wait()
        return 0

    cdef int renew_wait(self) except -1:
        """Replace the wait of the templates, which others may have."""
        self.wait = PyFloat_FromDouble(0)
        return self.place(QUEUE_WAIT, self.wait)

    # --- the id ---
    # The str in the templates is written anew if only one environ has it, and it is not interned. It is for ids that
    # are as long as those that are made.

    cdef int add_id(self, dict environ, const Exchange *exchange) except -1:
        """Put the id of a request into its environ, also in the place of what a client has sent."""
        cdef bint is_usual = exchange.id_length == MADE_ID_BYTES
        if is_usual and is_writable(<PyObject *> self.id, self.idle_references + 1):
            write_anew(<PyObject *> self.id, exchange.id, MADE_ID_BYTES)
        else:
            PyDict_SetItem(environ, REQUEST_ID, text_of(exchange.id, exchange.id_length))
            if is_usual:
                self.renew_id()
        if exchange.id_is_sent:
            PyDict_SetItem(environ, self.id_key, environ[REQUEST_ID])
        return 0

    cdef int renew_id(self) except -1:
        """Replace the id of the templates, which others may have."""
        self.id = text_of(b"0" * MADE_ID_BYTES, MADE_ID_BYTES)
        return self.place(REQUEST_ID, self.id)

    # --- the timeline ---

    cdef RequestTimeline begin_timeline(self, dict environ, Exchange *exchange):
        """Return the timeline of a request whose environ was made, and put it there. The caller must end it.

        It is the one of the templates, if no other request has that.
        """
        cdef RequestTimeline timeline
        if references(<PyObject *> self.timeline) == self.idle_references + 1:
            timeline = self.timeline
        else:
            timeline = RequestTimeline.__new__(RequestTimeline)
            PyDict_SetItem(environ, TIMELINE, timeline)
        timeline.exchange = exchange
        return timeline

    cdef int renew_timeline(self) except -1:
        """Replace the timeline of the templates by a new one."""
        self.timeline = RequestTimeline.__new__(RequestTimeline)
        return self.place(TIMELINE, self.timeline)

    cdef void end_timeline(self, RequestTimeline timeline) noexcept:
        """End a request's timeline. If the application has kept it, its times stay in it.

        The caller has one reference, and none to the environ.
        """
        cdef bint is_lent = timeline is self.timeline
        if not is_lent or references(<PyObject *> timeline) != self.idle_references + 1:
            timeline.keep()
            if is_lent:
                try:
                    self.renew_timeline()
                except MemoryError:
                    self.idle_references = 0
        timeline.exchange = NULL
