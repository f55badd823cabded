"""The colours stand out from both grounds, and from each other, also for people who see colours in other ways."""

from itertools import combinations

import pytest

from halfsync.lab.palette import DARK_GROUND, FIXED, LIGHT_GROUND, LOOKS, slots, variables

# How colours look without one kind of cone, of linear RGB: Machado, Oliveira and Fernandes, 2009, table 1, severity 1.
VISIONS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
LEAST_CONTRAST = 3.0  # WCAG 2.2, success criterion 1.4.11, for graphics
LEAST_DISTANCE = 18.0  # in CIELAB (CIE 1976); from 10 on colours are told apart at a glance


def linear(colour: str) -> list[float]:
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def luminance(colour: str) -> float:
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, vision: str) -> tuple[float, float, float]:
    """Return how a colour looks in CIELAB, for the white point D65."""
    seen = linear(colour)
    red, green, blue = (
        min(1.0, max(0.0, sum(weight * value for weight, value in zip(row, seen, strict=True))))
        for row in VISIONS[vision]
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize(("ground", "scheme"), [(LIGHT_GROUND, "light"), (DARK_GROUND, "dark")])
def test_each_colour_stands_out_from_the_ground(ground: str, scheme: str) -> None:
    for look in LOOKS:
        assert contrast(getattr(look, scheme), ground) >= LEAST_CONTRAST, look


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_differ_for_everybody(scheme: str, vision: str) -> None:
    for one, other in combinations(LOOKS, 2):
        places = (lab(getattr(look, scheme), vision) for look in (one, other))
        distance = sum((a - b) ** 2 for a, b in zip(*places, strict=True)) ** 0.5
        assert distance >= LEAST_DISTANCE, (one, other, distance)


def test_markers_and_dashes_differ_too() -> None:
    assert len({look.marker for look in LOOKS}) == len({look.dashes for look in LOOKS}) == len(LOOKS)


def test_the_models_look_the_same_in_every_plot() -> None:
    assert slots(["proactor", "pool"]) == {"proactor": 3, "pool": 2}
    assert slots(FIXED) == {arm: at for at, arm in enumerate(FIXED)}


def test_other_arms_do_not_look_like_models_beside_them() -> None:
    assert slots(["5 ms", "0.5 ms"]) == {"5 ms": 0, "0.5 ms": 1}
    assert slots(["pool", "other"]) == {"pool": 2, "other": 4}


def test_more_arms_than_looks_begin_again() -> None:
    found = slots([f"arm {at}" for at in range(8)])
    assert found["arm 6"] == found["arm 0"]


def test_the_style_sheet_has_each_colour_in_both_schemes() -> None:
    light, dark = variables().split("@media (prefers-color-scheme:dark)")
    for at, look in enumerate(LOOKS):
        assert f"--look-{at}:{look.light};" in light
        assert f"--look-{at}:{look.dark};" in dark
