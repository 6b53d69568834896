"""`repair`: changes that add up, and sets against their members, against single edits made by other commands."""

from typing import Any

import pytest
from torch import Tensor

from model.sites import Site
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load, said, write_model

EDITS = (
    "ablate L1H3",
    "ablate M0@END ;; ablate L2H1",
    "patch A1 from B",
    "ablate E@3 scale 2 ;; ablate L0H0-3 ;; ablate BM2",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), dtype="float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def total(rows: list[dict[str, Any]], name: str, *places: str) -> float:
    return sum(row[name] for row in rows if not places or row["place"] in places)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("asked", ["w", "set metric logit", "set ln all", "trace L3H1@END via q"])
def test_changes_of_all_components_add_up_to_the_targets_change(
    session: Session, asked: str, edit: str
) -> None:
    do(session, asked, edit)
    result = do(session, "repair -n 0").result
    target, rows, sums = result["target"], result["rows"], result["sums"]
    assert total(rows, "change") == pytest.approx(target["change"], abs=1e-10)
    assert target["change"] == target["after"] - target["before"]
    assert result["difference"] == pytest.approx(0, abs=1e-10)
    if not session.state.trail:
        assert target["before"] == pytest.approx(session.snapshot.base.value, abs=1e-12)
        assert target["after"] == pytest.approx(session.snapshot.now.value, abs=1e-12)
    for row in rows:
        assert row["change"] == pytest.approx(row["own"] + row["scale"], abs=1e-12)
        assert row["change"] == pytest.approx(row["after"] - row["before"], abs=1e-12)
    for name in ("before", "after", "change", "own", "scale"):
        parts = [total(rows, name, place) for place in ("edited", "downstream", "elsewhere")]
        assert [sums[each][name] for each in ("edited", "downstream", "elsewhere")] == pytest.approx(
            parts, abs=1e-10
        )
        assert sums["sum"][name] == pytest.approx(sum(parts), abs=1e-10)
    assert total(rows, "own", "elsewhere") == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("edit", EDITS)
def test_direct_effects_before_and_after_are_those_of_the_ranking(session: Session, edit: str) -> None:
    before = {
        row["node"]: row["direct"] for row in do(session, "rank all by direct @END -n 0").result["rows"]
    }
    do(session, edit)
    after = {row["node"]: row["direct"] for row in do(session, "rank all by direct @END -n 0").result["rows"]}
    for row in do(session, "repair -n 0").result["rows"]:
        assert row["before"] == pytest.approx(before.get(row["node"], 0.0), abs=1e-10)
        assert row["after"] == pytest.approx(after.get(row["node"], 0.0), abs=1e-10)


def test_a_set_is_compared_with_each_of_its_changes_alone(session: Session) -> None:
    base = session.snapshot.now.value
    lines = ("ablate L0H1@* zero", "ablate L2H3@* zero", "ablate M1@13 zero")
    alone: list[float] = []
    for line in lines:
        alone.append(do(session, line).result["delta"])
        do(session, "undo")
    do(session, "ablate L0H1,L2H3", "ablate M1@END")
    reply = do(session, "repair")
    joint = reply.result["joint"]
    assert [each["change"] for each in joint["singles"]] == list(lines)
    assert [each["effect"] for each in joint["singles"]] == pytest.approx(alone, abs=1e-10)
    assert joint["together"] == pytest.approx(session.snapshot.now.value - base, abs=1e-10)
    assert joint["excess"] == pytest.approx(joint["together"] - sum(alone), abs=1e-10)
    assert "together minus sum" in said(reply) and all(line in said(reply) for line in lines)


def test_one_change_is_no_set_and_a_switched_off_edit_does_not_count(session: Session) -> None:
    assert do(session, "ablate L0H1", "ablate L1H1", "disable i2", "repair").result["joint"] is None
    error = fail(session, "disable i1 ;; repair").error
    assert error is not None and error.code == "no-edits"


def test_of_a_metric_that_is_not_linear_the_linear_part_is_shared_out_and_that_is_said(
    session: Session,
) -> None:
    reply = do(session, "set metric prob", "ablate L1H3", "repair")
    assert reply.warnings == ("prob is not linear: changes add up to its linear part's",)
    assert reply.result["target"]["after"] == pytest.approx(session.snapshot.now.value, abs=1e-12)


def test_an_interrupt_ends_the_comparison(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stop_here, armed = session.engine, session.engine.stop_here, [False]

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        if armed[0]:
            engine.interrupt.set()
        return stop_here(site, layer, x)

    monkeypatch.setattr(engine, "stop_here", stopping)
    engine.forget()
    do(session, "ablate L0H1,L1H1")
    armed[0] = True
    done = execute(session, "repair")[0]
    assert done.interrupted and engine.progress == ""
