"""Read durations and counts that callers give, of any numeric type, before they are used."""

from __future__ import annotations

from operator import index

from halfsync.runtime.standard import genuine

DIGITS_MOST = 20  # enough for any 64-bit number
LONGEST_S = 1e9  # about thirty years; a longer wait counts as endless


def real(value: object) -> float | None:
    """Return a real number as a float, infinite if it is too large for one. None: not a real number, or a bool.

    Accepts int, float, Fraction, Decimal and numpy scalars.
    """
    if not isinstance(value, int | float):
        with genuine():
            from numbers import Complex, Number, Real  # noqa: PLC0415 - few numbers are of other types

        if not isinstance(value, Real) and (not isinstance(value, Number) or isinstance(value, Complex)):
            return None
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type] # Number, the type of Decimal, does not declare __float__
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")  # type: ignore[operator] # as above
    except Exception:  # noqa: BLE001 - a signaling NaN of Decimal, or a broken __float__
        return None


def whole(value: object) -> int | None:
    """Return an integer of any type as an int. None: not an integer, or a bool."""
    if isinstance(value, bool):
        return None
    try:
        return index(value)  # type: ignore[arg-type] # this finds out whether it has __index__
    except Exception:  # noqa: BLE001 - no __index__, or a broken one
        return None


def digits(text: str) -> int | None:
    """Return the number that decimal digits stand for. None: not decimal digits, or more than `DIGITS_MOST`.

    int() alone would accept the digits of all alphabets, and raises its own error for thousands of digits.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MOST else None


def seconds(value: object, name: str = "timeout") -> float | None:
    """Return a duration argument in seconds, 0 or more. None: it never ends (None, inf, more than `LONGEST_S`).

    A negative duration is over already, and becomes 0. Raises TypeError for a value that is not a number (bool, text),
    and ValueError for NaN.
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
    """Return a count argument. Raises TypeError if it is not an integer, ValueError if it is out of range."""
    number = whole(value)
    if number is None:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {shown(value)}")
    return number


def shown(value: object) -> str:
    """Return any value as text for an error: short, on one line, even if it is huge or its repr raises."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - thousands of digits, deep nesting, or the application's own repr
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
