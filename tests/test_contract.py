"""The JSON that scripts rely on: keys, types, digits; and the whole answer against other computations."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.gpt2 import GPT2, Config
from model.weights import save_model
from tdb_tui.commands import execute, registry
from tdb_tui.contract import ENTRY, RESULTS
from tdb_tui.documentation import DOCS, pages
from tdb_tui.engine import Engine
from tdb_tui.files.output import as_json
from tests.naive import Naive
from tests.sessions import MERGED, ODD, SHAPE, begin, do, load, write_model, write_vocabulary
from tests.tiny import random_model

COMMANDS = (
    "args", "logits", "logits @3 4", "rank", "rank all by direct -n 0", "rank pairs @END -n 3", "rank all per layer",
    "compare heads against base -n 3", "strips by direct", "lens", "lens @2", "attn L1H2",
    "ablate L0H1 ;; ablate M1@END value 0.3", "patch L2H1@END from B", "repair", "roles", "estimates -n 2 --steps 2", "print ld", "print 1 == 1", "print kind", "print L0H1@END",
    "next", "n 3", "step", "s 2", "return", "until", "until A3", "jump A1", "continue", "rn", "rs", "rc", "top L1H1", "ov L1H1", "qk L1H1", "compose L2H1",
    "why L2H1@END", "feeds L0H1@END", "feeds into L2H1@END via k", "drives N0.5", "upstream -d 1", "fold 0.0", "view tree", "circuit add L0H1", "circuit show",
    "token @3", "generate 3", "undo", "redo", "trace L1H2@END via v", "verify -n 1", "edge ablate L0H1 -> L2H1.q", "path L0H1 -> U mlps",
    "edits", "checkpoint it", "diff base now", "assert 1 == 1", "commands",
    "sweep ablate heads", "sweep patch pairs L2H1",
    "freeze ln", "steer N1.5@END = 2", "align", "swap", "mark L1H2",
)  # fmt: skip
SETS = ("prompts", "over")
"Tried on a set of their own, in tests/test_prompt_sets.py."
TURNED = ("whynot",)
"Tried where the answer can be turned over, in tests/test_whynot.py."
STORED = ("examples", "find", "explain")
"Tried on a store of their own, in tests/test_exampling.py."
MOVING = ("step", "return", "until", "continue", "jump", "rn", "rs", "rc")
ROW = {
    "node", "kind", "layer", "index", "pos", "key", "act", "write_norm", "direct", "total", "measured", "patched",
    "attn", "disagrees", "count", "explanation", "score",
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


def entries(engine: Engine, *lines: str) -> list[dict[str, Any]]:
    """Each command's JSON, read back."""
    session = begin(engine)
    done = [each for line in lines for each in execute(session, line)]
    return [json.loads(as_json(n, d.cmd, d.ms, d.reply, d.error)) for n, d in enumerate(done, start=1)]


def numbers(value: Any) -> list[float]:
    match value:
        case float():
            return [value]
        case dict() | list():
            return [
                x for item in (value.values() if isinstance(value, dict) else value) for x in numbers(item)
            ]
        case _:
            return []


def test_every_answer_holds_the_keys_of_the_contract(engine: Engine) -> None:
    seen: set[str] = set()
    for entry in entries(engine, *COMMANDS):
        assert set(entry) == set(ENTRY) - {"error"} and entry["schema"] == "tdb-tui/1" and entry["ok"] is True
        assert isinstance(entry["n"], int) and entry["ms"] >= 0 and entry["warnings"] == []
        name = registry.find(entry["cmd"].split()[0]).name
        seen.add(name)
        assert set(RESULTS["next" if name in MOVING else name]) <= set(entry["result"]), entry["cmd"]
    assert seen | {*SETS, *TURNED, *STORED} == set(RESULTS) | set(MOVING)


def test_a_failure_holds_an_error_and_no_result(engine: Engine) -> None:
    (entry,) = entries(engine, "b Q9")
    assert set(entry) == set(ENTRY) - {"result", "warnings"} and entry["ok"] is False
    assert set(entry["error"]) == {"code", "message", "hint", "col"}


def test_the_values_have_the_types_of_the_contract(engine: Engine) -> None:
    answer = {entry["cmd"]: entry["result"] for entry in entries(engine, *COMMANDS)}
    args = answer["args"]
    assert args["model"] == {
        "name": "random", "n_layer": 4, "n_head": 4, "d_model": 32, "n_ctx": 24, "n_vocab": SHAPE.n_vocab,
    }  # fmt: skip
    assert [set(token) for token in args["tokens"]] == [{"pos", "id", "text"}] * 14
    assert args["tokens"][0]["text"] == "<|endoftext|>" and args["targets"][0]["text"] == " Mary"
    assert (args["device"], args["dtype"], type(args["metric"])) == ("cpu", "float32", float)
    for row in answer["logits @3 4"]["rows"]:
        assert set(row) == {"token", "id", "logit", "logprob", "prob", "rank"} and isinstance(
            row["rank"], int
        )
    assert {" Mary", " John"} <= {row["token"] for row in answer["logits @3 4"]["rows"]}
    assert answer["logits @3 4"]["pos"] == 3
    for row in answer["rank all by direct -n 0"]["rows"] + answer["rank pairs @END -n 3"]["rows"]:
        assert set(row) == ROW and isinstance(row["pos"], int) and row["count"] == 1
        assert row["measured"] is None or isinstance(row["measured"], float)
        assert row["kind"] in ("embed", "head", "pair", "attn", "mlp", "neuron", "bias")
        assert (row["key"] is None) == (row["kind"] != "pair")
    assert {row["layer"] for row in answer["rank all by direct -n 0"]["rows"] if row["kind"] == "embed"} == {
        None
    }
    for row in answer["rank all per layer"]["rows"]:
        assert set(row) == ROW and row["act"] is row["write_norm"] is None and row["count"] >= 1
        assert row["kind"] in ("layer", "embed", "bias")
    assert set(answer["rank"]["balance"]) == {"rows", "biases", "rest", "sum", "target", "difference"}
    assert [row["line"] for row in answer["lens"]["rows"]] == [
        "E",
        "A0",
        "M0",
        "A1",
        "M1",
        "A2",
        "M2",
        "A3",
        "M3",
        "U",
    ]
    assert len(answer["lens"]["rows"][0]["top"]) == 3 and answer["lens @2"]["pos"] == 2
    assert (
        np.array(answer["attn L1H2"]["pattern"]).shape == (14, 14) and answer["attn L1H2"]["head"] == "L1H2"
    )
    edit = answer["ablate L0H1"]
    assert edit["intervention"] == {"id": "i1", "command": "ablate L0H1@* zero"}
    assert edit["delta"] == edit["after"] - edit["before"]
    assert (answer["print 1 == 1"]["value"], answer["print kind"]["value"]) == (True, "embed")
    assert answer["continue"]["line"] is None and answer["continue"]["stopped_by"] == "end"
    assert answer["rc"]["stopped_by"] == "start" and answer["rc"]["number"] == 0


def test_floats_keep_their_digits(engine: Engine) -> None:
    session = begin(engine)
    read = entries(engine, "args", "lens", "rank all -n 0", "logits")
    assert read[0]["result"]["metric"] == session.snapshot.now.value
    written = [x for entry in read for x in numbers(entry["result"]) if x not in (0, 1)]
    assert len(written) > 500
    assert sum(len(repr(x).strip("-0.").replace(".", "").split("e")[0]) >= 9 for x in written) > 0.9 * len(
        written
    )


def test_there_is_no_nan_in_json(engine: Engine) -> None:
    (entry,) = entries(engine, "print 1e308 * 10")
    assert entry["result"]["value"] is None
    assert math.isfinite(entry["ms"])


def test_the_reference_pages_are_those_that_the_program_makes() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in DOCS.iterdir()}
    assert written == pages(), "run python -m tdb_tui.documentation"


def test_every_command_is_on_its_page() -> None:
    text = pages()["commands.md"]
    assert all(f"### {command.name}\n" in text and command.examples[0] in text for command in registry)
    assert all(f"## {name}\n" in pages()["json.md"] for name in RESULTS)


ACCEPTANCE = ("args", "logits @END 5", "rank all by direct -n 0", "lens", "ablate L1H2", "undo")


def transformers_model(directory: Path) -> Any:
    return (
        pytest.importorskip("transformers")
        .GPT2LMHeadModel.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager")
        .eval()
    )


def agrees(directory: Path, engine: Engine, tolerance: float) -> dict[str, Any]:
    """The whole answer against `transformers`; what the commands said."""
    answer = {entry["cmd"]: entry["result"] for entry in entries(engine, *ACCEPTANCE)}
    args, books = answer["args"], answer["rank all by direct -n 0"]["balance"]
    assert abs(books["difference"]) < 1e-4 and abs(books["rest"]) < 1e-9
    assert books["target"] == pytest.approx(args["metric"], abs=tolerance)
    edit = answer["ablate L1H2"]
    assert edit["before"] == args["metric"] == answer["undo"]["value"] and edit["after"] != edit["before"]

    model = transformers_model(directory)
    ids = torch.tensor([[token["id"] for token in args["tokens"]]])
    mary, john = args["targets"][0]["id"], args["distractors"][0]["id"]
    with torch.no_grad():
        seen: dict[str, torch.Tensor] = {}
        for layer, block in enumerate(model.transformer.h):
            block.ln_2.register_forward_hook(
                lambda _m, given, _o, at=f"A{layer}": seen.update({at: given[0][0, -1]})
            )
        run = model(ids, output_hidden_states=True)
        # the last hidden state has been through ln_f already
        after = [*run.hidden_states[:-1]]
        residuals = [after[0][0, -1]]
        for layer in range(len(model.transformer.h)):
            residuals.append(seen[f"A{layer}"])
            if layer + 1 < len(after):
                residuals.append(after[layer + 1][0, -1])
        lens = model.lm_head(model.transformer.ln_f(torch.stack(residuals)))
    logits = run.logits[0, -1]
    assert args["metric"] == pytest.approx(float(logits[mary] - logits[john]), abs=tolerance)
    for row in answer["logits @END 5"]["rows"]:
        assert row["logit"] == pytest.approx(float(logits[row["id"]]), abs=tolerance)
        assert row["logprob"] == pytest.approx(float(logits.log_softmax(-1)[row["id"]]), abs=tolerance)
    rows = answer["lens"]["rows"]
    for row, read in zip(rows[:-2], lens, strict=True):
        assert row["ld"] == pytest.approx(float(read[mary] - read[john]), abs=tolerance)
        if (read.topk(4).values.diff().abs() > tolerance).all():
            assert row["top"] == [engine.tokenizer.text(int(token)) for token in read.topk(3).indices]
    assert [row["ld"] for row in rows[-2:]] == pytest.approx([args["metric"]] * 2, abs=tolerance)
    return answer


def direct_effects(
    model: GPT2, tokens: tuple[int, ...], up: int, down: int
) -> dict[tuple[str, int | None, int | None], float]:
    """Every part's direct effect at the last token, from the equations alone, in numpy."""
    naive = Naive(model, model.config.n_layer, model.config.n_head, model.config.ln_eps)
    run = naive.run(tokens)
    direction = naive.w["lm_head.weight"][up] - naive.w["lm_head.weight"][down]
    gain, sigma = naive.w["ln_f.weight"], float(run["ln_final_scale", 0][-1, 0])

    def effect(write: np.ndarray[Any, Any]) -> float:
        return float(((write - write.mean()) / sigma * gain) @ direction)

    found: dict[tuple[str, int | None, int | None], float] = {}
    found["embed", None, None] = effect(run["embed", 0][-1] + run["pos_embed", 0][-1])
    for layer in range(model.config.n_layer):
        for head in range(model.config.n_head):
            found["head", layer, head] = effect(run.pairs[layer][head, -1].sum(0))
        found["mlp", layer, None] = effect(run.neurons[layer][:, -1].sum(0))
        found["BA", layer, None] = effect(naive.w[f"h.{layer}.attn.c_proj.bias"])
        found["BM", layer, None] = effect(naive.w[f"h.{layer}.mlp.c_proj.bias"])
    found["BU", None, None] = float(naive.w["ln_f.bias"] @ direction)
    return found


def test_the_answer_agrees_with_transformers_and_with_numpy_on_a_model_of_odd_shape(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "odd", ODD)
    answer = agrees(directory, load(directory), 2e-5)
    args = answer["args"]
    tokens = tuple(token["id"] for token in args["tokens"])
    expected = direct_effects(
        random_model(ODD).double(), tokens, args["targets"][0]["id"], args["distractors"][0]["id"]
    )
    rows = answer["rank all by direct -n 0"]["rows"]
    last = [row for row in rows if row["pos"] == len(tokens) - 1]
    assert all(row["direct"] == 0 for row in rows if row["pos"] != len(tokens) - 1)
    for row in last:
        kind = row["node"][:2] if row["kind"] == "bias" else row["kind"]
        layer = None if kind == "BU" else row["layer"]
        assert row["direct"] == pytest.approx(expected.pop((kind, layer, row["index"])), abs=2e-5), row[
            "node"
        ]
    assert expected == {}


@pytest.mark.slow
def test_the_answer_agrees_with_transformers_on_a_full_size_model(tmp_path: Path) -> None:
    config = Config(n_layer=12, n_head=12, d_model=768, d_mlp=3072, n_ctx=1024, n_vocab=50257)
    assert config.n_vocab > 256 + len(MERGED)
    save_model(random_model(config, dtype=torch.float32), tmp_path / "small")
    write_vocabulary(tmp_path / "small")
    agrees(tmp_path / "small", load(tmp_path / "small"), 5e-3)


def test_undo_after_the_acceptance_commands_is_bit_for_bit(engine: Engine) -> None:
    session = begin(engine)
    before = session.snapshot.now.trace
    do(session, *ACCEPTANCE[:-1])
    engine.forget()
    do(session, "undo")
    after = session.snapshot.now.trace
    assert after is not before and all(torch.equal(before[at], after[at]) for at in before.acts)
