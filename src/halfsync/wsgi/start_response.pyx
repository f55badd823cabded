"""Check what an application gives to start_response: the status and the headers (PEP 3333, RFC 9110 5).

An application's str and tuples may be of subclasses, such as a template's strings that are marked as safe. What counts
is the text that they hold, not what their methods return. So they are converted to the exact types first, and only if
they are not of these: that may run code of the application. The other functions run none.
"""
from cpython.unicode cimport PyUnicode_GET_LENGTH

from halfsync.http.grammar cimport is_field_value, is_token, number_of

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)


class ApplicationError(Exception):
    """The application has broken a rule of PEP 3333; the message says which."""


cdef int read_status(str status, const char **text, Py_ssize_t *length) except -1:
    """Return the code of a status line. See the .pxd. Raises ApplicationError."""
    cdef int code = 0
    if PyUnicode_KIND(status) != 1:
        raise ApplicationError(f"the status has a character outside latin-1: {status!r}")
    text[0] = <const char *> PyUnicode_DATA(status)
    length[0] = PyUnicode_GET_LENGTH(status)
    if length[0] >= 3 and is_field_value(text[0], length[0]) and (length[0] == 3 or text[0][3] == b" "):
        code = <int> number_of(text[0], 3)
    if not 200 <= code <= 999:
        raise ApplicationError(f"the status must be like '200 OK', and not an interim one (1xx): {status!r}")
    return code


cdef bint read_field(object item, FieldText *field) except -1:
    """Set the text of a header. See the .pxd. Raises ApplicationError."""
    if type(item) is not tuple or len(<tuple> item) != 2:
        return False
    name, value = <tuple> item
    if type(name) is not str or type(value) is not str:
        return False
    if PyUnicode_KIND(name) != 1:
        raise ApplicationError(f"a header's name has a character outside latin-1: {name!r}")
    if PyUnicode_KIND(value) != 1:
        raise ApplicationError(f"the value of header {name!r} has a character outside latin-1: {value!r}")
    field.name = <const char *> PyUnicode_DATA(name)
    field.value = <const char *> PyUnicode_DATA(value)
    field.name_length = PyUnicode_GET_LENGTH(name)
    field.value_length = PyUnicode_GET_LENGTH(value)
    if not is_token(field.name, field.name_length):
        raise ApplicationError(f"not a valid header name: {name!r}")
    if not is_field_value(field.value, field.value_length):
        raise ApplicationError(f"the value of header {name!r} has a control character: {value!r}")
    return True


cdef str plain_text(object text, str what):
    """Return a str of the exact type. Raises ApplicationError, which names `what` it is for, if it is no str."""
    if not isinstance(text, str):
        raise ApplicationError(f"{what} must be a str, not {type(text).__name__}: {text!r}")
    return PyUnicode_FromObject(text)


cdef list plain_fields(object headers):
    """Return headers as a list of tuples of two str, of the exact types. Raises ApplicationError for others."""
    if not isinstance(headers, list):
        raise ApplicationError(f"the headers must be a list, not {type(headers).__name__}")
    return [plain_field(item) for item in list(headers)]


cdef tuple plain_field(object item):
    """Return a header as a tuple of two str of the exact types. Raises ApplicationError for others."""
    if not isinstance(item, tuple):
        raise ApplicationError(f"a header must be a tuple (name, value), not {type(item).__name__}: {item!r}")
    if len(tuple(item)) != 2:
        raise ApplicationError(f"a header must be a tuple (name, value), not {item!r}")
    name, value = tuple(item)
    name = plain_text(name, "a header's name")
    return name, plain_text(value, f"the value of header {name!r}")
