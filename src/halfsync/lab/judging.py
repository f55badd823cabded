"""What the experiments' judges share: comparisons that chance does not decide, and figures in sentences. Pure.

A judge's limits are far from the typical figures, and a difference counts only if it is larger than the noise floor and
than the spreads of both arms. So two runs on one machine come to the same verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.lab.experiment import Outcome, Verdict

if TYPE_CHECKING:
    from halfsync.lab.samples import Figure


def exceeds(more: Figure, less: Figure, times: float = 1.0, noise: float | None = None) -> bool:
    """Return whether one figure is more than so many times another one, beyond the noise floor and both spreads."""
    return more.mid > times * less.mid * (1 + (noise or 0.0)) and more.low > less.high


def number(value: float) -> str:
    """Return a number with three significant digits, and commas between thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def said(figure: Figure, unit: str = "", scale: float = 1.0) -> str:
    """Return a figure with its spread, in a unit that is so many times as small: "830 KB (812 to 840)"."""
    mid, low, high = (number(value * scale) for value in (figure.mid, figure.low, figure.high))
    spread = f" ({low} to {high})" if low != high else ""
    return f"{mid}{unit and ' '}{unit}{spread}"


def percent(figure: Figure) -> str:
    """Return a figure in percent with its spread: "93 % (91 to 95)"."""
    low, mid, high = (round(value) for value in (figure.low, figure.mid, figure.high))
    return f"{mid} %" + (f" ({low} to {high})" if low != high else "")


def listed(words: list[str]) -> str:
    """Return words as a sentence lists them: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def not_measured(missing: str) -> Verdict:
    """Return the verdict if there is nothing to judge. missing: a subject and its verb, as in "A long stall was"."""
    return Verdict(Outcome.NOT_MEASURED, f"{missing} not measured, so nothing can be said.")
