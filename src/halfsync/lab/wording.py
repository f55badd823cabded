"""Numbers as people read them, in verdicts, reports and terminals. Pure."""

from __future__ import annotations

import math

from halfsync.lab.samples import Figure


def plain(value: float) -> str:
    """Return a number with three digits that count, and with commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spread(figure: Figure, unit: str = "") -> str:
    """Return a figure with its spread: "12 µs (11 to 14)"; without a spread if it has but one value."""
    mid = f"{plain(figure.mid)} {unit}".rstrip()
    if figure.count == 1:
        return mid
    return f"{mid} ({plain(figure.low)} to {plain(figure.high)})"


def percent(share: float) -> str:
    """Return a share as a percentage: "3 %", "0.4 %"."""
    return f"{share * 100:.1f} %" if abs(share) < 0.0095 else f"{share * 100:.0f} %"


def noise_floor(share: float | None) -> str:
    """Return what verdicts say of the noise floor."""
    return "the noise floor is not known" if share is None else f"the noise floor is {percent(share)}"


def labelled(label: str, unit: str) -> str:
    """Return the name of an axis with its unit."""
    return f"{label} ({unit})" if unit else label


def duration(seconds: float) -> str:
    """Return a time: "40 s", "2 min 10 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def listed(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
