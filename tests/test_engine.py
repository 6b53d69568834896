"""The engine runs no more than it must, keeps what it ran within a bound, and refuses what is not finite."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.gpt2 import GPT2
from model.sites import Site
from model.trace import Trace, bytes_of
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, ComputeFailed
from tests.sessions import END, PROMPT, SHAPE, begin, do, fail, load, write_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def engine(directory: Path) -> Engine:
    return load(directory)


def sites(engine: Engine, act: object) -> int:
    before = engine.sites_run
    assert callable(act)
    act()
    return engine.sites_run - before


def test_an_edit_reruns_only_the_layers_from_the_first_that_it_touches(engine: Engine) -> None:
    session = begin(engine)
    counts = [
        sites(engine, lambda part=part: do(session, f"ablate {part} ;; undo"))
        for part in ("E", "A0", "M1", "L2H3", "N3.5", "BU")
    ]
    per_layer = counts[1] - counts[2]
    assert per_layer > 10
    assert counts[2] - counts[3] == per_layer and counts[3] - counts[4] == per_layer
    assert counts[4] - counts[5] == per_layer
    assert counts[0] == counts[1] + 2  # the two embeddings
    assert 0 < counts[5] < per_layer


def test_a_second_edit_starts_from_the_first(engine: Engine) -> None:
    session = begin(engine)
    first = sites(engine, lambda: do(session, "ablate L1H0"))
    second = sites(engine, lambda: do(session, "ablate L3H0"))
    assert second < first / 2
    trace = session.snapshot.now.trace
    fresh = begin(Engine(session.snapshot.now.model, engine.tokenizer, engine.info))
    do(fresh, "ablate L3H0", "ablate L1H0")  # the same edits, computed on another way
    assert all(torch.equal(trace[at], fresh.snapshot.now.trace[at]) for at in trace.acts)


def test_undo_redo_stepping_and_looking_run_nothing(engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate L1H0", "ablate M0", "rank", "undo 2", "rank", "redo 2")
    looking = (
        "undo",
        "undo",
        "redo",
        "redo",
        "n 3",
        "s",
        "c",
        "rc",
        "lens",
        "logits",
        "attn L0H1",
        "list",
        "token @3",
        "rank",
        "set pos A=1",
    )
    assert sites(engine, lambda: do(session, *looking)) == 0


def test_another_target_is_read_off_the_run_there_is(engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate L1H0")
    assert (
        sites(engine, lambda: do(session, "target Anna", "distractor Mary", "set metric prob", "lens")) == 0
    )


def test_runs_are_kept_within_the_bound_and_made_again_when_needed(engine: Engine) -> None:
    one = begin(engine).snapshot.now.trace.nbytes
    small = Engine(begin(engine).snapshot.now.model, engine.tokenizer, engine.info, cache_bytes=4 * one)
    session = begin(small)
    values = [session.snapshot.now.value]
    for head in range(SHAPE.n_head):
        for layer in range(SHAPE.n_layer):
            do(session, f"ablate L{layer}H{head}")
            values.append(session.snapshot.now.value)
            assert sum(trace.nbytes for trace in small.runs.traces.values()) <= 4 * one
            kept = [id(trace) for trace in small.runs.traces.values()]
            assert all(id(reading.trace) in kept for reading in small.runs.readings.values())
    for value in reversed(values[:-1]):
        do(session, "undo")
        assert session.snapshot.now.value == value


def test_what_is_read_again_after_it_had_to_go_is_the_same(engine: Engine) -> None:
    one = begin(engine).snapshot.now.trace.nbytes
    small = Engine(begin(engine).snapshot.now.model, engine.tokenizer, engine.info, cache_bytes=3 * one)
    session, lines = begin(small), ("rank all", "rank neurons", "trace L1H1 via q", "rank", "up")
    do(session, "set measure off")  # what is measured is kept elsewhere
    first = [do(session, line).result for line in lines]
    shown = session.snapshot.now
    before = shown.nbytes
    do(session, "ablate L0H1")
    assert shown.nbytes < before
    do(session, "undo")
    assert [do(session, line).result for line in lines] == first


def test_a_long_session_holds_few_runs_beside_those_it_shows(engine: Engine) -> None:
    """Bytes of all runs that are kept, after every line of a session with edits, undo and prompt B."""
    model = begin(engine).snapshot.now.model
    one = begin(engine).snapshot.now.trace.nbytes
    small = Engine(model, engine.tokenizer, engine.info, cache_bytes=5 * one)
    session = begin(small)
    lines = [f"ablate L{layer}H{head}@3" for layer in range(SHAPE.n_layer) for head in range(2)]
    for line in (
        *lines,
        "rank all",
        "rank neurons",
        "undo 3",
        "redo",
        "patch L1H2 from B",
        "rank pairs",
        "undo 4",
    ):
        do(session, line)
        assert bytes_of(small.runs.traces.values()) <= 5 * one


def test_what_is_forgotten_gives_its_memory_back_at_once(engine: Engine) -> None:
    """No cycle holds a run, whatever was read from it: nothing waits for the garbage collector."""
    small = Engine(begin(engine).snapshot.now.model, engine.tokenizer, engine.info, cache_bytes=1)
    session = begin(small)
    gc.collect()
    gc.disable()
    try:
        runs = []
        for edit in ("ablate L0H1", "patch L1H2 from B"):
            do(session, edit)
            for line in ("rank all", "rank heads by measured", "trace L1H1 via q", "rank", "upstream", "up"):
                do(session, line)
            now = session.snapshot.now
            runs += [weakref.ref(now), weakref.ref(now.trace[Site.RESID_POST, 0])]
            del now
        do(session, "undo 2")
        assert [run() for run in runs] == [None] * 4
    finally:
        gc.enable()


def test_of_a_prompt_set_no_run_but_one_is_held_and_what_was_kept_stays(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        {"prompt": PROMPT.replace("Mary", name), "target": " Mary"} for name in ("Anna", "Smith", "John")
    ]
    (tmp_path / "three.jsonl").write_text("\n".join(map(json.dumps, lines)))
    now = begin(engine).snapshot.now
    small = Engine(now.model, engine.tokenizer, engine.info, cache_bytes=5 * now.trace.nbytes)
    session = begin(small)
    do(session, "ablate L0H1", "rank all", f"prompts {tmp_path}/three.jsonl")
    runs: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    recorded = small._recorded  # pyright: ignore[reportPrivateUsage]

    def counted(*args: Any) -> Trace:
        held.append(sum(run() is not None for run in runs))
        trace = recorded(*args)
        runs.append(weakref.ref(trace[Site.RESID_POST, 0]))
        return trace

    monkeypatch.setattr(small, "_recorded", counted)
    gc.disable()
    try:
        do(session, "over rank heads by total", "over lens @END")
    finally:
        gc.enable()
    assert held == [0, 1] * 6  # of each example one with the edit and one without
    assert sites(small, lambda: do(session, "undo", "redo")) == 0


def test_what_is_run_for_a_moment_goes_before_what_is_kept(engine: Engine) -> None:
    now = begin(engine).snapshot.now
    most = 9 * now.trace.nbytes // 2
    small = Engine(now.model, engine.tokenizer, engine.info, cache_bytes=most)
    session = begin(small)
    do(session, "ablate L0H1")
    kept, inputs = set(small.runs.traces), session.state.inputs
    assert len(kept) == 3  # with the edit, without, and prompt B
    with small.runs.unkept():
        for name in ("Anna", "Smith", "John"):
            other = begin(engine, PROMPT.replace("Mary", name)).state.inputs.prompt
            small.value(replace(inputs, prompt=other, prompt_b=None, edits=()))
            assert kept < set(small.runs.traces)
            assert bytes_of(small.runs.traces.values()) <= most
    assert set(small.runs.traces) == kept


def test_running_again_from_nothing_gives_the_same_numbers(engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate L1H0@3 scale 2")
    before = session.snapshot.now
    assert sites(engine, lambda: do(session, "run")) > 0
    after = session.snapshot.now
    assert after is not before
    assert all(torch.equal(before.trace[at], after.trace[at]) for at in before.trace.acts)


def test_a_mean_over_the_prompt_leaves_out_the_end_of_text_before_it(engine: Engine) -> None:
    for bos in (True, False):
        session = begin(engine, bos=bos)
        do(session, "set means positions", "ablate M1@END mean")
        base, now = session.snapshot.base.trace, session.snapshot.now.trace
        expected = base[Site.MLP_OUT, 1][int(bos) :].mean(0)
        assert torch.allclose(now[Site.MLP_OUT, 1][-1], expected, atol=1e-6)


def test_a_mean_over_prompts_of_one_length_goes_position_by_position(engine: Engine, tmp_path: Path) -> None:
    others = [PROMPT.replace("Mary", name) for name in ("Anna", "Smith")]
    (tmp_path / "same.txt").write_text("\n".join(others) + "\n\n")
    (tmp_path / "mixed.txt").write_text(f"{others[0]}\n Mary went\n")
    session = begin(engine)
    do(session, f"set means {tmp_path}/same.txt", "ablate L1H2 mean")
    each = [begin(engine, prompt).snapshot.now.trace[Site.Z, 1][2] for prompt in others]
    assert torch.allclose(session.snapshot.now.trace[Site.Z, 1][2], torch.stack(each).mean(0), atol=1e-6)
    do(session, f"set means {tmp_path}/mixed.txt")
    both = [
        begin(engine, prompt).snapshot.now.trace[Site.Z, 1][2, 1:] for prompt in (others[0], " Mary went")
    ]
    expected = torch.cat(both).mean(0)
    assert torch.allclose(session.snapshot.now.trace[Site.Z, 1][2], expected.expand(END + 1, -1), atol=1e-6)


def test_a_patch_takes_what_the_part_did_in_prompt_b(engine: Engine) -> None:
    session = begin(engine)
    do(session, "patch L1H2@3 from B@9", "patch M2@END from B")
    now, other = session.snapshot.now.trace, session.snapshot.other
    assert other is not None
    assert torch.equal(now[Site.Z, 1][2, 3], other.trace[Site.Z, 1][2, 9])
    assert torch.equal(now[Site.MLP_OUT, 2][END], other.trace[Site.MLP_OUT, 2][END])


def test_patching_the_embeddings_of_b_makes_b_of_a(engine: Engine) -> None:
    session = begin(engine)
    do(session, "patch E from B")
    assert session.snapshot.other is not None
    assert session.snapshot.now.value == pytest.approx(session.snapshot.other.value, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_agree_as_far_as_they_go(directory: Path, engine: Engine, dtype: str) -> None:
    value = begin(engine).snapshot.now.value
    assert begin(load(directory, dtype)).snapshot.now.value == pytest.approx(value, abs=0.3)


def test_a_model_too_large_for_its_precision_is_refused_in_a_sentence(directory: Path) -> None:
    engine = load(directory)
    model = begin(engine).snapshot.now.model
    huge = GPT2(model.config).requires_grad_(False)
    huge.load_state_dict(
        {
            name: tensor * (1e30 if "mlp.c_proj.weight" in name else 1)
            for name, tensor in model.state_dict().items()
        }
    )
    with pytest.raises(ComputeFailed, match="logits are not finite: float32 may be too narrow"):
        begin(Engine(huge, engine.tokenizer, engine.info))


def test_tokens_that_the_model_does_not_know_are_refused_in_a_sentence(engine: Engine) -> None:
    model = begin(engine).snapshot.now.model
    smaller = type(model.config)(4, 4, 32, 128, 24, SHAPE.n_vocab - 1)
    cut = GPT2(smaller).requires_grad_(False)
    cut.load_state_dict(
        {n: x[: smaller.n_vocab] if x.shape[0] == SHAPE.n_vocab else x for n, x in model.state_dict().items()}
    )
    info = type(engine.info)("cut", engine.info.directory, smaller, "cpu", "float32")
    with pytest.raises(
        CommandError, match=f"token {SHAPE.n_vocab - 1} is unknown to cut: it has {SHAPE.n_vocab - 1}"
    ):
        begin(Engine(cut, engine.tokenizer, info))
    begin(Engine(cut, engine.tokenizer, info), bos=False)


def test_generation_happens_under_the_edits(engine: Engine) -> None:
    session = begin(engine)
    plain = do(session, "generate 5").result["tokens"]
    assert plain == do(session, "generate 5").result["tokens"] and len(plain) == 5
    do(session, "ablate A0 ;; ablate M0 ;; ablate E value 0.2")
    assert do(session, "generate 5").result["tokens"] != plain
    assert len(do(session, "generate 1000").result["tokens"]) == SHAPE.n_ctx - 14
    sampled = do(session, "generate 5 --temperature 2 --seed 3 --top-k 50").result["tokens"]
    assert sampled == do(session, "generate 5 --temperature 2 --seed 3 --top-k 50").result["tokens"]
    assert sampled != do(session, f"generate 5 --temperature 2 --seed {10**30}").result["tokens"]


def test_the_most_likely_next_token_is_the_one_generated(engine: Engine) -> None:
    session = begin(engine)
    rows = do(session, "logits @END 1").result["rows"]
    assert do(session, "generate 1").result["tokens"] == [rows[0]["id"]]
    assert fail(session, "generate 0").error is not None
