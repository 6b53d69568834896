"""What can be asked beside logits: divergences, directions and activations, asked, measured, undone, saved."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.edits.interventions import Ablate, Change, Span
from model.metrics import Metric
from model.sites import Site
from model.trace import metric_value, record
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.texts import opening
from tdb_tui.views.title import title
from tests.sessions import END, ODD, SHAPE, begin, do, fail, load, said, write_model

METRICS = {
    "a divergence": "set metric kl",
    "a divergence before the end": "set metric kl @4",
    "a direction of tokens": 'set metric direction Mary "Anna" - " John" at A2',
    "a direction of a file": "set metric direction here.npy at M1 @gave",
    "the targets' direction": "set metric direction",
    "a neuron": "set metric activation N2.5@drink",
    "a head's attention": "set metric activation L2H1@END<Mary",
    "a probability elsewhere": "set metric prob @the#1",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_model(models / "random")
    write_model(models / "odd", ODD)
    return models


@pytest.fixture(scope="module")
def exact(models: Path) -> Engine:
    return load(models / "random", "float64")


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    return load(models / "random")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("here.npy", np.random.default_rng(1).normal(size=SHAPE.d_model))


def every(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, METRICS.values(), ids=METRICS)


def asked_anew(session: Session, changes: Sequence[Change]) -> float:
    """The metric of a whole run with these changes, recorded from nothing."""
    now = session.snapshot.now
    return metric_value(now.model, record(now.model, now.trace.tokens, changes), now.metric)


@every("line")
def test_every_measured_effect_is_that_of_a_whole_rerun(exact: Engine, line: str) -> None:
    session = begin(exact)
    do(session, line, "ablate L0H1@3")
    rows = do(session, "rank components by measured -n 0").result["rows"]
    before = asked_anew(session, session.state.inputs.changes)
    assert before == pytest.approx(session.snapshot.now.value, abs=1e-12)
    assert rows
    table = session.snapshot.asked.partition
    nodes = {str(table.node(row)): table.node(row) for row in range(len(table))}
    for row in rows[:12] + rows[-12:]:
        node = nodes[row["node"]]
        made = Ablate(node.component, Span(node.pos, node.pos), node.key)
        after = asked_anew(session, (*session.state.inputs.changes, made))
        assert row["measured"] == pytest.approx(before - after, abs=1e-9)


@every("line")
def test_the_books_of_a_new_metric_balance(exact: Engine, line: str) -> None:
    session = begin(exact)
    do(session, line, "ablate L0H1@3")
    balance = do(session, "rank all by direct").result["balance"]
    assert abs(balance["difference"]) <= 1e-9
    if session.snapshot.now.metric.linear:
        assert balance["sum"] == pytest.approx(session.snapshot.now.value, abs=1e-9)


def test_a_divergence_is_from_the_run_without_edits(exact: Engine) -> None:
    session = begin(exact)
    assert do(session, "set metric kl").result["value"] == 0
    do(session, "ablate L1H2", "ablate M2@END scale 0.5")
    base, now = session.snapshot.base.logits(END), session.snapshot.now.logits(END)
    p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (base, now))
    assert session.snapshot.now.value == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-12) != 0
    assert session.snapshot.base.value == 0
    do(session, "undo 2")
    assert session.snapshot.now.value == 0


def test_a_flat_divergence_says_so_and_has_measured_effects_all_the_same(exact: Engine) -> None:
    session = begin(exact)
    (warning,) = do(session, "set metric kl").warnings
    assert "flat without edits" in warning
    reply = do(session, "rank heads @END by measured")
    assert reply.warnings == (warning,)
    rows = reply.result["rows"]
    assert all(abs(row["total"]) < 1e-12 and abs(row["direct"]) < 1e-12 for row in rows)
    assert all(row["measured"] <= 0 for row in rows) and rows[0]["measured"] < -1e-6
    do(session, "ablate L0H0")
    assert "linear part" in do(session, "rank heads @END").warnings[0]


def test_a_patch_is_told_as_part_of_the_way_to_prompt_b(exact: Engine) -> None:
    session = begin(exact)
    do(session, "set metric kl")
    other = session.snapshot.other
    assert other is not None and other.value > 0
    do(session, "patch E from B")  # everything that the pass starts from
    assert session.snapshot.now.value == pytest.approx(other.value, abs=1e-10)


@pytest.mark.parametrize("line", [METRICS["a neuron"], METRICS["a head's attention"]])
def test_an_activation_is_the_recorded_one(exact: Engine, line: str) -> None:
    session = begin(exact)
    do(session, "ablate L0H1@3", line)
    trace, metric = session.snapshot.now.trace, session.snapshot.now.metric
    if "N2.5" in line:
        value = trace[Site.MLP_POST, 2][12, 5]
    else:
        value = trace[Site.PATTERN, 2][1, END, 1]
    assert session.snapshot.now.value == pytest.approx(float(value), abs=1e-12)
    assert session.state.pos == metric.pos  # the cursor goes where it is read


def test_a_head_without_a_key_is_asked_for_what_it_reads_most(exact: Engine) -> None:
    session = begin(exact)
    do(session, "set metric activation L2H3@END")
    probe, pattern = session.state.inputs.metric.probe, session.snapshot.now.trace[Site.PATTERN, 2][3, END]
    assert probe is not None and session.snapshot.now.value == pytest.approx(float(pattern.max()), abs=1e-12)


def test_a_direction_of_tokens_is_their_unembedding_and_of_a_file_what_it_holds(exact: Engine) -> None:
    session = begin(exact)
    resid = session.snapshot.now.trace[Site.RESID_PRE, 2][END].numpy()
    w_u = session.snapshot.now.model.unembedding.numpy()
    mary, john = session.state.inputs.metric.targets[0], session.state.inputs.metric.distractors[0]
    expected = resid @ (w_u[mary] - w_u[john])
    for line in ("Mary - John at A2", '" Mary" - " John" at 5', "at A2"):
        assert do(session, f"set metric direction {line}").result["value"] == pytest.approx(
            expected, abs=1e-12
        )
    vector = np.load("here.npy")
    save_file({"v": torch.tensor(vector)[None]}, "here.safetensors")
    for name in ("here.npy", '"./here.npy"', "here.safetensors"):
        value = do(session, f"set metric direction {name} at A2").result["value"]
        assert value == pytest.approx(resid @ vector, abs=1e-12)


def test_a_file_that_holds_no_direction_is_refused_in_one_sentence(engine: Engine) -> None:
    d = SHAPE.d_model
    np.save("short.npy", np.ones(d - 1))
    np.save("matrix.npy", np.ones((2, d // 2)))
    np.save("nan.npy", np.full(d, np.nan))
    np.save("words.npy", np.array(["a"] * d))
    np.save("objects.npy", np.array([{}] * d), allow_pickle=True)
    save_file({"a": torch.ones(d), "b": torch.ones(d)}, "two.safetensors")
    Path("none.safetensors").write_bytes(b"not one")
    Path("empty.npy").write_bytes(b"")
    Path("folder.npy").mkdir()
    session = begin(engine)
    before = session.state
    for name, message in {
        "short.npy": f"short.npy holds [{d - 1}]: a vector of {d} numbers was expected",
        "matrix.npy": f"matrix.npy holds [2, {d // 2}]: a vector of {d} numbers was expected",
        "nan.npy": "nan.npy holds numbers that are not finite: a direction has none",
        "words.npy": "words.npy holds no array of numbers: a vector was expected",
        "objects.npy": "cannot read objects.npy: it is no .npy file",
        "two.safetensors": f"two.safetensors holds 2 tensors: one with {d} numbers was expected",
        "none.safetensors": "cannot read none.safetensors: it is no .safetensors file",
        "gone.safetensors": "cannot read gone.safetensors: no such file or directory",
        "empty.npy": "cannot read empty.npy: it is no .npy file",
        "folder.npy": "cannot read folder.npy: is a directory",
    }.items():
        error = fail(session, f"set metric direction {name}").error
        assert error is not None and error.message == message
    assert session.state is before


@every("line")
def test_undo_and_redo_restore_the_metric_bit_for_bit(engine: Engine, line: str) -> None:
    session = begin(engine)
    do(session, "ablate L1H1")
    before = session.snapshot.now.value, session.state.inputs
    do(session, line)
    after = session.snapshot.now.value, session.state.inputs
    for _ in range(2):
        engine.forget()
        do(session, "undo")
        assert (session.snapshot.now.value, session.state.inputs) == before
        engine.forget()
        do(session, "redo")
        assert (session.snapshot.now.value, session.state.inputs) == after


@every("line")
def test_a_saved_session_and_a_script_ask_the_same(engine: Engine, line: str) -> None:
    session = begin(engine)
    do(session, "ablate L1H1", line, "save it.json", "export it.tdb")
    engine.forget()
    for how in ("load it.json", "source it.tdb"):
        again = begin(engine, " Mary went", None, bos=False)
        do(again, how)
        assert again.state.inputs == session.state.inputs
        assert again.snapshot.now.value == session.snapshot.now.value
        assert title(again.snapshot) == title(session.snapshot)
    Path("here.npy").unlink()
    do(begin(engine), "load it.json")  # a session holds the direction itself


@every("line")
def test_the_opening_of_a_session_asks_the_same(engine: Engine, line: str) -> None:
    session = begin(engine)
    do(session, line)
    again = begin(engine, " Mary went", None)
    do(again, *opening(session.state.inputs, engine.tokenizer))
    assert again.state.inputs == session.state.inputs
    assert said(do(again, "show metric")) == said(do(session, "show metric"))


@every("line")
def test_every_view_of_the_pass_reads_the_new_metric(engine: Engine, line: str) -> None:
    session = begin(engine)
    do(session, line, "ablate L0H1@3")
    value = session.snapshot.now.value
    for look in ("list", "lens"):
        rows = do(session, look).result["rows"]
        assert rows[-1]["ld"] == pytest.approx(value, abs=1e-5)
    assert do(session, "print final").result["value"] == value
    assert do(session, "args").result["metric"] == value
    do(
        session,
        "token @2",
        "list",
        "lens",
        "n 3",
        "step",
        "n 2",
        "rn",
        "where",
        "generate 2",
        "logits",
        "token @0",
        "lens",
    )
    assert do(session, "rank -n 3").result["target"]["value"] == session.snapshot.now.value
    assert not any(letter in title(session.snapshot).metric for letter in "\n\t")
    do(session, "repair", "upstream -d 2", "c")


def test_frames_are_dropped_with_the_place_that_they_were_traced_for(engine: Engine) -> None:
    session = begin(engine)
    do(session, "trace L3H1@END via v", "set metric prob")
    assert session.state.frames  # asked of the same logits
    do(session, "set metric activation N1.5@3")
    assert not session.state.frames and session.state.pos == 3
    do(session, "trace L0H1@3 via v")
    do(session, "undo")
    assert not session.state.frames and session.state.pos == END
    do(session, "list", "where")


def test_a_value_is_traced_for_a_probe_and_only_upstream_of_it(engine: Engine) -> None:
    session = begin(engine)
    do(session, "set metric direction at A2")
    do(session, "trace L1H1@END via v", "u", "d", "w")
    error = fail(session, "trace L2H1@END via v").error
    assert error is not None and "comes after what reads" in error.message


def test_frame_0_of_a_metric_that_is_not_linear_has_its_own_value(engine: Engine) -> None:
    for line in (METRICS["a neuron"], METRICS["a head's attention"], "set metric logprob"):
        session = begin(engine)
        value = do(session, line).result["value"]
        do(session, "trace L0H1@3 via q")
        assert do(session, "u").result["value"] == value
        assert f"{value:+.2f}" in said(do(session, "where")).splitlines()[0]


def test_other_tokens_leave_what_asks_for_none_as_it_is(engine: Engine) -> None:
    session = begin(engine)
    do(session, "set metric activation N1.5@3")
    reply = do(session, "target Anna")
    assert "activation asks for no token: set metric logit does" in reply.warnings
    assert session.state.inputs.metric.quantity.value == "activation"
    do(session, "set metric logit")
    assert session.snapshot.now.metric == Metric(
        session.state.inputs.metric.quantity, *tokens_of(session), pos=END
    )


def tokens_of(session: Session) -> tuple[tuple[int, ...], tuple[int, ...]]:
    metric = session.state.inputs.metric
    return metric.targets, metric.distractors


def test_a_shorter_prompt_that_lacks_the_key_is_refused(engine: Engine) -> None:
    session = begin(engine)
    do(session, "set metric activation L1H2@END<9")
    error = fail(session, "prompt Mary went").error
    assert error is not None and error.message.endswith("attention is causal: set metric first")
    do(session, "set metric activation N1.5@END", "prompt Mary went")
    assert session.state.inputs.metric.pos == 2


def test_a_shorter_prompt_b_is_read_as_far_from_its_end(engine: Engine) -> None:
    session = begin(engine)
    do(session, "set metric activation L1H2@END<9", "prompt B Mary and John went to")
    other = session.snapshot.other
    assert other is not None
    end = len(other.trace.tokens) - 1
    assert other.value == pytest.approx(
        float(other.trace[Site.PATTERN, 1][2, end, end - (END - 9)]), abs=1e-6
    )


def test_another_model_gets_the_usual_metric_for_a_part_that_it_lacks(models: Path, engine: Engine) -> None:
    for line in ("set metric activation N1.100@END", "set metric direction"):
        session = begin(engine, " Mary and John went to", None)
        do(session, line, "save it.json")
        other = begin(load(models / "odd"))
        assert not execute(other, "load it.json")[-1].ok
        do(other, "load it.json --force")
        assert other.state.inputs.metric.quantity.value == "logit_diff"


@pytest.mark.parametrize(
    "probe",
    [
        {"line": 3, "vector": [1.0, 2.0], "text": "x at M0"},
        {"line": 3, "vector": [float("nan")] * SHAPE.d_model, "text": "x at M0"},
        {"line": 99, "vector": [1.0] * SHAPE.d_model, "text": "x at M0"},
        {"line": 3, "vector": [1.0] * SHAPE.d_model, "text": "x\x1b[31m"},
        {"line": 3, "vector": ["1"] * SHAPE.d_model, "text": "x"},
        {"component": "M1", "key": None},
        {"component": "N1.5", "key": 3},
        {"component": "L1H1", "key": 99},
        {"component": "L9H9", "key": 0},
        {"component": "N1.5"},
        {},
        None,
    ],
)
def test_a_damaged_metric_in_a_session_is_refused(engine: Engine, probe: object) -> None:
    session = begin(engine)
    do(session, "set metric direction", "save it.json")
    data = json.loads(Path("it.json").read_text())
    data["metric"]["probe"] = probe
    Path("it.json").write_text(json.dumps(data))
    fail(session, "load it.json")
