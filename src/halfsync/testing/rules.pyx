"""Thin Python faces of pure functions, for their unit tests. Built with the checks only."""
from halfsync.http.grammar cimport (
    DECIMAL_BYTES, HEX_BYTES, authority_is_valid as native_authority, connection_options as native_options, hex_pair,
    is_field_value as native_field_value, is_token as native_token, method_is as native_method, name_is as native_name,
    number_of as native_number, port_of as native_port, write_decimal, write_hex,
)


# --- http/grammar ---

def is_token(bytes text not None):
    return bool(native_token(text, len(text)))


def is_field_value(bytes text not None):
    return bool(native_field_value(text, len(text)))


def name_is(bytes text not None, bytes lower not None):
    return bool(native_name(text, len(text), lower))


def method_is(bytes text not None, bytes method not None):
    return bool(native_method(text, len(text), method))


def number_of(bytes text not None):
    """Return the number, or None: it is none."""
    number = native_number(text, len(text))
    return None if number < 0 else number


def port_of(bytes text not None):
    """Return the port, or None: it is none."""
    port = native_port(text, len(text))
    return None if port < 0 else port


def hex_byte(bytes text not None):
    """Return the value of two hexadecimal digits, or None: they are none."""
    if len(text) != 2:
        raise ValueError(text)
    value = hex_pair(text)
    return None if value < 0 else value


def decimal(value):
    cdef char out[DECIMAL_BYTES]
    return out[:write_decimal(out, value) - out]


def hexadecimal(value):
    cdef char out[HEX_BYTES]
    return out[:write_hex(out, value) - out]


def connection_options(bytes text not None):
    """Return the bits: 1 close, 2 keep-alive, 4 upgrade, 8 any other."""
    return native_options(text, len(text))


def authority_is_valid(bytes text not None):
    cdef const char *start = text
    return bool(native_authority(start, start + len(text)))
