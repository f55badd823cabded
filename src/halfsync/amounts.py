"""Numbers that callers give: durations and counts, of whatever numeric type, read before anything is done with them."""

from __future__ import annotations

from operator import index

from halfsync.runtime.standard import genuine

DIGITS_MOST = 20  # a number of 64 bits has no more
LONGEST_S = 1e9  # some thirty years; a wait for longer never ends


def real(value: object) -> float | None:
    """Return a real number as a float, infinite if it is too large for one. None: it is no real number, or a bool.

    Takes what Python calls a number: int, float, Fraction, Decimal, the scalars of numpy.
    """
    if not isinstance(value, int | float):
        with genuine():
            from numbers import Complex, Number, Real  # noqa: PLC0415 - few numbers are of other types

        if not isinstance(value, Real) and (not isinstance(value, Number) or isinstance(value, Complex)):
            return None
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type] # a Number, as Decimal is, is not declared to have it
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")  # type: ignore[operator] # as above
    except Exception:  # noqa: BLE001 - a signaling NaN of Decimal, or a broken __float__
        return None


def whole(value: object) -> int | None:
    """Return an integer of any type as an int. None: it is no integer, or a bool."""
    if isinstance(value, bool):
        return None
    try:
        return index(value)  # type: ignore[arg-type] # whether it has __index__ is the question
    except Exception:  # noqa: BLE001 - it has no __index__, or a broken one
        return None


def digits(text: str) -> int | None:
    """Return the number that decimal digits stand for. None: these are none, or more than any number here may have.

    int() takes the digits of all alphabets, and raises an error of its own for thousands of them.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MOST else None


def seconds(value: object, name: str = "timeout") -> float | None:
    """Return a duration that an argument gives, in seconds, not negative. None: it never ends (None, inf, years).

    A negative one is over already, and becomes 0. Raises TypeError for what is no number (bool, text), ValueError for
    NaN.
    """
    if value is None:
        return None
    number = real(value)
    if number is None:
        raise TypeError(f"{name} must be a number of seconds or None, not {type(value).__name__}")
    if number > LONGEST_S:
        return None
    if number > 0:
        return number
    if number <= 0:
        return 0.0
    raise ValueError(f"{name} must be a number of seconds or None, not NaN")


def count(value: object, name: str, least: int, most: int) -> int:
    """Return a count that an argument gives. Raises TypeError for no integer, ValueError for one out of range."""
    number = whole(value)
    if number is None:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {shown(value)}")
    return number


def shown(value: object) -> str:
    """Write any value for an error: short and on one line, though it be huge or refuse to be written."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - thousands of digits, a thousand levels, or a repr of the application's own
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
