"""The edit stack: what each edit is worth, its order and names, checkpoints, and stacks as files."""

import json
from pathlib import Path

import pytest
import torch

from model.trace import metric_value, record
from tdb_tui.commands import execute
from tdb_tui.edits.stack import moved, up_to, without, worths
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.views import rows
from tests.sessions import begin, do, fail, load, said, write_model

STACK = ("ablate L0H1 scale 0.5", "ablate M1@END", "patch L2H1@END from B", "ablate L0H1 value 0.3")
"The first and the last are of the same head: their order matters."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def value_with(session: Session, numbers: tuple[int, ...]) -> float:
    """The metric with some edits, from a whole pass of its own."""
    now, inputs = session.snapshot.now, session.state.inputs
    changes = [change for edit in inputs.edits if edit.number in numbers for change in edit.changes]
    other = None if inputs.prompt_b is None else record(now.model, inputs.prompt_b.tokens)
    sources = type(now.asked().run.sources)(other=other)
    trace = record(now.model, inputs.prompt.tokens, changes, sources)
    return metric_value(now.model, trace, now.metric)


def numbers(session: Session) -> list[int]:
    return [edit.number for edit in session.state.inputs.edits]


def test_each_edit_is_worth_what_runs_with_and_without_it_say(session: Session) -> None:
    do(session, *STACK, "disable i2")
    result = do(session, "edits").result
    on = [edit.number for edit in session.state.inputs.edits if edit.enabled]
    assert result["base"] == pytest.approx(value_with(session, ()), abs=1e-12)
    assert result["value"] == session.snapshot.now.value
    whole = value_with(session, tuple(on))
    for row in result["rows"]:
        number = int(row["id"][1:])
        if not row["enabled"]:
            assert (number, row["marginal"], row["cumulative"]) == (2, None, None)
            continue
        rest = tuple(each for each in on if each != number)
        before = tuple(each for each in on if on.index(each) <= on.index(number))
        assert row["marginal"] == pytest.approx(whole - value_with(session, rest), abs=1e-12)
        assert row["cumulative"] == pytest.approx(value_with(session, before), abs=1e-12)
    assert result["rows"][-1]["cumulative"] == result["value"]


def test_one_edit_alone_is_worth_all_that_it_changes(session: Session) -> None:
    before = session.snapshot.now.value
    do(session, "ablate M0")
    (row,) = do(session, "edits").result["rows"]
    assert row["marginal"] == session.snapshot.now.value - before
    assert row["cumulative"] == session.snapshot.now.value


def test_listing_the_stack_changes_nothing_and_a_second_time_runs_nothing(session: Session) -> None:
    do(session, *STACK)
    before = session.snapshot
    first = do(session, "edits")
    run = session.engine.sites_run
    assert do(session, "edits") == first and session.engine.sites_run == run
    assert session.snapshot is before and session.engine.progress == ""


def test_an_interrupt_stops_the_listing(session: Session) -> None:
    do(session, *STACK)
    session.engine.forget()
    stop_here, seen = session.engine.stop_here, [0]

    def stopping(site: object, layer: int, x: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == 30:
            session.engine.interrupt.set()
        return stop_here(site, layer, x)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.engine, "stop_here", stopping)
        done = execute(session, "edits")[-1]
    assert done.interrupted and session.engine.progress == ""
    do(session, "edits")


def test_the_order_matters_where_edits_overlap_and_is_then_said_to(session: Session) -> None:
    do(session, *STACK)
    before = session.snapshot.now.value
    assert "as before: the order does not matter here" in said(do(session, "move i2 down"))
    assert numbers(session) == [1, 3, 2, 4] and session.snapshot.now.value == before
    reply = do(session, "move i4 1")
    assert numbers(session) == [4, 1, 3, 2]
    assert "the order matters" in said(reply)
    assert reply.result["after"] == session.snapshot.now.value != before
    assert session.snapshot.now.value == pytest.approx(value_with(session, (4, 1, 3, 2)), abs=1e-12)


@pytest.mark.parametrize("place", range(4))
def test_an_edit_comes_to_stand_where_it_was_put(session: Session, place: int) -> None:
    do(session, *STACK)
    edits = session.state.inputs.edits
    for edit in edits:
        there = moved(edits, edit, place)
        assert there[place] is edit and [e for e in there if e is not edit] == [
            e for e in edits if e is not edit
        ]
    do(session, f"move i3 {place + 1}")
    assert numbers(session).index(3) == place


def test_names_order_and_switches_are_undone_and_redone(session: Session) -> None:
    do(session, *STACK)
    seen = [session.state.inputs]
    lines = ("name i2 the MLP", "move i2 1", "toggle i1 i3", "name i2", "delete i4", "reset")
    for line in lines:
        do(session, line)
        seen.append(session.state.inputs)
    assert len(set(seen)) == len(seen)
    for inputs in reversed(seen[:-1]):
        do(session, "undo")
        assert session.state.inputs == inputs
    for inputs in seen[1:]:
        do(session, "redo")
        assert session.state.inputs == inputs


def test_toggling_twice_is_nothing_and_takes_stops_too(session: Session) -> None:
    do(session, *STACK, "b A2", "watch ld")
    edits, stops = session.state.inputs.edits, session.state.stops
    do(session, "toggle i1 w2 i3")
    assert [edit.enabled for edit in session.state.inputs.edits] == [False, True, False, True]
    assert [stop.enabled for stop in session.state.stops] == [True, False]
    do(session, "toggle i3 i1 w2")
    assert (session.state.inputs.edits, session.state.stops) == (edits, stops)


def test_an_edit_is_meant_by_its_name_too(session: Session, engine: Engine) -> None:
    do(
        session,
        *STACK,
        "name i1 mover",
        "name i3 the second one",
        "name i4 the second one",
        "b A2",
        "display ld",
    )
    by_name = (
        "toggle mover",
        "enable mover",
        "disable mover b1 d1",
        "move mover 2",
        "toggle mover",
        "delete mover",
    )
    other = begin(engine)
    do(
        other,
        *STACK,
        "name i1 mover",
        "name i3 the second one",
        "name i4 the second one",
        "b A2",
        "display ld",
    )
    for line in by_name:
        do(session, line)
        do(other, line.replace("mover", "i1"))
        assert session.state.inputs == other.state.inputs, line
        assert (session.state.stops, session.state.displays) == (other.state.stops, other.state.displays), (
            line
        )
    error = fail(session, "toggle the second one").error
    assert error is not None and error.message == "'the second one' names i3, i4: give a number"
    do(session, "name i4", "toggle the second one")
    assert [edit.enabled for edit in session.state.inputs.edits] == [True, False, True]
    do(session, 'move "the second one" up', "toggle d1")
    assert numbers(session)[0] == 3 and session.state.displays[0].enabled


def test_a_named_stack_is_saved_with_the_session_and_as_a_script(session: Session, engine: Engine) -> None:
    do(session, *STACK, 'name i3 the "mover"', "move i3 1", "toggle i2", "save it.json", "export it.tdb")
    for how in ("load it.json", "source it.tdb"):
        again = begin(engine, " Mary went", None)
        do(again, how)
        assert again.state.inputs == session.state.inputs
        assert again.snapshot.now.value == session.snapshot.now.value


def test_a_stack_file_makes_the_same_edits_again(session: Session, engine: Engine) -> None:
    do(session, *STACK, "name i3 mover", "move i3 1", "disable i2", "edits save stack.json")
    saved = session.state.inputs.edits
    data = json.loads(Path("stack.json").read_text())
    assert data["schema"] == "tdb-edits/1" and data["model"]["name"] == "random"
    assert [row["number"] for row in data["edits"]] == [3, 1, 2, 4]
    again = begin(engine)
    do(again, "ablate M3", "edits load stack.json")
    loaded = again.state.inputs.edits
    assert [(e.changes, e.text, e.enabled, e.name) for e in loaded] == [
        (e.changes, e.text, e.enabled, e.name) for e in saved
    ]
    assert [edit.number for edit in loaded] == [2, 3, 4, 5]
    assert again.snapshot.now.value == session.snapshot.now.value
    do(again, "undo")
    assert numbers(again) == [1]
    do(again, "edits load stack.json --add")
    assert len(again.state.inputs.edits) == 5 and len(set(numbers(again))) == 5
    do(again, "ablate L3H3")
    assert len(set(numbers(again))) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", 'isn\'t a tdb-tui edit stack: missing "schema" (expected "tdb-edits/1")'),
        ("{", "isn't a tdb-tui edit stack: it is not JSON"),
        ('{"schema": "tdb-session/1"}', "is tdb-session/1: this version reads tdb-edits/1"),
        ('{"schema": "tdb-edits/1"}', "is damaged: it has no edits"),
        ('{"schema": "tdb-edits/1", "edits": [{"number": 1}]}', "is damaged: it has no command"),
        (
            '{"schema": "tdb-edits/1", "edits": [{"number": 1, "enabled": true, "command": "run"}]}',
            "is damaged: 'run' is no edit",
        ),
        (
            '{"schema": "tdb-edits/1", "edits": [{"number": 1, "enabled": true, "command": "ablate L9H9"}]}',
            ": ablate L9H9: no head L9H9: random has heads 0–3 in layers 0–3",
        ),
        (
            '{"schema": "tdb-edits/1", "edits": [{"number": 1, "enabled": 1, "command": "ablate M0"}]}',
            "is damaged: 1 where true or false belongs",
        ),
        (
            '{"schema": "tdb-edits/1", "edits": [{"number": 1, "enabled": true, "name": "\\u001b", "command": "ablate M0"}]}',
            "is damaged: '\\x1b' where a name belongs",
        ),
    ],
)
def test_what_is_no_stack_is_refused_in_a_sentence(session: Session, text: str, message: str) -> None:
    do(session, "ablate M0")
    before = session.snapshot
    Path("it.json").write_text(text)
    error = fail(session, "edits load it.json").error
    assert error is not None and message in error.message and error.message.startswith("it.json")
    assert session.snapshot is before


def test_the_pane_shows_what_is_known_and_runs_nothing(session: Session) -> None:
    session.engine.forget()
    do(session, *STACK[:2], "name i1 half")
    run = session.engine.sites_run
    before = rows.edits(session.snapshot).rows
    assert session.engine.sites_run == run
    assert before[0].startswith("i1 * · ") and before[0].endswith(" half: ablate L0H1@* scale 0.5")
    result = do(session, "edits").result["rows"]
    after = rows.edits(session.snapshot).rows
    for row, shown in zip(result, after, strict=True):
        assert f" * {row['marginal']:+.2f} {row['cumulative']:+.2f} " in shown
    do(session, "toggle i1")
    assert rows.edits(session.snapshot).rows[0] == "i1 - half: ablate L0H1@* scale 0.5  (off)"


def test_worth_is_of_the_enabled_ones_alone() -> None:
    """Of made-up metrics: one for each set of edits."""
    from dataclasses import replace

    from model.metrics import Metric, Quantity
    from tdb_tui.state import Edit, Inputs, Prompt

    edits = tuple(Edit(n, (), f"e{n}", enabled=n != 2) for n in (1, 2, 4))
    inputs = Inputs(Prompt("", (1,), False), Metric(Quantity.LOGIT, (1,), (), 0), edits=edits)

    def value(inputs: Inputs) -> float:
        return float(sum(edit.number for edit in inputs.edits if edit.enabled))

    found = worths(inputs, value)
    assert [(each.marginal, each.cumulative) for each in found] == [(1, 1), (None, None), (4, 5)]
    assert worths(inputs, lambda _: None)[0].marginal is None
    assert without(inputs, edits[0]) == replace(inputs, edits=edits[1:])
    assert up_to(inputs, edits[1]) == replace(inputs, edits=edits[:2])


def test_a_checkpoint_is_gone_back_to_and_undone(session: Session) -> None:
    do(session, "ablate L0H1", "set pos IO=1", "checkpoint one")
    one, value = session.state.inputs, session.snapshot.now.value
    do(session, "prompt Mary went to", "set pos IO=2", "target Anna", "checkpoint two")
    two = session.state.inputs
    assert [each.name for each in session.state.checkpoints] == ["one", "two"]
    do(session, "restore one")
    assert session.state.inputs == one and session.snapshot.now.value == value
    assert dict(session.state.roles) == {"IO": 1} and session.state.pos == session.state.end
    do(session, "undo")
    assert session.state.inputs == two and dict(session.state.roles) == {"IO": 2}
    do(session, "redo", "checkpoint two", "restore two")
    assert session.state.inputs == one
    do(session, "checkpoint one --drop")
    assert [each.name for each in session.state.checkpoints] == ["two"]


def test_checkpoints_are_saved_with_the_session(session: Session, engine: Engine) -> None:
    do(session, "ablate L0H1", "name i1 it", "cp one", "set means positions", "prompt Mary went to the store")
    do(session, "ablate A1 mean", "cp two", "reset", "save it.json", "export it.tdb")
    for how in ("load it.json", "source it.tdb"):
        again = begin(engine, " Anna went", None)
        do(again, how)
        assert again.state.checkpoints == session.state.checkpoints
        do(again, "restore two")
        assert [edit.text for edit in again.state.inputs.edits] == ["ablate L0H1@* zero", "ablate A1@* mean"]
    listed = do(session, "info checkpoints").lines
    assert listed == do(session, "checkpoint").lines and listed[0].startswith("one  ")
