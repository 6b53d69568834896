"""Marked nodes: how they are shown, and what acts on them."""

from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tests.ui.screens import log, play, press, rows, screen, type_line


def edits(app: TdbApp) -> list[str]:
    assert app.session is not None
    return [str(edit.text) for edit in app.session.state.inputs.edits]


def test_space_marks_the_row_and_takes_the_mark_away() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "space")
        view = app.main.ranked.view
        assert view is not None
        assert f"◆{view.node(0)}" in screen(app)
        assert f"(tdb) mark {view.node(0)}" in log(app)
        await press(app, pilot, "space")
        assert "◆" not in screen(app)
        await press(app, pilot, "1", "j", "space")
        assert any("◆   A0" in row for row in rows(app))

    play(body)


def test_x_f_and_P_act_on_what_is_marked_and_x_and_f_take_it_back() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "prompt B When Tom and Anna went to the store, Anna gave a drink to")
        await type_line(app, pilot, "mark L1H2@END")
        await type_line(app, pilot, "mark M3")
        await press(app, pilot, "x")
        assert edits(app) == ["ablate L1H2@14,M3@* zero"]
        await press(app, pilot, "f")
        assert edits(app)[1:] == ["freeze L1H2@14,M3@*"]
        await press(app, pilot, "x")
        assert edits(app) == ["freeze L1H2@14,M3@*"], "what is frozen stays so"
        await press(app, pilot, "f")
        assert edits(app) == []
        await press(app, pilot, "P")
        assert "(tdb) patch L1H2@END,M3 from B" in log(app)
        assert len(edits(app)) == 1

    play(body)


def test_escape_takes_the_marks_away_once_nothing_is_open() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "space", "plus", "escape")
        assert app.session is not None
        assert app.session.state.marks == ("E",), "the first Esc closes what is large"
        await press(app, pilot, "escape")
        assert app.session.state.marks == ()
        assert log(app)[-1] == "nothing is marked"

    play(body)


def test_another_prompt_has_no_marks() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "space")
        await type_line(app, pilot, "prompt When Tom")
        assert app.session is not None
        assert app.session.state.marks == ()

    play(body)


def test_F_opens_the_line_to_steer_what_is_selected() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "j", "F")
        assert app.main.line.value == "steer A0@14 += "

    play(body)
