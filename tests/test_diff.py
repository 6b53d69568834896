"""`diff`: what it says against the two runs themselves."""

from pathlib import Path

import numpy as np
import pytest

from model.components import Component, Kind
from tdb_tui.engine import Engine
from tdb_tui.readings import Reading
from tdb_tui.session import Session
from tests.sessions import END, PROMPT_B, begin, do, fail, load, said, write_model

EDITS = ("ablate L1H2@END", "ablate M0@2 scale 3", "patch L2H1@END from B")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def total_variation(left: Reading, right: Reading, head: str) -> float:
    layer, index = (int(part) for part in head.removeprefix("L").split("H"))
    part = Component(Kind.HEAD, layer, index)
    a, b = (side.pattern(part)[END] for side in (left, right))
    return float(np.abs(a - b).sum() / 2)


def test_two_runs_differ_as_their_readings_do(session: Session) -> None:
    do(session, *EDITS)
    base, now = session.snapshot.base, session.snapshot.now
    result = do(session, "diff base now -n 4").result
    assert result["sides"] == {"left": "base", "right": "now"}
    metric = result["metric"]
    assert (metric["left"], metric["right"]) == (base.value, now.value)
    assert metric["difference"] == now.value - base.value
    for row in result["logits"]:
        assert row["left"] == base.logits(END)[row["id"]] and row["right"] == now.logits(END)[row["id"]]
        assert row["difference"] == row["right"] - row["left"]
    shown = {row["id"] for row in result["logits"]}
    for side in (base, now):
        assert set(np.argsort(-side.logits(END))[:4].tolist()) <= shown
    inputs = session.state.inputs
    assert {*inputs.metric.targets, *inputs.metric.distractors} <= shown
    for row in result["attention"]:
        assert row["moved"] == pytest.approx(total_variation(base, now, row["head"]), abs=1e-12)
    moved = [row["moved"] for row in result["attention"]]
    assert moved == sorted(moved, reverse=True) and len(moved) <= 4


@pytest.mark.parametrize("by", ["total", "direct"])
def test_the_movers_are_those_of_compare(session: Session, by: str) -> None:
    do(session, *EDITS)
    rows = do(session, f"diff base now by {by} -n 6 --tokens 0").result["nodes"]
    compared = do(session, f"compare components against base by {by} -n 6").result["rows"]
    assert [row["node"] for row in rows] == [row["left"] for row in compared]
    for row, other in zip(rows, compared, strict=True):
        assert row["difference"] == pytest.approx(other[f"{by}_difference"], abs=1e-12)


def test_the_other_way_round_every_sign_changes(session: Session) -> None:
    do(session, *EDITS, "checkpoint it")
    one, other = (do(session, f"diff {pair} --tokens 3").result for pair in ("B it", "it B"))
    assert one["metric"]["difference"] == -other["metric"]["difference"]
    assert {row["id"]: row["difference"] for row in one["logits"]} == {
        row["id"]: -row["difference"] for row in other["logits"]
    }
    assert [(row["node"], row["difference"]) for row in one["nodes"]] == [
        (row["node"], pytest.approx(-row["difference"])) for row in other["nodes"]
    ]
    for a, b in zip(one["attention"], other["attention"], strict=True):
        assert (a["head"], a["moved"]) == (b["head"], pytest.approx(b["moved"]))
    assert one["text"]["left"] == other["text"]["right"]


@pytest.mark.parametrize("name", ["now", "base", "B", "it"])
def test_a_run_does_not_differ_from_itself(session: Session, name: str) -> None:
    do(session, *EDITS, "checkpoint it")
    reply = do(session, f"diff {name} {name} --tokens 2")
    result = reply.result
    assert result["metric"]["difference"] == 0 and result["nodes"] == result["attention"] == []
    assert all(row["difference"] == 0 for row in result["logits"])
    assert result["text"]["left"] == result["text"]["right"]
    assert "no head has moved" in said(reply)


def test_patching_everything_leaves_no_difference_from_b_at_the_end(session: Session) -> None:
    do(session, "patch E from B")
    result = do(session, "diff B now --tokens 4").result
    assert result["metric"]["difference"] == 0 and result["attention"] == []
    assert all(row["difference"] == 0 for row in result["logits"])


def test_the_text_is_what_generate_says(session: Session) -> None:
    do(session, "ablate L1H2", "ablate M2")
    text = do(session, "diff --tokens 6").result["text"]
    generated = do(session, "generate 6").result
    assert text["right"] == {"tokens": generated["tokens"], "text": generated["text"]}
    assert text["left"] == generated["base"]


def test_a_checkpoint_is_asked_what_is_asked_now(session: Session) -> None:
    do(session, *EDITS, "checkpoint it", "reset", "target Anna")
    reply = do(session, "diff it --tokens 0")
    then = do(begin(session.engine), *EDITS, "target Anna")
    assert reply.result["metric"]["left"] == then.result["value"]
    assert reply.warnings == ("it was kept with another metric: it is read as now",)
    assert reply.result["metric"]["right"] == session.snapshot.base.value


def test_prompts_of_different_length_are_joined_by_role_and_read_at_their_ends(session: Session) -> None:
    do(session, "prompt B Anna and Smith went to")
    assert session.snapshot.other is not None
    result = do(session, "diff B now by direct").result
    assert result["metric"]["left"] == session.snapshot.other.value
    for row in result["attention"]:
        assert 0 < row["moved"] <= 1
    assert all(row["node"].count("@") == 1 for row in result["nodes"])


def test_what_is_compared_goes_without_saying(session: Session) -> None:
    assert do(session, "diff --tokens 0").result["sides"] == {"left": "B", "right": "now"}
    do(session, "ablate M0")
    assert do(session, "diff --tokens 0").result["sides"] == {"left": "base", "right": "now"}
    do(session, "cp x")
    assert do(session, "diff x --tokens 0").result["sides"] == {"left": "x", "right": "now"}
    alone = begin(session.engine, PROMPT_B, None)
    error = fail(alone, "diff").error
    assert error is not None and error.message.startswith("nothing to compare with: edit something")


def test_the_columns_fit_a_narrow_terminal(session: Session) -> None:
    do(session, *EDITS)
    assert max(len(line) for line in do(session, "diff").lines) <= 80
