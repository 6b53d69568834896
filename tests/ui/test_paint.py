"""Rows of an exact width, whatever is in them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from tdb_tui.glyphs import SHADES, shade, to_ascii
from tdb_tui.panes.drawing import Drawing
from tdb_tui.panes.log import folded
from tdb_tui.panes.paint import changed_width, fit, left, right, strip

texts = st.text(st.sampled_from("ab │█日本é한👍 ·→Δ"), max_size=12)
styles = st.sampled_from([Style(), Style(bold=True), Style(color="color(24)")])
spans = st.lists(st.tuples(texts, styles), max_size=6)


@given(spans, st.integers(1, 40), st.booleans())
def test_a_row_is_exactly_as_wide_as_asked_and_every_piece_has_a_style(
    row: list[tuple[str, Style]], width: int, ascii_only: bool
) -> None:
    fitted = fit(row, width, Drawing(ascii_only))
    painted = strip(fitted, width)
    assert painted.cell_length == width == sum(cell_len(text) for text, _ in fitted)
    assert all(segment.style is not None for segment in painted)
    assert all(a[1] != b[1] for a, b in pairwise(fitted)), "neighbours alike are one"
    assert not ascii_only or all(text.isascii() for text, _ in fitted)


@given(spans, spans, st.integers(1, 30))
def test_what_lies_right_of_the_changed_part_is_the_same(
    old: list[tuple[str, Style]], new: list[tuple[str, Style]], width: int
) -> None:
    a, b = fit(old, width), fit(new, width)
    changed = changed_width(a, b)
    assert 0 <= changed <= width
    assert strip(a, width).crop(changed, width) == strip(b, width).crop(changed, width)
    assert (changed == 0) == (a == b)


@given(texts, st.integers(0, 20))
def test_flushed_text_has_the_width_asked_for(text: str, width: int) -> None:
    assert cell_len(left(text, width)) == width
    assert cell_len(right(text, width)) == width


@given(texts)
def test_ascii_is_as_wide_as_what_it_stands_for(text: str) -> None:
    assert to_ascii(text).isascii()
    assert cell_len(to_ascii(text)) == cell_len(text)


@given(st.text(st.sampled_from("abc 日é"), max_size=200), st.integers(20, 60))
def test_a_folded_line_fits_and_loses_nothing_but_spaces(text: str, width: int) -> None:
    parts = folded(text, width)
    assert all(cell_len(part) <= width for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_shades_grow_with_the_weight() -> None:
    levels = [SHADES.index(shade(n / 100)) for n in range(101)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(len(SHADES)))
