"""The page on the screen: how keys open it, move on it, and leave it."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.views.data import TextRow
from tests.ui.screens import demo_session, log, make_app, play, press, rows, screen, type_line


def test_enter_i_and_e_open_the_selected_components_page_and_escape_closes_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2")
        view = app.main.ranked.view
        assert view is not None
        for key in ("enter", "i", "E"):
            await press(app, pilot, key)
            assert app.main.active == "page" and app.main.wishes.zoom == "page"
            assert app.main.page.view.node == view.component(0)
            await press(app, pilot, "escape")
            assert app.main.active == "rank" and app.main.wishes.zoom is None

    play(body)


def test_e_on_an_empty_page_opens_the_selected_nodes() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "1", "j", "j", "E")
        assert app.main.page.view.node == "M0"

    play(body)


def test_the_first_page_tells_a_newcomer_what_the_top_head_does() -> None:
    """On the bundled model: a sentence, its score, examples, this prompt, at 80x24."""

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "enter")
        shown = rows(app)
        assert "L5H0 · attention head 0 of layer 5" in screen(app)
        says = next(row for row in shown if row[1:].startswith("says"))
        assert float(says.split()[1]) > 0.6 and "attends" in says
        assert any("AUC, .5 is chance" in row and "held-out texts" in row for row in shown)
        assert any("reading ' Mary'" in row for row in shown)
        assert sum("<" in row and "[" in row for row in shown) >= 5
        await press(app, pilot, "j", "j", "j", "l", "h")
        assert "' to' reads" not in rows(app)[3] and "reads" in rows(app)[3]
        await press(app, pilot, "apostrophe", *"attends to the first token", "enter")
        assert app.main.wishes.zoom == "page" and any(row[1:].startswith("yours") for row in rows(app))
        await press(app, pilot, "quotation_mark", *"Mary gave a")
        live = [row for row in app.main.page.view.rows if row.label == "typed"]
        assert live and isinstance(live[0], TextRow) and "up to" in live[0].text, "while it is typed"
        await press(app, pilot, *" book to", "escape")
        assert not any(row.label == "typed" for row in app.main.page.view.rows), "and nothing of it is kept"
        await press(app, pilot, "quotation_mark", "ctrl+u", *"info L5H0 Mary gave a book to", "enter")
        assert any("typed" in row for row in rows(app))
        await press(app, pilot, "right")
        assert app.main.page.view.node == "L5H1"
        await press(app, pilot, "shift+down")
        assert app.main.page.view.node == "L4H1"
        await type_line(app, pilot, 'info L4H1 "Tom gave it to Anna"')
        assert app.main.wishes.zoom == "page" and "typed" in screen(app)
        await type_line(app, pilot, 'find "earlier copy"')
        first = app.main.page.other()
        await press(app, pilot, "space")
        assert app.session is not None and app.session.state.marked[0].startswith(first)
        await press(app, pilot, "enter")
        assert app.main.page.view.node == first
        await press(app, pilot, "backspace")
        assert "found by 'earlier copy'" in screen(app)
        await press(app, pilot, "enter", "x")
        assert app.main.wishes.zoom is None
        assert app.session.state.inputs.edits[0].text.startswith(f"ablate {first}")

    play(body, make_app(demo_session))


def test_what_is_wrong_closes_the_page_so_that_it_can_be_read() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "enter")
        await type_line(app, pilot, "info L77H0")
        assert app.main.wishes.zoom is None
        assert any("L77H0" in line or "layer 77" in line for line in log(app))

    play(body)


def test_a_language_model_is_asked_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from tests.explaining.language_model import serving
    from tests.explaining.test_explain import SENTENCE, words_of
    from tests.explanations.models import knows

    waits = {"hang": True}

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "explain L5H0 --by fake-1")
        assert any("is asked about L5H0" in line for line in log(app))
        await type_line(app, pilot, "next")
        assert app.worker.resting.startswith("asking")
        await press(app, pilot, "ctrl+c")
        async with asyncio.timeout(10):
            while app.worker.resting != "idle":
                await asyncio.sleep(0.05)
        await pilot.pause()
        assert any("not explained: stopped" in line for line in log(app))
        waits["hang"] = False
        await type_line(app, pilot, "explain L5H0 --by fake-1")
        async with asyncio.timeout(30):
            while app.worker.resting != "idle":
                await asyncio.sleep(0.05)
        await pilot.pause()
        assert any(SENTENCE in line and "fake-1" in line for line in log(app))
        assert app.session is not None
        found = app.session.engine.stores.explanations("L5H0")
        assert "fake-1" in [each.model for each in found]

    def hang(number: int, request: dict[str, object]) -> float | None:
        return 1.0 if waits["hang"] else None

    with serving(knows(words_of(), SENTENCE), hang) as server:
        monkeypatch.setenv("TDB_EXPLAINER_URL", server.url)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        play(body, make_app(demo_session))
