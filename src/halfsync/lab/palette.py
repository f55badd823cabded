"""Colours and shapes of the arms, in light and dark, and the one style sheet that has them.

The colours differ for people who see colours in other ways, and each stands out from both grounds: the tests compute
both. No reader depends on them: each arm has its own marker and its own dashes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LIGHT_GROUND, DARK_GROUND = "#fffefb", "#1a2224"


@dataclass(frozen=True, slots=True)
class Look:
    """What an arm looks like: its colour on a light and on a dark ground, its marker and its dashes.

    Marker and dashes are as matplotlib has them; the dashes are in widths of the line: on, off, and so on.
    """

    light: str
    dark: str
    marker: str
    dashes: tuple[float, ...]


LOOKS = (
    Look("#8c3410", "#f0702f", "s", (1.2, 1.2)),
    Look("#b08a1e", "#f2d98c", "^", (6, 1.5)),
    Look("#1f4788", "#4a8cf7", "D", (5, 1.5, 1.2, 1.5)),
    Look("#229a94", "#bdf2e6", "o", ()),
    Look("#cf3fc4", "#d985c9", "v", (2.5, 1.5)),
    Look("#2d2029", "#7f8c62", "P", (8, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
FIXED = ("process", "thread", "pool", "proactor")
"""The arms that look the same in every plot."""


def slots(arms: Iterable[str]) -> dict[str, int]:
    """Return which of `LOOKS` each arm has: the models always their own, others the next that is free."""
    named = list(dict.fromkeys(arms))
    taken = {arm: FIXED.index(arm) for arm in named if arm in FIXED}
    # If the models are among the arms, others get the looks that no model has.
    free = [slot for slot in range(len(LOOKS)) if not taken or slot >= len(FIXED)]
    others = [arm for arm in named if arm not in taken]
    return taken | {arm: free[at % len(free)] for at, arm in enumerate(others)}


def variables() -> str:
    """Return the style sheet that gives each look its colour: `--look-0` and so on."""
    light = "".join(f"--look-{number}:{look.light};" for number, look in enumerate(LOOKS))
    dark = "".join(f"--look-{number}:{look.dark};" for number, look in enumerate(LOOKS))
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
