"""Tracing from the command line: frames that add up, a trail that is walked, and measured effects beside estimates."""

from pathlib import Path

import pytest

from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import END, begin, do, fail, load, write_model

FRAMES = (
    "trace L2H1@END<Mary via q",
    "trace L2H1@END<Mary via k",
    "trace L2H1@END<Mary via qk",
    "trace L2H1@END via v",
    "trace L2H1@END<Mary via v",
    "trace M3@END",
    "trace N1.7@store",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


@pytest.mark.parametrize("line", FRAMES)
def test_rows_and_biases_of_a_frame_add_up_to_it(session: Session, line: str) -> None:
    answer = do(session, line).result
    books = do(session, "rank all by direct -n 0").result
    assert books["target"]["value"] == answer["value"]
    assert sum(row["direct"] for row in books["rows"]) == pytest.approx(answer["value"], rel=1e-9, abs=1e-9)
    assert abs(books["balance"]["difference"]) < 1e-9


def test_a_frame_is_traced_for_the_one_before_and_the_trail_is_walked(session: Session) -> None:
    values = [session.snapshot.now.value]
    for line in ("trace L3H2@END<John#1 via q", "trace L1H0@END via v"):
        values.append(do(session, line).result["value"])
    ended = do(session, "trace E@3")
    assert ended.result["token"]["pos"] == session.state.pos == 3
    assert ended.lines[0].startswith("the trail ends at token 3, ") and ended.lines[0].count(" < ") == 3
    assert len(session.state.frames) == 2, "an embedding pushes no frame"
    assert [do(session, "up").result["value"], do(session, "up").result["value"]] == values[1::-1]
    assert fail(session, "up").error.message == "Oldest frame"  # pyright: ignore[reportOptionalMemberAccess]
    assert do(session, "down 2").result["value"] == values[2]
    assert fail(session, "down").error.message == "Newest frame"  # pyright: ignore[reportOptionalMemberAccess]
    assert [line.lstrip("> ")[0] for line in do(session, "where").lines[:3]] == ["0", "1", "2"]


def test_tracing_from_an_older_frame_forgets_the_newer_ones(session: Session) -> None:
    do(session, "trace L3H2@END<John#1 via q", "trace L1H0@END via v", "up 2", "trace M2@END")
    assert [frame.text for frame in session.state.frames] == [f"trace M2@{END}"]
    do(session, "trace L1H0@END via v of M2")
    assert len(session.state.frames) == 2


def test_an_edit_moves_a_frame_as_well(session: Session) -> None:
    before = do(session, "trace N3.7@END").result["value"]
    do(session, "ablate L0H1")
    assert session.snapshot.asked.value != before
    do(session, "undo")
    assert session.snapshot.asked.value == before


@pytest.mark.parametrize(
    ("edit", "frame"),
    [
        ("edge patch M0 -> L2H1.q from B", "trace L2H1@END<Mary via q"),
        ("edge ablate L0H1 -> L2H1.q", "trace L2H1@END<Mary via k"),
        ("edge patch L0H1,M1 -> L2H1 from B", "trace L2H1@END<Mary via qk"),
        ("edge ablate M0 -> M3", "trace M3@END"),
        ("edge keep M0 -> U, L0H1 -> L2H1.v zero", "trace L2H1@END via v"),
        ("patch L2H1.q@END from B ;; ablate L2.k scale 0.5", "trace L2H1@END<Mary via qk"),
        ("path L0H1 -> M3 from B", "trace N3.7@END"),
        (
            'steer resid_pre.2@END += 2 * dir(" Mary") ;; edge patch M0 -> L2H1.q from B',
            "trace L2H1@END via q",
        ),
    ],
)
def test_rows_and_biases_add_up_to_a_frame_whose_reader_is_edited(
    session: Session, edit: str, frame: str
) -> None:
    reply = do(session, *edit.split(" ;; "), frame)
    assert reply.warnings == ()
    books = reply.result["balance"]
    assert books["difference"] == pytest.approx(0, abs=1e-4 * max(1, abs(books["target"])))
    assert books["target"] == reply.result["value"]


def test_another_prompt_leaves_no_frame_behind(session: Session) -> None:
    do(session, "trace N3.7@END", 'prompt " Mary and John went"')
    assert session.state.frames == ()
    do(session, "trace N3.7@END", "undo")
    assert session.state.frames == ()


def test_a_saved_trail_is_read_back(session: Session, engine: Engine) -> None:
    do(session, "trace L3H2@END<John#1 via q", "trace L1H0@END via v", "up", "set ln all", "save trail.json")
    other = begin(engine)
    do(other, "load trail.json")
    assert other.state.frames == session.state.frames and other.state.frame == 1
    assert other.snapshot.asked.value == session.snapshot.asked.value
    assert do(other, "rank heads").result["rows"] == do(session, "rank heads").result["rows"]


def test_measured_effects_are_those_of_ablating_one_by_one(session: Session) -> None:
    value = session.snapshot.now.value
    rows = do(session, "rank heads by measured @END -n 0").result["rows"]
    assert len(rows) == 16
    assert [abs(row["measured"]) for row in rows] == sorted(
        (abs(row["measured"]) for row in rows), reverse=True
    )
    for row in rows:
        after = do(session, f"ablate {row['node']}").result["after"]
        do(session, "undo")
        assert row["measured"] == pytest.approx(value - after, abs=1e-9)


def test_the_first_rows_are_measured_after_a_ranking_unless_that_is_off(session: Session) -> None:
    do(session, "run", "set measure off")
    assert all(row["measured"] is None for row in do(session, "rank heads -n 5").result["rows"])
    do(session, "set measure auto")
    rows = do(session, "rank all by direct -n 8").result["rows"]
    assert all(row["measured"] is not None for row in rows)


def test_a_frame_is_measured_too(session: Session) -> None:
    value = do(session, "trace N3.7@END").result["value"]
    row = do(session, "rank heads by measured @END -n 1").result["rows"][0]
    do(session, f"ablate {row['node']}")
    assert row["measured"] == pytest.approx(value - session.snapshot.asked.value, abs=1e-9)


def test_too_many_nodes_to_measure_are_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdb_tui.commands.ranking.MOST_MEASURED", 100)
    error = fail(session, "rank neurons by measured").error
    assert error is not None and error.code == "too-many"
    assert "give a position" in error.message


def test_the_tree_upstream_holds_the_strongest_rows_of_the_frame(session: Session) -> None:
    tree = do(session, "upstream -d 2 -n 3").result["tree"]
    assert tree["effect"] == pytest.approx(session.snapshot.now.value)
    assert len(tree["children"]) == 3
    effects = [abs(child["effect"]) for child in tree["children"]]
    assert effects == sorted(effects, reverse=True)
    do(session, "upstream -d 2 -n 3 --out tree.dot")
    assert Path("tree.dot").read_text().startswith("digraph")


def test_repair_adds_up_to_the_change_of_the_metric(session: Session) -> None:
    assert fail(session, "repair").error.code == "no-edits"  # pyright: ignore[reportOptionalMemberAccess]
    change = do(session, "ablate L0H1").result["delta"]
    rows = do(session, "repair -n 0").result["rows"]
    assert sum(row["after"] - row["before"] for row in rows) == pytest.approx(change, abs=1e-9)
    assert sum(row["own"] + row["scale"] for row in rows) == pytest.approx(change, abs=1e-9)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trace", "trace which node: trace L1H3@END via v"),
        ("trace L1H3@END via x", "unknown input 'x': q, k, qk or v"),
        ("trace M1@END via q", "M1 has no q input: only heads do"),
        ("trace A1@END", "A1 cannot be traced: heads, neurons and MLPs can"),
        (
            "trace L1H3@Mary via v",
            "L1H3@1 writes to a token that is not read downstream: trace a node at @13",
        ),
        ("trace L1H3@END of M2", "M2 is no frame: where lists them"),
        ("drives E@END", "E cannot be traced: heads, neurons and MLPs can"),
        ("set ln some", "ln cannot be 'some': target, all, none"),
    ],
)
def test_what_cannot_be_traced_is_said_and_changes_nothing(session: Session, line: str, message: str) -> None:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and message in error.message
    assert session.snapshot is before
