"""Pane 3: what it shows of a head, how it weighs it, how it scrolls, and what is left of it without colour."""

import numpy as np
import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.commands import execute
from tdb_tui.panes.attention import LABEL, Attention
from tdb_tui.panes.drawing import NONE, Drawing
from tdb_tui.views.data import AttentionView
from tests.ui.screens import play, press, rows, screen, session


def view(keys: int, query: int, by: str = "weights") -> AttentionView:
    """A head that reads the key before most, and half as much each key further back."""
    steps = np.subtract.outer(np.arange(keys), np.arange(keys))
    weights = np.where(steps >= 0, 0.5 ** (steps.clip(0) + 1.0), 0.0)
    signed = weights * np.where(np.arange(keys) % 2, -1, 1) if by == "effect" else weights
    labels = tuple(f" t{n}" for n in range(keys))
    return AttentionView(0, 0, (2, 2), by, signed, 1.0, labels, labels, query, query)


class Sized(Attention):
    """A pane of a size, without a screen."""

    def __init__(self, width: int, height: int, drawing: Drawing) -> None:
        super().__init__("attn")
        self._box = width, height
        self.drawing = drawing  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def size(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        from textual.geometry import Size

        return Size(*self._box)

    def update(self) -> None:
        """There is no screen."""


def shown(pane: Attention, rows: int) -> list[str]:
    return ["".join(text for text, _ in pane.row(at, at == pane.cursor)) for at in range(rows)]


def test_a_short_prompt_has_a_row_a_query_and_shades_that_grow_with_the_weight() -> None:
    pane = Sized(60, 20, Drawing())
    pane.show(view(4, 2))
    assert shown(pane, 4) == ["    t0 ▓▓▓", "    t1 ▒▒▒▓▓▓", ">   t2 ░░░▒▒▒▓▓▓", "    t3 ░░░░░░▒▒▒▓▓▓"]


def test_a_long_prompt_has_half_blocks_two_queries_a_row_and_its_columns_follow_the_token_cursor() -> None:
    pane = Sized(LABEL + 40, 20, Drawing())
    for query in (0, 30, 500, 1023):
        pane.show(view(1024, query))
        assert pane.count() == 512
        assert pane.cursor == query // 2
        assert pane.top <= pane.cursor < pane.top + pane.rows_shown
        text = shown(pane, 512)[pane.cursor]
        assert len(text) <= LABEL + 40
        assert f"t{query} " in text
        header = "".join(part for part, _ in pane.header())
        assert len(header) == LABEL + 1024 - pane._first
        assert pane._first <= query < pane._first + 40


def test_equal_neighbours_are_one_piece_of_at_most_sixteen_levels() -> None:
    pane = Sized(LABEL + 120, 40, Drawing())
    pane.show(view(100, 99))
    pieces = pane.row(49, False)
    assert len(pieces) < 20, "the far keys are all alike"
    styles = {style for at in range(50) for _, style in pane.row(at, False)}
    assert len(styles) <= 16 * 17


def test_without_colour_a_long_prompt_has_a_row_a_query_and_signs() -> None:
    pane = Sized(LABEL + 40, 20, Drawing(colors=NONE))
    pane.show(view(100, 99))
    assert pane.count() == 100
    assert shown(pane, 100)[99].endswith("░▒▓")


def test_an_effect_has_its_sign_in_every_mode_and_width() -> None:
    wide = Sized(60, 20, Drawing())
    wide.show(view(4, 3, "effect"))
    assert shown(wide, 4)[3] == ">   t3 +░░-░░+▒▒-▓▓"
    narrow = Sized(LABEL + 30, 20, Drawing())
    narrow.show(view(30, 29, "effect"))
    assert shown(narrow, 30)[29].endswith("█▒█▒")


def test_each_weighing_has_a_key_and_says_what_it_is() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "3", "V")
        assert "3 attention L0H0 by values" in screen(app)
        await press(app, pilot, "D")
        assert "3 attention L0H0 by effect" in screen(app)
        await press(app, pilot, "right_square_bracket")
        assert "3 attention L0H1 by effect" in screen(app)
        await press(app, pilot, "L")
        assert "3 attention of layer 0" in screen(app)
        assert all(any(f" H{n} " in row for row in rows(app)) for n in range(8))
        await press(app, pilot, "j", "j")
        assert app.main.look is not None
        assert app.main.look.attention.head == "L0H3"
        await press(app, pilot, "right_curly_bracket")
        assert "3 attention of layer 1" in screen(app)
        await press(app, pilot, "o")
        assert app.main.look.attention.by == "weights"
        await press(app, pilot, "A")
        assert "3 attention L1H3─" in screen(app)

    play(body)


@pytest.mark.parametrize(
    "line", ["attn L1H3 --by effect", "attn L1H3 @END --by values", "attn A1", "attn L1 @4"]
)
def test_the_command_answers_with_what_the_map_shows(line: str) -> None:
    from tdb_tui.views.attention import attention

    debugged = session()
    reply = execute(debugged, line)[0].reply
    assert reply is not None
    found = attention(debugged.snapshot, debugged.state.head)
    assert found.by == reply.result["by"]
    if found.by == "layer":
        patterns = [debugged.snapshot.now.pattern(head) for head in heads(debugged.state.head.layer)]
        query = reply.result["query"]
        np.testing.assert_array_equal(reply.result["heads"], [pattern[query] for pattern in patterns])
    else:
        np.testing.assert_array_equal(reply.result["values"], found.values)
        assert found.scale == np.abs(found.values).max()


def heads(layer: int):
    from model.components import Component, Kind

    return [Component(Kind.HEAD, layer, index) for index in range(8)]


def test_a_wrong_weighing_is_named() -> None:
    done = execute(session(), "attn L1H3 --by efect")[0]
    assert str(done.error) == "unknown weighing 'efect': did you mean 'effect'?"
