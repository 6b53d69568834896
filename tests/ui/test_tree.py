"""The tree upstream and the strips on the screen, the circuit's key, and a table that fills while it is measured."""

import asyncio
import threading

import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.commands import ranking
from tdb_tui.panes.arrangement import VIEWS
from tdb_tui.session import Snapshot
from tdb_tui.tables.strips import NAMES, strips
from tests.ui.screens import log, make_app, play, press, rows, session, settled, type_line


def shown_ids(app: TdbApp) -> list[str]:
    view = app.main.upstream.view
    assert view is not None
    return [row.id for row in view.rows]


def test_enter_opens_and_closes_a_branch_also_beyond_the_depth() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "0")
        before = shown_ids(app)
        assert max(id.count(".") for id in before) == 2
        await press(app, pilot, "enter")
        assert [id for id in shown_ids(app) if id.startswith("0.0")] == ["0.0"]
        assert app.main.upstream.cursor == 0
        await press(app, pilot, "enter")
        assert shown_ids(app) == before
        await press(app, pilot, "j", "enter")
        deep = [id for id in shown_ids(app) if id.startswith("0.0.0.")]
        assert deep and app.main.upstream.cursor == 1, "the cursor stays on the branch"
        assert log(app)[-2] == "(tdb) fold 0.0.0"

    play(body)


def test_the_tree_is_of_the_selected_frame_and_follows_edits_but_not_the_token_cursor() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "upstream -d 1")
        tree = app.main.upstream
        assert app.main.active == "code" and tree.view is not None and app.session is not None
        first = tree.view
        assert first.value == pytest.approx(app.session.snapshot.now.value)
        await press(app, pilot, "h")
        assert tree.view is first, "nothing was computed again"
        await press(app, pilot, "0", "t")
        assert app.session.state.frame == 1
        assert tree.view is not first and tree.view.frame == 1
        assert tree.view.value == pytest.approx(app.session.snapshot.asked.value)
        assert "of frame 1" in rows(app)[3]
        await press(app, pilot, "backspace")
        assert tree.view.frame == 0 and [row.node for row in tree.view.rows] == [
            row.node for row in first.rows
        ]
        await press(app, pilot, "x")
        assert app.session.state.inputs.edits
        assert tree.view.value == pytest.approx(app.session.snapshot.now.value)
        assert tree.view.value != first.value

    play(body)


def test_a_branch_below_others_is_traced_along_them() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "0")
        view = app.main.upstream.view
        assert view is not None and app.session is not None
        at = next(at for at, row in enumerate(view.rows) if row.id.count(".") == 2 and row.trace)
        for _ in range(at):
            app.simulate_key("j")
        await settled(app, pilot)
        await press(app, pilot, "t")
        frames = app.session.state.frames
        assert [str(frame.node.component) for frame in frames] == [
            view.rows[view.rows.index(next(r for r in view.rows if r.id == view.rows[at].id[:3]))].component,
            view.rows[at].component,
        ]

    play(body)


def test_the_strips_show_the_sums_of_the_frame_and_their_cursor_is_the_token_cursor() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "T")
        view = app.main.sums.view
        assert view is not None and app.session is not None
        found = strips(app.session.snapshot.asked)
        for strip in view.strips:
            assert strip.values == pytest.approx(getattr(found, strip.name).tolist())
            assert f"{strip.total:+.2f}" in rows(app)[3], "the totals are in the rule"
        assert all(name in rows(app)[4] for name in NAMES)
        await press(app, pilot, "k", "k")
        assert app.session.state.pos == app.session.state.end - 2
        assert app.main.sums.cursor == app.session.state.pos
        await press(app, pilot, "g")
        assert app.session.state.pos == 0
        await press(app, pilot, "enter")
        assert app.session.state.rank.pos == 0
        assert app.main.active == "rank", "the keys go where there is something to see"

    play(body)


def test_five_strips_are_whole_where_the_screen_is_120_columns_wide() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "T")
        assert app.session is not None
        await type_line(app, pilot, "steer resid_pre.1@END += 2 * dir(Mary)")
        view = app.main.sums.view
        assert view is not None and [strip.name for strip in view.strips] == [*NAMES, "edits"]
        assert all(name in rows(app)[4] for name in (*NAMES, "edits"))
        shown = rows(app)[5 + app.session.state.end]
        for strip in view.strips:
            assert f"{strip.values[app.session.state.end]:+.1f}" in shown

    play(body, size=(120, 40))


def test_a_adds_the_selected_node_to_a_circuit_and_marks_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "j", "a")
        assert app.session is not None and app.main.ranked.view is not None
        draft = app.session.state.draft
        view = app.main.ranked.view
        assert draft is not None and draft.name == "draft"
        assert [str(node.component) for node in draft.nodes] == [view.component(1)]
        assert any(f" 2C{view.node(1)}" in row for row in rows(app))
        await press(app, pilot, "1", "a")
        assert [str(node) for node in app.session.state.draft.nodes][1] == f"E@{app.session.state.end}"  # pyright: ignore[reportOptionalMemberAccess]

    play(body)


def test_views_are_gone_through_at_every_width() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        seen = [app.main.wishes.view]
        for _ in VIEWS:
            await press(app, pilot, "v")
            seen.append(app.main.wishes.view)
        assert seen == [*VIEWS, VIEWS[0]] and {"tree", "strips"} <= set(VIEWS)
        await type_line(app, pilot, "view tree")
        assert any("0 upstream" in row for row in rows(app))
        await pilot.resize_terminal(200, 50)
        await pilot.pause(0.1)
        assert any("2 ranked" in row and "0 upstream" in row and "I inspect" in row for row in rows(app))
        await press(app, pilot, "v")
        assert any("2 ranked" in row and "T sums" in row for row in rows(app))

    play(body)


def test_a_disagreement_is_marked_and_what_was_measured_stands_beside_the_estimate() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "rank heads by measured @END")
        view = app.main.ranked.view
        assert view is not None and app.session is not None
        for at in range(8):
            row = int(view.order[at])
            line = next(each for each in rows(app) if f" {view.node(at)} " in each)
            marked = f"{view.measured[row]:+.2f}!" in line
            assert marked == bool(view.marked[row])
            assert f"{view.table.total[row]:+.2f}" in line and f"{view.direct[row]:+.2f}" in line
        assert any(view.marked[view.order[:8]])
        assert any("measured" in row and "total" in row and "direct" in row for row in rows(app))

    play(body, size=(200, 50))


@pytest.mark.parametrize("stop", ["escape", "ctrl+c"])
def test_a_table_fills_while_it_is_measured_and_what_is_done_stays(
    stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "STREAM_SECONDS", 0.0)
    held = session()
    reached, go_on = threading.Event(), threading.Event()

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        stream = held.streamed
        assert stream is not None
        count = 0

        def slowly(snapshot: Snapshot) -> None:
            nonlocal count
            stream(snapshot)
            count += 1
            if count == 5:
                reached.set()
                go_on.wait(20)

        held.streamed = slowly
        await press(app, pilot, "2")
        await pilot.press("colon")
        app.main.line.fill("rank heads by measured")
        await pilot.press("enter")
        assert await asyncio.to_thread(reached.wait, 20)
        await asyncio.sleep(0.5)
        await pilot.pause()
        view = app.main.ranked.view
        assert view is not None and view.by == "measured"
        filled = int((view.measured == view.measured).sum())
        assert 0 < filled < len(view)
        assert any(row.count("…") for row in rows(app)[4:16]), "what is not measured yet has no number"
        assert f"{held.engine.progress}" in rows(app)[0]
        await pilot.press(stop)
        go_on.set()
        await settled(app, pilot)
        assert "rows are measured and kept" in " ".join(line.strip() for line in log(app))
        view = app.main.ranked.view
        assert view is not None and view.by == "measured"
        assert filled <= int((view.measured == view.measured).sum()) < len(view)

    play(body, make_app(lambda: held))
