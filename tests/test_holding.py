"""What `freeze --except` holds, and what `run` draws or computes anew."""

from pathlib import Path

import pytest
import torch

from model.sites import Site
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import SHAPE, begin, do, fail, load, said, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def test_all_is_held_but_some_and_what_is_edited(session: Session) -> None:
    """A head read on a path: the sender's change reaches it, and what lies between stays as it was."""
    last = SHAPE.n_layer - 1
    do(session, f"path L0H1 -> L{last}H1 from B")
    by_path = session.snapshot.now.trace[Site.Z, last][1]
    do(session, "undo", "patch L0H1 from B", f"freeze --except L{last}H1")
    trace, base = session.snapshot.now.trace, session.snapshot.base.trace
    torch.testing.assert_close(trace[Site.Z, last][1], by_path, rtol=1e-5, atol=1e-6)
    for layer in range(SHAPE.n_layer):
        free = {(0, 1), (last, 1)}
        for head in range(SHAPE.n_head):
            same = torch.equal(trace[Site.Z, layer][head], base[Site.Z, layer][head])
            assert same == ((layer, head) not in free), (layer, head)
        assert torch.equal(trace[Site.MLP_OUT, layer], base[Site.MLP_OUT, layer])
    value = session.snapshot.now.value
    do(session, "undo", f"freeze heads --except L{last}H1", "freeze mlp")
    assert session.snapshot.now.value == pytest.approx(value, abs=1e-5)


def test_what_edits_inside_a_part_is_left_out_of_what_is_held(session: Session) -> None:
    do(session, "ablate N1.5@3", "ablate L2H1.q@4")
    edit = do(session, "freeze --except M0@END")
    assert "--except M0@13,M1@3,L2H1@4" in said(edit)
    fail(session, "freeze --except L1H1@END<2")
    fail(session, "freeze attn --except L1H1")


def test_another_seed_draws_again_what_edits_have_drawn(session: Session) -> None:
    do(session, "ablate M1 noise 1", "ablate L1H1 zero")
    first = session.snapshot.now.value
    do(session, "run --seed 5")
    assert [edit.text for edit in session.state.inputs.edits] == [
        "ablate M1@* noise 1 seed 5",
        "ablate L1H1@* zero",
    ]
    second = session.snapshot.now.value
    do(session, "reset", "ablate M1 noise 1 seed 5", "ablate L1H1 zero")
    assert session.snapshot.now.value == pytest.approx(second, abs=1e-6) and first != second
    do(session, "reset", "ablate M1 noise 1")
    assert session.state.inputs.edits[0].text.endswith("seed 5")
    do(session, "undo", "undo", "undo", "undo", "undo", "undo")
    assert session.snapshot.now.value == pytest.approx(first, abs=1e-6)


def test_a_device_that_gives_out_leaves_the_model_where_it_was(session: Session) -> None:
    for device, why in (("cuda:99", "no device 'cuda:99'"), ("tpu", "unknown device 'tpu'")):
        error = fail(session, f"run --device {device}").error
        assert error is not None and error.message.startswith(why)
    before = session.snapshot.now.value
    do(session, "ablate L1H1", "run --device cpu")
    assert session.engine.info.device == "cpu" and session.done[-1] == "run"
    assert session.snapshot.base.value == before
