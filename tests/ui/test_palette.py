"""The colours of signed values are told apart by everybody: distances as people with each kind of colour blindness see them.

What they see is simulated with the matrices of Machado, Oliveira and Fernandes, "A Physiologically-based Model for
Simulation of Color Vision Deficiency" (2009), at full severity; distances are CIE 1976 in L*a*b* under D65.
"""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.color import Color, ColorType
from rich.style import Style

from tdb_tui.palette import BLUE, LEVELS, ORANGE, filled

Vector = NDArray[np.float64]

SEEN = {
    "everybody": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"Linear RGB -> the linear RGB that looks the same to those who see all colours."

APART = {"everybody": 74, "deuteranopia": 74, "protanopia": 74, "tritanopia": 55}
"How far the two signs of one strength are at least."

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"Of sRGB, relative to a white of luminance 1."
WHITE = TO_XYZ @ np.ones(3)


def linear(style: Style) -> Vector:
    """The colour of a style, which must be an exact entry of the table of 256: [3], from 0 to 1."""
    assert style.color is not None and style.color.type is ColorType.EIGHT_BIT
    coded = np.array(style.color.get_truecolor()) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def lab(rgb: Vector) -> Vector:
    """Linear RGB -> L*, a*, b*."""
    ratio = (TO_XYZ @ np.clip(rgb, 0, 1)) / WHITE
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: Style, other: Style, seen: Vector) -> float:
    return float(np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))))


def test_the_distances_are_those_of_known_colours() -> None:
    """Red, green and blue of sRGB, their L*a*b* as published; greys stay greys to everybody."""
    for number, known in (
        (196, (53.24, 80.09, 67.20)),
        (46, (87.73, -86.18, 83.18)),
        (21, (32.30, 79.19, -107.86)),
    ):
        assert lab(linear(Style(color=f"color({number})"))) == pytest.approx(known, abs=0.02)
    grey = linear(Style(color="color(244)"))
    for matrix in SEEN.values():
        assert matrix @ grey == pytest.approx(grey, abs=1e-5)
    red, green = (linear(Style(color=f"color({number})")) for number in (196, 46))
    assert np.linalg.norm(lab(red) - lab(green)) > 170
    dull, bright = Style(color="color(100)"), Style(color="color(94)")
    assert distance(dull, bright, SEEN["deuteranopia"]) < distance(dull, bright, SEEN["everybody"]) / 2


@pytest.mark.parametrize("who", SEEN)
def test_the_two_signs_are_far_apart_to_everybody(who: str) -> None:
    found = [distance(plus, minus, SEEN[who]) for plus, minus in zip(BLUE, ORANGE, strict=True)]
    print(who, [f"{each:.1f}" for each in found])
    assert min(found) >= APART[who]


def test_neither_sign_looks_stronger_than_the_other() -> None:
    pairs = [(lab(linear(plus))[0], lab(linear(minus))[0]) for plus, minus in zip(BLUE, ORANGE, strict=True)]
    print([f"{plus:.1f} {minus:.1f}" for plus, minus in pairs])
    assert all(abs(plus - minus) <= 5 for plus, minus in pairs)


@pytest.mark.parametrize("who", SEEN)
@pytest.mark.parametrize("sign", [BLUE, ORANGE], ids=["plus", "minus"])
def test_a_stronger_value_looks_stronger_to_everybody(sign: tuple[Style, ...], who: str) -> None:
    lightness = [lab(SEEN[who] @ linear(style))[0] for style in sign]
    assert all(stronger - weaker >= 7 for weaker, stronger in pairwise(lightness))


def test_weights_are_greys_of_the_table_that_grow_with_the_weight_on_either_background() -> None:
    for dark in (True, False):
        greys = [lab(linear(filled(level, None, dark)))[0] for level in range(LEVELS)]
        steps = np.diff(greys) * (1 if dark else -1)
        assert (steps > 0).all() and greys[0] < 15 if dark else greys[0] > 85
        assert all(
            abs(part) < 0.1 for level in range(LEVELS) for part in lab(linear(filled(level, None, dark)))[1:]
        )


def test_the_colours_of_the_table_are_what_a_terminal_of_256_and_one_of_all_colours_show_alike() -> None:
    exact = {25: "#005faf", 32: "#0087d7", 39: "#00afff", 81: "#5fd7ff"}
    exact |= {94: "#875f00", 166: "#d75f00", 208: "#ff8700", 215: "#ffaf5f"}
    for style, (number, code) in zip((*BLUE, *ORANGE), exact.items(), strict=True):
        assert style.color is not None and style.color.number == number
        assert style.color.get_truecolor().hex == code == Color.parse(code).get_truecolor().hex
