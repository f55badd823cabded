# What an application gives to start_response, checked.

# A header. The pointers are valid as long as the tuple that they come from.
ctypedef struct FieldText:
    const char *name
    Py_ssize_t name_length
    const char *value
    Py_ssize_t value_length

# Return the code of a status line such as "200 OK", and set its text and length.
cdef int read_status(str status, const char **text, Py_ssize_t *length) except -1
# Set the text of a header. Return False if it is not a tuple of two str, each of the exact type: see plain_fields.
cdef bint read_field(object item, FieldText *field) except -1
cdef str plain_text(object text, str what)
cdef list plain_fields(object headers)
