"""What a circuit keeps: against the same edits made one by one, and at both ends."""

from pathlib import Path

import pytest

from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load, said, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def value(session: Session, *lines: str) -> float:
    """The metric after edits, which are then taken back."""
    do(session, *lines)
    found = session.snapshot.now.value
    do(session, "reset")
    return found


def test_a_circuit_of_all_heads_keeps_everything(session: Session) -> None:
    do(session, "circuit add L*H*@*")
    found = do(session, "circuit eval").result
    assert found["kept"] == pytest.approx(found["whole"], abs=1e-12) and found[
        "faithfulness"
    ] == pytest.approx(1)
    assert found["without"] == pytest.approx(found["none"], abs=1e-9)


def test_an_empty_circuit_keeps_what_is_left_without_any_head(session: Session) -> None:
    do(session, "circuit new nothing")
    found = do(session, "circuit eval").result
    assert found["faithfulness"] == 0 and found["without"] == pytest.approx(found["whole"], abs=1e-12)
    assert found["none"] == found["kept"] == pytest.approx(value(session, "ablate L*H*"), abs=1e-9)


def test_what_it_keeps_is_the_metric_with_the_others_ablated(session: Session) -> None:
    do(session, "circuit add L1H2@END", "circuit add L2H0@3")
    found = do(session, "circuit eval").result
    others = [
        "ablate L0H*,L3H*",
        "ablate L1H{0,1,3}",
        "ablate L1H2@0:12",
        "ablate L2H{1,2,3}",
        "ablate L2H0@0:2",
        "ablate L2H0@4:13",
    ]
    assert found["kept"] == pytest.approx(value(session, *others), abs=1e-9)
    assert found["without"] == pytest.approx(value(session, "ablate L1H2@END", "ablate L2H0@3"), abs=1e-9)


def test_mlps_go_too_where_the_circuit_has_some_and_means_can_be_put_in(session: Session) -> None:
    do(session, "set means positions", "circuit add L*H*@*", "circuit add M1@END")
    found = do(session, "circuit eval --ablate mean").result
    gone = ["ablate M0,M2,M3 mean", "ablate M1@0:12 mean"]
    assert found["kept"] == pytest.approx(value(session, *gone), abs=1e-9)
    assert found["ablation"] == "mean"


def test_edits_in_force_are_part_of_what_is_kept(session: Session) -> None:
    do(session, "ablate M0", "circuit add L1H2@END")
    found = do(session, "circuit eval").result
    assert found["whole"] == session.snapshot.now.value


def test_pruning_takes_out_what_changes_nothing(session: Session) -> None:
    do(session, "circuit add L*H*@*")
    before = do(session, "circuit eval").result["kept"]
    all_of_them = do(session, "circuit prune 1e9").result
    assert all_of_them["nodes"] == []
    do(session, "circuit new again", "circuit add L*H*@END")
    whole = do(session, "circuit eval").result["kept"]
    left = do(session, "circuit prune 0.001").result
    assert abs(left["kept"] - whole) < 0.001 * 16 and len(left["nodes"]) <= 16
    assert before == pytest.approx(session.snapshot.now.value, abs=1e-12)


def test_mistakes_are_named(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    do(session, "circuit add L1H2@END")
    for line in ("circuit eval --ablate foo", "circuit eval --ablate mean", "circuit prune", "circuit prune x",
                 "circuit prune 0", "circuit show --ablate zero", "circuit eval now"):  # fmt: skip
        fail(session, line)
    assert "keeps" in said(do(session, "circuit eval"))
