"""What reports and terminals say of figures, besides what judges say of them (`judging`). Pure."""

from __future__ import annotations


def share(value: float) -> str:
    """Return a share as a percentage: "3 %", "0.4 %"."""
    return f"{value * 100:.1f} %" if abs(value) < 0.0095 else f"{value * 100:.0f} %"


def labelled(label: str, unit: str) -> str:
    """Return the name of an axis with its unit."""
    return f"{label} ({unit})" if unit else label


def duration(seconds: float) -> str:
    """Return a time: "40 s", "2 min 10 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
