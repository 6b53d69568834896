"""From the metric to the token that the answer was taken from, with Enter: on the bundled model."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.session import Session
from tests.ui.screens import demo_session, log, make_app, play, press, rows, settled, type_line

END_OF_TRAIL = "the trail ends at token"


def session_of(app: TdbApp) -> Session:
    assert app.session is not None
    return app.session


def check_books(app: TdbApp) -> None:
    """Rows and biases of the selected frame add up to its value, and the screen shows that frame."""
    snapshot = session_of(app).snapshot
    asked = snapshot.asked
    assert float(asked.partition.direct.sum()) == pytest.approx(asked.value, rel=1e-4)
    title = rows(app)[0]
    assert f"{asked.value:+.2f}" in title
    if snapshot.state.frame:
        newest = snapshot.state.trail[-1].node
        crumbs = next(part for part in title.split(" │ ") if " < " in part)
        assert crumbs.startswith(f"{newest.component}@"), "the newest frame is the first of the breadcrumbs"
        assert f"frame {snapshot.state.frame}" in "".join(rows(app))


async def enter_at(app: TdbApp, pilot: Pilot[int], place: int) -> None:
    """Down to a row of pane 2, then Enter."""
    for _ in range(place):
        app.simulate_key("j")
    await settled(app, pilot)
    assert app.main.ranked.cursor == place
    await enter(app, pilot)


async def enter(app: TdbApp, pilot: Pilot[int]) -> None:
    """Ask about the selected row: of what has a page that comes first, and Enter there goes on."""
    await press(app, pilot, "enter")
    if app.main.reads_page:
        assert app.main.wishes.zoom == "page"
        await press(app, pilot, "enter")
    assert not app.main.reads_page and app.main.active == "rank"


async def enter_until_the_end(app: TdbApp, pilot: Pilot[int]) -> str:
    """Enter on the first row of every frame; what is said at the end."""
    for _ in range(20):
        await enter(app, pilot)
        said = next((line for line in log(app) if line.startswith(END_OF_TRAIL)), "")
        if said:
            return said
        check_books(app)
    raise AssertionError(f"no end: {log(app)}")


async def back_to_the_metric(app: TdbApp, pilot: Pilot[int]) -> None:
    for number in reversed(range(len(session_of(app).state.frames))):
        await press(app, pilot, "backspace")
        assert session_of(app).state.frame == number
        check_books(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_enter_leads_from_the_answer_to_the_token_that_it_comes_from(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2")
        check_books(app)
        await enter_at(app, pilot, 0)  # the head that names the answer: why does it look there
        check_books(app)
        namer = session_of(app).state.frames[0].node
        tokens = session_of(app).state.inputs.prompt.tokens
        assert namer.key is not None and tokens[namer.key] == session_of(app).state.inputs.metric.targets[0]
        view = app.main.ranked.view
        assert view is not None
        informs = next(
            at
            for at in range(len(view))
            if view.kind(at) == "head"
            and view.direct[view.order[at]] > 0
            and view.keys[view.reads[view.order[at]]] == " John"
        )
        await enter_at(app, pilot, informs)  # a head that tells it whose turn it is not
        check_books(app)
        said = await enter_until_the_end(app, pilot)
        assert "' John'" in said
        deepest = session_of(app).state
        assert deepest.pos in {tokens.index(tokens[4]), 10} and tokens[deepest.pos] == tokens[10]
        await back_to_the_metric(app, pilot)
        await type_line(app, pilot, "upstream --out trail.dot")
        assert Path("trail.dot").read_text(encoding="utf-8").startswith("digraph")
        assert any("upstream" in row for row in rows(app))
        await type_line(app, pilot, "circuit new ioi ;; circuit keep")
        draft = session_of(app).state.draft
        assert draft is not None and draft.name == "ioi"
        assert set(draft.nodes) >= {frame.node for frame in deepest.frames}
        assert len(draft.edges) == len(deepest.frames)

    play(body, make_app(demo_session), size)


def test_enter_on_first_rows_alone_comes_to_a_token_too() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2")
        said = await enter_until_the_end(app, pilot)
        state = session_of(app).state
        assert f"token {state.pos}," in said
        assert len(state.frames) >= 3
        assert all(frame.node.component.layer <= 5 for frame in state.frames)
        await back_to_the_metric(app, pilot)

    play(body, make_app(demo_session))
