"""Colours: exact entries of the 256-colour table, so that they look the same with and without truecolour.

A sign, a digit or a shape always repeats what a colour says; without colour nothing is lost.
"""

from functools import cache, lru_cache

from rich.style import Style

from tdb_tui.theming import DRAWN

PLAIN = Style()
BOLD = Style(bold=True)
DIM = Style(dim=True)
RULE = Style(dim=True)
RULE_TITLE = Style()
RULE_ACTIVE = Style(bold=True, reverse=True)
ARROW = Style(bold=True, color="color(220)")
MARK = Style(bold=True, color="color(203)")
EDITED = Style(bold=True, color="color(177)")
SELECTED = Style(bold=True)
CURSOR = Style(bold=True, reverse=True)
ERROR = Style(bold=True, color="color(203)")
WARNING = Style(color="color(214)")
ECHO = Style(bold=True)

BLUE, ORANGE = (tuple(Style(color=f"color({n})") for n in DRAWN[sign]) for sign in ("positive", "negative"))
"Four strengths of each sign, equal in lightness, apart for every kind of colour blindness."

LEVELS = 16
"Steps of a weight."

_SIXTEEN = {
    **dict.fromkeys(("color(25)", "color(32)"), "blue"),
    **dict.fromkeys(("color(39)", "color(81)"), "bright_blue"),
    **dict.fromkeys(("color(94)", "color(166)"), "yellow"),
    **dict.fromkeys(("color(208)", "color(214)", "color(215)", "color(220)"), "bright_yellow"),
    **{"color(203)": "bright_red", "color(177)": "bright_magenta"},
}
"What stands for each colour where there are sixteen: blue and yellow, bright for the stronger half."


@lru_cache(maxsize=256)
def in_sixteen(style: Style) -> Style:
    """A style in the terminal's own sixteen colours; greys become its text and its background."""
    if style.color is None or style.color.name == "default":
        return style
    name = _SIXTEEN.get(style.color.name)
    plain = Style(bold=style.bold, dim=style.dim, reverse=style.reverse)
    return plain if name is None else plain + Style(color=name)


@lru_cache(maxsize=256)
def recoloured(style: Style, color: str) -> Style:
    """A style in another colour."""
    return style + Style(color=color)


def level(weight: float) -> int:
    """A weight from 0 to 1 as a step from 0 to 15."""
    return max(0, min(round(weight * (LEVELS - 1)), LEVELS - 1))


def _grey(weight: float, dark: bool) -> str:
    """From near black to near white, or back on a light background: exact entries of the 256-colour table."""
    return f"color({234 + round(20 * (weight if dark else 1 - weight))})"


@cache
def filled(fore: int, back: int | None, dark: bool = True) -> Style:
    """Two weights in one cell of half blocks, as greys; None leaves the background as it is."""
    behind = None if back is None else _grey(back / (LEVELS - 1), dark)
    return Style(color=_grey(fore / (LEVELS - 1), dark), bgcolor=behind)


@cache
def dithered(step: int, dark: bool = True) -> Style:
    """What makes a shade as strong as its weight: `▒` covers half of its cell, so its grey is twice as strong."""
    weight = step / (LEVELS - 1)
    covered = min(int(weight * 4) + 1, 4) / 4
    return Style(color=_grey(0.3 + 0.7 * weight / covered, dark))


def signed(value: float, scale: float) -> Style:
    """Blue for positive, orange for negative, stronger the nearer to `scale`."""
    if scale <= 0 or abs(value) < scale / 100:
        return PLAIN
    strength = min(int(4 * abs(value) / scale), 3)
    return (BLUE if value > 0 else ORANGE)[strength]
