"""The sweep's pane: its cursor goes over cells, Enter makes a cell's edit, it works on small and colourless screens."""

import re

import pytest
from textual.pilot import Pilot
from torch import Tensor

from model.sites import Site
from tdb_tui.app import TdbApp
from tdb_tui.commands import sweeping
from tdb_tui.views.heat import HeatView
from tests.sessions import do
from tests.ui.screens import log, make_app, play, press, rows, screen, session, settled, type_line

PROMPT_B = "When Mary and John went to the store, Mary gave a drink to"
SWEEP = "sweep patch resid_pre"


async def swept(app: TdbApp, pilot: Pilot[int], line: str = SWEEP) -> None:
    await type_line(app, pilot, f"prompt B {PROMPT_B}")
    await type_line(app, pilot, line)
    await press(app, pilot, "H")
    assert app.main.active == "heat"


def test_a_sweep_brings_its_pane_and_the_rule_says_the_value_under_the_cursor() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await swept(app, pilot)
        assert app.session is not None
        found = app.session.sweep
        assert found is not None
        row, column = found.top(1)[0]
        heat = app.main.heat
        assert (heat.cursor, heat.column) == (row, column)
        for key in ("k", "l", "h", "h", "j", "right", "up", "left"):
            await press(app, pilot, key)
            value = f"{found.shown[heat.cursor, heat.column]:+.3f}"
            rule = next(line for line in rows(app) if "H sweep" in line)
            assert value in rule
            assert heat.node == found.nodes[heat.cursor][heat.column]
        heat.column = 1
        await press(app, pilot, "h", "h")
        assert heat.column == 0
        heat.column = len(found.columns) - 2
        await press(app, pilot, "l", "l")
        assert heat.column == len(found.columns) - 1
        assert app.session.state.pos == app.session.state.end  # the token cursor has not moved

    play(body)


def test_enter_makes_the_cells_edit_and_the_map_says_that_it_is_old() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await swept(app, pilot)
        assert app.session is not None
        found, heat = app.session.sweep, app.main.heat
        assert found is not None
        expected = found.values[heat.cursor, heat.column]
        await press(app, pilot, "enter")
        assert abs(app.session.snapshot.now.value - expected) < 1e-9
        assert heat.view is not None and heat.view.old
        assert any("sweep again" in line for line in rows(app))
        await press(app, pilot, "z")
        assert heat.view is not None and not heat.view.old

    play(body)


def test_o_goes_between_fractions_and_raw_and_the_cursor_stays() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await swept(app, pilot)
        heat = app.main.heat
        await press(app, pilot, "k", "l")
        place = heat.cursor, heat.column
        for normalised in (False, True):
            await press(app, pilot, "o")
            assert heat.view is not None and heat.view.normalised is normalised
            assert (heat.cursor, heat.column) == place
            words = "fractions" if normalised else "raw"
            assert any(words in line for line in rows(app))

    play(body)


def test_the_pane_is_among_the_views_and_says_what_fills_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "H")
        assert any("sweep patch resid_pre" in line for line in rows(app))
        await press(app, pilot, "enter", "o", "l", "x")
        assert app.session is not None and not app.session.state.inputs.edits

    play(body)


def test_columns_that_do_not_fit_scroll_with_the_cursor() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await swept(app, pilot)
        heat = app.main.heat
        for size in ((60, 16), (120, 30)):
            await pilot.resize_terminal(*size)
            await settled(app, pilot)
            await press(app, pilot, "H")
            for key, beside in (("h", 1), ("l", len(heat.view.columns) - 2 if heat.view else 0)):
                heat.column = beside
                await press(app, pilot, key)
                first, last, _ = heat._window()
                assert first <= heat.column < last
                assert heat.size.width >= 20
            assert max(map(len, rows(app))) <= size[0]

    play(body)


def test_signs_and_shades_say_without_colour_what_colours_say() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await swept(app, pilot)
        heat = app.main.heat
        assert app.session is not None
        found = app.session.sweep
        assert found is not None
        text = screen(app)
        assert text.isascii()
        row, column = found.top(1)[0]
        sign = "+" if found.shown[row, column] > 0 else "-"
        spans = "".join(piece for piece, _ in heat.row(row, False))
        assert f"{sign}█" in spans

    play(body, make_app(ascii_only=True))


def test_a_sweep_can_be_stopped_and_what_is_measured_stays() -> None:
    held, line = session(), "sweep ablate heads by position in L0-2"
    stop_here, count, limit = held.engine.stop_here, 0, 0

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count == limit:
            held.engine.interrupt.set()
        return stop_here(site, layer, x)

    held.engine.stop_here = stopping  # pyright: ignore[reportAttributeAccessIssue]
    held.engine.forget()
    held.go(held.state)
    count = 0
    do(held, line)
    total = count
    held.engine.sweeps.clear()

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        nonlocal count, limit
        count, limit = 0, total * 2 // 3
        await type_line(app, pilot, line)
        assert held.sweep is not None
        done, cells = held.sweep.done, held.sweep.values.size
        assert 0 < done < cells
        assert any(re.search(r"interrupted: \d+ of \d+ cells", text) for text in log(app))
        await press(app, pilot, "H")
        assert app.main.heat.view is not None
        shown = [value for row in app.main.heat.view.shown for value in row]
        assert sum(value == value for value in shown) == done
        count, limit = 0, 0
        await type_line(app, pilot, line)
        assert held.sweep.done == cells
        assert count < total

    play(body, make_app(lambda: held))


def test_the_map_fills_while_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "STREAM_SECONDS", 0.0)
    seen: list[int] = []

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        show = app.main.heat.show

        def shown(view: HeatView | None) -> None:
            if view is not None:
                seen.append(sum(value == value for row in view.shown for value in row))
            show(view)

        app.main.heat.show = shown
        await type_line(app, pilot, "sweep ablate heads")

    play(body)
    assert seen == sorted(seen) and len(set(seen)) > 1
